//! The logical content of a cache: one [`ImageRecord`] per image and view.

use crate::{
    columns::ImageRow,
    digest::ImageDigests,
    types::{BoxXyxyPx, ImageSize, LabelBox, Letterbox, ViewChange},
};
use half::f16;

/// (image_id, view): what identifies a record and orders all of them.
pub type ImageKey = (i64, i32);

/// Everything the cache keeps of one image (and view).
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// Position in the data set's sorted sample list.
    pub image_id: i64,
    /// 0 for the image as it is; 1.. for augmented views.
    pub view: i32,
    /// Path relative to the data set (see `paths` for names that are not UTF-8).
    pub path: String,
    /// After EXIF orientation.
    pub size: ImageSize,
    /// SHA-256 of the image file's bytes.
    pub file_sha256: [u8; 32],
    /// How the image was fitted into the teacher's input.
    pub letterbox: Letterbox,
    /// What makes the view of the letterboxed image; nothing for view 0.
    pub change: ViewChange,
    /// Highest class probability among the anchors that were not kept (0 where all were).
    pub dropped_max_score: f32,
    /// Mean class probability over dropped anchors and classes (0 where all were kept).
    pub dropped_mean_prob: f32,
    /// Sum of the highest class probabilities of the dropped anchors (0 where all were kept).
    pub dropped_score_sum: f32,
    /// Mean probability of the classes other than `class_id` over the rows without class logits (0 where all have them).
    pub rest_mean_prob: f32,
    /// Ground truth in the teacher's class ids and original pixels; `None` for an unlabelled image.
    pub labels: Option<Vec<LabelBox>>,
    /// The kept anchors.
    pub predictions: Predictions,
}

/// The kept anchors of one image, in increasing anchor order; every vector but `class_logits` has the same number of rows `n`
/// (or none: `stride` of a head of queries, `dfl_logits` where they are not stored).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Predictions {
    /// `[n]` flattened index over the head's strides in their order, row major; of a head of queries, the query's number.
    pub anchor: Vec<i32>,
    /// `[n]` input pixels per grid cell: one of the head's strides. Empty for a head of queries.
    pub stride: Vec<i32>,
    /// `[n]` highest class probability, 0..=1.
    pub score: Vec<f32>,
    /// `[n]` class of that probability (the lowest id of equals).
    pub class_id: Vec<i32>,
    /// `[n]` pixels of the original image, half-open, clipped to it.
    pub boxes_xyxy_px: Vec<BoxXyxyPx>,
    /// `[m, num_classes]` row major: logits before the sigmoid, of the `m <= n` rows that [`rows_with_class_logits`] names.
    pub class_logits: Vec<f16>,
    /// `[n, 4 * reg_max]` row major: left, top, right, bottom, each of `reg_max` bins; empty where not stored.
    pub dfl_logits: Vec<f16>,
}

impl Predictions {
    /// Number of kept anchors.
    pub fn len(&self) -> usize {
        self.anchor.len()
    }

    /// Number of rows with class logits.
    pub fn class_row_count(&self, num_classes: usize) -> usize {
        self.class_logits.len() / num_classes.max(1)
    }

    /// Whether no anchor was kept.
    pub fn is_empty(&self) -> bool {
        self.anchor.is_empty()
    }
}

/// Rows of predictions that come before an image's own in its part.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowCounts {
    /// All of them.
    pub all: u64,
    /// Those with class logits.
    pub with_class_logits: u64,
}

impl ImageRecord {
    /// The record's row in `images`, but for its labels.
    pub(crate) fn row(&self, digests: &ImageDigests, before: RowCounts, num_classes: usize) -> ImageRow<'_> {
        let (l, c) = (&self.letterbox, &self.change);
        ImageRow {
            image_id: self.image_id,
            view: self.view,
            path: &self.path,
            width: self.size.width as i32,
            height: self.size.height as i32,
            file_sha256: digests.file,
            record_sha256: digests.record,
            labels_sha256: digests.labels,
            scale: l.scale,
            pad_left: l.pad_left,
            pad_top: l.pad_top,
            view_scale: c.scale,
            view_offset_x: c.offset_x,
            view_offset_y: c.offset_y,
            view_flip: c.flip,
            view_hue: c.hue,
            view_saturation: c.saturation,
            view_value: c.value,
            first_row: before.all as i64,
            row_count: self.predictions.len() as i32,
            first_class_row: before.with_class_logits as i64,
            class_row_count: self.predictions.class_row_count(num_classes) as i32,
            dropped_max_score: self.dropped_max_score,
            dropped_mean_prob: self.dropped_mean_prob,
            dropped_score_sum: self.dropped_score_sum,
            rest_mean_prob: self.rest_mean_prob,
            labelled: self.labels.is_some(),
            label_count: self.labels.as_ref().map_or(0, Vec::len) as i32,
        }
    }
}

impl ImageRow<'_> {
    /// The image's size.
    ///
    /// # Errors
    /// In words, where a side is negative.
    pub(crate) fn size(&self) -> Result<ImageSize, String> {
        let side = |side: i32| u32::try_from(side).map_err(|_| "its size is negative".to_owned());
        Ok(ImageSize { width: side(self.width)?, height: side(self.height)? })
    }

    /// How the image was fitted into the input.
    pub(crate) fn letterbox(&self) -> Letterbox {
        Letterbox { scale: self.scale, pad_left: self.pad_left, pad_top: self.pad_top }
    }

    /// What makes the view.
    pub(crate) fn change(&self) -> ViewChange {
        ViewChange {
            scale: self.view_scale,
            offset_x: self.view_offset_x,
            offset_y: self.view_offset_y,
            flip: self.view_flip,
            hue: self.view_hue,
            saturation: self.view_saturation,
            value: self.view_value,
        }
    }

    /// The record of this row, with its labels (kept only where it is labelled) and predictions.
    ///
    /// # Errors
    /// In words, where its size is negative.
    pub(crate) fn record(&self, labels: Vec<LabelBox>, predictions: Predictions) -> Result<ImageRecord, String> {
        Ok(ImageRecord {
            image_id: self.image_id,
            view: self.view,
            path: self.path.to_owned(),
            size: self.size()?,
            file_sha256: self.file_sha256,
            letterbox: self.letterbox(),
            change: self.change(),
            dropped_max_score: self.dropped_max_score,
            dropped_mean_prob: self.dropped_mean_prob,
            dropped_score_sum: self.dropped_score_sum,
            rest_mean_prob: self.rest_mean_prob,
            labels: self.labelled.then_some(labels),
            predictions,
        })
    }
}

/// Which rows of an image have class logits, where `count` have: those of the highest scores, the earlier row first among equals.
pub fn rows_with_class_logits(scores: &[f32], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    if count < scores.len() {
        let score = |row: usize| scores.get(row).copied().unwrap_or(f32::NEG_INFINITY);
        order.sort_unstable_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        order.truncate(count);
    }
    let mut with = vec![false; scores.len()];
    for row in order {
        if let Some(slot) = with.get_mut(row) {
            *slot = true;
        }
    }
    with
}

#[cfg(test)]
mod tests {
    use super::rows_with_class_logits;

    #[test]
    fn the_highest_scores_have_class_logits_and_the_earlier_of_equals() {
        let scores = [0.5, 0.9, 0.5, 0.1];
        let with = |count| rows_with_class_logits(&scores, count);
        assert_eq!(with(0), [false; 4]);
        assert_eq!(with(1), [false, true, false, false]);
        assert_eq!(with(2), [true, true, false, false]);
        assert_eq!(with(3), [true, true, true, false]);
        assert_eq!(with(4), [true; 4]);
        assert_eq!(with(9), [true; 4]);
    }
}
