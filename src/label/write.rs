//! The teacher's boxes of each image as labels of the new data set.

use super::thresholds::Rule;
use crate::{
    cache::{CacheReader, Sha256Bytes},
    dataset::{Mark, RawBox, Truth},
    issues::seen::Seen,
    pipeline::{changed_since, read_file},
    toolkit::{Format, Labeller, Relabelled, clipped, iou_px},
    types::{BoxXyxyPx, ImageSize},
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

/// A box that overlaps a label by so much is that object, whatever its class.
const SAME_OBJECT_IOU: f64 = 0.5;

/// An image to write.
pub(super) struct Source<'a> {
    pub(super) image_id: i64,
    pub(super) path: &'a Path,
    /// Whether the labels of its files stay.
    pub(super) labelled: bool,
}

/// What gives each image its labels.
pub(super) struct Pseudo<'a> {
    pub(super) reader: &'a CacheReader,
    pub(super) images: Vec<Source<'a>>,
    pub(super) rule: Rule,
    /// Boxes of a lower probability are not even uncertain.
    pub(super) uncertain: f64,
    pub(super) add_missing: bool,
    /// The class of the data set for each of the teacher's.
    pub(super) classes: Vec<Option<u32>>,
    /// Their names.
    pub(super) names: Vec<String>,
    pub(super) format: Format,
    counted: Mutex<Counted>,
}

/// Boxes of the images that were written, and of those that are being written.
#[derive(Default)]
struct Counted {
    pending: HashMap<usize, Own>,
    all: Tally,
}

/// What became of the images and boxes.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) labelled_images: u64,
    pub(super) pseudo_labelled_images: u64,
    pub(super) empty_images: u64,
    pub(super) other_classes: u64,
    /// By class of the data set: labels, the sum of their probabilities, uncertain boxes.
    pub(super) classes: Vec<(u64, f64, u64)>,
}

/// The boxes of one image: class, probability, and whether it is a label.
#[derive(Default)]
struct Own {
    labelled: bool,
    empty: bool,
    boxes: Vec<(u32, f64, bool)>,
    other_classes: u64,
}

impl<'a> Pseudo<'a> {
    pub(super) fn new(
        reader: &'a CacheReader,
        images: Vec<Source<'a>>,
        rule: Rule,
        (uncertain, add_missing): (f64, bool),
        (classes, names): (Vec<Option<u32>>, Vec<String>),
        format: Format,
    ) -> Self {
        let counted = Counted {
            all: Tally { classes: vec![(0, 0.0, 0); names.len()], ..Tally::default() },
            ..Counted::default()
        };
        let counted = Mutex::new(counted);
        Self { reader, images, rule, uncertain, add_missing, classes, names, format, counted }
    }

    pub(super) fn tally(self) -> Tally {
        self.counted.into_inner().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Labeller for Pseudo<'_> {
    fn table(&self) -> (&'static str, &'static [&'static str]) {
        (super::TABLE, &["class", "score", "probability", "x1_px", "y1_px", "x2_px", "y2_px", "use"])
    }

    fn relabel(&self, at: usize, size: ImageSize, truth: Truth<RawBox>) -> Result<Relabelled, String> {
        let source = self.images.get(at).ok_or("the image is not in the cache")?;
        let mut own = Own { labelled: source.labelled, ..Own::default() };
        let mut boxes: Vec<RawBox> = match truth {
            Truth::Labelled(boxes) if source.labelled => boxes,
            _ => Vec::new(),
        };
        let mut rows = Vec::new();
        if !source.labelled || self.add_missing {
            let image = self.reader.image(source.image_id, 0).map_err(|e| e.to_string())?;
            let image = image.ok_or("the image is not in the cache")?;
            let found: Sha256Bytes = Sha256::digest(read_file(source.path)?).into();
            if let Some(changed) = changed_since(&image.file_sha256, &found) {
                return Err(changed);
            }
            if image.size != size {
                return Err(format!(
                    "the image has {} x {} pixels, in the cache {} x {}",
                    size.width, size.height, image.size.width, image.size.height
                ));
            }
            let people = boxes.clone();
            let seen = Seen::of(&image, &self.reader.manifest().teacher, Vec::new());
            for &row in &seen.kept {
                let (Some(found), logit) = (seen.rows.get(row), seen.best_logit(row)) else { continue };
                let overlaps = |label: &RawBox| iou_px(as_px(label.xyxy_px), found.box_xyxy_px) >= SAME_OBJECT_IOU;
                if people.iter().any(overlaps) {
                    continue;
                }
                let score = f64::from(found.score);
                let probability = self.rule.probability(logit, found.class_id, score);
                let is_label = self.rule.is_label(logit, found.class_id, score);
                if !is_label && probability < self.uncertain {
                    continue;
                }
                let Some(class_id) = self.classes.get(found.class_id as usize).copied().flatten() else {
                    own.other_classes += u64::from(is_label);
                    continue;
                };
                let mark = if is_label { Some(Mark::Plain) } else { self.format.mark_of_uncertain() };
                let b = found.box_xyxy_px;
                let Some((xyxy_px, _)) = clipped([b.x1, b.y1, b.x2, b.y2].map(f64::from), size) else { continue };
                boxes.extend(mark.map(|mark| RawBox { class_id, xyxy_px, area_px2: None, mark, outlined: false }));
                own.boxes.push((class_id, probability, is_label));
                let name = self.names.get(class_id as usize).cloned().unwrap_or_default();
                let numbers = [score, probability].map(|value| format!("{value:.4}"));
                let corners = xyxy_px.map(|value| format!("{value:.2}"));
                let purpose = if is_label { "label" } else { "uncertain" }.to_owned();
                rows.push([name].into_iter().chain(numbers).chain(corners).chain([purpose]).collect());
            }
        }
        own.empty = boxes.iter().all(|b| b.mark != Mark::Plain);
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).pending.insert(at, own);
        Ok(Relabelled { truth: Truth::Labelled(boxes), rows })
    }

    fn written(&self, at: usize) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = counted.pending.remove(&at) else { return };
        let all = &mut counted.all;
        all.labelled_images += u64::from(own.labelled);
        all.pseudo_labelled_images += u64::from(!own.labelled);
        all.empty_images += u64::from(!own.labelled && own.empty);
        all.other_classes += own.other_classes;
        for (class_id, probability, is_label) in own.boxes {
            if let Some((labels, sum, uncertain)) = all.classes.get_mut(class_id as usize) {
                *labels += u64::from(is_label);
                *sum += if is_label { probability } else { 0.0 };
                *uncertain += u64::from(!is_label);
            }
        }
    }
}

fn as_px([x1, y1, x2, y2]: [f64; 4]) -> BoxXyxyPx {
    let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(|value| value as f32);
    BoxXyxyPx { x1, y1, x2, y2 }
}
