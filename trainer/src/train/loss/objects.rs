//! The loss against the teacher's objects: for a teacher whose places are not the student's anchors.

use super::{
    Cells, DistillOptions, DistillParts, Loss, LossInput, TaskTargets, assign, boxes,
    distill::{Part, binary, kl},
    task::sides_loss,
};
use logitcache::run::ClsLoss;
use tch::{Kind, Tensor};

/// The teacher's objects of a batch: `M` boxes in order of their image. Tensors on the student's device.
#[derive(Debug)]
pub struct ObjectTargets<'a> {
    /// `[M]` the image of each object, 0..B, not decreasing.
    pub batch_index: &'a [i64],
    /// `[M]` class of the highest probability, 0..C.
    pub class_id: &'a [i64],
    /// `[M, 4]` x1, y1, x2, y2 in input pixels.
    pub boxes_xyxy_input_px: &'a [f32],
    /// `[M]` float32, that probability: the object's weight.
    pub score: Tensor,
    /// `[M, C]` float32, before the sigmoid.
    pub class_logits: Tensor,
    /// `[B]` float32, the weight of each image in [`Loss::total`]; it does not show in the parts.
    pub image_weight: Tensor,
}

/// The distillation loss against objects, in three parts with the task's gains (7.5, 0.5, 1.5).
///
/// Anchors are assigned to the teacher's boxes as to labels (task-aligned, see [`assign`]): each learns at most one object, and
/// how well it fits is `t` in 0..=1, which the task loss takes as its target score. With `p` the object's class probabilities,
/// `s` the highest of them, `w = t * s`, and `n = max(sum of w, 1)`:
///
/// - classes by `Bckd` and `Bce`: the sum of the losses of **all** anchors, / n. The target of an assigned anchor is `t * p`, a
///   soft distribution; that of every other anchor is 0, for an anchor without an object is background.
/// - classes by `SoftmaxKl`: sum of `w * KL` over assigned anchors, / n; background is then learned from labels alone
/// - box: sum of `w * (1 - CIoU)` over assigned anchors, boxes in cells, / n
/// - sides: sum of `w *` the loss of the distances to the object's sides ([`sides_loss`]), / n
///
/// Of objects with one certain class (`p` 1 and 0) it is the task loss. In the total, each image's part of every sum counts
/// with the image's weight.
///
/// # Panics
/// If the shapes are not those of [`ObjectTargets`] for this batch and number of classes.
pub fn object_loss(input: &LossInput, targets: &ObjectTargets, options: &DistillOptions) -> Loss {
    let (batch, classes) = (input.batch(), input.class_logits.size()[1]);
    let count = targets.batch_index.len() as i64;
    assert_eq!(targets.score.size(), [count], "scores of the objects");
    assert_eq!(targets.class_logits.size(), [count, classes], "class logits of the objects");
    assert_eq!(targets.image_weight.size(), [batch], "weights of the images");
    let every = vec![true; usize::try_from(batch).unwrap_or_default()];
    let as_labels = TaskTargets {
        labelled: &every,
        batch_index: targets.batch_index,
        class_id: targets.class_id,
        boxes_xyxy_input_px: targets.boxes_xyxy_input_px,
    };
    as_labels.check(batch, classes);

    let background = Part::of(&background_by_image(input, options.cls_loss), &targets.image_weight);
    let Some(assigned) = assign(input, &as_labels) else {
        // The box values stay in the graph, with a gradient of zero.
        let zero = || {
            Part::of(
                &(input.box_values.narrow(2, 0, 1).sum_dim_intlist([1i64, 2].as_slice(), false, None) * 0.0),
                &targets.image_weight,
            )
        };
        return Part::loss(batch, [zero(), background, zero()]);
    };
    let image_weight = targets.image_weight.index_select(0, &assigned.image);
    let of_object = |values: &Tensor| values.index_select(0, &assigned.target);
    let (fit, at) =
        (assigned.score, Cells { image: assigned.image.shallow_clone(), anchor: assigned.anchor.shallow_clone() });
    let weight = &fit * of_object(&targets.score);
    let divisor = weight.sum(None).clamp_min(1.0);
    let weighted = |loss: &Tensor| Part::of(&(loss * &weight), &image_weight).over(&divisor);

    let rows = input.class_rows(&at);
    let teacher = of_object(&targets.class_logits);
    let cls = match options.cls_loss {
        ClsLoss::SoftmaxKl => weighted(&kl(&rows, &teacher, options.temperature)),
        loss @ (ClsLoss::Bce | ClsLoss::Bckd) => {
            let target = teacher.sigmoid() * fit.unsqueeze(1);
            let more = binary(&rows, &target, loss) - binary(&rows, &target.zeros_like(), loss);
            // Slots out of use name anchors that others may have.
            let more = more.sum_dim_intlist([1i64].as_slice(), false, None) * assigned.foreground.to_kind(Kind::Float);
            background.plus(&Part::of(&more, &image_weight)).over(&divisor)
        }
    };
    let (boxes, dfl) = match options.parts {
        DistillParts::Cls => (cls.zero(), cls.zero()),
        DistillParts::All => {
            let centres = input.anchors.centres.index_select(0, &at.anchor);
            let truth = of_object(&as_labels.boxes_tensor(input.anchors.device()))
                / input.anchors.strides.index_select(0, &at.anchor);
            let box_rows = input.box_rows(&at);
            let iou = boxes::ciou(&boxes::decode(&box_rows, &centres), &truth);
            (weighted(&(-iou + 1.0)), weighted(&sides_loss(input, &at, &box_rows, &truth)))
        }
    };
    Part::loss(batch, [boxes, cls, dfl])
}

/// `[B]` the loss of every anchor and class against 0.
fn background_by_image(input: &LossInput, loss: ClsLoss) -> Tensor {
    let by_anchor = match loss {
        ClsLoss::SoftmaxKl => input.softplus_by_anchor() * 0.0,
        ClsLoss::Bce => input.softplus_by_anchor().shallow_clone(),
        ClsLoss::Bckd => {
            let of_class = binary(&input.class_logits, &input.class_logits.zeros_like(), loss);
            of_class.sum_dim_intlist([1i64].as_slice(), false, None)
        }
    };
    by_anchor.sum_dim_intlist([1i64].as_slice(), false, None)
}
