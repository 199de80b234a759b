//! The anchors of the student's head as tensors, and which of them lie in a box.

use crate::{
    student::STRIDES,
    types::{BoxXyxyPx, ImageSize},
};
use tch::{Device, Tensor};

/// The anchors of one input size: one per cell, levels in the order of [`STRIDES`], cells row major.
#[derive(Debug)]
pub struct Anchors {
    size: ImageSize,
    /// `[A, 2]` x and y of the centres in cells.
    pub(super) centres: Tensor,
    /// `[A, 1]` input pixels per cell.
    pub(super) strides: Tensor,
}

impl Anchors {
    /// The anchors for an input of `size` pixels, sides that are multiples of 32.
    pub fn new(size: ImageSize, device: Device) -> Self {
        let (mut centres, mut strides) = (Vec::new(), Vec::new());
        for level in levels(size) {
            for row in 0..level.rows {
                for column in 0..level.columns {
                    centres.extend([column as f32 + 0.5, row as f32 + 0.5]);
                    strides.push(level.stride as f32);
                }
            }
        }
        Self {
            size,
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

    pub(super) fn device(&self) -> Device {
        self.centres.device()
    }

    /// Calls `found` with every anchor whose centre lies inside a box of input pixels, in increasing order.
    pub(super) fn for_each_inside(&self, b: BoxXyxyPx, mut found: impl FnMut(i64)) {
        // Ultralytics' `select_candidates_in_gts`: its differences, its eps, in float32.
        let inside = |centre: f32, low: f32, high: f32| centre - low > 1e-9 && high - centre > 1e-9;
        let mut first = 0;
        for level in levels(self.size) {
            let centre = |cell: u32| (cell as f32 + 0.5) * level.stride as f32;
            for row in (0..level.rows).filter(|&row| inside(centre(row), b.y1, b.y2)) {
                for column in (0..level.columns).filter(|&column| inside(centre(column), b.x1, b.x2)) {
                    found(first + i64::from(row * level.columns + column));
                }
            }
            first += i64::from(level.rows * level.columns);
        }
    }
}

struct Level {
    stride: u32,
    rows: u32,
    columns: u32,
}

fn levels(size: ImageSize) -> impl Iterator<Item = Level> {
    STRIDES.into_iter().map(move |stride| Level { stride, rows: size.height / stride, columns: size.width / stride })
}
