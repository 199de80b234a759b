//! Which anchors learn which ground-truth box: YOLOv8's task-aligned assignment (TOOD, Feng et al. 2021,
//! <https://arxiv.org/abs/2108.07755>), with the rules of Ultralytics 8.4.
//!
//! Ultralytics computes over `[B, most boxes of an image, A]`. Here only pairs of a box and an anchor inside it are computed
//! with, `P` of them; which these are follows from the labels alone. A row over all anchors is made for the choice of the ten best,
//! since `topk` may also choose among equal zeros, and which ones is part of the result.

use super::{super::upload::upload, Cells, LossInput, TaskTargets, boxes};
use crate::types::BoxXyxyPx;
use tch::{Device, Kind, Tensor, no_grad};

/// Rows over all anchors made at a time: bounds the memory, whatever the number of boxes.
const ROWS_AT_ONCE: usize = 256;
const EPS: f64 = 1e-9;

/// The outcome, one slot per box and each of its best anchors: `S = candidates * M` (see
/// [`Matching`](crate::student::Matching)).
#[derive(Debug)]
pub struct Assignment {
    /// `[S]` int64, position in the batch.
    pub image: Tensor,
    /// `[S]` int64, 0..A.
    pub anchor: Tensor,
    /// `[S]` int64, the box that the anchor learns, 0..M.
    pub target: Tensor,
    /// `[S]` float32, target probability of the box's class at the anchor; 0 where the slot is not in use.
    pub score: Tensor,
    /// `[S]` bool, whether the slot is in use. No anchor has two slots in use.
    pub foreground: Tensor,
}

/// Pairs of a box and an anchor inside it, in order of box and anchor.
struct Pairs {
    /// Pairs before each box, `[M + 1]`.
    starts: Vec<usize>,
    /// `[P]` the box, 0..M.
    target: Tensor,
    /// `[P]` `target * A + anchor`, increasing.
    key: Tensor,
    /// `[P]` `image * A + anchor`.
    cell: Tensor,
    /// `[P]` position in `unique`.
    unique_index: Tensor,
    /// The anchors that are in any pair.
    unique: Cells,
    at: Cells,
}

impl Pairs {
    fn new(input: &LossInput, targets: &TaskTargets) -> Option<Self> {
        let (count, device) = (input.anchors.len(), input.anchors.device());
        let (mut starts, mut target, mut key, mut cell) = (vec![0], Vec::new(), Vec::new(), Vec::new());
        for (index, (image, corners)) in targets.batch_index.iter().zip(targets.boxes()).enumerate() {
            if corners.iter().sum::<f32>() > 0.0 {
                input.anchors.for_each_inside(enlarged(corners, input.anchors.second_stride()), |anchor| {
                    target.push(index as i64);
                    key.push(index as i64 * count + anchor);
                    cell.push(image * count + anchor);
                });
            }
            starts.push(key.len());
        }
        if key.is_empty() {
            return None;
        }
        // Positions of the distinct cells by a table over all cells: boxes overlap, and each box is decoded once.
        let mut table = vec![-1i64; usize::try_from(input.batch() * count).unwrap_or_default()];
        let mut unique = Vec::new();
        let unique_index: Vec<i64> = cell
            .iter()
            .map(|&cell| {
                let slot = &mut table[cell as usize];
                if *slot < 0 {
                    *slot = unique.len() as i64;
                    unique.push(cell);
                }
                *slot
            })
            .collect();
        let tensor = |values: &[i64]| upload(values, device);
        let cells =
            |cell: &Tensor| Cells { image: cell.divide_scalar_mode(count, "floor"), anchor: cell.remainder(count) };
        let cell = tensor(&cell);
        Some(Self {
            starts,
            target: tensor(&target),
            key: tensor(&key),
            unique_index: tensor(&unique_index),
            unique: cells(&tensor(&unique)),
            at: cells(&cell),
            cell,
        })
    }
}

/// As `select_candidates_in_gts`: to centre and size, sides shorter than `least` enlarged to it, and back, in float32.
fn enlarged([x1, y1, x2, y2]: [f32; 4], least: f32) -> BoxXyxyPx {
    let side = |low: f32, high: f32| {
        let length = high - low;
        let half = if length < least { least } else { length } / 2.0;
        let centre = (low + high) / 2.0;
        (centre - half, centre + half)
    };
    let ((x1, x2), (y1, y2)) = (side(x1, x2), side(y1, y2));
    BoxXyxyPx { x1, y1, x2, y2 }
}

/// Assigns anchors to the boxes of a batch, without gradients; `None` where no anchor lies in any box.
///
/// An anchor's worth for a box is `score^0.5 * ciou^6`, of its score for the box's class and its
/// own box. A box gets its best `candidates` of the anchors inside it. An anchor that several boxes
/// chose goes to the one it overlaps most, be it one of these or another. Of a one-to-one branch a
/// box then keeps its best anchor alone. An anchor's target score is its worth over that of the
/// box's best anchor, times the box's highest overlap.
///
/// # Panics
/// If `targets` is not as [`TaskTargets`] says, for this batch and number of classes.
pub fn assign(input: &LossInput, targets: &TaskTargets) -> Option<Assignment> {
    no_grad(|| {
        let pairs = Pairs::new(input, targets)?;
        let (worth, overlap) = pair_metrics(input, targets, &pairs);
        let chosen = best_anchors(input, &pairs, &worth);
        Some(resolve(input, targets, &pairs, &worth, &overlap, &chosen))
    })
}

/// `[P]` worth and `[P]` overlap of each pair.
fn pair_metrics(input: &LossInput, targets: &TaskTargets, pairs: &Pairs) -> (Tensor, Tensor) {
    let device = input.anchors.device();
    let class = targets.class_ids(device).index_select(0, &pairs.target);
    let logits = input.class_logits.index(&[Some(&pairs.at.image), Some(&class), Some(&pairs.at.anchor)]);

    let decoded =
        boxes::decode(&input.box_rows(&pairs.unique), &input.anchors.centres.index_select(0, &pairs.unique.anchor));
    let decoded = decoded * input.anchors.strides.index_select(0, &pairs.unique.anchor);
    let truth = targets.boxes_tensor(device).index_select(0, &pairs.target);
    let overlap = boxes::ciou(&truth, &decoded.index_select(0, &pairs.unique_index)).clamp_min(0.0);
    (logits.sigmoid().pow_tensor_scalar(0.5) * overlap.pow_tensor_scalar(6.0), overlap)
}

/// `[M, candidates]` anchors of the highest worth for each box; an anchor outside the box counts as
/// 0.
fn best_anchors(input: &LossInput, pairs: &Pairs, worth: &Tensor) -> Tensor {
    let count = input.anchors.len();
    let boxes = pairs.starts.len() - 1;
    let blocks = (0..boxes).step_by(ROWS_AT_ONCE).map(|first| {
        let end = boxes.min(first + ROWS_AT_ONCE);
        let (rows, from) = ((end - first) as i64, pairs.starts[first] as i64);
        let len = pairs.starts[end] as i64 - from;
        let mut dense = Tensor::zeros([rows * count], (Kind::Float, worth.device()));
        let _ =
            dense.scatter_(0, &(pairs.key.narrow(0, from, len) - first as i64 * count), &worth.narrow(0, from, len));
        dense.view([rows, count]).topk(input.matching.candidates, -1, true, true).1
    });
    Tensor::cat(&blocks.collect::<Vec<_>>(), 0)
}

fn resolve(
    input: &LossInput,
    targets: &TaskTargets,
    pairs: &Pairs,
    worth: &Tensor,
    overlap: &Tensor,
    chosen: &Tensor,
) -> Assignment {
    let (count, device) = (input.anchors.len(), worth.device());
    let (boxes, candidates) = chosen.size2().unwrap_or_default();
    let cells = input.batch() * count;
    let long = |len: i64, value: i64| Tensor::full([len], value, (Kind::Int64, device));

    // From slots to pairs. A chosen anchor outside the box is no pair: the slot stays empty.
    let own_target = Tensor::arange(boxes, (Kind::Int64, device)).repeat_interleave_self_int(candidates, None, None);
    let key = &own_target * count + chosen.flatten(0, -1);
    let pair = key.searchsorted(&pairs.key, false, false, "left", None::<&Tensor>).clamp_max(pairs.key.size()[0] - 1);
    let used = pairs.key.index_select(0, &pair).eq_tensor(&key);
    let cell = pairs.cell.index_select(0, &pair);

    // How many boxes chose an anchor, and the first of the pairs that overlap it most.
    let mut choices = long(cells, 0);
    let _ = choices.index_add_(0, &cell, &used.to_kind(Kind::Int64));
    let contested = choices.index_select(0, &cell).gt(1);
    let mut highest = Tensor::zeros([cells], (Kind::Float, device));
    let _ = highest.internal_scatter_reduce_(0, &pairs.cell, overlap, "amax", true);
    let none = pairs.key.size()[0];
    let is_highest = overlap.eq_tensor(&highest.index_select(0, &pairs.cell));
    let is_winner = Tensor::arange(none, (Kind::Int64, device)).where_self(&is_highest, &long(1, none));
    let mut winner = long(cells, none);
    let _ = winner.internal_scatter_reduce_(0, &pairs.cell, &is_winner, "amin", true);

    let winner = winner.index_select(0, &cell);
    let overlapped = highest.index_select(0, &cell).gt(0.0);
    let pair = winner.where_self(&contested.logical_and(&overlapped), &pair);
    // Where nothing overlaps a contested anchor, Ultralytics' maximum over zeros is the image's first box.
    let image = cell.divide_scalar_mode(count, "floor");
    let first_target = targets.first_of_image(input.batch(), device).index_select(0, &image);
    let lost = contested.logical_and(&overlapped.logical_not());
    let target = first_target.where_self(&lost, &pairs.target.index_select(0, &pair));

    // Slots of one contested anchor agree by now; the first stands for all.
    let slots = boxes * candidates;
    let order = Tensor::arange(slots, (Kind::Int64, device)).where_self(&used, &long(1, slots));
    let mut first = long(cells, slots);
    let _ = first.internal_scatter_reduce_(0, &cell, &order, "amin", true);
    let mut foreground = used.logical_and(&first.index_select(0, &cell).eq_tensor(&order));

    // Nothing is worth anything where nothing overlaps.
    let value = |of: &Tensor| of.index_select(0, &pair) * used.logical_and(&lost.logical_not());
    let (mut worth, mut overlap) = (value(worth), value(overlap));
    let best_of_target = |of: &Tensor| {
        let mut best = Tensor::zeros([boxes], (Kind::Float, device));
        let _ = best.internal_scatter_reduce_(0, &target, of, "amax", true);
        best.index_select(0, &target)
    };
    if input.matching.one_to_one {
        let own = &worth * &foreground;
        // Of equals the first; without worth there is nothing to keep.
        let is_best = own.eq_tensor(&best_of_target(&own)).logical_and(&own.gt(0.0));
        let best = order.where_self(&is_best, &long(1, slots));
        let mut kept = long(boxes, slots);
        let _ = kept.internal_scatter_reduce_(0, &target, &best, "amin", true);
        foreground = kept.index_select(0, &target).eq_tensor(&order).logical_and(&is_best);
        (worth, overlap) = (worth * &foreground, overlap * &foreground);
    }
    let score = &worth * best_of_target(&overlap) / (best_of_target(&worth) + EPS);
    Assignment { image, anchor: cell.remainder(count), target, score: score * &foreground, foreground }
}

impl TaskTargets<'_> {
    /// `[B]` position of each image's first box; 0 where it has none.
    fn first_of_image(&self, batch: i64, device: Device) -> Tensor {
        let mut first = vec![0; usize::try_from(batch).unwrap_or_default()];
        for (index, &image) in self.batch_index.iter().enumerate().rev() {
            first[image as usize] = index as i64;
        }
        upload(&first, device)
    }
}
