//! Captions: one line of text in the embedded font.

use super::rect::{Rect, Rgb, paint};
use crate::preprocess::RgbImage;
use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use std::sync::LazyLock;

/// Latin, Greek, Cyrillic and Vietnamese; any other character is drawn as the font's empty box.
static FONT: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(include_bytes!("../../assets/fonts/RobotoCondensed-Medium.ttf")).ok());

/// What stands for the rest of a text that is too long.
const ELLIPSIS: char = '…';

/// A text laid out in one line, its left upper corner at the origin.
pub(super) struct Text {
    glyphs: Vec<Glyph>,
    /// In whole pixels, at least what the glyphs take.
    pub(super) width: i64,
    /// From the highest ascender to the lowest descender, in whole pixels.
    pub(super) height: i64,
}

impl Text {
    /// Lays out `text` with lines `height_px` high, shortened to at most `most_px` of width. `None` where not even the
    /// first character fits.
    pub(super) fn new(text: &str, height_px: f32, most_px: i64) -> Option<Self> {
        let font = FONT.as_ref()?.as_scaled(PxScale::from(height_px));
        let most_px = most_px as f32;
        let advance = |c: char| font.h_advance(font.glyph_id(c));
        // The widest beginning that fits, and the widest that fits with an ellipsis behind it.
        let (mut shown, mut width, mut shortened, mut shortened_width) = (0, 0.0f32, 0, 0.0f32);
        for (at, c) in text.char_indices() {
            width += advance(c);
            if width > most_px {
                break;
            }
            shown = at + c.len_utf8();
            if width + advance(ELLIPSIS) <= most_px {
                (shortened, shortened_width) = (shown, width);
            }
        }
        let whole = shown == text.len();
        let (end, width) = if whole { (shown, width) } else { (shortened, shortened_width + advance(ELLIPSIS)) };
        if end == 0 {
            return None;
        }
        let mut x = 0.0;
        let tail = if whole { None } else { Some(ELLIPSIS) };
        let place = |c: char| {
            let id = font.glyph_id(c);
            let glyph = id.with_scale_and_position(font.scale(), point(x, font.ascent()));
            x += font.h_advance(id);
            glyph
        };
        let glyphs = text[..end].chars().chain(tail).map(place).collect();
        Some(Self { glyphs, width: width.ceil() as i64, height: font.height().ceil() as i64 })
    }

    /// Draws it with its left upper corner at (`x`, `y`); not a pixel outside of `within`.
    pub(super) fn draw(&self, image: &mut RgbImage, x: i64, y: i64, within: &Rect, colour: Rgb) {
        let Some(font) = FONT.as_ref() else { return };
        for outline in self.glyphs.iter().filter_map(|glyph| font.outline_glyph(glyph.clone())) {
            let corner = outline.px_bounds().min;
            let (left, top) = (x + corner.x as i64, y + corner.y as i64);
            outline.draw(|dx, dy, cover| {
                let pixel = Rect::at(left + i64::from(dx), top + i64::from(dy), 1, 1).common(within);
                paint(image, &pixel, |_, _, ground| blend(ground, colour, cover));
            });
        }
    }
}

fn blend(ground: Rgb, colour: Rgb, cover: f32) -> Rgb {
    let cover = cover.clamp(0.0, 1.0);
    let mix = |a: u8, b: u8| (f32::from(a) * (1.0 - cover) + f32::from(b) * cover).round() as u8;
    [mix(ground[0], colour[0]), mix(ground[1], colour[1]), mix(ground[2], colour[2])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_fits_or_is_shortened_or_left_out() {
        let whole = Text::new("traffic light 0.93", 16.0, 1000).unwrap();
        assert!(whole.width > 60 && whole.width < 160 && whole.height >= 16, "{} x {}", whole.width, whole.height);
        assert_eq!(Text::new("traffic light 0.93", 16.0, whole.width).unwrap().glyphs.len(), 18);
        let short = Text::new("traffic light 0.93", 16.0, whole.width / 2).unwrap();
        assert!(short.glyphs.len() < 18 && short.width <= whole.width / 2);
        assert!(Text::new("traffic light 0.93", 16.0, 3).is_none());
        assert!(Text::new("", 16.0, 100).is_none());
    }

    /// Every glyph that the font lacks is its box, which has an outline.
    #[test]
    fn any_script_leaves_something_to_see() {
        let font = FONT.as_ref().unwrap();
        for text in ["человек", "人", "คน", "شخص", "🚗"] {
            let laid_out = Text::new(text, 16.0, 1000).unwrap();
            let drawn = laid_out.glyphs.iter().filter(|g| font.outline_glyph((*g).clone()).is_some()).count();
            assert_eq!(drawn, text.chars().count(), "{text}");
        }
    }
}
