//! A cache in a report: its summary, and how right its teacher's scores are by the labels beside them.

use crate::{
    Result,
    cache::{CacheReader, ImageView, images_root},
    dataset::{DataSource, paths},
    eval::{Calibration, PrecisionRecall, ScoredImage, Scores, evenly, score_and_matches, scored_image},
    inspect::{self, CacheSummary},
    remote,
};
use std::path::{Path, PathBuf};

/// Labelled images of a cache that are scored at most: more do not change what a diagram shows.
pub const MAX_SCORED_IMAGES: usize = 5_000;

/// One cache.
pub struct CacheFolder {
    /// What it is called in the report.
    pub name: String,
    /// The cache.
    pub reader: CacheReader,
    /// What is in it.
    pub summary: CacheSummary,
    /// Against its labels; `None` without any.
    pub teacher: Option<TeacherScores>,
}

/// The teacher's boxes against the labels.
pub struct TeacherScores {
    /// Average precision and the rest.
    pub scores: Scores,
    /// Precision over recall.
    pub curves: PrecisionRecall,
    /// Whether scores are probabilities.
    pub calibration: Calibration,
    /// Labelled images in the cache, of which [`Scores::images`] were looked at.
    pub labelled_images: usize,
}

impl CacheFolder {
    /// Opens a cache and scores its teacher.
    ///
    /// # Errors
    /// As [`CacheReader::open`].
    pub fn open(path: &Path, name: String) -> Result<Self> {
        let reader = CacheReader::open(path)?;
        let summary = inspect::summary(path)?;
        let teacher = teacher_scores(&reader)?;
        Ok(Self { name, reader, summary, teacher })
    }

    /// Where its data set lies, with another split of it; `None` where the manifest's text is no path.
    pub fn source(&self, split: &str) -> Option<DataSource> {
        let dataset = &self.reader.manifest().dataset;
        let data = if dataset.source.is_empty() { &dataset.root } else { &dataset.source };
        let images_dir = match dataset.images_dir.as_deref() {
            Some(dir) => Some(self.place(dir)?),
            None => None,
        };
        Some(DataSource { data: self.place(data)?, images_dir, split: split.to_owned() })
    }

    /// Where an image lies; `None` where the cache's text is no path, or its store cannot be had.
    pub fn image_path(&self, image: &ImageView<'_>) -> Option<PathBuf> {
        let root = images_root(&self.reader).ok()?;
        Some(paths::absolute(&root.join(paths::from_column(image.path).ok()?)))
    }

    /// A path of the manifest, seen from here.
    fn place(&self, text: &str) -> Option<PathBuf> {
        remote::place(&self.reader, text).ok()
    }
}

fn teacher_scores(reader: &CacheReader) -> Result<Option<TeacherScores>> {
    // Augmented views show the same objects again.
    let mut labelled = reader.images().collect::<Result<Vec<ImageView<'_>>, _>>()?;
    labelled.retain(|image| image.view == 0 && image.labels.is_some());
    let labelled_images = labelled.len();
    if labelled_images == 0 {
        return Ok(None);
    }
    let teacher = &reader.manifest().teacher;
    let images = evenly(labelled, MAX_SCORED_IMAGES);
    let scored: Vec<ScoredImage> = images.iter().filter_map(|image| scored_image(image, teacher)).collect();
    let (scores, matches) = score_and_matches(&scored, &teacher.class_names)?;
    if scores.objects == 0 {
        return Ok(None);
    }
    let (curves, calibration) = (PrecisionRecall::of(&matches), Calibration::of(&matches));
    Ok(Some(TeacherScores { scores, curves, calibration, labelled_images }))
}
