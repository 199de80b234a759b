//! Scores of the student on the validation split, by the code of `eval`.

use super::{
    data::{Augment, Batch, Loader, LoaderOptions, Position, TrainSet},
    step::images_of,
};
use crate::{
    Error, Result,
    detector::HeadView,
    eval::{NmsOptions, ScoredImage, Scores, detect, score},
    preprocess::LetterboxPlan,
    student::Network,
    types::TruthBox,
};
use rayon::prelude::*;
use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tch::{Device, Tensor};

/// The validation images, decoded, with their ground truth.
pub struct Validator {
    set: Arc<TrainSet>,
    /// Of each image of the set: how it lies in the input, and what is on it.
    truths: Vec<(LetterboxPlan, Vec<TruthBox>)>,
    class_names: Vec<String>,
    batch: NonZeroUsize,
}

impl Validator {
    /// `truths` in the order of the set's images.
    pub fn new(
        set: Arc<TrainSet>,
        truths: Vec<(LetterboxPlan, Vec<TruthBox>)>,
        class_names: Vec<String>,
        batch: NonZeroUsize,
    ) -> Self {
        Self { set, truths, class_names, batch }
    }

    /// Images that are scored.
    pub fn len(&self) -> usize {
        self.truths.len()
    }

    /// Scores a network in float32; `None` where `stop` was raised before the end.
    ///
    /// # Errors
    /// [`Error::Trainer`] where its output is no number; what reading the images gives.
    pub fn score(&self, network: &Network, stop: &AtomicBool) -> Result<Option<Scores>> {
        let options = LoaderOptions {
            batch: self.batch,
            seed: 0,
            shuffle: false,
            augment: Augment::none(),
            cached_views: false,
            epochs: 1,
            epochs_without_mosaic: 0,
            threads: NonZeroUsize::MIN,
            ahead: NonZeroUsize::MIN.saturating_add(1),
        };
        let mut images = Vec::with_capacity(self.len());
        for batch in Loader::start(self.set.clone(), options, Position::default())? {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            images.extend(self.detect(network, &batch?)?);
        }
        score(&images, &self.class_names).map(Some)
    }

    fn detect(&self, network: &Network, batch: &Batch) -> Result<Vec<ScoredImage>> {
        let head = network.forward(&images_of(batch, network.device()), false);
        let (class_logits, box_values) = (values_of(&head.class_logits), values_of(&head.box_values));
        let of_image = |values: &[f32]| values.len() / batch.len();
        let (class_len, box_len) = (of_image(&class_logits), of_image(&box_values));
        let spec = network.net().head_spec(self.set.input());
        let one = |(row, &index): (usize, &usize)| {
            let (plan, truth) = &self.truths[index];
            let values = (
                &class_logits[row * class_len..(row + 1) * class_len],
                &box_values[row * box_len..(row + 1) * box_len],
            );
            let head = HeadView::new(&spec, values.0, values.1);
            let image = &self.set.images()[index];
            let detections =
                head.and_then(|head| detect(head, plan, &NmsOptions::SCORING)).map_err(|found| Error::Trainer {
                    found: format!("validating {}: {found}", image.relative),
                    remedy: "The student has diverged: lower `lr=`, or raise `warmup_epochs=`.".into(),
                })?;
            Ok(ScoredImage { image_id: image.image_id, truth: truth.clone(), detections })
        };
        batch.indices.par_iter().enumerate().map(one).collect()
    }
}

/// A float32 tensor's values, row major.
fn values_of(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_device(Device::Cpu).contiguous();
    let mut values = vec![0.0; tensor.numel()];
    let count = values.len();
    tensor.copy_data(&mut values, count);
    values
}
