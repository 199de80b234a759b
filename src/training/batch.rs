//! What one training step gets. `B` images of `H` x `W` input pixels, `A` anchors, `C` classes.

use crate::{
    targets::{ObjectBatch, TeacherBatch},
    types::ImageSize,
};

/// One batch. Vectors hold tensors row major; a batch's last use should be to give it back to the loader.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The epoch that it belongs to, from 0.
    pub epoch: usize,
    /// Its position in the epoch, from 0.
    pub number: usize,
    /// Batches of this epoch.
    pub batches: usize,
    /// `H` and `W`: the student's input.
    pub input: ImageSize,
    /// `[B]` position in [`TrainSet::images`](super::TrainSet::images) of each row's image; of a mosaic the first of its four.
    pub indices: Vec<usize>,
    /// Positions of every image that the batch shows, row by row: one, or the four of a mosaic.
    pub sources: Vec<usize>,
    /// `[B, H, W, 3]` RGB levels 0..=255 (channels last): divided by 255 they are the student's input.
    pub pixels: Vec<u8>,
    /// `[B]` whether the image has labels, be they none; an image without counts in the distillation loss alone. All
    /// images of a mosaic are labelled, or none is.
    pub labelled: Vec<bool>,
    /// The labels of all images.
    pub labels: LabelBatch,
    /// The cached predictions that follow the pixels; `None` without a cache.
    pub teacher: Option<TeacherBatch>,
    /// The teacher's objects, where the set has them ([`TrainSet::with_objects`](super::TrainSet::with_objects)).
    pub objects: Option<ObjectBatch>,
}

/// Ground truth of a batch, `M` boxes in order of `batch_index`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LabelBatch {
    /// `[M]` position in the batch, 0..B.
    pub batch_index: Vec<i64>,
    /// `[M]` class id, 0..C.
    pub class_id: Vec<i64>,
    /// `[M, 4]` x1, y1, x2, y2 in input pixels, clipped to the input.
    pub boxes_xyxy_input_px: Vec<f32>,
}

impl Batch {
    /// Without images, of an epoch: for [`TrainSet::fill`](super::TrainSet::fill).
    pub fn empty(epoch: usize) -> Self {
        Self {
            epoch,
            number: 0,
            batches: 0,
            input: ImageSize { width: 0, height: 0 },
            indices: Vec::new(),
            sources: Vec::new(),
            pixels: Vec::new(),
            labelled: Vec::new(),
            labels: LabelBatch::default(),
            teacher: None,
            objects: None,
        }
    }

    /// `B`, the number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has no images; no batch of a loader is empty.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}
