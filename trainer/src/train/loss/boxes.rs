//! Boxes from bins, and how well two boxes agree.

use tch::{Tensor, no_grad};

/// `[n, 4]` x1, y1, x2, y2 in cells from the box values of `n` anchors and `[n, 2]` centres in
/// cells.
pub(super) fn decode(box_rows: &Tensor, centres: &Tensor) -> Tensor {
    let distances = distances(box_rows);
    Tensor::cat(&[centres - distances.narrow(1, 0, 2), centres + distances.narrow(1, 2, 2)], 1)
}

/// `[n, 4]` distances of left, top, right, bottom in cells: the box values themselves where there
/// are four, else of each side the expectation of its bins (Generalized Focal Loss, Li et al. 2020,
/// eq. 5).
pub(super) fn distances(box_rows: &Tensor) -> Tensor {
    if !has_bins(box_rows) {
        return box_rows.shallow_clone();
    }
    let rows = sides(box_rows);
    let bins = Tensor::arange(rows.size()[2], (box_rows.kind(), box_rows.device()));
    (rows.softmax(-1, None) * bins).sum_dim_intlist([-1i64].as_slice(), false, None)
}

/// Whether `[n, channels]` box values are bins of a side, not distances.
pub(super) fn has_bins(box_rows: &Tensor) -> bool {
    box_rows.size()[1] > 4
}

/// `[n, 4]` distances of left, top, right, bottom from `[n, 2]` centres to the sides of `[n, 4]`
/// boxes.
pub(super) fn distances_to(boxes: &Tensor, centres: &Tensor) -> Tensor {
    Tensor::cat(&[centres - boxes.narrow(1, 0, 2), boxes.narrow(1, 2, 2) - centres], 1)
}

/// `[n, 4 * reg_max]` DFL logits as `[n, 4, reg_max]`: left, top, right, bottom.
pub(super) fn sides(dfl_rows: &Tensor) -> Tensor {
    let channels = dfl_rows.size()[1];
    dfl_rows.view([-1, 4, channels / 4])
}

/// `[n]` complete IoU of `[n, 4]` boxes x1, y1, x2, y2, row by row (Zheng et al. 2020, <https://arxiv.org/abs/1911.08287>): the IoU
/// less the squared distance of the centres over that of the enclosing box's diagonal, less a term for unequal proportions. The weight
/// of that term carries no gradient. Epsilons where Ultralytics' `bbox_iou` has them.
pub(super) fn ciou(a: &Tensor, b: &Tensor) -> Tensor {
    const EPS: f64 = 1e-7;
    let edge = |of: &Tensor, i: i64| of.select(1, i);
    let [ax1, ay1, ax2, ay2] = [0, 1, 2, 3].map(|i| edge(a, i));
    let [bx1, by1, bx2, by2] = [0, 1, 2, 3].map(|i| edge(b, i));
    let (aw, ah) = (&ax2 - &ax1, &ay2 - &ay1 + EPS);
    let (bw, bh) = (&bx2 - &bx1, &by2 - &by1 + EPS);

    let overlap =
        (ax2.minimum(&bx2) - ax1.maximum(&bx1)).clamp_min(0.0) * (ay2.minimum(&by2) - ay1.maximum(&by1)).clamp_min(0.0);
    let union = &aw * &ah + &bw * &bh - &overlap + EPS;
    let iou = overlap / union;

    let enclosing_width = ax2.maximum(&bx2) - ax1.minimum(&bx1);
    let enclosing_height = ay2.maximum(&by2) - ay1.minimum(&by1);
    let diagonal = enclosing_width.square() + enclosing_height.square() + EPS;
    let distance = ((bx1 + bx2 - ax1 - ax2).square() + (by1 + by2 - ay1 - ay2).square()) / 4.0;
    let proportions =
        ((bw / bh).atan() - (aw / ah).atan()).square() * (4.0 / (std::f64::consts::PI * std::f64::consts::PI));
    let weight = no_grad(|| &proportions / (-&iou + 1.0 + &proportions + EPS));
    iou - (distance / diagonal + proportions * weight)
}
