//! Bilinear resizing of 8-bit RGB rows, equal to `cv2.resize(INTER_LINEAR)` level for level.
//!
//! OpenCV works in fixed point: weights of 11 bits, a row pass whose sums lose 4 bits, a column pass of two 16-bit
//! products, each losing 16 bits before the last rounding. Any other order of roundings (a float resize, or the one of
//! `fast_image_resize`) is off by one level in places. Halving exactly is a mean of 2 x 2 pixels, as OpenCV turns it into
//! `INTER_AREA`. Source: `modules/imgproc/src/resize.cpp`, `resizeGeneric_` with `HResizeLinear`, `VResizeLinear` for
//! `uchar` and `resizeAreaFast_`.

use crate::types::ImageSize;

/// RGB.
pub(super) const CHANNELS: usize = 3;
/// `INTER_RESIZE_COEF_SCALE`.
const WEIGHT_ONE: f32 = 2048.0;

/// One output position along an axis: two source positions and their weights, which sum to about 2048.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    first: usize,
    second: usize,
    first_weight: i16,
    second_weight: i16,
}

impl Tap {
    fn new(first: i64, second: i64, fraction: f32) -> Self {
        let weight = |share: f32| (share * WEIGHT_ONE).round_ties_even() as i16;
        Self {
            first: first as usize,
            second: second as usize,
            first_weight: weight(1.0 - fraction),
            second_weight: weight(fraction),
        }
    }
}

/// Makes the rows of a resized image one after the other, top to bottom. Its buffers are kept between images.
#[derive(Debug, Default)]
pub(super) struct RowResizer {
    source: Option<(ImageSize, ImageSize)>,
    columns: Vec<Tap>,
    rows: Vec<Tap>,
    /// The two source rows in use, resized along x, and which rows they are.
    upper: Vec<i16>,
    lower: Vec<i16>,
    upper_row: Option<usize>,
    lower_row: Option<usize>,
    row: Vec<u8>,
}

impl RowResizer {
    /// Gets ready to resize an image of `from` to `to`; both sides at least one pixel.
    pub(super) fn start(&mut self, from: ImageSize, to: ImageSize) {
        if self.source != Some((from, to)) {
            column_taps(from.width, to.width, &mut self.columns);
            row_taps(from.height, to.height, &mut self.rows);
            let values = to.width as usize * CHANNELS;
            self.upper.resize(values, 0);
            self.lower.resize(values, 0);
            self.row.resize(values, 0);
            self.source = Some((from, to));
        }
        self.upper_row = None;
        self.lower_row = None;
    }

    /// Row `y` of the resized image: `[width, 3]`. `pixels` is the whole source, `[height, width, 3]`.
    pub(super) fn row(&mut self, pixels: &[u8], y: usize) -> &[u8] {
        let (Some((from, to)), Some(tap)) = (self.source, self.rows.get(y).copied()) else { return &[] };
        let stride = from.width as usize * CHANNELS;
        let source_row = |row: usize| pixels.get(row * stride..(row + 1) * stride).unwrap_or_default();
        if from.width == 2 * to.width && from.height == 2 * to.height {
            mean_2x2(source_row(2 * y), source_row(2 * y + 1), &mut self.row);
            return &self.row;
        }
        if self.upper_row != Some(tap.first) {
            // Going down, the upper row is most often the lower row of before.
            if self.lower_row == Some(tap.first) {
                std::mem::swap(&mut self.upper, &mut self.lower);
                std::mem::swap(&mut self.upper_row, &mut self.lower_row);
            } else {
                resize_row(source_row(tap.first), &self.columns, &mut self.upper);
                self.upper_row = Some(tap.first);
            }
        }
        if self.lower_row != Some(tap.second) {
            resize_row(source_row(tap.second), &self.columns, &mut self.lower);
            self.lower_row = Some(tap.second);
        }
        blend_rows(&self.upper, &self.lower, tap, &mut self.row);
        &self.row
    }
}

/// Columns of the result. Pixel centres map onto pixel centres; beyond the outermost centres the edge has all the weight.
fn column_taps(from: u32, to: u32, out: &mut Vec<Tap>) {
    let last = i64::from(from) - 1;
    out.clear();
    out.extend(positions(from, to).map(|(floor, fraction)| match floor {
        before if before < 0 => Tap::new(0, 0, 0.0),
        inside if inside < last => Tap::new(inside, inside + 1, fraction),
        _ => Tap::new(last, last, 0.0),
    }));
}

/// Rows of the result. Beyond the outermost centres the edge row is mixed with itself, which rounds otherwise than the
/// edge row alone would.
fn row_taps(from: u32, to: u32, out: &mut Vec<Tap>) {
    let last = i64::from(from) - 1;
    out.clear();
    out.extend(
        positions(from, to)
            .map(|(floor, fraction)| Tap::new(floor.clamp(0, last), (floor + 1).clamp(0, last), fraction)),
    );
}

/// Where the centre of each position of the result lies in the source: the whole part and the fraction.
fn positions(from: u32, to: u32) -> impl Iterator<Item = (i64, f32)> {
    let scale = 1.0 / (f64::from(to) / f64::from(from));
    (0..to).map(move |position| {
        let centre = ((f64::from(position) + 0.5) * scale - 0.5) as f32;
        (centre.floor() as i64, centre - centre.floor())
    })
}

/// One source row resized along x: sums of 19 bits, kept without their lowest 4.
fn resize_row(source: &[u8], columns: &[Tap], out: &mut [i16]) {
    let (source, _) = source.as_chunks::<CHANNELS>();
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    for (tap, out) in columns.iter().zip(out) {
        let (Some(first), Some(second)) = (source.get(tap.first), source.get(tap.second)) else { continue };
        let (a, b) = (i32::from(tap.first_weight), i32::from(tap.second_weight));
        for channel in 0..CHANNELS {
            out[channel] = ((i32::from(first[channel]) * a + i32::from(second[channel]) * b) >> 4) as i16;
        }
    }
}

/// Two rows mixed along y.
fn blend_rows(upper: &[i16], lower: &[i16], tap: Tap, out: &mut [u8]) {
    let high_half = |value: i16, weight: i16| ((i32::from(value) * i32::from(weight)) >> 16) as i16;
    for ((&upper, &lower), out) in upper.iter().zip(lower).zip(out) {
        let sum = high_half(upper, tap.first_weight) + high_half(lower, tap.second_weight);
        *out = ((sum + 2) >> 2).clamp(0, 255) as u8;
    }
}

/// Means of 2 x 2 pixels, halves rounded up.
fn mean_2x2(upper: &[u8], lower: &[u8], out: &mut [u8]) {
    let (upper, _) = upper.as_chunks::<{ 2 * CHANNELS }>();
    let (lower, _) = lower.as_chunks::<{ 2 * CHANNELS }>();
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    for ((upper, lower), out) in upper.iter().zip(lower).zip(out) {
        for channel in 0..CHANNELS {
            let sum = u16::from(upper[channel])
                + u16::from(upper[channel + CHANNELS])
                + u16::from(lower[channel])
                + u16::from(lower[channel + CHANNELS]);
            out[channel] = ((sum + 2) >> 2) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resize(pixels: &[u8], from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
        let mut resizer = RowResizer::default();
        let size = |(width, height)| ImageSize { width, height };
        resizer.start(size(from), size(to));
        (0..to.1 as usize).flat_map(|y| resizer.row(pixels, y).to_vec()).collect()
    }

    #[test]
    fn one_pixel_fills_any_size() {
        assert_eq!(resize(&[7, 200, 255], (1, 1), (3, 2)), [7, 200, 255].repeat(6));
    }

    #[test]
    fn a_constant_image_stays_constant() {
        assert!(resize(&[255; 3 * 17 * 11], (17, 11), (40, 23)).iter().all(|&level| level == 255));
    }

    #[test]
    fn halving_rounds_halves_up() {
        let pixels = [[0; 3], [1; 3], [0; 3], [1; 3]].concat();
        assert_eq!(resize(&pixels, (2, 2), (1, 1)), [1, 1, 1]);
    }
}
