//! Where the pictures of an augmented image lie: tiles on a canvas, the canvas mapped onto the window that the student sees.
//!
//! ```text
//! letterboxed picture ── + shift ──► canvas (cut to the tile's area) ── scale, offset ──► window ── mirrored? ──► student
//! ```
//! All changes are along the axes (no rotation, no shear), as in Ultralytics' defaults, so each axis is mapped by itself.

use crate::types::{BoxXyxyPx, ImageSize};

/// A rectangle of whole pixels, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x1: i32,
    /// First row.
    pub y1: i32,
    /// Column after the last.
    pub x2: i32,
    /// Row after the last.
    pub y2: i32,
}

impl Rect {
    /// All of a picture.
    pub fn of_size(size: ImageSize) -> Self {
        Self { x1: 0, y1: 0, x2: size.width as i32, y2: size.height as i32 }
    }

    /// Moved.
    pub fn shifted(self, [dx, dy]: [i32; 2]) -> Self {
        Self { x1: self.x1 + dx, y1: self.y1 + dy, x2: self.x2 + dx, y2: self.y2 + dy }
    }

    /// What both share; without width or height where they share nothing.
    pub fn intersection(self, other: Self) -> Self {
        let (x1, y1) = (self.x1.max(other.x1), self.y1.max(other.y1));
        Self { x1, y1, x2: self.x2.min(other.x2).max(x1), y2: self.y2.min(other.y2).max(y1) }
    }

    /// Whether it has no pixel.
    pub fn is_empty(self) -> bool {
        self.x1 >= self.x2 || self.y1 >= self.y2
    }

    /// The smallest rectangle around it with all edges on multiples of `step`.
    pub fn outward(self, step: i32) -> Self {
        let down = |v: i32| v.div_euclid(step) * step;
        let up = |v: i32| -down(-v);
        Self { x1: down(self.x1), y1: down(self.y1), x2: up(self.x2), y2: up(self.y2) }
    }

    fn clip(self, b: BoxXyxyPx) -> BoxXyxyPx {
        let x = |v: f32| v.clamp(self.x1 as f32, self.x2 as f32);
        let y = |v: f32| v.clamp(self.y1 as f32, self.y2 as f32);
        BoxXyxyPx { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) }
    }
}

/// One picture on the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Position of the image in the training set.
    pub image: usize,
    /// Pixel (x, y) of the picture lies at (x, y) + shift on the canvas.
    pub shift: [i32; 2],
    /// What of the canvas the picture covers. Tiles do not overlap; where none is, the canvas is grey.
    pub area: Rect,
}

/// `window = canvas * scale + offset` along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AxisMap {
    /// Pixels of the window per pixel of the canvas.
    pub scale: f64,
    /// Where the canvas begins, in pixels of the window.
    pub offset: f64,
}

impl AxisMap {
    /// Window and canvas are the same.
    pub const IDENTITY: Self = Self { scale: 1.0, offset: 0.0 };
}

/// An augmented image, before its colours are changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The window: the student's input.
    pub input: ImageSize,
    /// One tile, or the four of a mosaic; one for each picture.
    pub tiles: Vec<Tile>,
    /// Left to right.
    pub x: AxisMap,
    /// Top to bottom.
    pub y: AxisMap,
    /// Whether the window is mirrored, left and right.
    pub flip: bool,
}

/// `wh_thr`, `ar_thr`, `area_thr` of Ultralytics' `box_candidates`.
const MIN_SIDE_PX: f32 = 2.0;
const MAX_ASPECT: f32 = 100.0;
const MIN_AREA_SHARE: f32 = 0.1;

impl Scene {
    /// Whether canvas and window are the same but for the mirror.
    pub fn keeps_grid(&self) -> bool {
        self.x == AxisMap::IDENTITY && self.y == AxisMap::IDENTITY
    }

    /// A box of the letterboxed picture in pixels of the window; nothing is clipped.
    pub fn place(&self, tile: &Tile, letterbox_px: BoxXyxyPx) -> BoxXyxyPx {
        self.mirrored(self.mapped(shifted(letterbox_px, tile.shift)))
    }

    /// The way back of [`Scene::place`]: a box of the window in pixels of the tile's letterboxed picture; nothing is clipped.
    pub fn unplace(&self, tile: &Tile, window_px: BoxXyxyPx) -> BoxXyxyPx {
        let back = |v: f32, axis: AxisMap| ((f64::from(v) - axis.offset) / axis.scale) as f32;
        let b = self.mirrored(window_px);
        let b = BoxXyxyPx {
            x1: back(b.x1, self.x),
            y1: back(b.y1, self.y),
            x2: back(b.x2, self.x),
            y2: back(b.y2, self.y),
        };
        shifted(b, tile.shift.map(|shift| -shift))
    }

    /// A label of the letterboxed picture in pixels of the window, clipped to the tile and to the window; `None` where too
    /// little of it is left.
    ///
    /// Source: `RandomPerspective.apply_instances` and `box_candidates` of Ultralytics 8.4.190: at least 2 pixels wide and
    /// high, a tenth of the area, at most 100 times as long as wide.
    pub fn place_label(&self, tile: &Tile, letterbox_px: BoxXyxyPx) -> Option<BoxXyxyPx> {
        let before = tile.area.clip(shifted(letterbox_px, tile.shift));
        let after = Rect::of_size(self.input).clip(self.mapped(before));
        let scale = (self.x.scale * self.y.scale) as f32;
        let area_before = (before.x2 - before.x1) * (before.y2 - before.y1) * scale;
        let (width, height) = (after.x2 - after.x1, after.y2 - after.y1);
        let kept = width > MIN_SIDE_PX
            && height > MIN_SIDE_PX
            && width * height > MIN_AREA_SHARE * area_before
            && (width / height).max(height / width) < MAX_ASPECT;
        kept.then(|| self.mirrored(after))
    }

    fn mapped(&self, b: BoxXyxyPx) -> BoxXyxyPx {
        let map = |v: f32, axis: AxisMap| (f64::from(v) * axis.scale + axis.offset) as f32;
        BoxXyxyPx { x1: map(b.x1, self.x), y1: map(b.y1, self.y), x2: map(b.x2, self.x), y2: map(b.y2, self.y) }
    }

    fn mirrored(&self, b: BoxXyxyPx) -> BoxXyxyPx {
        if self.flip { mirror_box(b, self.input.width) } else { b }
    }
}

/// The box in an image of that width seen in a mirror.
pub fn mirror_box(b: BoxXyxyPx, width: u32) -> BoxXyxyPx {
    let width = width as f32;
    BoxXyxyPx { x1: width - b.x2, x2: width - b.x1, ..b }
}

fn shifted(b: BoxXyxyPx, [dx, dy]: [i32; 2]) -> BoxXyxyPx {
    let (dx, dy) = (dx as f32, dy as f32);
    BoxXyxyPx { x1: b.x1 + dx, y1: b.y1 + dy, x2: b.x2 + dx, y2: b.y2 + dy }
}
