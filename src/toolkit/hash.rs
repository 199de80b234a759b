//! A perceptual hash: what stays of an image when it is scaled, compressed again or made a little
//! brighter.
//!
//! The grey image is averaged over 17 x 16 cells; each bit tells whether a cell is brighter than
//! the one left of it by more than [`STEP`] levels. (A difference hash of 256 bits; without the
//! step the bits of plain areas would be noise.)

use crate::preprocess::RgbImage;

const ROWS: usize = 16;
const COLUMNS: usize = ROWS + 1;
/// Levels of 255 by which neighbours differ at least.
const STEP: f64 = 1.0;

/// Bits that a hash has at least, to tell anything.
const FEW_BITS: u32 = 8;

/// 256 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u64; 4]);

impl Hash {
    /// Of a decoded image.
    pub fn of(image: &RgbImage) -> Self {
        let cells = cells(image);
        let mut words = [0u64; 4];
        for row in 0..ROWS {
            for column in 0..ROWS {
                let bit = row * ROWS + column;
                let [left, right] = [cells[row * COLUMNS + column], cells[row * COLUMNS + column + 1]];
                words[bit / 64] |= u64::from(right > left + STEP) << (bit % 64);
            }
        }
        Self(words)
    }

    /// In how many bits two hashes differ.
    pub fn distance(self, other: Self) -> u32 {
        self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// Whether two images are nearly the same: their hashes differ in at most so many bits, and in
    /// no more than a quarter of the bits that either has. An image of which fewer than
    /// [`FEW_BITS`] are set is plain; its hash tells nothing.
    pub fn is_near(self, other: Self, distance: u32) -> bool {
        let either: u32 = self.0.iter().zip(other.0).map(|(a, b)| (a | b).count_ones()).sum();
        let apart = self.distance(other);
        apart <= distance && 4 * apart <= either && either >= FEW_BITS
    }

    /// Bits `from..to`, at most 64 of them.
    pub(super) fn bits(self, from: usize, to: usize) -> u64 {
        (from..to).enumerate().map(|(at, bit)| ((self.0[bit / 64] >> (bit % 64)) & 1) << (at % 64)).sum()
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|word| format!("{word:016x}")).collect()
    }
}

/// Mean grey of each cell; a cell has at least one pixel.
fn cells(image: &RgbImage) -> [f64; COLUMNS * ROWS] {
    let (width, height) = (image.size.width as usize, image.size.height as usize);
    let mut means = [0.0; COLUMNS * ROWS];
    if width == 0 || height == 0 {
        return means;
    }
    let range = |at: usize, cells: usize, side: usize| {
        let from = at * side / cells;
        from..((at + 1) * side / cells).max(from + 1).min(side)
    };
    for row in 0..ROWS {
        let lines = range(row, ROWS, height);
        let mut sums = [0u64; COLUMNS];
        for y in lines.clone() {
            let line = image.pixels.get(y * width * 3..(y + 1) * width * 3).unwrap_or_default();
            for (column, sum) in sums.iter_mut().enumerate() {
                let along = range(column, COLUMNS, width);
                let pixels = line.get(along.start * 3..along.end * 3).unwrap_or_default();
                // Luma of BT.601 in 256ths.
                let grey = |p: &[u8; 3]| 77 * u64::from(p[0]) + 150 * u64::from(p[1]) + 29 * u64::from(p[2]);
                *sum += pixels.as_chunks::<3>().0.iter().map(grey).sum::<u64>();
            }
        }
        for (column, sum) in sums.into_iter().enumerate() {
            let pixels = range(column, COLUMNS, width).len() * lines.len();
            means[row * COLUMNS + column] = sum as f64 / 256.0 / pixels as f64;
        }
    }
    means
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageSize;

    fn picture(width: u32, height: u32, level: impl Fn(f64, f64) -> f64) -> RgbImage {
        let size = ImageSize { width, height };
        let at = |x: u32, y: u32| {
            level((f64::from(x) + 0.5) / f64::from(width), (f64::from(y) + 0.5) / f64::from(height)).clamp(0.0, 255.0)
        };
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| [at(x, y) as u8; 3]);
        RgbImage { size, pixels: pixels.collect() }
    }

    #[test]
    fn scaled_and_brighter_images_are_near_and_others_far() {
        let wave = |x: f64, y: f64| 120.0 + 80.0 * (9.0 * x + 4.0 * y).sin();
        let hash = Hash::of(&picture(320, 240, wave));
        assert!(hash.distance(Hash::of(&picture(160, 120, wave))) <= 4);
        assert!(hash.distance(Hash::of(&picture(320, 240, |x, y| wave(x, y) + 12.0))) <= 4);
        assert!(hash.distance(Hash::of(&picture(320, 240, |x, y| wave(1.0 - x, y)))) > 60);
        assert_eq!(hash.distance(hash), 0);
    }

    #[test]
    fn plain_and_tiny_images_have_a_hash() {
        let plain = Hash::of(&picture(300, 200, |_, _| 90.0));
        assert_eq!(plain, Hash([0; 4]));
        assert!(!plain.is_near(plain, 20), "two plain images may show different small things");
        assert!(!Hash([0b1111, 0, 0, 0]).is_near(Hash([0, 0b1111, 0, 0]), 20), "nothing is shared");
        assert!(Hash([u64::MAX, 0, 0, 0]).is_near(Hash([u64::MAX >> 9, 0, 0, 0]), 20));
        let _ = Hash::of(&picture(1, 1, |_, _| 90.0));
        let _ = Hash::of(&picture(5, 300, |x, _| x * 255.0));
        let _ = Hash::of(&RgbImage::empty());
    }

    #[test]
    fn bits_are_cut_out() {
        let hash = Hash([0b1011, 1, 0, 1 << 63]);
        assert_eq!(
            (hash.bits(0, 4), hash.bits(1, 4), hash.bits(62, 66), hash.bits(250, 256)),
            (0b1011, 0b101, 0b100, 0b10_0000)
        );
        assert_eq!(hash.to_hex().len(), 64);
    }
}
