//! Colours that suit a light page, a dark one and paper.
//!
//! A diagram holds the colours of the light page. The style sheet from [`style_sheet`] names each of them and gives it another value in the
//! dark; it overrides what stands in the SVG.

use plotters::style::RGBColor;
use std::fmt::Write as _;

/// Letters and axes.
pub const INK: RGBColor = RGBColor(0x1C, 0x21, 0x28);
/// Less important letters.
pub const MUTED: RGBColor = RGBColor(0x5B, 0x64, 0x70);
/// Lines behind the data.
pub const GRID: RGBColor = RGBColor(0xD9, 0xDE, 0xE4);

/// Dark values of [`INK`], [`MUTED`] and [`GRID`].
const DARK: [(&str, RGBColor, &str); 3] =
    [("ink", INK, "#e4e8ee"), ("muted", MUTED, "#a3adba"), ("grid", GRID, "#39414c")];

/// What tells runs apart: a colour for light pages, one for dark pages, dashes of its lines (for those who see no colours and for
/// paper). Every colour has a contrast of at least 4 to its page.
const SERIES: [(RGBColor, &str, &str); 8] = [
    (RGBColor(0x1F, 0x6F, 0xB4), "#6cb2f2", "none"),
    (RGBColor(0xC0, 0x50, 0x0C), "#f79a4b", "16 7"),
    (RGBColor(0x1D, 0x80, 0x4A), "#57c98a", "5 6"),
    (RGBColor(0x8A, 0x4F, 0xBF), "#be93ee", "18 6 4 6"),
    (RGBColor(0xC2, 0x35, 0x7A), "#f27fb4", "10 5"),
    (RGBColor(0x0B, 0x7D, 0x88), "#4fc6d0", "24 8"),
    (RGBColor(0x80, 0x63, 0x18), "#d3b45a", "3 4"),
    (RGBColor(0x5F, 0x60, 0x73), "#b3b4cb", "12 4 3 4 3 4"),
];

/// The colour of a run's, cache's or model's lines and bars; after eight they begin again.
pub fn series_colour(series: usize) -> RGBColor {
    SERIES[series % SERIES.len()].0
}

/// Name of the style sheet's variable with that colour.
pub fn series_variable(series: usize) -> String {
    format!("--series-{}", series % SERIES.len())
}

/// Variables for both pages and paper, and the rules that put them into diagrams.
pub fn style_sheet() -> String {
    let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
    let (mut light, mut dark, mut rules) = (String::new(), String::new(), String::new());
    let series =
        SERIES.iter().enumerate().map(|(i, (colour, dark, dashes))| (format!("series-{i}"), *colour, *dark, *dashes));
    let plain = DARK.iter().map(|(name, colour, dark)| ((*name).to_owned(), *colour, *dark, "none"));
    // Writing to a String cannot fail.
    for (name, colour, dark_value, dashes) in plain.chain(series) {
        let found = hex(colour);
        let _ = write!(light, "--{name}:{found};");
        let _ = write!(dark, "--{name}:{dark_value};");
        let _ = writeln!(rules, "svg [fill=\"{found}\"]{{fill:var(--{name})}}");
        let _ = writeln!(rules, "svg [stroke=\"{found}\"]{{stroke:var(--{name})}}");
        if dashes != "none" {
            let _ = writeln!(rules, "svg polyline[stroke=\"{found}\"]{{stroke-dasharray:{dashes}}}");
        }
    }
    format!(":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n{rules}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: RGBColor) -> f64 {
        let linear = [colour.0, colour.1, colour.2].map(|level| {
            let part = f64::from(level) / 255.0;
            if part <= 0.03928 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    fn contrast(a: RGBColor, b: RGBColor) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    fn of_hex(text: &str) -> RGBColor {
        let level = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        RGBColor(level(1), level(3), level(5))
    }

    #[test]
    fn lines_and_letters_stand_out_on_both_pages() {
        let (white, dark_page) = (RGBColor(255, 255, 255), of_hex("#14181d"));
        for (colour, dark, _) in SERIES {
            assert!(contrast(colour, white) >= 4.0, "{colour:?}: {}", contrast(colour, white));
            assert!(contrast(of_hex(dark), dark_page) >= 4.0, "{dark}");
        }
        for (name, colour, dark) in &DARK[..2] {
            assert!(contrast(*colour, white) >= 4.5 && contrast(of_hex(dark), dark_page) >= 4.5, "{name}");
        }
    }

    #[test]
    fn no_two_colours_are_the_same_in_a_diagram() {
        let mut all: Vec<RGBColor> = SERIES.iter().map(|s| s.0).chain(DARK.iter().map(|d| d.1)).collect();
        let count = all.len();
        all.sort_by_key(|c| (c.0, c.1, c.2));
        all.dedup();
        assert_eq!(all.len(), count, "the style sheet tells them apart by their values");
    }
}
