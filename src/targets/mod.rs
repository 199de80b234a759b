//! From cached views to training targets: where each kept anchor comes to lie, and which box trains the student. The trainer,
//! `audit` and the benchmarks all ask here.
//!
//! The teacher saw the whole letterboxed picture. What it gave at an anchor is taken to hold wherever that anchor's cell is
//! moved to: in a mosaic or beside a shifted picture the student sees other surroundings than the teacher did, which is the price
//! of not running it again. Views that the teacher saw itself need none of it: their predictions stay at their anchors.

mod anchors;
#[cfg(test)]
mod tests;

pub use anchors::Anchors;

use crate::{
    augment::{Scene, Tile},
    cache::{Cell, ImageView, decode_f32, decode_i32},
    preprocess::LetterboxPlan,
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
        (self.num_classes, self.dfl_len, self.num_anchors) = (num_classes, dfl_len, num_anchors);
    }

    /// Adds what the teacher said of one tile of the image at `batch_index`. `plan` is the picture's letterbox.
    pub fn push(
        &mut self,
        batch_index: usize,
        scene: &Scene,
        tile: &Tile,
        view: &ImageView<'_>,
        plan: &LetterboxPlan,
        anchors: &Anchors,
    ) {
        let floor = &mut self.floor_prob
            [batch_index * anchors.grid().num_anchors()..(batch_index + 1) * anchors.grid().num_anchors()];
        anchors.for_each_run(tile, scene.flip, |run| floor[run].fill(view.dropped_mean_prob));
        let moved = |anchor| anchors.moved(anchor, tile, scene.flip);
        self.push_rows(batch_index, view, anchors, moved, |b| scene.place(tile, plan.to_input(b)), scene.flip);
    }

    /// Adds what the teacher said of a view that it saw itself: every anchor is where it was, and has the view's own floor,
    /// grey or not. `scene` is the view's.
    pub fn push_view(
        &mut self,
        batch_index: usize,
        scene: &Scene,
        tile: &Tile,
        view: &ImageView<'_>,
        plan: &LetterboxPlan,
        anchors: &Anchors,
    ) {
        let total = anchors.grid().num_anchors();
        self.floor_prob[batch_index * total..(batch_index + 1) * total].fill(view.dropped_mean_prob);
        let here = |anchor| (anchor < total).then_some(anchor);
        self.push_rows(batch_index, view, anchors, here, |b| scene.place(tile, plan.to_input(b)), false);
    }

    /// The rows of an image: each at its anchor of the window, where it has one, with its box there. `mirrored`: the logits were
    /// said of the picture before a mirror.
    #[allow(clippy::too_many_arguments)]
    fn push_rows(
        &mut self,
        batch_index: usize,
        view: &ImageView<'_>,
        anchors: &Anchors,
        anchor_in_window: impl Fn(usize) -> Option<usize>,
        box_in_window: impl Fn(BoxXyxyPx) -> BoxXyxyPx,
        mirrored: bool,
    ) {
        let columns = &view.predictions;
        let (class_logits, dfl_logits) = (columns.all_class_logits(), columns.dfl_logits.unwrap_or_default().to_f32());
        let small = decode_f32(columns.scores).zip(decode_i32(columns.class_ids)).zip(columns.boxes_xyxy_px());
        for (row, (anchor, ((score, class_id), box_px))) in decode_i32(columns.anchors).zip(small).enumerate() {
            let Some(anchor) = usize::try_from(anchor).ok().and_then(&anchor_in_window) else { continue };
            self.batch_index.push(batch_index as i64);
            self.anchor.push(anchor as i64);
            self.score.push(score);
            self.class_id.push(i64::from(class_id));
            let of_row = |len: usize| row * len..(row + 1) * len;
            self.class_logits.extend(class_logits.get(of_row(self.num_classes)).unwrap_or_default());
            if let Some(out) = &mut self.dfl_logits {
                let start = out.len();
                out.extend(dfl_logits.get(of_row(self.dfl_len)).unwrap_or_default());
                if mirrored {
                    swap_left_right(&mut out[start..]);
                }
            }
            let bins = self.dfl_logits.as_ref().map(|logits| &logits[logits.len() - self.dfl_len..]);
            let b = training_box(box_px, view.size, bins, anchors.grid().cell(anchor), &box_in_window);
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

/// The DFL logits of one anchor, `[4, reg_max]`, seen in a mirror: the distances to the left and the right edge change
/// places; a bin remains the distance that it is.
fn swap_left_right(dfl_logits: &mut [f32]) {
    let bins = dfl_logits.len() / 4;
    let (left_top, right_bottom) = dfl_logits.split_at_mut(2 * bins);
    left_top[..bins].swap_with_slice(&mut right_bottom[..bins]);
}
