//! Whole pixels: rectangles, and what is painted into them.

use crate::{
    preprocess::RgbImage,
    types::{BoxXyxyPx, ImageSize},
};

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

pub(super) const BLACK: Rgb = [0; 3];
pub(super) const WHITE: Rgb = [255; 3];

/// A rectangle of whole pixels, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub(super) x1: i64,
    pub(super) y1: i64,
    pub(super) x2: i64,
    pub(super) y2: i64,
}

impl Rect {
    pub(super) fn at(x1: i64, y1: i64, width: i64, height: i64) -> Self {
        Self { x1, y1, x2: x1 + width, y2: y1 + height }
    }

    pub(super) fn of_picture(size: ImageSize) -> Self {
        Self::at(0, 0, i64::from(size.width), i64::from(size.height))
    }

    /// A box to the nearest pixel borders, cut off at the picture's. `None` for one that has no place in the picture: not
    /// finite, inverted, or outside. One without area stays, as a point or a line.
    pub(super) fn of_box(b: &BoxXyxyPx, size: ImageSize) -> Option<Self> {
        let (width, height) = (size.width as f32, size.height as f32);
        let finite = [b.x1, b.y1, b.x2, b.y2].iter().all(|v| v.is_finite());
        if !finite || b.x1 > b.x2 || b.y1 > b.y2 || b.x2 < 0.0 || b.y2 < 0.0 || b.x1 > width || b.y1 > height {
            return None;
        }
        let whole = |v: f32, most: f32| v.clamp(0.0, most).round() as i64;
        Some(Self { x1: whole(b.x1, width), y1: whole(b.y1, height), x2: whole(b.x2, width), y2: whole(b.y2, height) })
    }

    pub(super) fn area(&self) -> i64 {
        (self.x2 - self.x1).max(0) * (self.y2 - self.y1).max(0)
    }

    /// What both cover; without area where they do not meet.
    pub(super) fn common(&self, other: &Self) -> Self {
        Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        }
    }

    pub(super) fn grown(&self, by: i64) -> Self {
        Self { x1: self.x1 - by, y1: self.y1 - by, x2: self.x2 + by, y2: self.y2 + by }
    }

    /// Moved into `bounds`, which it must fit into.
    pub(super) fn moved_into(&self, bounds: &Self) -> Self {
        let (width, height) = (self.x2 - self.x1, self.y2 - self.y1);
        let x1 = self.x1.min(bounds.x2 - width).max(bounds.x1);
        let y1 = self.y1.min(bounds.y2 - height).max(bounds.y1);
        Self::at(x1, y1, width, height)
    }
}

/// Paints a rectangle, as far as it lies in the picture: `colour` gives a pixel's new value from its place and its old one.
pub(super) fn paint(image: &mut RgbImage, rect: &Rect, mut colour: impl FnMut(i64, i64, Rgb) -> Rgb) {
    let inside = rect.common(&Rect::of_picture(image.size));
    let width = image.size.width as usize;
    for y in inside.y1..inside.y2 {
        for x in inside.x1..inside.x2 {
            let at = 3 * (y as usize * width + x as usize);
            if let Some([r, g, b]) = image.pixels.get_mut(at..at + 3) {
                [*r, *g, *b] = colour(x, y, [*r, *g, *b]);
            }
        }
    }
}

/// Paints the rim of a rectangle, `thickness` pixels of it on each side.
pub(super) fn paint_rim(image: &mut RgbImage, outer: &Rect, thickness: i64, colour: impl Fn(i64, i64, Rgb) -> Rgb) {
    let Rect { x1, y1, x2, y2 } = *outer;
    let (top, bottom) = ((y1 + thickness).min(y2), (y2 - thickness).max(y1 + thickness).min(y2));
    let (left, right) = ((x1 + thickness).min(x2), (x2 - thickness).max(x1 + thickness).min(x2));
    let sides = [
        Rect { x1, y1, x2, y2: top },
        Rect { x1, y1: bottom, x2, y2 },
        Rect { x1, y1: top, x2: left, y2: bottom },
        Rect { x1: right, y1: top, x2, y2: bottom },
    ];
    for side in &sides {
        paint(image, side, &colour);
    }
}
