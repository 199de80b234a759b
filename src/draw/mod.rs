//! Boxes with captions on pictures.
//!
//! A box is framed by a line around it, so that nothing of a small object is hidden; only at the picture's border the line lies
//! inside. Detections have a solid line in the colour of their class, ground truth has dashes of white and black. Lines and
//! letters grow with the picture. What has no place in the picture (a box outside, or one that is no box) is not drawn.

mod encode;
mod layout;
mod palette;
mod rect;
mod text;

#[cfg(test)]
mod tests;

pub use encode::encode;

use crate::{
    preprocess::RgbImage,
    types::{BoxXyxyPx, Detection, ImageSize, LabelBox},
};
use layout::Named;
use rect::{BLACK, Rect, Rgb, WHITE};
use text::Text;

/// Width of a line, as a part of the mean of the picture's sides, and the least in pixels.
const LINE: (f64, f64) = (0.0035, 1.0);

/// Height of the letters, likewise.
const LETTERS: (f64, f64) = (0.027, 13.0);

/// One box to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where it is, in pixels of the picture.
    pub box_xyxy_px: BoxXyxyPx,
    /// The line of text beside it.
    pub caption: String,
    /// How it looks.
    pub style: Style,
}

/// How a box looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// What a model found: a solid line in the class's colour.
    Detection {
        /// The model's class id.
        class_id: u32,
    },
    /// What the data set says: a dashed line in white and black.
    Label,
}

impl Mark {
    /// A detection, captioned with its class and score.
    pub fn detection(detection: &Detection, class_names: &[String]) -> Self {
        let Detection { class_id, score, box_xyxy_px } = *detection;
        let caption = format!("{} {score:.2}", class_name(class_id, class_names));
        Self { box_xyxy_px, caption, style: Style::Detection { class_id } }
    }

    /// A ground-truth box, captioned with its class.
    pub fn label(label: &LabelBox, class_names: &[String]) -> Self {
        let caption = class_name(label.class_id, class_names);
        Self { box_xyxy_px: label.box_xyxy_px, caption, style: Style::Label }
    }
}

fn class_name(class_id: u32, class_names: &[String]) -> String {
    class_names.get(class_id as usize).cloned().unwrap_or_else(|| format!("class {class_id}"))
}

/// Draws boxes and their captions, the most important first in the list: its caption has the first choice of a place.
pub fn draw(image: &mut RgbImage, marks: &[Mark]) {
    for placed in Placed::all(image.size, marks) {
        placed.draw(image);
    }
}

/// What is drawn, in the order of drawing: no frame under a larger one, every caption above all frames.
enum Placed {
    Frame { outer: Rect, line: i64, style: Style },
    Caption { place: Rect, margin: i64, text: Text, style: Style },
}

impl Placed {
    fn all(size: ImageSize, marks: &[Mark]) -> Vec<Self> {
        let picture = Rect::of_picture(size);
        let line = scaled(size, LINE).round() as i64;
        let margin = line.max(2);
        let letters = scaled(size, LETTERS).round() as f32;
        let (mut frames, mut texts, mut named) = (Vec::new(), Vec::new(), Vec::new());
        for mark in marks {
            let Some(inner) = Rect::of_box(&mark.box_xyxy_px, size) else { continue };
            let frame = inner.grown(line).common(&picture);
            let text = Text::new(&mark.caption, letters, picture.x2 - 2 * margin);
            let text = text.filter(|text| text.height <= picture.y2);
            let caption = text.as_ref().map(|text| (text.width + 2 * margin, text.height));
            named.push(Named { frame, caption, below: mark.style == Style::Label });
            frames.push(Self::Frame { outer: frame, line, style: mark.style });
            texts.push((text, mark.style));
        }
        let places = layout::place_captions(&picture, &named);
        let captions = texts
            .into_iter()
            .zip(places)
            .filter_map(|((text, style), place)| Some(Self::Caption { place: place?, margin, text: text?, style }));
        // The most important caption is drawn last, over others.
        let mut captions: Vec<_> = captions.collect();
        captions.reverse();
        // Of boxes of one size the more important is drawn later.
        frames.reverse();
        frames.sort_by_key(|frame| match frame {
            Self::Frame { outer, style, .. } => (*style == Style::Label, std::cmp::Reverse(outer.area())),
            Self::Caption { .. } => (true, std::cmp::Reverse(0)),
        });
        frames.into_iter().chain(captions).collect()
    }

    fn draw(&self, image: &mut RgbImage) {
        match self {
            Self::Frame { outer, line, style: Style::Detection { class_id } } => {
                let colour = palette::class_colour(*class_id);
                rect::paint_rim(image, outer, *line, |_, _, _| colour);
            }
            Self::Frame { outer, line, style: Style::Label } => {
                let dash = 3 * line;
                rect::paint_rim(image, outer, *line, |x, y, ground| match (x + y) / dash % 3 {
                    0 => WHITE,
                    1 => BLACK,
                    // What lies below shows through, a detection of the same box above all.
                    _ => ground,
                });
            }
            Self::Caption { place, margin, text, style } => {
                let (ground, letters) = caption_colours(*style);
                rect::paint(image, place, |_, _, _| ground);
                text.draw(image, place.x1 + margin, place.y1, place, letters);
            }
        }
    }
}

fn caption_colours(style: Style) -> (Rgb, Rgb) {
    match style {
        Style::Detection { class_id } => {
            let ground = palette::class_colour(class_id);
            (ground, palette::text_colour(ground))
        }
        Style::Label => (WHITE, BLACK),
    }
}

/// A size in pixels for a picture.
fn scaled(size: ImageSize, (part, least_px): (f64, f64)) -> f64 {
    ((f64::from(size.width) + f64::from(size.height)) / 2.0 * part).max(least_px)
}
