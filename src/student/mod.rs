//! The student: YOLOv8 in libtorch, its weights in and out.

pub mod native;

use tch::Tensor;

/// What the network gives for a batch, before sigmoid and softmax. Anchors in the order of the cache: strides 8, 16, 32, cells
/// row major.
#[derive(Debug)]
pub struct HeadOutput {
    /// `[B, 4 * 16, A]` logits: left, top, right, bottom, each of 16 bins.
    pub dfl_logits: Tensor,
    /// `[B, C, A]` one logit per class.
    pub class_logits: Tensor,
}
