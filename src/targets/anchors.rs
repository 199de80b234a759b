//! Where the anchors of a picture come to lie when tiles of it are moved and mirrored.

use crate::{
    augment::{Rect, Tile},
    cache::{Grid, Level},
};

/// The anchors of an input, and where they come to lie in a changed picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors {
    grid: Grid,
}

impl Anchors {
    /// The anchors of a grid.
    pub fn new(grid: Grid) -> Self {
        Self { grid }
    }

    /// The grid.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// Where an anchor of a tile's letterboxed picture comes to lie in the window; `None` where its cell is outside of the
    /// window or of the part of the picture that is shown.
    ///
    /// All edges of the tile lie on multiples of every stride, so a cell is inside as a whole or not at all.
    pub fn moved(&self, anchor: usize, tile: &Tile, flip: bool) -> Option<usize> {
        let level = self.grid.level_of(anchor)?;
        let (index, columns, stride) =
            ((anchor - level.first_anchor) as i32, level.columns as i32, level.stride as i32);
        let column = index % columns + tile.shift[0] / stride;
        let row = index / columns + tile.shift[1] / stride;
        let shown = cells(level, tile.area);
        let inside = (shown.x1..shown.x2).contains(&column) && (shown.y1..shown.y2).contains(&row);
        inside.then(|| anchor_at(level, row, mirrored(level, column, flip)))
    }

    /// Calls `fill` with each run of anchors that show the tile: `first..end` of the window's anchors.
    pub fn for_each_run(&self, tile: &Tile, flip: bool, mut fill: impl FnMut(std::ops::Range<usize>)) {
        for level in self.grid.levels() {
            let shown = cells(level, tile.area);
            if shown.x1 >= shown.x2 {
                continue;
            }
            let (a, b) = (mirrored(level, shown.x1, flip), mirrored(level, shown.x2 - 1, flip));
            for row in shown.y1..shown.y2 {
                fill(anchor_at(level, row, a.min(b))..anchor_at(level, row, a.max(b)) + 1);
            }
        }
    }
}

/// The cells of a rectangle, within the window.
fn cells(level: &Level, area: Rect) -> Rect {
    let s = level.stride as i32;
    let cells = Rect { x1: area.x1 / s, y1: area.y1 / s, x2: area.x2 / s, y2: area.y2 / s };
    cells.intersection(Rect { x1: 0, y1: 0, x2: level.columns as i32, y2: level.rows as i32 })
}

fn mirrored(level: &Level, column: i32, flip: bool) -> i32 {
    if flip { level.columns as i32 - 1 - column } else { column }
}

fn anchor_at(level: &Level, row: i32, column: i32) -> usize {
    level.first_anchor + row as usize * level.columns + column as usize
}
