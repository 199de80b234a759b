//! The grid of anchors: where each prediction of a head with strides stands (`docs/format.md`, "Anchors").

use crate::types::{BoxXyxyPx, ImageSize};

/// The anchors of a head: one for each cell of each level, levels in the order of their strides, cells row major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    levels: Vec<Level>,
}

/// The cells of one stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Input pixels per cell.
    pub stride: u32,
    /// Cells from top to bottom.
    pub rows: usize,
    /// Cells from left to right.
    pub columns: usize,
    /// The anchor of its first cell.
    pub first_anchor: usize,
}

impl Level {
    /// The first anchor after its last cell.
    pub fn end_anchor(&self) -> usize {
        self.first_anchor.saturating_add(self.rows.saturating_mul(self.columns))
    }
}

/// One anchor's place in the model input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// Input pixels per cell.
    pub stride: u32,
    /// Centre, in cells from the left.
    pub centre_x: f32,
    /// Centre, in cells from the top.
    pub centre_y: f32,
}

impl Grid {
    /// The grid of an input with these strides, which divide both of its sides.
    pub fn new(input: ImageSize, strides: &[u32]) -> Self {
        let mut first_anchor = 0;
        let level = |&stride: &u32| {
            let cells = |pixels: u32| (pixels / stride.max(1)) as usize;
            let level = Level { stride, rows: cells(input.height), columns: cells(input.width), first_anchor };
            first_anchor = level.end_anchor();
            level
        };
        Self { levels: strides.iter().map(level).collect() }
    }

    /// Its levels, in the order in which their anchors are numbered.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The strides of its levels.
    pub fn strides(&self) -> impl Iterator<Item = u32> {
        self.levels.iter().map(|level| level.stride)
    }

    /// Number of anchors over all levels.
    pub fn num_anchors(&self) -> usize {
        self.levels.last().map_or(0, Level::end_anchor)
    }

    /// The level of an anchor; `None` where there is no such anchor.
    pub fn level_of(&self, anchor: usize) -> Option<&Level> {
        self.levels.get(self.index_of_level(anchor))
    }

    /// Where an anchor lies.
    ///
    /// # Panics
    /// If `anchor` is not below [`Grid::num_anchors`].
    pub fn cell(&self, anchor: usize) -> Cell {
        let level = self.levels[self.index_of_level(anchor)];
        let index = anchor - level.first_anchor;
        Cell {
            stride: level.stride,
            centre_x: (index % level.columns) as f32 + 0.5,
            centre_y: (index / level.columns) as f32 + 0.5,
        }
    }

    /// The number of levels where there is no such anchor.
    fn index_of_level(&self, anchor: usize) -> usize {
        self.levels.partition_point(|level| level.end_anchor() <= anchor)
    }
}

impl Cell {
    /// The box, in input pixels, whose left, top, right and bottom edge are so many cells from the centre.
    pub fn box_xyxy_input_px(&self, distances_cells: [f32; 4]) -> BoxXyxyPx {
        let [left, top, right, bottom] = distances_cells;
        let stride = self.stride as f32;
        BoxXyxyPx {
            x1: (self.centre_x - left) * stride,
            y1: (self.centre_y - top) * stride,
            x2: (self.centre_x + right) * stride,
            y2: (self.centre_y + bottom) * stride,
        }
    }

    /// The box, in input pixels, that the DFL logits `[4 * reg_max]` of this anchor stand for: each side's distance is the
    /// expectation of its bins (Generalized Focal Loss, Li et al. 2020, <https://arxiv.org/abs/2006.04388>, eq. 5).
    pub fn box_of_bins(&self, dfl_logits: &[f32]) -> BoxXyxyPx {
        let bins = dfl_logits.len() / 4;
        let side = |k: usize| expected_bin(dfl_logits[k * bins..(k + 1) * bins].iter().copied());
        self.box_xyxy_input_px([0, 1, 2, 3].map(side))
    }
}

/// Expectation of the bin index under the softmax of the logits.
pub fn expected_bin(logits: impl Iterator<Item = f32> + Clone) -> f32 {
    let max = logits.clone().fold(f32::NEG_INFINITY, f32::max);
    let (mut weighted, mut total) = (0.0f32, 0.0f32);
    for (bin, logit) in logits.enumerate() {
        let weight = (logit - max).exp();
        weighted += weight * bin as f32;
        total += weight;
    }
    weighted / total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_runs_over_levels_row_major() {
        let grid = Grid::new(ImageSize { width: 640, height: 640 }, &[8, 16, 32]);
        assert_eq!(grid.num_anchors(), 8400);
        assert_eq!(grid.cell(0), Cell { stride: 8, centre_x: 0.5, centre_y: 0.5 });
        assert_eq!(grid.cell(81), Cell { stride: 8, centre_x: 1.5, centre_y: 1.5 });
        assert_eq!(grid.cell(6400), Cell { stride: 16, centre_x: 0.5, centre_y: 0.5 });
        assert_eq!(grid.cell(8399), Cell { stride: 32, centre_x: 19.5, centre_y: 19.5 });
        assert_eq!(
            [0, 6399, 6400, 8399, 8400].map(|a| grid.level_of(a).map(|l| l.stride)),
            [Some(8), Some(8), Some(16), Some(32), None]
        );
        let wide = Grid::new(ImageSize { width: 64, height: 32 }, &[8, 16, 32]);
        assert_eq!(wide.num_anchors(), 32 + 8 + 2);
        assert_eq!(wide.cell(8), Cell { stride: 8, centre_x: 0.5, centre_y: 1.5 });
    }

    #[test]
    fn sizes_that_nobody_has_do_not_overflow() {
        let grid = Grid::new(ImageSize { width: u32::MAX, height: u32::MAX }, &[1, 1, 0]);
        assert_eq!(grid.num_anchors(), usize::MAX);
    }

    #[test]
    fn bins_give_distances_in_cells() {
        // One anchor, 16 bins a side; each side certain of a bin: 1, 2, 3 and half-way between 4 and 5.
        let mut logits = vec![-100.0; 64];
        for at in [1, 16 + 2, 32 + 3, 48 + 4, 48 + 5] {
            logits[at] = 50.0;
        }
        let cell = Cell { stride: 8, centre_x: 10.5, centre_y: 20.5 };
        assert_eq!(cell.box_of_bins(&logits), BoxXyxyPx { x1: 76.0, y1: 148.0, x2: 108.0, y2: 200.0 });
    }
}
