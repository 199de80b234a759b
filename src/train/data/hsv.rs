//! Random hue, saturation and value as Ultralytics' `RandomHSV` changes them: 8-bit HSV (hue 0..180), a table for each.
//!
//! The way to HSV is OpenCV's integer arithmetic, equal to it for every colour (`modules/imgproc/src/color_hsv.simd.hpp`,
//! `RGB2HSV_b`, `hsv_shift` 12). The way back is exact here and cut off, float32 and cut off there (`HSV2RGB_simd`): where the
//! exact value is a whole level, OpenCV's can be the one below (one HSV in 50; where the value is 255 more). Beyond the last whole
//! vector of a row OpenCV rounds instead of cutting off, so it does not agree with itself.

/// Steps of one sixth of the circle.
const SIXTH: u8 = 30;
const CIRCLE: f64 = 180.0;
const SHIFT: u32 = 12;

/// Where a changed hue's level goes: channels (red 0, green 1, blue 2) of the highest, lowest and middle value, and how
/// far from the highest the middle one is, in 30ths.
#[derive(Debug, Clone, Copy, Default)]
struct HueStep {
    highest: u8,
    lowest: u8,
    middle: u8,
    distance: u8,
}

/// One change of colours, ready to be applied to any number of pixels.
#[derive(Debug)]
pub(super) struct HsvChange {
    hue: [HueStep; 256],
    saturation: [u8; 256],
    value: [u8; 256],
    /// `255 << 12` and `180 << 12` over six times the level, rounded.
    per_value: [i32; 256],
    per_range: [i32; 256],
}

impl HsvChange {
    /// `changes` of hue (shares of the circle), saturation and value (relative). Tables as in `RandomHSV.apply_image`,
    /// Ultralytics 8.4.190: products cut off, not rounded; saturation 0 stays, so that grey does.
    pub fn new([hue, saturation, value]: [f64; 3]) -> Self {
        let table = |level: fn(f64, f64) -> f64, change: f64| {
            std::array::from_fn(|x| level(x as f64, change) as u8) // cuts off, as astype(uint8) does
        };
        let hues: [u8; 256] = table(|x, change| (x + change * CIRCLE).rem_euclid(CIRCLE), hue);
        let scaled = |x: f64, change: f64| (x * (change + 1.0)).clamp(0.0, 255.0);
        let mut saturations: [u8; 256] = table(scaled, saturation);
        saturations[0] = 0;
        let reciprocal = |numerator: f64| {
            std::array::from_fn(|x| if x == 0 { 0 } else { (numerator / x as f64).round_ties_even() as i32 })
        };
        Self {
            hue: hues.map(HueStep::new),
            saturation: saturations,
            value: table(scaled, value),
            per_value: reciprocal(f64::from(255 << SHIFT)),
            per_range: reciprocal(f64::from(180 << SHIFT) / 6.0),
        }
    }

    /// Changes RGB pixels in place.
    pub fn apply(&self, pixels: &mut [u8]) {
        for pixel in pixels.as_chunks_mut::<3>().0 {
            *pixel = self.changed(*pixel);
        }
    }

    #[inline]
    fn changed(&self, rgb: [u8; 3]) -> [u8; 3] {
        let [hue, saturation, value] = self.to_hsv(rgb);
        let step = self.hue[usize::from(hue)];
        let saturation = u32::from(self.saturation[usize::from(saturation)]);
        let value = self.value[usize::from(value)];
        let v = u32::from(value);
        let whole = 255 * u32::from(SIXTH);
        let mut pixel = [0; 3];
        let mut set = |channel: u8, level: u8| pixel[usize::from(channel % 3)] = level;
        set(step.highest, value);
        // value * (1 - saturation) and value * (1 - saturation * distance), cut off.
        set(step.lowest, (v * (255 - saturation) / 255) as u8);
        set(step.middle, (v * (whole - saturation * u32::from(step.distance)) / whole) as u8);
        pixel
    }

    #[inline]
    fn to_hsv(&self, [red, green, blue]: [u8; 3]) -> [u8; 3] {
        let value = red.max(green).max(blue);
        let range = value - red.min(green).min(blue);
        let (r, g, b, d) = (i32::from(red), i32::from(green), i32::from(blue), i32::from(range));
        let half = 1 << (SHIFT - 1);
        let saturation = (d * self.per_value[usize::from(value)] + half) >> SHIFT;
        let sixths = if value == red {
            g - b
        } else if value == green {
            b - r + 2 * d
        } else {
            r - g + 4 * d
        };
        let hue = (sixths * self.per_range[usize::from(range)] + half) >> SHIFT;
        let hue = if hue < 0 { hue + 180 } else { hue };
        [hue as u8, saturation as u8, value]
    }
}

impl HueStep {
    fn new(hue: u8) -> Self {
        const ORDERS: [[u8; 3]; 6] = [[0, 2, 1], [1, 2, 0], [1, 0, 2], [2, 0, 1], [2, 1, 0], [0, 1, 2]];
        let hue = hue % 180;
        let (sixth, rest) = (hue / SIXTH, hue % SIXTH);
        let [highest, lowest, middle] = ORDERS[usize::from(sixth)];
        // In even sixths the middle value rises to the highest, in odd ones it falls from it.
        Self { highest, lowest, middle, distance: if sixth % 2 == 0 { SIXTH - rest } else { rest } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn hsv_of_every_colour_equals_opencv() {
        let conversion = HsvChange::new([0.0; 3]);
        let mut hash = Sha256::new();
        for red in 0..=255 {
            let rest = (0..=255).flat_map(|green| (0..=255).map(move |blue| [red, green, blue]));
            let levels: Vec<u8> = rest.flat_map(|rgb| conversion.to_hsv(rgb)).collect();
            hash.update(&levels);
        }
        let expected = &super::super::tests::goldens().hsv_sha256;
        assert_eq!(&crate::cache::to_hex(&hash.finalize()), expected);
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
        fn grey_stays_grey_and_its_value_changes(level: u8, hue in -1.0..1.0f64, change in -1.0..1.0f64) {
            let mut pixel = [level; 3];
            HsvChange::new([hue, change, change]).apply(&mut pixel);
            let expected = (f64::from(level) * (1.0 + change)).min(255.0) as u8;
            prop_assert_eq!(pixel, [expected; 3]);
        }
    }
}
