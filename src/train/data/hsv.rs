//! Random hue, saturation and value as Ultralytics' `RandomHSV` changes them: 8-bit HSV (hue 0..180), a table for each.
//!
//! The way to HSV is OpenCV's integer arithmetic, equal to it for every colour (`modules/imgproc/src/color_hsv.dispatch.cpp`,
//! `RGB2HSV_b`, `hsv_shift` 12). The way back is exact here and rounded once, float32 there (`HSV2RGB_b`): where the exact
//! value lies half-way between two levels, the two can differ by one level.

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
    fn changed(&self, [red, green, blue]: [u8; 3]) -> [u8; 3] {
        let highest = red.max(green).max(blue);
        let range = highest - red.min(green).min(blue);
        let (r, g, b, d) = (i32::from(red), i32::from(green), i32::from(blue), i32::from(range));
        let half = 1 << (SHIFT - 1);
        let saturation = (d * self.per_value[usize::from(highest)] + half) >> SHIFT;
        let sixths = if highest == red {
            g - b
        } else if highest == green {
            b - r + 2 * d
        } else {
            r - g + 4 * d
        };
        let hue = (sixths * self.per_range[usize::from(range)] + half) >> SHIFT;
        let hue = if hue < 0 { hue + 180 } else { hue };

        let step = self.hue[usize::from(hue as u8)];
        let saturation = u32::from(self.saturation[usize::from(saturation as u8)]);
        let value = self.value[usize::from(highest)];
        let v = u32::from(value);
        // value * (1 - saturation) and value * (1 - saturation * distance), rounded.
        let whole = 255 * u32::from(SIXTH);
        let mut pixel = [0; 3];
        let mut set = |channel: u8, level: u8| pixel[usize::from(channel % 3)] = level;
        set(step.highest, value);
        set(step.lowest, ((v * (255 - saturation) + 127) / 255) as u8);
        set(step.middle, ((v * (whole - saturation * u32::from(step.distance)) + whole / 2) / whole) as u8);
        pixel
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
