//! What the teacher sees on an image and what the data set says, drawn on the image itself.

use super::find;
use crate::{
    Error, Result,
    cache::{CacheReader, ImageView, to_hex},
    dataset::{IMAGE_SUFFIXES, Sample},
    draw::{self, Mark},
    eval::{NmsOptions, suppress},
    fsio,
    pipeline::read_file,
    preprocess::{self, DecodeLimits},
    types::Detection,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Predictions are drawn whose score is greater than this.
pub const SHOWN_CONF: f32 = NmsOptions::PREDICTING.conf;

/// Draws one image's predictions, doubles suppressed, and its labels, into the picture file `out` in the format that its suffix
/// says. The image is looked for where the cache says that its data set lies.
///
/// # Errors
/// As [`super::image`]; [`Error::Dataset`] where the image is not there, is another one than the cache was made from, or would be
/// written over; [`Error::Mismatch`] for a suffix that is none of a picture.
pub fn draw_image(cache: &Path, wanted: &str, out: &Path) -> Result<()> {
    let reader = CacheReader::open(cache)?;
    let image = find(&reader, wanted)?;
    refuse_other_suffixes(out)?;
    let path = image_file(&reader, &image)?;
    if out.canonicalize().is_ok_and(|out| path.canonicalize().is_ok_and(|path| path == out)) {
        return Err(Error::Dataset {
            path,
            found: "this is the image itself; --out would write over it".into(),
            remedy: "Choose another name for the picture.".into(),
        });
    }
    let mut picture = read_same_image(&path, &image)?;
    draw::draw(&mut picture, &marks(&image, &reader.manifest().teacher.class_names));
    let bytes = draw::encode(&picture, out).map_err(|e| Error::Mismatch {
        found: format!("{} cannot be written: {e}", out.display()),
        remedy: "Name it .png: that format has no limit of size.".into(),
    })?;
    fsio::write_atomic(out, &bytes)
}

fn refuse_other_suffixes(out: &Path) -> Result<()> {
    let suffix = out.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if IMAGE_SUFFIXES.contains(&suffix.as_str()) {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!("{} is not named as a picture (of the kinds {})", out.display(), IMAGE_SUFFIXES.join(", ")),
        remedy: "Give --out a name that ends with .png.".into(),
    })
}

/// Where the image should be.
fn image_file(reader: &CacheReader, image: &ImageView<'_>) -> Result<PathBuf> {
    let root = reader.place(&reader.manifest().dataset.root)?;
    let sample = Sample::of_picture(&root, image.path).map_err(|found| Error::Cache {
        path: reader.folder().to_owned(),
        found,
        remedy: "Run `logitcache verify`.".into(),
    })?;
    Ok(sample.path)
}

/// The image, if it is the one that the cache was made from.
fn read_same_image(path: &Path, image: &ImageView<'_>) -> Result<preprocess::RgbImage> {
    let bytes = read_file(path).map_err(|found| Error::Mismatch {
        found,
        remedy: "The cache expects its data set there. Move it back, or run the same build again from where it is now: that tells \
                 the cache the new place."
            .into(),
    })?;
    let digest = to_hex(&Sha256::digest(&bytes));
    if digest != image.file_sha256 {
        return Err(Error::Dataset {
            path: path.to_owned(),
            found: format!(
                "the image changed since the cache was made: sha256 {} then, {digest} now",
                image.file_sha256
            ),
            remedy: "Restore the image, or build the cache again with --overwrite.".into(),
        });
    }
    preprocess::decode(&bytes, &DecodeLimits::default()).map_err(|e| Error::Dataset {
        path: path.to_owned(),
        found: e.to_string(),
        remedy: "The cache was made by another version of this program; build it again with --overwrite.".into(),
    })
}

fn marks(image: &ImageView<'_>, class_names: &[String]) -> Vec<Mark> {
    let record = image.to_record();
    let p = &record.predictions;
    let rows = p.class_id.iter().zip(&p.score).zip(&p.boxes_xyxy_px);
    let boxes = rows.map(|((&class_id, &score), &box_xyxy_px)| Detection {
        class_id: u32::try_from(class_id).unwrap_or_default(),
        score,
        box_xyxy_px,
    });
    let detections = suppress(boxes.collect(), &NmsOptions::PREDICTING);
    let labels = record.labels.unwrap_or_default();
    let detections = detections.iter().map(|d| Mark::detection(d, class_names));
    detections.chain(labels.iter().map(|l| Mark::label(l, class_names))).collect()
}
