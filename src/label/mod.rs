//! `label`: pseudo-labels from a cache, written as a data set. No model is run.
//!
//! ```text
//! labelled images ─ calibration per class ─ a threshold for each class ┐
//! unlabelled images, view 0 ─ boxes after suppression ─────────────────┴─ label, uncertain, or left out
//! ```
//!
//! Labels of people stay as they are. Images are read from the map one by one: memory grows with their paths alone.

mod run;
mod thresholds;
mod write;

pub use run::label;

use crate::toolkit::{Manifest, WriteOptions};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// Name of the table of the teacher's boxes in the new folder.
pub const TABLE: &str = "teacher_boxes.csv";

/// From which score on a box of the teacher is a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// A score for each class, so that this share of the labels of the class is right.
    Precision(f64),
    /// This score.
    Score(f64),
}

/// What to label, and how.
#[derive(Debug, Clone)]
pub struct LabelOptions {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// The data set, if it has moved or has other labels since the build.
    pub data: Option<PathBuf>,
    /// Where its images lie, for COCO and VOC.
    pub images_dir: Option<PathBuf>,
    /// A text file of the only images whose labels count, one a line, as paths or as the ends of
    /// paths; the labels of all others are not looked at. `None`: every image that has labels.
    pub labelled: Option<PathBuf>,
    /// A text file of the only images to write, as `labelled`; `None`: all.
    pub list: Option<PathBuf>,
    /// From which score on a box is a label.
    pub threshold: Threshold,
    /// Boxes below the threshold are marked as uncertain where they are right with at least this
    /// probability; over 1: none.
    pub uncertain: f64,
    /// Whether labelled images get the boxes of the teacher that overlap no label.
    pub add_missing: bool,
    /// Where and how the data set is written.
    pub write: WriteOptions,
}

/// What was labelled.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LabelReport {
    /// The program and its version.
    pub written_by: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Digest of the cache's content.
    pub content_sha256: Option<String>,
    /// The share of right labels that was asked for; `None` where a score was.
    pub precision: Option<f64>,
    /// The score that was asked for; `None` where a precision was.
    pub conf: Option<f64>,
    /// Images whose labels stayed.
    pub labelled_images: u64,
    /// Images that were labelled by the teacher alone.
    pub pseudo_labelled_images: u64,
    /// Of these, images without any label now.
    pub empty_images: u64,
    /// Labelled images by which scores were calibrated and the shares of right labels measured; 0:
    /// there were none.
    pub calibration_images: u64,
    /// Labels and shares of right ones over all classes.
    pub total: Labelled,
    /// The classes of the data set, in order.
    pub classes: Vec<ClassLabelled>,
    /// Boxes of classes that the data set does not have; they were left out.
    pub other_classes: u64,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
    /// The data set that was written.
    pub data_set: Manifest,
}

/// Labels of a class, or of all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Labelled {
    /// Boxes of the teacher that became labels.
    pub labels: u64,
    /// Boxes that were marked as uncertain, or only listed where the format cannot mark them.
    pub uncertain: u64,
    /// The share of right ones among these labels that the calibration expects, 0..=1; `None`
    /// without labels or without calibration.
    pub expected_precision: Option<f64>,
    /// On labelled images, which had no part in their own thresholds.
    pub measured: Option<Measured>,
}

/// How the thresholds do on labelled images, by five folds: each is judged by thresholds of the
/// other four.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Measured {
    /// Boxes over the threshold.
    pub boxes: u64,
    /// Of these, boxes that find a label of their class (IoU 0.5, each label once).
    pub right: u64,
    /// Labels.
    pub labels: u64,
    /// `right / boxes`.
    pub precision: Option<f64>,
    /// Wilson's interval of `precision` at 95 % (Wilson 1927), as if boxes were independent.
    pub precision_95: Option<[f64; 2]>,
    /// `right / labels`.
    pub recall: Option<f64>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClassLabelled {
    /// Its name.
    pub name: String,
    /// Its number in the new data set.
    pub class_id: u32,
    /// Lowest score of a label; `None` where the teacher does not have the class or no score is
    /// high enough.
    pub conf: Option<f64>,
    /// Its labels.
    #[serde(flatten)]
    pub labelled: Labelled,
}
