//! The loss of a branch against the labels, equal to Ultralytics 8.4's `v8DetectionLoss`.

use super::{super::upload::upload, Cells, Loss, LossInput, assign, boxes};
use tch::{Device, Kind, Tensor};

/// Ground truth of a batch: `M` boxes in order of their image.
#[derive(Debug, Clone, Copy)]
pub struct TaskTargets<'a> {
    /// `[B]` whether an image has labels, be they none. One without counts nothing here.
    pub labelled: &'a [bool],
    /// `[M]` the image of each box, 0..B, not decreasing, labelled.
    pub batch_index: &'a [i64],
    /// `[M]` class, 0..C.
    pub class_id: &'a [i64],
    /// `[M, 4]` x1, y1, x2, y2 in input pixels. A box with no positive sum is left out, as Ultralytics does.
    pub boxes_xyxy_input_px: &'a [f32],
}

impl TaskTargets<'_> {
    pub(super) fn boxes(&self) -> impl Iterator<Item = [f32; 4]> {
        self.boxes_xyxy_input_px.as_chunks::<4>().0.iter().copied()
    }

    /// `[M, 4]` float32.
    pub(super) fn boxes_tensor(&self, device: Device) -> Tensor {
        upload(self.boxes_xyxy_input_px, device).view([-1, 4])
    }

    /// `[M]` int64.
    pub(super) fn class_ids(&self, device: Device) -> Tensor {
        upload(self.class_id, device)
    }

    pub(super) fn check(&self, batch: i64, classes: i64) {
        let count = self.batch_index.len();
        assert_eq!(self.labelled.len() as i64, batch, "images of the head's output and of the targets");
        assert_eq!((self.class_id.len(), self.boxes_xyxy_input_px.len()), (count, 4 * count), "columns of the targets");
        assert!(self.batch_index.is_sorted(), "boxes in order of their image");
        let labelled = |&image: &i64| usize::try_from(image).is_ok_and(|image| self.labelled.get(image) == Some(&true));
        assert!(self.batch_index.iter().all(labelled), "boxes belong to labelled images of the batch");
        assert!(self.class_id.iter().all(|class| (0..classes).contains(class)), "classes below {classes}");
    }
}

/// The task loss. With `t` the target scores of the assigned anchors and `n = max(sum of t, 1)`:
///
/// - box: sum of `t * (1 - CIoU)` over assigned anchors, boxes in cells, / n
/// - classes: sum of the BCE over **all** anchors of labelled images and all classes, / n
/// - sides: sum of `t *` the loss of the four sides' distances ([`sides_loss`]), / n
///
/// times 7.5, 0.5, 1.5. Without assigned anchors box and sides are 0.
///
/// # Panics
/// If `targets` is not as [`TaskTargets`] says, for this batch and number of classes.
pub fn task_loss(input: &LossInput, targets: &TaskTargets) -> Loss {
    let batch = input.batch();
    targets.check(batch, input.class_logits.size()[1]);
    let device = input.anchors.device();
    let labelled = upload(targets.labelled, device).to_kind(Kind::Float);
    let background = (input.softplus_by_anchor().sum_dim_intlist([1i64].as_slice(), false, None) * labelled).sum(None);

    let Some(assigned) = assign(input, targets) else {
        // The box values stay in the graph, with a gradient of zero.
        let zero = input.box_values.narrow(2, 0, 1).sum(None) * 0.0;
        return Loss::of_parts(batch, [zero.shallow_clone(), background, zero]);
    };
    let scores_sum = assigned.score.sum(None).clamp_min(1.0);
    let class = targets.class_ids(device).index_select(0, &assigned.target);
    let logits = input.class_logits.index(&[Some(&assigned.image), Some(&class), Some(&assigned.anchor)]);
    let cls = background - (logits * &assigned.score).sum(None);

    let at = Cells { image: assigned.image, anchor: assigned.anchor };
    let centres = input.anchors.centres.index_select(0, &at.anchor);
    let truth = targets.boxes_tensor(device).index_select(0, &assigned.target)
        / input.anchors.strides.index_select(0, &at.anchor);
    let box_rows = input.box_rows(&at);
    let iou = boxes::ciou(&boxes::decode(&box_rows, &centres), &truth);
    let boxes = ((-iou + 1.0) * &assigned.score).sum(None);
    let dfl = (sides_loss(input, &at, &box_rows, &truth) * &assigned.score).sum(None);
    Loss::of_parts(batch, [boxes, cls, dfl].map(|part| part / &scores_sum))
}

/// `[n]` how far the sides of some anchors (`box_rows` are their box values) are from those of `[n,
/// 4]` boxes in cells, mean of the four sides:
///
/// - bins: the distribution focal loss (Generalized Focal Loss, Li et al. 2020, eq. 6), cross
///   entropy with the two bins around each side's distance
/// - distances: the absolute difference, as a share of the input's width (left, right) or height
///   (top, bottom)
pub(super) fn sides_loss(input: &LossInput, at: &Cells, box_rows: &Tensor, truth: &Tensor) -> Tensor {
    let centres = input.anchors.centres.index_select(0, &at.anchor);
    let distances = boxes::distances_to(truth, &centres);
    if !boxes::has_bins(box_rows) {
        let strides = input.anchors.strides.index_select(0, &at.anchor);
        let shares = (box_rows - distances).abs() * strides / &input.anchors.sides;
        return shares.mean_dim([1i64].as_slice(), false, None);
    }
    let rows = boxes::sides(box_rows);
    let distances = distances.clamp(0.0, rows.size()[2] as f64 - 1.0 - 0.01).unsqueeze(-1);
    let left = distances.to_kind(Kind::Int64);
    let right = &left + 1;
    let left_weight = &right - &distances;
    let right_weight = -&left_weight + 1.0;
    let log_probs = rows.log_softmax(-1, None);
    let loss = log_probs.gather(-1, &left, false) * left_weight + log_probs.gather(-1, &right, false) * right_weight;
    -loss.mean_dim([1i64, 2].as_slice(), false, None)
}
