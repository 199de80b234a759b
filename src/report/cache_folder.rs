//! A cache in a report: its summary, and how right its teacher's scores are by the labels beside them.

use crate::{
    Result,
    cache::{CacheReader, ImageView, decode_f32, decode_i32},
    dataset::{DataSource, paths},
    eval::{Calibration, NmsOptions, PrecisionRecall, ScoredImage, Scores, score_and_matches, suppress},
    inspect::{self, CacheSummary},
    types::{Detection, TruthBox},
};
use std::path::{Path, PathBuf};

/// Labelled images of a cache that are scored at most: more do not change what a diagram shows.
pub const MAX_SCORED_IMAGES: usize = 5_000;

/// Which of the teacher's boxes are scored: every kept anchor, doubles suppressed.
pub const SCORED: NmsOptions = NmsOptions { conf: 0.0, ..NmsOptions::PREDICTING };

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

    /// Where an image lies; `None` where the cache's text is no path.
    pub fn image_path(&self, image: &ImageView<'_>) -> Option<PathBuf> {
        let root = self.place(&self.reader.manifest().dataset.root)?;
        Some(paths::absolute(&root.join(paths::from_column(image.path).ok()?)))
    }

    /// A path of the manifest, seen from here.
    fn place(&self, text: &str) -> Option<PathBuf> {
        paths::from_column(text).ok().map(|path| paths::absolute(&self.reader.folder().join(path)))
    }
}

/// The teacher's boxes on one image: each kept anchor's best class, suppressed.
pub fn teacher_boxes(image: &ImageView<'_>, nms: &NmsOptions) -> Vec<Detection> {
    let p = &image.predictions;
    let rows = decode_i32(p.class_ids).zip(decode_f32(p.scores)).zip(p.boxes_xyxy_px());
    let boxes = rows.map(|((class_id, score), box_xyxy_px)| Detection {
        class_id: u32::try_from(class_id).unwrap_or_default(),
        score,
        box_xyxy_px,
    });
    suppress(boxes.collect(), nms)
}

/// At most `most` of a list, evenly spaced, the first among them.
pub fn evenly<T>(list: Vec<T>, most: usize) -> Vec<T> {
    let (len, most) = (list.len(), most.min(list.len()));
    let mut next = 0;
    list.into_iter()
        .enumerate()
        .filter(|(i, _)| {
            let wanted = next < most && *i == next * len / most;
            next += usize::from(wanted);
            wanted
        })
        .map(|(_, item)| item)
        .collect()
}

fn teacher_scores(reader: &CacheReader) -> Result<Option<TeacherScores>> {
    // Augmented views show the same objects again.
    let of_interest =
        |image: &Result<ImageView<'_>>| image.as_ref().map_or(true, |i| i.view == 0 && i.labels.is_some());
    let labelled = reader.images().filter(of_interest).collect::<Result<Vec<_>>>()?;
    let labelled_images = labelled.len();
    if labelled_images == 0 {
        return Ok(None);
    }
    let scored: Vec<ScoredImage> = evenly(labelled, MAX_SCORED_IMAGES)
        .iter()
        .map(|image| {
            let labels = image.labels.iter().flat_map(|labels| labels.iter());
            let truth = labels.map(|label| {
                let b = label.box_xyxy_px;
                let area_px2 = f64::from(b.x2 - b.x1) * f64::from(b.y2 - b.y1);
                TruthBox { class_id: label.class_id, box_xyxy_px: b, area_px2, is_crowd: false }
            });
            let truth = truth.collect();
            ScoredImage { image_id: image.image_id, truth, detections: teacher_boxes(image, &SCORED) }
        })
        .collect();
    let (scores, matches) = score_and_matches(&scored, &reader.manifest().teacher.class_names)?;
    if scores.objects == 0 {
        return Ok(None);
    }
    let (curves, calibration) = (PrecisionRecall::of(&matches), Calibration::of(&matches));
    Ok(Some(TeacherScores { scores, curves, calibration, labelled_images }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evenly_spaced() {
        assert_eq!(evenly((0..10).collect(), 3), [0, 3, 6]);
        assert_eq!(evenly((0..3).collect(), 10), [0, 1, 2]);
        assert_eq!(evenly((0..3).collect(), 3), [0, 1, 2]);
        assert_eq!(evenly((0..7).collect::<Vec<i32>>(), 6).len(), 6);
        assert!(evenly(Vec::<u8>::new(), 3).is_empty() && evenly(vec![1], 0).is_empty());
    }
}
