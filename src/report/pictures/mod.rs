//! Pictures side by side: what the labels, the teacher, and the student before and after say of the images where they disagree most.

mod candidates;
mod columns;
mod rank;
mod soft;

pub use candidates::Candidates;
pub use soft::{ClassProbs, SoftBox, TOP_CLASSES};

use super::{cache_folder::CacheFolder, html::bytes_of_picture};
use crate::{
    Result,
    cache::Sha256Bytes,
    eval::InferenceOptions,
    pipeline::{changed_since, read_file},
    preprocess::{self, DecodeLimits},
};
use candidates::Candidate;
use sha2::{Digest, Sha256};
use soft::SoftModel;
use std::path::PathBuf;

/// A model whose boxes are drawn.
#[derive(Debug, Clone)]
pub struct DrawnModel {
    /// What its column is called.
    pub title: String,
    /// The ONNX file.
    pub path: PathBuf,
}

/// One image with its drawings.
#[derive(Debug, Clone)]
pub struct PictureRow {
    /// As the cache or the data set calls it.
    pub name: String,
    /// How much its boxes disagree, 0..1.
    pub disagreement: f64,
    /// In the order of [`Pictures::columns`].
    pub drawings: Vec<Drawing>,
    /// Boxes of the teacher, with class distributions.
    pub boxes: Vec<SoftBox>,
}

/// One drawing.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// A JPEG file.
    pub jpeg: Vec<u8>,
    /// Its width in pixels.
    pub width: u32,
    /// Its height in pixels.
    pub height: u32,
    /// Boxes that were drawn; `None` where nobody labelled the image.
    pub boxes: Option<usize>,
}

/// The pictures of a report.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// Titles of the columns.
    pub columns: Vec<String>,
    /// Names of the models whose probabilities stand beside the teacher's, in the order of [`ClassProbs::models`].
    pub soft_models: Vec<String>,
    /// The most disagreement first.
    pub rows: Vec<PictureRow>,
    /// Images that were looked at.
    pub candidates: usize,
    /// Images that could have been looked at.
    pub available: usize,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Chooses the images and draws them, until there are `most` or they take `most_bytes` bytes of the page.
///
/// # Errors
/// As those of the detector; an image that cannot be read or was changed is left out with a note.
pub fn draw(
    candidates: Candidates,
    cache: Option<&CacheFolder>,
    models: &[DrawnModel],
    detector: &InferenceOptions,
    most: usize,
    most_bytes: usize,
) -> Result<Pictures> {
    let mut pictures = Pictures {
        candidates: candidates.images.len(),
        available: candidates.available,
        notes: candidates.notes.clone(),
        ..Pictures::default()
    };
    let has_labels = candidates.images.iter().any(|image| image.labels.is_some());
    if has_labels {
        pictures.columns.push("labels".into());
    }
    if let Some(cache) = cache {
        pictures.columns.push(format!("teacher ({})", cache.name));
    }
    pictures.columns.extend(models.iter().map(|model| model.title.clone()));
    let mut soft_models = Vec::new();
    if let Some(cache) = cache {
        for model in models {
            match SoftModel::open(model, cache, detector)? {
                Ok(soft) => soft_models.push(soft),
                Err(note) => pictures.notes.push(note),
            }
        }
    }
    pictures.soft_models = soft_models.iter().map(|model| model.title.clone()).collect();
    let mut bytes = 0;
    for (disagreement, image) in rank::ranked(&candidates, has_labels) {
        if pictures.rows.len() == most || disagreement == 0.0 {
            break;
        }
        let picture = match read(image) {
            Ok(picture) => picture,
            Err(note) => {
                pictures.notes.push(note);
                continue;
            }
        };
        let boxes = match cache {
            Some(cache) => soft::boxes(image, &picture, cache, &mut soft_models)?,
            None => Vec::new(),
        };
        let drawings = columns::draw(image, &picture, has_labels, &boxes, &candidates.names);
        let size = bytes_of_picture(drawings.iter().map(|drawing| drawing.jpeg.len()).sum());
        if bytes + size > most_bytes {
            pictures.notes.push(super::no_more_pictures());
            break;
        }
        bytes += size;
        pictures.rows.push(PictureRow { name: image.name.clone(), disagreement, drawings, boxes });
    }
    Ok(pictures)
}

/// The picture, if it is the one that the cache was made from; else why it is left out.
fn read(image: &Candidate) -> Result<preprocess::RgbImage, String> {
    let bytes = read_file(&image.path)?;
    let changed = |cached: &Sha256Bytes| changed_since(cached, &Sha256::digest(&bytes).into());
    if let Some(found) = image.file_sha256.as_ref().and_then(changed) {
        return Err(format!("{}: {found}", image.path.display()));
    }
    preprocess::decode(&bytes, &DecodeLimits::default()).map_err(|e| format!("{}: {e}", image.path.display()))
}
