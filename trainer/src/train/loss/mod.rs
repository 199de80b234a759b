//! What a training step minimises: the task loss against the labels, the distillation loss against the cached teacher.
//!
//! ```text
//! HeadOutput ── LossInput ──┬── task_loss(labels)        TaskAlignedAssigner, then CIoU, sides (DFL or L1), BCE
//!                           ├── distill_loss(teacher)    classes, sides, boxes on the kept anchors
//!                           └── object_loss(teacher)     the same for a teacher with other places than the student's anchors
//! ```
//!
//! All give the same three parts with the same gains, so `alpha * task` and
//! `(1 - alpha) * distill` weigh like with like when they are added. Of an image without labels,
//! `distill` alone counts, with weight 1. Everything computes in float32: call it outside autocast.
//! A head of several branches has a loss for each of them.

mod anchors;
mod assigner;
mod boxes;
mod distill;
mod objects;
mod task;

pub use anchors::Anchors;
pub use assigner::{Assignment, assign};
pub use distill::{DistillOptions, DistillParts, TeacherTargets, distill_loss};
pub use objects::{ObjectTargets, object_loss};
pub use task::{TaskTargets, task_loss};

use crate::student::{HeadOutput, Matching};
use std::cell::OnceCell;
use tch::{Kind, Tensor};

/// Weight of the box part (Ultralytics' `box`).
pub const BOX_GAIN: f64 = 7.5;
/// Weight of the class part (Ultralytics' `cls`).
pub const CLS_GAIN: f64 = 0.5;
/// Weight of the part over the sides: bins or distances (Ultralytics' `dfl`).
pub const DFL_GAIN: f64 = 1.5;

/// One loss of one batch. Every tensor holds one number.
#[derive(Debug)]
pub struct Loss {
    /// The sum of the (weighted) parts times the number of images, as Ultralytics scales it: what `backward` starts from.
    pub total: Tensor,
    /// Box part, with its gain, not times the number of images: what Ultralytics logs as `box_loss`. Detached.
    pub box_part: Tensor,
    /// Class part, likewise (`cls_loss`).
    pub cls_part: Tensor,
    /// Part over the sides, likewise (`dfl_loss`, without bins `l1_loss`).
    pub dfl_part: Tensor,
}

impl Loss {
    /// From the parts before their gains.
    fn of_parts(batch: i64, parts: [Tensor; 3]) -> Self {
        Self::of_weighted_parts(batch, parts.each_ref().map(Tensor::detach), parts)
    }

    /// From the parts before their gains, as they are reported and as they count in the total.
    fn of_weighted_parts(batch: i64, plain: [Tensor; 3], weighted: [Tensor; 3]) -> Self {
        let with_gains = |[boxes, cls, dfl]: [Tensor; 3]| [boxes * BOX_GAIN, cls * CLS_GAIN, dfl * DFL_GAIN];
        let ([box_part, cls_part, dfl_part], [boxes, cls, dfl]) = (with_gains(plain), with_gains(weighted));
        Self { total: (boxes + cls + dfl) * batch as f64, box_part, cls_part, dfl_part }
    }
}

/// The network's output as both losses read it; what both need is computed once.
#[derive(Debug)]
pub struct LossInput<'a> {
    anchors: &'a Anchors,
    /// `[B, C, A]` float32.
    class_logits: Tensor,
    /// `[B, 4 * reg_max, A]` bins, or `[B, 4, A]` distances, float32.
    box_values: Tensor,
    matching: Matching,
    softplus_by_anchor: OnceCell<Tensor>,
}

impl<'a> LossInput<'a> {
    /// Takes the logits in any floating-point kind and memory order (rows of one anchor that lie together are gathered fastest:
    /// `[B, A, C]` in memory, which a channels-last network gives).
    ///
    /// # Panics
    /// If the shapes are not those of [`HeadOutput`] with the anchors' `A`.
    pub fn new(head: &HeadOutput, anchors: &'a Anchors) -> Self {
        let (batch, _, count) = head.class_logits.size3().unwrap_or_default();
        let (boxes, channels, places) = head.box_values.size3().unwrap_or_default();
        assert!(boxes == batch && channels % 4 == 0 && places == anchors.len(), "box values of {:?}", head.box_values);
        assert_eq!(count, anchors.len(), "class logits and anchors");
        Self {
            anchors,
            class_logits: head.class_logits.to_kind(Kind::Float),
            box_values: head.box_values.to_kind(Kind::Float),
            matching: Matching::MANY,
            softplus_by_anchor: OnceCell::new(),
        }
    }

    /// The same output of a branch with another matching than that of ten anchors an object.
    pub fn matched(self, matching: Matching) -> Self {
        Self { matching, ..self }
    }

    /// The same output with these classes alone (`[n]` int64), for a teacher that knows no others.
    pub fn of_classes(&self, classes: &Tensor) -> LossInput<'a> {
        LossInput {
            anchors: self.anchors,
            class_logits: self.class_logits.index_select(1, classes),
            box_values: self.box_values.shallow_clone(),
            matching: self.matching,
            softplus_by_anchor: OnceCell::new(),
        }
    }

    /// Bins per box side; 1 where the box values are distances.
    fn reg_max(&self) -> i64 {
        self.box_values.size()[1] / 4
    }

    /// `B`.
    fn batch(&self) -> i64 {
        self.class_logits.size()[0]
    }

    /// `[B, A]` sum over the classes of `ln(1 + e^x)`: the BCE of every anchor against all zeros.
    ///
    /// BCE with logits is `softplus(x) - x * target`, so targets that are zero nearly everywhere cost one pass over the logits
    /// and a few gathered values, and no tensor of targets.
    fn softplus_by_anchor(&self) -> &Tensor {
        self.softplus_by_anchor
            .get_or_init(|| self.class_logits.softplus().sum_dim_intlist([1i64].as_slice(), false, None))
    }

    /// `[n, C]` class logits of some anchors.
    fn class_rows(&self, at: &Cells) -> Tensor {
        self.class_logits.transpose(1, 2).index(&[Some(&at.image), Some(&at.anchor)])
    }

    /// `[n, 4 * reg_max]` bins or `[n, 4]` distances of some anchors.
    fn box_rows(&self, at: &Cells) -> Tensor {
        self.box_values.transpose(1, 2).index(&[Some(&at.image), Some(&at.anchor)])
    }
}

/// Anchors of a batch's images, `n` of them.
#[derive(Debug)]
struct Cells {
    /// `[n]` int64, 0..B.
    image: Tensor,
    /// `[n]` int64, 0..A.
    anchor: Tensor,
}
