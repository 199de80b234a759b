//! From cached views to training targets: where each kept anchor comes to lie, and which box trains the student. The trainer,
//! `audit` and the benchmarks all ask here.
//!
//! The teacher saw each cached view as a whole, view 0 (the letterboxed image) or another. Its outputs at an anchor are taken
//! to hold wherever the anchor's cell is moved to: in a mosaic, or beside a shifted picture, the student sees other
//! surroundings than the teacher saw, which is the price of not running the teacher again.
//!
//! A teacher whose places are not the student's anchors teaches by its objects instead: see [`ObjectBatch`].

mod anchors;
mod objects;
#[cfg(test)]
mod tests;

pub use anchors::Anchors;
pub use objects::{ObjectBatch, ObjectClasses};

use crate::{
    augment::{Picture, Scene, Tile},
    cache::{Cell, HeadKind, ImageView, decode_f32, decode_i32},
    types::{BoxXyxyPx, ImageSize},
};

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
    /// `[B]` sum of the highest class probabilities of the anchors that the cache dropped from each image. Together with the
    /// sum of `score` it is what the live teacher's scores sum to.
    pub dropped_score_sum: Vec<f32>,
    /// `C`.
    pub num_classes: usize,
    /// `4 * reg_max`, 0 where the cache has no DFL logits.
    pub dfl_len: usize,
    /// `A`.
    pub num_anchors: usize,
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

    /// Empties it for a new batch of `images`.
    pub fn start(&mut self, images: usize, num_classes: usize, dfl_len: usize, num_anchors: usize) {
        self.batch_index.clear();
        self.anchor.clear();
        self.score.clear();
        self.class_id.clear();
        self.class_logits.clear();
        self.boxes_xyxy_input_px.clear();
        match (&mut self.dfl_logits, dfl_len) {
            (logits, 0) => *logits = None,
            (Some(logits), _) => logits.clear(),
            (logits @ None, _) => *logits = Some(Vec::new()),
        }
        self.floor_prob.clear();
        self.floor_prob.resize(images * num_anchors, f32::NAN);
        self.dropped_score_sum.clear();
        self.dropped_score_sum.resize(images, 0.0);
        (self.num_classes, self.dfl_len, self.num_anchors) = (num_classes, dfl_len, num_anchors);
    }

    /// Leaves the teacher's classes of `columns`, in this order: what a student of other classes learns. An anchor's score and
    /// class become those of the best of them. The dropped anchors are taken to lose the same share of their scores.
    pub fn keep_classes(&mut self, columns: &[usize], kind: HeadKind) {
        let mut sums = vec![[0.0f64; 2]; self.dropped_score_sum.len()];
        let kept = kept_columns(&self.class_logits, self.num_classes, columns);
        for (row, logits) in kept.chunks_exact(columns.len().max(1)).enumerate() {
            let (class_id, score) = best_class(logits, kind);
            let [before, after] = &mut sums[self.batch_index[row] as usize];
            (*before, *after) = (*before + f64::from(self.score[row]), *after + f64::from(score));
            (self.class_id[row], self.score[row]) = (class_id, score);
        }
        for (sum, [before, after]) in self.dropped_score_sum.iter_mut().zip(sums) {
            *sum *= if before > 0.0 { (after / before) as f32 } else { 1.0 };
        }
        (self.class_logits, self.num_classes) = (kept, columns.len());
    }

    /// Adds the predictions of one tile of the image at `batch_index`. `view` is the cached view that `picture` shows.
    ///
    /// # Panics
    /// If the batch was started for fewer images or for another grid.
    pub fn push(
        &mut self,
        batch_index: usize,
        scene: &Scene,
        tile: &Tile,
        view: &ImageView<'_>,
        picture: &Picture,
        anchors: &Anchors,
    ) {
        let total = anchors.grid().num_anchors();
        let floor = &mut self.floor_prob[batch_index * total..(batch_index + 1) * total];
        let mut shown = 0;
        anchors.for_each_run(tile, scene.flip, |run| {
            shown += run.len();
            floor[run].fill(view.dropped_mean_prob);
        });
        let before = self.len();
        self.push_rows(batch_index, scene, tile, view, picture, anchors);
        // Which dropped anchors had which score is not known: a tile is taken to hold its share of the sum.
        let dropped = total.saturating_sub(view.predictions.len());
        let dropped_here = shown.saturating_sub(self.len() - before);
        if dropped > 0 {
            self.dropped_score_sum[batch_index] += view.dropped_score_sum * dropped_here as f32 / dropped as f32;
        }
    }

    /// The rows of a tile: each at its anchor of the window, where it has one, with its box there.
    fn push_rows(
        &mut self,
        batch_index: usize,
        scene: &Scene,
        tile: &Tile,
        view: &ImageView<'_>,
        picture: &Picture,
        anchors: &Anchors,
    ) {
        let columns = &view.predictions;
        let (class_logits, dfl_logits) = (columns.all_class_logits(), columns.dfl_logits.unwrap_or_default().to_f32());
        let small = decode_f32(columns.scores).zip(decode_i32(columns.class_ids)).zip(columns.boxes_xyxy_px());
        for (row, (anchor, ((score, class_id), box_px))) in decode_i32(columns.anchors).zip(small).enumerate() {
            let anchor = usize::try_from(anchor).ok().and_then(|anchor| anchors.moved(anchor, tile, scene.flip));
            let Some(anchor) = anchor else { continue };
            self.batch_index.push(batch_index as i64);
            self.anchor.push(anchor as i64);
            self.score.push(score);
            self.class_id.push(i64::from(class_id));
            let of_row = |len: usize| row * len..(row + 1) * len;
            self.class_logits.extend(class_logits.get(of_row(self.num_classes)).unwrap_or_default());
            if let Some(out) = &mut self.dfl_logits {
                let start = out.len();
                out.extend(dfl_logits.get(of_row(self.dfl_len)).unwrap_or_default());
                if scene.flip {
                    swap_left_right(&mut out[start..]);
                }
            }
            let bins = self.dfl_logits.as_ref().map(|logits| &logits[logits.len() - self.dfl_len..]);
            let in_window = |b| scene.place(tile, picture.to_picture(b));
            let b = training_box(box_px, view.size, bins, anchors.grid().cell(anchor), in_window);
            self.boxes_xyxy_input_px.extend([b.x1, b.y1, b.x2, b.y2]);
        }
    }
}

/// **Which box trains the student**, in input pixels of the window: the stored one, which is not rounded, brought there by `in_window`.
/// Where it ends at the edge of its image (`size`) it was clipped there: then it is the one that the anchor's bins give, where there
/// are bins.
pub fn training_box(
    stored_px: BoxXyxyPx,
    size: ImageSize,
    bins: Option<&[f32]>,
    cell: Cell,
    in_window: impl Fn(BoxXyxyPx) -> BoxXyxyPx,
) -> BoxXyxyPx {
    match bins {
        Some(bins) if !stored_px.is_within(size) => cell.box_of_bins(bins),
        _ => in_window(stored_px),
    }
}

/// `[n, columns.len()]` of `[n, classes]`.
fn kept_columns(class_logits: &[f32], classes: usize, columns: &[usize]) -> Vec<f32> {
    let rows = class_logits.chunks_exact(classes.max(1));
    rows.flat_map(|row| columns.iter().map(|&column| row.get(column).copied().unwrap_or(f32::NEG_INFINITY))).collect()
}

/// The class of the highest logit, the first of equals, and its probability.
fn best_class(logits: &[f32], kind: HeadKind) -> (i64, f32) {
    let best = (0..)
        .zip(logits)
        .fold((0, f32::NEG_INFINITY), |best, (id, &logit)| if logit > best.1 { (id, logit) } else { best });
    (best.0, kind.probability(best.1))
}

/// The DFL logits of one anchor, `[4, reg_max]`, seen in a mirror: the distances to the left and the right edge change
/// places; a bin remains the distance that it is.
fn swap_left_right(dfl_logits: &mut [f32]) {
    let bins = dfl_logits.len() / 4;
    let (left_top, right_bottom) = dfl_logits.split_at_mut(2 * bins);
    left_top[..bins].swap_with_slice(&mut right_bottom[..bins]);
}
