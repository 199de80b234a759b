//! The anchors of the student's head as tensors, and which of them lie in a box.

use crate::{
    cache::{Grid, Level},
    types::BoxXyxyPx,
};
use tch::{Device, Tensor};

/// The anchors of one input size: one per cell of the student's grid.
#[derive(Debug)]
pub struct Anchors {
    grid: Grid,
    /// `[A, 2]` x and y of the centres in cells.
    pub(super) centres: Tensor,
    /// `[A, 1]` input pixels per cell.
    pub(super) strides: Tensor,
    /// `[4]` width, height, width, height of the input in pixels.
    pub(super) sides: Tensor,
}

impl Anchors {
    /// The anchors of a grid.
    pub fn new(grid: Grid, device: Device) -> Self {
        let cells = || (0..grid.num_anchors()).map(|anchor| grid.cell(anchor));
        let centres: Vec<f32> = cells().flat_map(|cell| [cell.centre_x, cell.centre_y]).collect();
        let strides: Vec<f32> = cells().map(|cell| cell.stride as f32).collect();
        let side = |cells: fn(&Level) -> usize| {
            grid.levels().first().map_or(0.0, |level| (cells(level) * level.stride as usize) as f32)
        };
        let (width, height) = (side(|level| level.columns), side(|level| level.rows));
        Self {
            sides: Tensor::from_slice(&[width, height, width, height]).to_device(device),
            grid,
            centres: Tensor::from_slice(&centres).view([-1, 2]).to_device(device),
            strides: Tensor::from_slice(&strides).view([-1, 1]).to_device(device),
        }
    }

    /// `A`.
    pub fn len(&self) -> i64 {
        self.strides.size()[0]
    }

    /// Whether the input is smaller than a cell.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Input pixels per cell of the second level.
    pub(super) fn second_stride(&self) -> f32 {
        self.grid.strides().nth(1).unwrap_or(1) as f32
    }

    pub(super) fn device(&self) -> Device {
        self.centres.device()
    }

    /// Calls `found` with every anchor whose centre lies inside a box of input pixels, in increasing order.
    pub(super) fn for_each_inside(&self, b: BoxXyxyPx, mut found: impl FnMut(i64)) {
        // Ultralytics' `select_candidates_in_gts`: its differences, its eps, in float32.
        let inside = |centre: f32, low: f32, high: f32| centre - low > 1e-9 && high - centre > 1e-9;
        for level in self.grid.levels() {
            let centre = |cell: usize| (cell as f32 + 0.5) * level.stride as f32;
            for row in (0..level.rows).filter(|&row| inside(centre(row), b.y1, b.y2)) {
                for column in (0..level.columns).filter(|&column| inside(centre(column), b.x1, b.x2)) {
                    found((level.first_anchor + row * level.columns + column) as i64);
                }
            }
        }
    }
}
