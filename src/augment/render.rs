//! The pixels of a scene: rows copied where nothing is scaled, else resampled.
//!
//! Resampling is `cv2.warpAffine(INTER_LINEAR, borderValue=114)` of the canvas for a matrix without rotation: pixel `i` of the
//! window is taken at `(i - offset) / scale` of the canvas, along each axis by itself. Weights have 11 bits, so a level can be
//! off by one from OpenCV's. The canvas never exists as a whole: its rows are put together as they are needed.

use super::geometry::{AxisMap, Rect, Scene};
use crate::preprocess::PAD_GREY;

/// Weights of a pair of pixels sum to this.
const WEIGHT_ONE: i32 = 1 << 11;

/// Draws scenes; keeps its buffers.
#[derive(Debug, Default)]
pub struct Renderer {
    columns: Vec<Tap>,
    /// A row of the canvas with grey around.
    row: Vec<u8>,
    /// The two rows in use, resampled along x.
    upper: ResampledRow,
    lower: ResampledRow,
}

#[derive(Debug, Default)]
struct ResampledRow {
    /// Which row of the canvas.
    y: Option<i64>,
    values: Vec<i32>,
}

/// Two neighbouring positions, the first of them and the weight of the second.
#[derive(Debug, Clone, Copy)]
struct Tap {
    first: i64,
    weight: i32,
}

impl Renderer {
    /// Draws the window, `[H, W, 3]`, into `out`. `pictures` are the letterboxed pictures of the scene's tiles, `[H, W, 3]`
    /// each, as large as the window.
    pub fn render(&mut self, scene: &Scene, pictures: &[&[u8]], out: &mut [u8]) {
        self.render_part(scene, pictures, Rect::of_size(scene.input), out);
    }

    /// Draws `part` of the window to its place in `out`, `[H, W, 3]`; what else the rows of `part` hold is then undefined.
    pub fn render_part(&mut self, scene: &Scene, pictures: &[&[u8]], part: Rect, out: &mut [u8]) {
        let width = scene.input.width as i32;
        let straight = if scene.flip { Rect { x1: width - part.x2, x2: width - part.x1, ..part } } else { part };
        if scene.keeps_grid() {
            copy(scene, pictures, straight, out);
        } else {
            self.resample(scene, pictures, straight, out);
        }
        if scene.flip {
            for row in rows_of(out, scene.input.width, part) {
                row.as_chunks_mut::<3>().0.reverse();
            }
        }
    }

    fn resample(&mut self, scene: &Scene, pictures: &[&[u8]], part: Rect, out: &mut [u8]) {
        // Everything outside of the tiles is grey, so it is enough to look at what the tiles cover and a pixel around.
        let covered = scene.tiles.iter().map(|tile| tile.area).reduce(around).unwrap_or(Rect::of_size(scene.input));
        let last = i64::from(covered.x2 - covered.x1);
        self.columns.clear();
        self.columns.extend((part.x1..part.x2).map(|x| tap(x, scene.x, covered.x1, last)));
        self.upper.y = None;
        self.lower.y = None;
        for (y, out) in (part.y1..).zip(rows_of(out, scene.input.width, part)) {
            let out = &mut out[part.x1 as usize * 3..part.x2 as usize * 3];
            let Tap { first, weight } = tap(y, scene.y, covered.y1, i64::from(covered.y2 - covered.y1));
            if self.upper.y != Some(first) {
                if self.lower.y == Some(first) {
                    std::mem::swap(&mut self.upper, &mut self.lower);
                } else {
                    self.fill_upper(scene, pictures, covered, first);
                }
            }
            if self.lower.y != Some(first + 1) {
                std::mem::swap(&mut self.upper, &mut self.lower);
                self.fill_upper(scene, pictures, covered, first + 1);
                std::mem::swap(&mut self.upper, &mut self.lower);
            }
            let (a, b, half) = (WEIGHT_ONE - weight, weight, WEIGHT_ONE * WEIGHT_ONE / 2);
            for ((out, upper), lower) in out.iter_mut().zip(&self.upper.values).zip(&self.lower.values) {
                *out = ((upper * a + lower * b + half) / (WEIGHT_ONE * WEIGHT_ONE)) as u8;
            }
        }
    }

    /// Row `y` of the covered part of the canvas, resampled along x.
    fn fill_upper(&mut self, scene: &Scene, pictures: &[&[u8]], covered: Rect, y: i64) {
        // One grey pixel at the left, two at the right: `tap` stays within.
        let width = (covered.x2 - covered.x1) as usize;
        self.row.clear();
        self.row.resize((width + 3) * 3, PAD_GREY);
        let canvas_y = y as i32 + covered.y1;
        for (tile, picture) in scene.tiles.iter().zip(pictures) {
            if (tile.area.y1..tile.area.y2).contains(&canvas_y) {
                let start = (tile.area.x1 - covered.x1 + 1) as usize * 3;
                let source = source_row(scene, picture, tile.shift, tile.area.x1, tile.area.x2, canvas_y);
                self.row[start..start + source.len()].copy_from_slice(source);
            }
        }
        let pixels = self.row.as_chunks::<3>().0;
        self.upper.values.resize(self.columns.len() * 3, 0);
        for (out, tap) in self.upper.values.as_chunks_mut::<3>().0.iter_mut().zip(&self.columns) {
            let at = (tap.first + 1) as usize;
            let [first, second] = [pixels[at], pixels[at + 1]];
            for channel in 0..3 {
                let (a, b) = (i32::from(first[channel]), i32::from(second[channel]));
                out[channel] = a * (WEIGHT_ONE - tap.weight) + b * tap.weight;
            }
        }
        self.upper.y = Some(y);
    }
}

/// Where position `i` of the window lies along an axis, counted from `origin` of the canvas; never further than one pixel
/// outside of `0..end`, where all is grey.
fn tap(i: i32, axis: AxisMap, origin: i32, end: i64) -> Tap {
    let position = (f64::from(i) - axis.offset) / axis.scale - f64::from(origin);
    let position = position.clamp(-1.0, end as f64);
    let first = position.floor();
    Tap { first: first as i64, weight: ((position - first) * f64::from(WEIGHT_ONE)).round() as i32 }
}

fn around(a: Rect, b: Rect) -> Rect {
    Rect { x1: a.x1.min(b.x1), y1: a.y1.min(b.y1), x2: a.x2.max(b.x2), y2: a.y2.max(b.y2) }
}

/// Pixels `x1..x2` of row `y` of the canvas, taken from a tile's picture.
fn source_row<'a>(scene: &Scene, picture: &'a [u8], [dx, dy]: [i32; 2], x1: i32, x2: i32, y: i32) -> &'a [u8] {
    let start = (y - dy) as usize * scene.input.width as usize;
    &picture[(start + (x1 - dx) as usize) * 3..(start + (x2 - dx) as usize) * 3]
}

/// The whole rows of the window that `part` has pixels in.
pub(super) fn rows_of(out: &mut [u8], width: u32, part: Rect) -> impl Iterator<Item = &mut [u8]> {
    let rows = (part.y2 - part.y1).max(0) as usize;
    out.chunks_exact_mut(width as usize * 3).skip(part.y1 as usize).take(rows)
}

/// Canvas and window are the same: the tiles' rows are copied.
fn copy(scene: &Scene, pictures: &[&[u8]], part: Rect, out: &mut [u8]) {
    let width = scene.input.width as usize;
    rows_of(out, scene.input.width, part).for_each(|row| row.fill(PAD_GREY));
    for (tile, picture) in scene.tiles.iter().zip(pictures) {
        let visible = tile.area.intersection(part);
        if visible.is_empty() {
            continue;
        }
        for y in visible.y1..visible.y2 {
            let row = source_row(scene, picture, tile.shift, visible.x1, visible.x2, y);
            let start = (y as usize * width + visible.x1 as usize) * 3;
            out[start..start + row.len()].copy_from_slice(row);
        }
    }
}
