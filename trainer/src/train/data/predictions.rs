//! Cached predictions that follow a change of the picture which keeps the anchor grid.
//!
//! The teacher saw the whole letterboxed picture. What it said at an anchor is taken to hold wherever that anchor's cell is
//! moved to: in a mosaic or beside a shifted picture the student sees other surroundings than the teacher did, which is the price
//! of not running it again. Views that the teacher saw itself need none of it: their predictions stay at their anchors.

use super::TeacherBatch;
use crate::{
    augment::{Rect, Scene, Tile},
    cache::{ImageView, decode_f32, decode_i32},
    preprocess::LetterboxPlan,
    teacher::{BoxSource, Grid},
    types::{BoxXyxyPx, ImageSize},
};

/// The anchors of an input: strides in their order, cells row major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anchors {
    grid: Grid,
    levels: Vec<Level>,
    total: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    stride: i32,
    columns: i32,
    rows: i32,
    first: usize,
}

impl Anchors {
    /// The strides must divide both sides of the input.
    pub fn new(input: ImageSize, strides: &[u32]) -> Self {
        let mut total = 0;
        let level = |&stride: &u32| {
            let (columns, rows) = (input.width / stride, input.height / stride);
            let first = total;
            total += columns as usize * rows as usize;
            Level { stride: stride as i32, columns: columns as i32, rows: rows as i32, first }
        };
        let levels = strides.iter().map(level).collect();
        Self { grid: Grid::new(input.height, input.width, strides), levels, total }
    }

    /// `A`.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Where an anchor of a tile's letterboxed picture comes to lie in the window; `None` where its cell is outside of the
    /// window or of the part of the picture that is shown.
    ///
    /// All edges of the tile lie on multiples of every stride, so a cell is inside as a whole or not at all.
    pub fn moved(&self, anchor: usize, tile: &Tile, flip: bool) -> Option<usize> {
        let level = self.levels[..self.levels.partition_point(|level| level.first <= anchor)].last()?;
        let index = (anchor - level.first) as i32;
        if index >= level.columns * level.rows {
            return None;
        }
        let column = index % level.columns + tile.shift[0] / level.stride;
        let row = index / level.columns + tile.shift[1] / level.stride;
        let shown = level.cells(tile.area);
        let inside = (shown.x1..shown.x2).contains(&column) && (shown.y1..shown.y2).contains(&row);
        inside.then(|| level.anchor(row, level.mirrored(column, flip)))
    }

    /// Calls `fill` with each run of anchors that show the tile: `first..end` of the window's anchors.
    pub fn for_each_run(&self, tile: &Tile, flip: bool, mut fill: impl FnMut(std::ops::Range<usize>)) {
        for level in &self.levels {
            let shown = level.cells(tile.area);
            if shown.x1 >= shown.x2 {
                continue;
            }
            let (a, b) = (level.mirrored(shown.x1, flip), level.mirrored(shown.x2 - 1, flip));
            for row in shown.y1..shown.y2 {
                fill(level.anchor(row, a.min(b))..level.anchor(row, a.max(b)) + 1);
            }
        }
    }
}

impl Level {
    /// The cells of a rectangle, within the window.
    fn cells(&self, area: Rect) -> Rect {
        let s = self.stride;
        let cells = Rect { x1: area.x1 / s, y1: area.y1 / s, x2: area.x2 / s, y2: area.y2 / s };
        cells.intersection(Rect { x1: 0, y1: 0, x2: self.columns, y2: self.rows })
    }

    fn mirrored(&self, column: i32, flip: bool) -> i32 {
        if flip { self.columns - 1 - column } else { column }
    }

    fn anchor(&self, row: i32, column: i32) -> usize {
        self.first + (row * self.columns + column) as usize
    }
}

impl TeacherBatch {
    /// Empties it for a new batch of `images`.
    pub(super) fn start(&mut self, images: usize, num_classes: usize, dfl_len: usize, num_anchors: usize) {
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
    pub(super) fn push(
        &mut self,
        batch_index: usize,
        scene: &Scene,
        tile: &Tile,
        view: &ImageView<'_>,
        plan: &LetterboxPlan,
        anchors: &Anchors,
    ) {
        let floor = &mut self.floor_prob[batch_index * anchors.total()..(batch_index + 1) * anchors.total()];
        anchors.for_each_run(tile, scene.flip, |run| floor[run].fill(view.dropped_mean_prob));
        let moved = |anchor| anchors.moved(anchor, tile, scene.flip);
        self.push_rows(batch_index, view, anchors, moved, |b| scene.place(tile, plan.to_input(b)), scene.flip);
    }

    /// Adds what the teacher said of a view that it saw itself: every anchor is where it was, and has the view's own floor,
    /// grey or not. `scene` is the view's.
    pub(super) fn push_view(
        &mut self,
        batch_index: usize,
        scene: &Scene,
        tile: &Tile,
        view: &ImageView<'_>,
        plan: &LetterboxPlan,
        anchors: &Anchors,
    ) {
        let total = anchors.total();
        self.floor_prob[batch_index * total..(batch_index + 1) * total].fill(view.dropped_mean_prob);
        let here = |anchor| (anchor < total).then_some(anchor);
        self.push_rows(batch_index, view, anchors, here, |b| scene.place(tile, plan.to_input(b)), false);
    }

    /// The rows of an image: each at its anchor of the window, where it has one, with its box there. `mirrored`: the logits were
    /// said of the picture before a mirror.
    ///
    /// The box is the stored one, which is not rounded. Where it ends at the image's edge it was clipped there, and is what the bins say at that
    /// anchor, where the cache has bins.
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
            let b = match bins {
                Some(bins) if !box_px.is_within(view.size) => {
                    BoxSource::Dfl(bins).decode(0, 1, anchors.grid.cell(anchor))
                }
                _ => box_in_window(box_px),
            };
            self.boxes_xyxy_input_px.extend([b.x1, b.y1, b.x2, b.y2]);
        }
    }
}

/// The DFL logits of one anchor, `[4, reg_max]`, seen in a mirror: the distances to the left and the right edge change
/// places; a bin remains the distance that it is.
pub(super) fn swap_left_right(dfl_logits: &mut [f32]) {
    let bins = dfl_logits.len() / 4;
    let (left_top, right_bottom) = dfl_logits.split_at_mut(2 * bins);
    left_top[..bins].swap_with_slice(&mut right_bottom[..bins]);
}
