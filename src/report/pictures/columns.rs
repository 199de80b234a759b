//! The drawings of one image: one for the labels, one for the teacher, one for each model.

use super::{
    Drawing,
    candidates::{Candidate, Names},
    soft::SoftBox,
};
use crate::{
    draw::{self, Mark, Style},
    eval::NmsOptions,
    preprocess::RgbImage,
    types::{BoxXyxyPx, Detection, ImageSize, LabelBox},
};
use image::{ExtendedColorType, ImageBuffer, Rgb, codecs::jpeg::JpegEncoder, imageops};

/// What is drawn and compared: as `logitcache predict` shows it.
pub const SHOWN: NmsOptions = NmsOptions::PREDICTING;

/// The longer side of a drawing, in pixels.
const SIDE: u32 = 480;
/// Quality of the JPEG files: small, and captions still sharp.
const JPEG_QUALITY: u8 = 80;

/// Draws every column.
pub(super) fn draw(
    image: &Candidate,
    picture: &RgbImage,
    has_labels: bool,
    numbered: &[SoftBox],
    names: &Names,
) -> Vec<Drawing> {
    let (small, scale) = scaled(picture);
    let names = names.as_slice();
    let label = |d: &Detection| Mark::label(&LabelBox { class_id: d.class_id, box_xyxy_px: d.box_xyxy_px }, names);
    let detection = |d: &Detection| Mark::detection(d, names);
    // The boxes that the lists below the pictures tell of carry their numbers.
    let teacher = |d: &Detection| {
        let mark = detection(d);
        match numbered.iter().find(|soft| soft.box_xyxy_px == d.box_xyxy_px && soft.class_id == d.class_id) {
            Some(soft) => Mark { caption: format!("[{}] {}", soft.number, mark.caption), ..mark },
            None => mark,
        }
    };
    let mut columns: Vec<Option<Vec<Mark>>> = Vec::new();
    if has_labels {
        columns.push(image.labels.as_ref().map(|labels| labels.iter().map(label).collect()));
    }
    if let Some(found) = &image.teacher {
        columns.push(Some(found.iter().map(teacher).collect()));
    }
    columns.extend(image.models.iter().map(|found| Some(found.iter().map(detection).collect())));
    let draw_one = |marks: Option<Vec<Mark>>| {
        let mut drawn = small.clone();
        let marks: Option<Vec<Mark>> = marks.map(|marks| marks.into_iter().map(|mark| resized(mark, scale)).collect());
        draw::draw(&mut drawn, marks.as_deref().unwrap_or_default());
        let ImageSize { width, height } = drawn.size;
        Drawing { jpeg: jpeg(&drawn), width, height, boxes: marks.map(|marks| marks.len()) }
    };
    columns.into_iter().map(draw_one).collect()
}

fn resized(mark: Mark, scale: f32) -> Mark {
    let b = mark.box_xyxy_px;
    let box_xyxy_px = BoxXyxyPx { x1: b.x1 * scale, y1: b.y1 * scale, x2: b.x2 * scale, y2: b.y2 * scale };
    let style: Style = mark.style;
    Mark { box_xyxy_px, style, ..mark }
}

/// The picture at the size of the drawings, and by how much it became smaller (or larger: boxes on a tiny picture are told apart by that).
fn scaled(picture: &RgbImage) -> (RgbImage, f32) {
    let ImageSize { width, height } = picture.size;
    let scale = SIDE as f32 / width.max(height).max(1) as f32;
    let side = |pixels: u32| ((pixels as f32 * scale).round() as u32).max(1);
    let Some(buffer) = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width, height, picture.pixels.as_slice()) else {
        return (picture.clone(), 1.0);
    };
    let size = ImageSize { width: side(width), height: side(height) };
    let small = imageops::resize(&buffer, size.width, size.height, imageops::FilterType::Triangle);
    (RgbImage { size, pixels: small.into_raw() }, scale)
}

/// A picture as a JPEG file; empty where it cannot be one, which no picture of this size is.
fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ImageSize { width, height } = picture.size;
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
    match encoder.encode(&picture.pixels, width, height, ExtendedColorType::Rgb8) {
        Ok(()) => bytes,
        Err(_) => Vec::new(),
    }
}
