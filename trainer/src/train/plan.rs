//! What a run will do, told before it starts.

use super::{
    checkpoint::Progress,
    data::{ObjectClasses, TrainSet},
    validate::Validator,
};
use crate::{student::StudentHead, words::counted};
use indicatif::HumanBytes;
use logitcache::run::{Distill, RunConfig};
use std::fmt;

/// The plan of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Student and what it starts from, in words.
    pub student: String,
    /// What it learns from, in words.
    pub data: String,
    /// What is minimised, in words.
    pub loss: String,
    /// Device, number type, threads, in words.
    pub compute: String,
    /// Where the pixels come from, in words.
    pub pixels: String,
    /// Validation, in words.
    pub validation: String,
    /// Epochs to do, steps of each.
    pub epochs: usize,
    /// Epochs done before.
    pub epochs_done: usize,
    /// Batches of an epoch.
    pub batches_per_epoch: usize,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Plan {
    pub(super) fn of(
        config: &RunConfig,
        head: &StudentHead,
        set: &TrainSet,
        validator: Option<&Validator>,
        progress: &Progress,
        described: String,
        notes: Vec<String>,
    ) -> Self {
        let settings = &config.settings;
        let images = set.images().len();
        let weights =
            format!("{} x labels + {} x teacher", settings.alpha, (1e6 * (1.0 - settings.alpha)).round() / 1e6);
        let by = format!("by {}, temperature {}", settings.cls_loss.as_str(), settings.temperature);
        let sides = if head.reg_max() > 0 { "DFL" } else { "distances" };
        // Objects beside anchors are for a branch of the head that gives each of them one anchor.
        let by_objects = set.object_classes().filter(|_| !set.has_teacher());
        let loss = match (settings.distill, by_objects) {
            (Distill::None, _) => "labels alone".to_owned(),
            (_, Some(ObjectClasses::Hard)) => format!("{weights} (its objects as labels)"),
            (Distill::All, Some(ObjectClasses::Soft)) => format!("{weights} (classes and boxes of its objects {by})"),
            (_, Some(ObjectClasses::Soft)) => format!("{weights} (classes of its objects {by})"),
            (Distill::All, None) => format!("{weights} (classes, {sides} and boxes {by})"),
            (_, None) => format!("{weights} (classes {by})"),
        };
        let number = if settings.is_bf16() { "bf16 autocast" } else { "fp32" };
        Self {
            student: format!(
                "{}, {}, {}, from {}",
                config.model,
                counted(config.class_names.len(), "class"),
                config.imgsz.in_words(),
                config.start
            ),
            data: format!("{described}: {}", counted(images, "image")),
            loss,
            compute: format!(
                "{}, {number}, {}, batch {}",
                config.device,
                counted(config.threads, "thread"),
                settings.batch
            ),
            pixels: match set.pixel_cache() {
                Some((bytes, true)) => format!("{} decoded by an earlier start, mapped", HumanBytes(bytes)),
                Some((bytes, false)) => format!("{} decoded once, mapped", HumanBytes(bytes)),
                None => "decoded at every use (`pixel_cache_gib=` is too small to keep them)".into(),
            },
            validation: validator.map_or("none".into(), |v| counted(v.len(), "image")),
            epochs: settings.epochs,
            epochs_done: progress.epoch,
            batches_per_epoch: images.div_ceil(settings.batch.max(1)),
            notes,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "student   {}", self.student)?;
        writeln!(f, "data      {}", self.data)?;
        for note in &self.notes {
            writeln!(f, "          note: {note}")?;
        }
        writeln!(f, "loss      {}", self.loss)?;
        writeln!(f, "compute   {}", self.compute)?;
        writeln!(f, "pixels    {}", self.pixels)?;
        writeln!(f, "validate  {}", self.validation)?;
        write!(
            f,
            "to do     {} of {}",
            counted(self.epochs - self.epochs_done.min(self.epochs), "epoch"),
            counted(self.batches_per_epoch, "step")
        )?;
        if self.epochs_done > 0 {
            write!(f, ", {} done before", self.epochs_done)?;
        }
        Ok(())
    }
}
