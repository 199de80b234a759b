//! The logical content of a cache: one [`ImageRecord`] per image and view.

use crate::types::{BoxXyxyPx, ImageSize, LabelBox, Letterbox, ViewChange};
use half::f16;

/// (image_id, view): what identifies a record and orders all of them.
pub type ImageKey = (i64, i32);

/// Everything the cache keeps of one image (and view).
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// Position in the data set's sorted sample list.
    pub image_id: i64,
    /// 0 for the image as it is; 1.. for augmented views.
    pub view: i32,
    /// Path relative to the data set (see `dataset::paths` for names that are not UTF-8).
    pub path: String,
    /// After EXIF orientation.
    pub size: ImageSize,
    /// SHA-256 of the image file's bytes.
    pub file_sha256: [u8; 32],
    /// How the image was fitted into the teacher's input.
    pub letterbox: Letterbox,
    /// What makes the view of the letterboxed image; nothing for view 0.
    pub change: ViewChange,
    /// Highest class probability among the anchors that were not kept (0 where all were).
    pub dropped_max_score: f32,
    /// Mean class probability over dropped anchors and classes (0 where all were kept).
    pub dropped_mean_prob: f32,
    /// Ground truth in the teacher's class ids and original pixels; `None` for an unlabelled image.
    pub labels: Option<Vec<LabelBox>>,
    /// The kept anchors.
    pub predictions: Predictions,
}

/// The kept anchors of one image, in increasing anchor order; every vector has the same number of rows `n`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Predictions {
    /// `[n]` flattened index over strides 8, 16, 32 in this order, row major.
    pub anchor: Vec<i32>,
    /// `[n]` input pixels per grid cell: 8, 16 or 32.
    pub stride: Vec<i32>,
    /// `[n]` highest class probability, 0..=1.
    pub score: Vec<f32>,
    /// `[n]` class of that probability (the lowest id of equals).
    pub class_id: Vec<i32>,
    /// `[n]` pixels of the original image, half-open, clipped to it.
    pub boxes_xyxy_px: Vec<BoxXyxyPx>,
    /// `[n, num_classes]` row major: logits before the sigmoid.
    pub class_logits: Vec<f16>,
    /// `[n, 4 * reg_max]` row major: left, top, right, bottom, each of `reg_max` bins; empty where not stored.
    pub dfl_logits: Vec<f16>,
}

impl Predictions {
    /// Number of kept anchors.
    pub fn len(&self) -> usize {
        self.anchor.len()
    }

    /// Whether no anchor was kept.
    pub fn is_empty(&self) -> bool {
        self.anchor.is_empty()
    }
}
