//! Anchors and boxes of YOLOv8's head: the grid, and the decoding of its box outputs for single anchors.

use crate::types::BoxXyxyPx;

/// The anchors of a head: one per cell of each level's grid, levels in the given order, cells row major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    stride: u32,
    columns: usize,
    first_anchor: usize,
    end_anchor: usize,
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
    /// The grid of a model input of `height` x `width` pixels with these strides.
    pub fn new(height: u32, width: u32, strides: &[u32]) -> Self {
        let mut levels = Vec::with_capacity(strides.len());
        let mut first_anchor = 0;
        for &stride in strides {
            let (rows, columns) = ((height / stride) as usize, (width / stride) as usize);
            let end_anchor = first_anchor + rows * columns;
            levels.push(Level { stride, columns, first_anchor, end_anchor });
            first_anchor = end_anchor;
        }
        Self { levels }
    }

    /// Number of anchors over all levels.
    pub fn num_anchors(&self) -> usize {
        self.levels.last().map_or(0, |level| level.end_anchor)
    }

    /// Where an anchor lies.
    ///
    /// # Panics
    /// If `anchor` is not below [`Grid::num_anchors`].
    pub fn cell(&self, anchor: usize) -> Cell {
        let level = self.levels[self.levels.partition_point(|level| level.end_anchor <= anchor)];
        let index = anchor - level.first_anchor;
        Cell {
            stride: level.stride,
            centre_x: (index % level.columns) as f32 + 0.5,
            centre_y: (index / level.columns) as f32 + 0.5,
        }
    }
}

/// One image's box outputs, channel-major as the network gives them.
#[derive(Debug, Clone, Copy)]
pub enum BoxSource<'a> {
    /// `[4 * reg_max, num_anchors]` logits: left, top, right, bottom, each of `reg_max` bins.
    Dfl(&'a [f32]),
    /// `[4, num_anchors]` decoded by the network: centre x, centre y, width, height in input pixels.
    DecodedXywh(&'a [f32]),
}

impl BoxSource<'_> {
    /// Checks the number of values.
    ///
    /// # Errors
    /// In words, when it is not what `num_anchors` anchors need.
    pub fn check(&self, num_anchors: usize) -> Result<(), String> {
        let (len, ok) = match self {
            Self::Dfl(v) => (v.len(), !v.is_empty() && v.len() % (4 * num_anchors) == 0),
            Self::DecodedXywh(v) => (v.len(), v.len() == 4 * num_anchors),
        };
        if ok { Ok(()) } else { Err(format!("the model gave {len} box values for {num_anchors} anchors")) }
    }

    /// One anchor's box in input pixels. DFL: the expectation over bins of the softmax gives the distance of each side
    /// from the cell's centre in cells (Generalized Focal Loss, Li et al. 2020, eq. 5; `reg_max` bins 0..reg_max).
    ///
    /// # Panics
    /// If [`BoxSource::check`] would refuse or `anchor` is out of range.
    pub fn decode(&self, anchor: usize, num_anchors: usize, cell: Cell) -> BoxXyxyPx {
        let stride = cell.stride as f32;
        match self {
            Self::Dfl(logits) => {
                let bins = logits.len() / (4 * num_anchors);
                let side = |k: usize| expected_bin((0..bins).map(|b| logits[(k * bins + b) * num_anchors + anchor]));
                BoxXyxyPx {
                    x1: (cell.centre_x - side(0)) * stride,
                    y1: (cell.centre_y - side(1)) * stride,
                    x2: (cell.centre_x + side(2)) * stride,
                    y2: (cell.centre_y + side(3)) * stride,
                }
            }
            Self::DecodedXywh(v) => {
                let at = |k: usize| v[k * num_anchors + anchor];
                let (x, y, half_width, half_height) = (at(0), at(1), at(2) / 2.0, at(3) / 2.0);
                BoxXyxyPx { x1: x - half_width, y1: y - half_height, x2: x + half_width, y2: y + half_height }
            }
        }
    }
}

/// Expectation of the bin index under the softmax of the logits.
fn expected_bin(logits: impl Iterator<Item = f32> + Clone) -> f32 {
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
    fn grid_runs_over_levels_row_major() {
        let grid = Grid::new(640, 640, &[8, 16, 32]);
        assert_eq!(grid.num_anchors(), 8400);
        assert_eq!(grid.cell(0), Cell { stride: 8, centre_x: 0.5, centre_y: 0.5 });
        assert_eq!(grid.cell(81), Cell { stride: 8, centre_x: 1.5, centre_y: 1.5 });
        assert_eq!(grid.cell(6400), Cell { stride: 16, centre_x: 0.5, centre_y: 0.5 });
        assert_eq!(grid.cell(8399), Cell { stride: 32, centre_x: 19.5, centre_y: 19.5 });
        let wide = Grid::new(32, 64, &[8, 16, 32]);
        assert_eq!(wide.num_anchors(), 32 + 8 + 2);
        assert_eq!(wide.cell(8), Cell { stride: 8, centre_x: 0.5, centre_y: 1.5 });
    }

    #[test]
    fn dfl_gives_distances_in_cells() {
        // One anchor, 16 bins a side; each side certain of a bin: 1, 2, 3 and half-way between 4 and 5.
        let mut logits = vec![-100.0; 64];
        for at in [1, 16 + 2, 32 + 3, 48 + 4, 48 + 5] {
            logits[at] = 50.0;
        }
        let cell = Cell { stride: 8, centre_x: 10.5, centre_y: 20.5 };
        let b = BoxSource::Dfl(&logits).decode(0, 1, cell);
        assert_eq!(b, BoxXyxyPx { x1: 76.0, y1: 148.0, x2: 108.0, y2: 200.0 });
    }

    #[test]
    fn decoded_boxes_are_centre_and_size() {
        let cell = Cell { stride: 8, centre_x: 0.5, centre_y: 0.5 };
        let b = BoxSource::DecodedXywh(&[10.0, 20.0, 4.0, 6.0]).decode(0, 1, cell);
        assert_eq!(b, BoxXyxyPx { x1: 8.0, y1: 17.0, x2: 12.0, y2: 23.0 });
    }
}
