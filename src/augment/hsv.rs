//! Random hue, saturation and value as Ultralytics' `RandomHSV` changes them: 8-bit HSV (hue 0..180), a table for each.
//!
//! The way to HSV is OpenCV's integer arithmetic, equal to it for every colour (`modules/imgproc/src/color_hsv.simd.hpp`,
//! `RGB2HSV_b`, `hsv_shift` 12). The way back is exact here and cut off, float32 and cut off there (`HSV2RGB_simd`): where the
//! exact value is a whole level, OpenCV's can be the one below (one HSV in 50; where the value is 255 more). Beyond the last whole
//! vector of a row OpenCV rounds instead of cutting off, so it does not agree with itself.
//!
//! Half a million pixels an image: they are worked on in blocks of plain arithmetic, of which the compiler makes a version for each
//! width of registers (as in `teacher/reduce.rs`). All give the same levels.

use multiversion::multiversion;

/// Levels of one sixth of the circle, and of all.
const SIXTH: i32 = 30;
const CIRCLE: i32 = 6 * SIXTH;
const SHIFT: i32 = 12;
const BLOCK: usize = 64;

/// One change of colours, ready to be applied to any number of pixels.
#[derive(Debug)]
pub struct HsvChange {
    /// Added to the hue, 0..180.
    hue_shift: i32,
    saturation: [u8; 256],
    value: [u8; 256],
}

impl HsvChange {
    /// `changes` of hue (shares of the circle), saturation and value (relative). As the tables of `RandomHSV.apply_image`,
    /// Ultralytics 8.4.190: sums and products cut off, not rounded; saturation 0 stays, so that grey does.
    pub fn new([hue, saturation, value]: [f64; 3]) -> Self {
        // floor(x + change) is x + floor(change) for whole x: one number instead of a table.
        let circle = f64::from(CIRCLE);
        let hue_shift = (hue * circle).floor().rem_euclid(circle) as i32;
        let scaled = |change: f64| std::array::from_fn(|x| (x as f64 * (change + 1.0)).clamp(0.0, 255.0) as u8);
        let mut saturations: [u8; 256] = scaled(saturation);
        saturations[0] = 0;
        Self { hue_shift, saturation: saturations, value: scaled(value) }
    }

    /// Changes RGB pixels in place.
    pub fn apply(&self, pixels: &mut [u8]) {
        change(self, pixels.as_chunks_mut::<3>().0);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn change(change: &HsvChange, pixels: &mut [[u8; 3]]) {
    let mut block = Block::default();
    for pixels in pixels.chunks_mut(BLOCK) {
        for (place, &[red, green, blue]) in pixels.iter().enumerate() {
            (block.red[place], block.green[place], block.blue[place]) = (red, green, blue);
        }
        block.become_hsv();
        for place in 0..BLOCK {
            let hue = block.hue[place] + change.hue_shift;
            block.hue[place] = if hue >= CIRCLE { hue - CIRCLE } else { hue };
        }
        for place in 0..BLOCK {
            block.saturation[place] = change.saturation[usize::from(block.saturation[place])];
            block.value[place] = change.value[usize::from(block.value[place])];
        }
        block.become_rgb();
        for (place, pixel) in pixels.iter_mut().enumerate() {
            *pixel = [block.red[place], block.green[place], block.blue[place]];
        }
    }
}

/// Pixels, channel by channel.
struct Block {
    red: [u8; BLOCK],
    green: [u8; BLOCK],
    blue: [u8; BLOCK],
    /// 0..180.
    hue: [i32; BLOCK],
    saturation: [u8; BLOCK],
    value: [u8; BLOCK],
}

impl Default for Block {
    fn default() -> Self {
        let levels = [0; BLOCK];
        Self { red: levels, green: levels, blue: levels, hue: [0; BLOCK], saturation: levels, value: levels }
    }
}

impl Block {
    #[inline(always)]
    fn become_hsv(&mut self) {
        for place in 0..BLOCK {
            let [red, green, blue] = [self.red[place], self.green[place], self.blue[place]].map(i32::from);
            let value = red.max(green).max(blue);
            let range = value - red.min(green).min(blue);
            let sixths = if value == red {
                green - blue
            } else if value == green {
                blue - red + 2 * range
            } else {
                red - green + 4 * range
            };
            let half = 1 << (SHIFT - 1);
            let saturation = (range * rounded_quotient(255 << SHIFT, value) + half) >> SHIFT;
            let hue = (sixths * rounded_quotient(SIXTH << SHIFT, range) + half) >> SHIFT;
            self.hue[place] = if hue < 0 { hue + CIRCLE } else { hue };
            self.saturation[place] = saturation as u8;
            self.value[place] = value as u8;
        }
    }

    #[inline(always)]
    fn become_rgb(&mut self) {
        for place in 0..BLOCK {
            let hue = self.hue[place];
            let [saturation, value] = [self.saturation[place], self.value[place]].map(i32::from);
            let sixth = (hue * 2185) >> 16; // hue / 30
            let rest = hue - sixth * SIXTH;
            // In even sixths the middle value rises to the highest, in odd ones it falls from it.
            let distance = if sixth & 1 == 0 { SIXTH - rest } else { rest };
            // value * (1 - saturation) and value * (1 - saturation * distance), cut off. The half keeps the product, off by
            // less than that in float32, on the right side of a whole number.
            let lowest = (value * (255 - saturation)) / 255;
            let whole = 255 * SIXTH;
            let middle = ((value * (whole - saturation * distance)) as f32 + 0.5) * (1.0 / whole as f32);
            let (lowest, middle, highest) = (lowest as u8, middle as i32 as u8, value as u8);
            let channel = |highest_in: [i32; 2], middle_in: [i32; 2]| {
                if highest_in.contains(&sixth) {
                    highest
                } else if middle_in.contains(&sixth) {
                    middle
                } else {
                    lowest
                }
            };
            self.red[place] = channel([0, 5], [1, 4]);
            self.green[place] = channel([1, 2], [0, 3]);
            self.blue[place] = channel([3, 4], [2, 5]);
        }
    }
}

/// `numerator / level` to the nearest whole number, for `0 < numerator < 2^22` and a level's range; the numerator for 0.
#[inline(always)]
fn rounded_quotient(numerator: i32, level: i32) -> i32 {
    /// 1.5 * 2^23: adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = numerator as f32 / level.max(1) as f32 + ROUND;
    shifted.to_bits() as i32 - ROUND.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn hsv_of_every_colour_equals_opencv() {
        let mut hash = Sha256::new();
        let mut block = Block::default();
        for first in (0..1u32 << 24).step_by(BLOCK) {
            for place in 0..BLOCK {
                let [_, red, green, blue] = (first + place as u32).to_be_bytes();
                (block.red[place], block.green[place], block.blue[place]) = (red, green, blue);
            }
            block.become_hsv();
            let levels: [[u8; 3]; BLOCK] =
                std::array::from_fn(|i| [block.hue[i] as u8, block.saturation[i], block.value[i]]);
            hash.update(levels.as_flattened());
        }
        let expected = &super::super::tests::goldens().hsv_sha256;
        assert_eq!(&crate::cache::to_hex(&hash.finalize()), expected);
    }

    #[test]
    fn rgb_of_every_hsv_is_exact_and_cut_off() {
        // Channels of the highest, the lowest and the middle value.
        const ORDERS: [[usize; 3]; 6] = [[0, 2, 1], [1, 2, 0], [1, 0, 2], [2, 0, 1], [2, 1, 0], [0, 1, 2]];
        let mut block = Block::default();
        for hue in 0..180 {
            let (order, rest) = (ORDERS[hue / 30], hue % 30);
            let distance = if hue / 30 % 2 == 0 { 30 - rest } else { rest };
            for first in (0..1 << 16).step_by(BLOCK) {
                for place in 0..BLOCK {
                    let at = first + place;
                    block.hue[place] = hue as i32;
                    (block.saturation[place], block.value[place]) = ((at >> 8) as u8, at as u8);
                }
                block.become_rgb();
                for place in 0..BLOCK {
                    let (saturation, value) = ((first + place) >> 8, (first + place) & 255);
                    let rgb = [block.red[place], block.green[place], block.blue[place]].map(usize::from);
                    let lowest = value * (255 - saturation) / 255;
                    let middle = value * (255 * 30 - saturation * distance) / (255 * 30);
                    assert_eq!(
                        order.map(|channel| rgb[channel]),
                        [value, lowest, middle],
                        "{hue} {saturation} {value}"
                    );
                }
            }
        }
    }

    #[test]
    fn changes_equal_ultralytics() {
        let goldens = super::super::tests::goldens();
        let (colours, results) = goldens.colours();
        let (mut values, mut off) = (0, 0);
        for (&changes, expected) in goldens.hsv.iter().zip(results) {
            let mut found = colours.clone();
            HsvChange::new(changes).apply(&mut found);
            for (place, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
                // Whole levels that OpenCV's float32 lies just below.
                let above = found.checked_sub(expected).filter(|&above| above <= 1);
                assert!(above.is_some(), "{changes:?}, value {place}: {found}, not {expected}");
                off += usize::from(found - expected);
                values += 1;
            }
        }
        assert!(values > 20_000 && off * 20 < values, "{off} of {values} are off by one");
    }

    proptest! {
        #[test]
        fn what_lies_beside_a_pixel_does_not_matter(
            pixels in prop::collection::vec(any::<[u8; 3]>(), 0..150), changes in prop::array::uniform3(-1.0..1.0f64),
        ) {
            let change = HsvChange::new(changes);
            let mut all = pixels.concat();
            change.apply(&mut all);
            let mut single = pixels;
            single.iter_mut().for_each(|pixel| change.apply(pixel));
            prop_assert_eq!(all, single.concat());
        }

        #[test]
        fn grey_stays_grey_and_its_value_changes(level: u8, hue in -1.0..1.0f64, change in -1.0..1.0f64) {
            let mut pixel = [level; 3];
            HsvChange::new([hue, change, change]).apply(&mut pixel);
            let expected = (f64::from(level) * (1.0 + change)).min(255.0) as u8;
            prop_assert_eq!(pixel, [expected; 3]);
        }
    }
}
