//! What one training step gets. `B` images of `H` x `W` input pixels, `A` anchors, `C` classes.

use crate::types::ImageSize;

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

/// Cached predictions of a batch, `N` anchors in order of (`batch_index`, tile, anchor in the cache). Each (`batch_index`,
/// `anchor`) is there at most once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TeacherBatch {
    /// `[N]` position in the batch, 0..B.
    pub batch_index: Vec<i64>,
    /// `[N]` anchor of the student's output, 0..A: strides in their order, cells row major.
    pub anchor: Vec<i64>,
    /// `[N]` highest class probability, 0..=1.
    pub score: Vec<f32>,
    /// `[N]` class of that probability.
    pub class_id: Vec<i64>,
    /// `[N, C]` logits before the sigmoid.
    pub class_logits: Vec<f32>,
    /// `[N, 4 * reg_max]` logits before the softmax: left, top, right, bottom; `None` where the cache has none.
    pub dfl_logits: Option<Vec<f32>>,
    /// `[N, 4]` x1, y1, x2, y2 in input pixels. **Not clipped to the input**: the box of an anchor inside may reach out of
    /// it, as the student's boxes may, and its DFL logits say the same box. (The cache has clipped it to its own image.)
    pub boxes_xyxy_input_px: Vec<f32>,
    /// `[B, A]` mean class probability that the teacher gave to the dropped anchors of the image under each anchor: the
    /// target of a loss over the anchors that are not among the `N`. NaN where no image lies under the anchor (grey beside
    /// shifted images): no target, weight 0.
    pub floor_prob: Vec<f32>,
    /// `C`.
    pub num_classes: usize,
    /// `4 * reg_max`, 0 where the cache has no DFL logits.
    pub dfl_len: usize,
    /// `A`.
    pub num_anchors: usize,
}

impl Batch {
    /// `B`, the number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether it has no images; no batch of a loader is empty.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

impl TeacherBatch {
    /// `N`, the number of anchors with predictions.
    pub fn len(&self) -> usize {
        self.anchor.len()
    }

    /// Whether no anchor has predictions.
    pub fn is_empty(&self) -> bool {
        self.anchor.is_empty()
    }
}
