//! A colour for every class.

use super::rect::{BLACK, Rgb, WHITE};

/// Part of the colour circle between a class and the next: irrational, so that however many classes there are, their hues stay
/// apart. With [`LEVELS`] found by search: of the steps and levels tried, the first 6, 20 and 80 colours look the least alike.
const HUE_STEP: f64 = 0.569_840_290_998_053_2;

/// Hue of class 0.
const FIRST_HUE: f64 = 0.02;

/// Saturation and value (of HSV), in turn: classes of nearly the same hue differ in these.
const LEVELS: [(f64, f64); 3] = [(1.0, 0.9), (0.5, 1.0), (0.8, 0.6)];

/// The colour of a class: the same in every picture, run and model.
pub(super) fn class_colour(class_id: u32) -> Rgb {
    let hue = (FIRST_HUE + f64::from(class_id) * HUE_STEP).fract() * 6.0;
    let (saturation, value) = LEVELS[class_id as usize % LEVELS.len()];
    // Each channel is full for a third of the circle, absent for a third, and a ramp between.
    let channel = |shift: f64| {
        let at = (hue + shift) % 6.0;
        let strength = at.min(4.0 - at).clamp(0.0, 1.0);
        (255.0 * value * (1.0 - saturation * strength)).round() as u8
    };
    [channel(5.0), channel(3.0), channel(1.0)]
}

/// Black or white, whichever stands out more: the contrast is at least 4.5 on any ground, what WCAG 2.1 (1.4.3) asks of text.
pub(super) fn text_colour(ground: Rgb) -> Rgb {
    let luminance = luminance(ground);
    if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) { BLACK } else { WHITE }
}

/// Relative luminance, 0 to 1, as WCAG 2.1 defines it for sRGB.
fn luminance(colour: Rgb) -> f64 {
    let linear = colour.map(|level| {
        let part = f64::from(level) / 255.0;
        if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Oklab (Ottosson, 2020), where distances are about as different as colours look.
    fn oklab(colour: Rgb) -> [f64; 3] {
        let [r, g, b] = colour.map(|level| {
            let part = f64::from(level) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        let l = (0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b).cbrt();
        let m = (0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b).cbrt();
        let s = (0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b).cbrt();
        [
            0.2104542553 * l + 0.7936177850 * m - 0.0040720468 * s,
            1.9779984951 * l - 2.4285922050 * m + 0.4505937099 * s,
            0.0259040371 * l + 0.7827717662 * m - 0.8086757660 * s,
        ]
    }

    fn least_distance(classes: u32) -> f64 {
        let colours: Vec<_> = (0..classes).map(|id| oklab(class_colour(id))).collect();
        let distance = |a: &[f64; 3], b: &[f64; 3]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        let mut least = f64::INFINITY;
        for (i, a) in colours.iter().enumerate() {
            for b in &colours[..i] {
                least = least.min(distance(a, b));
            }
        }
        least
    }

    /// 0.02 is about what the eye tells apart side by side; the first classes differ by far more.
    #[test]
    fn colours_of_classes_differ() {
        for (classes, least) in [(6, 0.2), (20, 0.08), (80, 0.015)] {
            let found = least_distance(classes);
            assert!(found >= least, "{classes} classes: {found}");
        }
    }

    #[test]
    fn text_stands_out_on_every_colour() {
        for id in (0..2000).chain([u32::MAX]) {
            let ground = class_colour(id);
            let (a, b) = (luminance(ground), luminance(text_colour(ground)));
            let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
            assert!(contrast >= 4.5, "class {id}: {contrast}");
        }
    }
}
