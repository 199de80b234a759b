//! What the teacher sees on an image and what the data set says, drawn on the image itself.

use super::find_view;
use crate::{
    Error, Result,
    augment::{Renderer, Scene},
    cache::{self, CacheReader, ImageView, Teacher, images_root},
    dataset::{IMAGE_SUFFIXES, Sample},
    draw::{self, Mark},
    eval::{NmsOptions, teacher_boxes},
    fsio,
    outputs::{self, OutputFile},
    pipeline::{changed_since, read_file},
    preprocess::{self, DecodeLimits, LetterboxPlan, Preprocessor, RgbImage},
    types::{BoxXyxyPx, Detection, LabelBox, ViewChange},
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Predictions are drawn whose score is greater than this.
pub const SHOWN_CONF: f32 = NmsOptions::PREDICTING.conf;

/// Draws the predictions of a view of one image (0: of the image itself), doubles suppressed, and its labels, into the picture file
/// `out` in the format that its suffix says. The image is looked for where the cache says that its data set lies. A view is drawn
/// as the teacher saw it: the letterboxed picture, changed.
///
/// # Errors
/// As [`super::image`]; [`Error::Dataset`] where the image is not there, is another one than the cache was made from, or would be
/// written over; [`Error::Mismatch`] for a suffix that is none of a picture, and for a file at `out` that was not drawn here, without
/// `overwrite`.
pub fn draw_image(cache: &Path, wanted: &str, view: i32, out: &Path, overwrite: bool) -> Result<()> {
    let reader = CacheReader::open(cache)?;
    let image = find_view(&reader, wanted, view)?;
    refuse_other_suffixes(out)?;
    let path = image_file(&reader, &image)?;
    if out.canonicalize().is_ok_and(|out| path.canonicalize().is_ok_and(|path| path == out)) {
        return Err(Error::Dataset {
            path,
            found: "this is the image itself; `out=` would overwrite it".into(),
            remedy: "Choose another name for the picture.".into(),
        });
    }
    outputs::refuse_foreign_file(out, OutputFile::Picture, overwrite)?;
    let picture = picture(&reader, &image)?;
    let bytes = draw::encode(&picture, out).map_err(|e| Error::Mismatch {
        found: format!("{} cannot be written: {e}", out.display()),
        remedy: "Name it .png: that format has no limit of size.".into(),
    })?;
    Ok(fsio::write_atomic(out, &bytes)?)
}

/// What [`draw_image`] writes, of a view of an opened cache.
///
/// # Errors
/// Where the image is not there or is another one than the cache was made from, or the view is one that cannot be drawn.
pub fn picture(reader: &CacheReader, image: &ImageView<'_>) -> Result<RgbImage> {
    let whole = read_same_image(&image_file(reader, image)?, image)?;
    let teacher = &reader.manifest().teacher;
    let (detections, labels) = boxes(image, teacher);
    let (mut picture, detections, labels) = match image.view {
        0 => (whole, detections, labels),
        _ => {
            refuse_other_rules(reader)?;
            seen(&whole, &image.change, teacher, detections, labels)
        }
    };
    let names = &teacher.class_names;
    let marks =
        detections.iter().map(|d| Mark::detection(d, names)).chain(labels.iter().map(|l| Mark::label(l, names)));
    draw::draw(&mut picture, &marks.collect::<Vec<_>>());
    Ok(picture)
}

fn refuse_other_suffixes(out: &Path) -> Result<()> {
    let suffix = out.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if IMAGE_SUFFIXES.contains(&suffix.as_str()) {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!("{} is not the name of an image (supported: {})", out.display(), IMAGE_SUFFIXES.join(", ")),
        remedy: "Give `out=` a name that ends with .png.".into(),
    })
}

/// Where the image should be.
pub(crate) fn image_file(reader: &CacheReader, image: &ImageView<'_>) -> Result<PathBuf> {
    let root = images_root(reader)?;
    let sample = Sample::of_picture(&root, image.path).map_err(|found| Error::Cache {
        path: reader.folder().to_owned(),
        found,
        remedy: "Run `verify()`.".into(),
    })?;
    Ok(sample.path)
}

/// The bytes of the image's file, if it is the one that the cache was made from.
pub(crate) fn read_same_file(path: &Path, image: &ImageView<'_>) -> Result<Vec<u8>> {
    let bytes = read_file(path).map_err(|found| Error::Mismatch {
        found,
        remedy: "The cache expects its data set there. Move it back, or run the same build again with its new \
                 location: that updates the location in the cache."
            .into(),
    })?;
    if let Some(found) = changed_since(&image.file_sha256, &Sha256::digest(&bytes).into()) {
        return Err(Error::Dataset {
            path: path.to_owned(),
            found,
            remedy: "Restore the image, or build the cache again with `overwrite=true`.".into(),
        });
    }
    Ok(bytes)
}

/// The image, if it is the one that the cache was made from.
pub(crate) fn read_same_image(path: &Path, image: &ImageView<'_>) -> Result<RgbImage> {
    let bytes = read_same_file(path, image)?;
    preprocess::decode(&bytes, &DecodeLimits::default()).map_err(|e| Error::Dataset {
        path: path.to_owned(),
        found: e.to_string(),
        remedy: "The cache was made by another version of this program; build it again with `overwrite=true`.".into(),
    })
}

/// What is drawn on the image, in its own pixels: detections without their doubles, and labels.
fn boxes(image: &ImageView<'_>, teacher: &Teacher) -> (Vec<Detection>, Vec<LabelBox>) {
    let labels = image.labels.map(|labels| labels.iter().collect()).unwrap_or_default();
    (teacher_boxes(image, teacher, &NmsOptions::PREDICTING), labels)
}

/// A picture of a view must be the one that the teacher saw, or none.
fn refuse_other_rules(reader: &CacheReader) -> Result<()> {
    cache::views_cannot_be_drawn(&reader.manifest().settings).map_or(Ok(()), |found| {
        Err(Error::Cache {
            path: reader.folder().to_owned(),
            found,
            remedy: "Use the version of logitcache that built it; the table of predictions needs no images.".into(),
        })
    })
}

/// The view of an image, and its boxes there, clipped; a label of which too little is left is left out.
fn seen(
    whole: &RgbImage,
    change: &ViewChange,
    teacher: &Teacher,
    detections: Vec<Detection>,
    labels: Vec<LabelBox>,
) -> (RgbImage, Vec<Detection>, Vec<LabelBox>) {
    let input = teacher.input();
    let plan = LetterboxPlan::by(teacher.input_rule.fit, whole.size, input);
    let mut levels = vec![0; 3 * input.width as usize * input.height as usize];
    Preprocessor::default().letterbox_levels_into(whole, &plan, &mut levels);
    let scene = Scene::of_view(change, 0, input);
    let mut pixels = vec![0; levels.len()];
    Renderer::default().render_view(change, &scene, &levels, &mut pixels);
    let Some(tile) = scene.tiles.first() else { return (RgbImage { size: input, pixels }, detections, labels) };
    let place = |d: Detection| {
        let b = scene.place(tile, plan.to_input(d.box_xyxy_px));
        let x = |v: f32| v.clamp(0.0, input.width as f32);
        let y = |v: f32| v.clamp(0.0, input.height as f32);
        Detection { box_xyxy_px: BoxXyxyPx { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) }, ..d }
    };
    let place_label = |l: LabelBox| {
        let b = scene.place_label(tile, plan.to_input(l.box_xyxy_px))?;
        Some(LabelBox { box_xyxy_px: b, ..l })
    };
    let detections = detections.into_iter().map(place).collect();
    (RgbImage { size: input, pixels }, detections, labels.into_iter().filter_map(place_label).collect())
}
