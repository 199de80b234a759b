//! One image as the methods look at it: its labels, and what the teacher saw beside each of them.

use crate::{
    cache::{self, HeadKind, ImageView, Teacher},
    eval::{NmsOptions, kept_rows, row_detections},
    toolkit::iou_px,
    types::{Detection, ImageSize, LabelBox},
};

/// Boxes of the teacher that are looked at one by one: what NMS leaves of those over nearly
/// nothing.
const LOOKED_AT: NmsOptions = NmsOptions { conf: 0.001, iou: 0.7, max_detections: 1000, multi_label: false };
/// Logits beyond are certain enough; a finite bound keeps averages of them meaningful.
const MOST_LOGIT: f64 = 20.0;

/// View 0 of one labelled image.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) image_id: i64,
    pub(crate) path: String,
    pub(crate) size: ImageSize,
    pub(crate) labels: Vec<LabelBox>,
    /// The cached rows of more than next to no score, each with its best class.
    pub(crate) rows: Vec<Detection>,
    /// `[rows, classes]` row major, before the sigmoid.
    logits: Vec<f32>,
    /// What the logits mean.
    head: HeadKind,
    num_classes: usize,
    /// Rows that non-maximum suppression leaves, the highest score first.
    pub(crate) kept: Vec<usize>,
    /// `[labels, rows]` row major: intersection over union.
    overlaps: Vec<f32>,
}

impl Seen {
    /// An image with these labels.
    pub(crate) fn of(image: &ImageView<'_>, teacher: &Teacher, labels: Vec<LabelBox>) -> Self {
        let num_classes = teacher.num_classes as usize;
        let (all, all_logits) = (row_detections(image), image.predictions.all_class_logits());
        let (mut rows, mut logits) = (Vec::new(), Vec::new());
        for (row, own) in all.iter().zip(all_logits.chunks_exact(num_classes.max(1))) {
            // A dense cache has thousands of rows that are evidence of nothing.
            if row.score > LOOKED_AT.conf {
                rows.push(*row);
                logits.extend_from_slice(own);
            }
        }
        let kept = kept_rows(&rows, &LOOKED_AT.for_head(teacher.one_to_one));
        let mut seen = Self {
            image_id: image.image_id,
            path: image.path.to_owned(),
            size: image.size,
            labels: Vec::new(),
            rows,
            logits,
            head: teacher.head,
            num_classes,
            kept,
            overlaps: Vec::new(),
        };
        seen.relabel(labels);
        seen
    }

    /// The same image with other labels.
    pub(crate) fn relabel(&mut self, labels: Vec<LabelBox>) {
        self.overlaps.clear();
        for label in &labels {
            self.overlaps.extend(self.rows.iter().map(|row| iou_px(label.box_xyxy_px, row.box_xyxy_px) as f32));
        }
        self.labels = labels;
    }

    /// Overlaps of a label with every row.
    pub(crate) fn overlaps(&self, label: usize) -> &[f32] {
        let rows = self.rows.len();
        self.overlaps.get(label * rows..(label + 1) * rows).unwrap_or_default()
    }

    /// Class logits of a row.
    pub(crate) fn logits(&self, row: usize) -> &[f32] {
        self.logits.get(row * self.num_classes..(row + 1) * self.num_classes).unwrap_or_default()
    }

    /// The logit of one class of a row, within what is meaningful.
    pub(crate) fn logit(&self, row: usize, class_id: u32) -> f64 {
        let logit = self.logits(row).get(class_id as usize).copied().map_or(-MOST_LOGIT, f64::from);
        bounded(logit)
    }

    /// The logit of a row's best class, from its score, which is exact.
    pub(crate) fn best_logit(&self, row: usize) -> f64 {
        self.rows.get(row).map_or(-MOST_LOGIT, |row| bounded(self.head.logit(f64::from(row.score))))
    }

    /// The probability of one class of a row, 0..=1.
    pub(crate) fn probability(&self, row: usize, class_id: u32) -> f64 {
        self.head.probability_f64(self.logit(row, class_id))
    }

    /// The probability of a row's best class, 0..=1.
    pub(crate) fn best_probability(&self, row: usize) -> f64 {
        self.head.probability_f64(self.best_logit(row))
    }

    /// For each kept row the label that it finds: of its class, at least half overlapping, the one
    /// of the highest overlap that no higher score has found.
    pub(crate) fn found(&self) -> Vec<Option<usize>> {
        let mut taken = vec![false; self.labels.len()];
        let of_row = |&row: &usize| {
            let class_id = self.rows.get(row)?.class_id;
            let mut best: Option<(f32, usize)> = None;
            for (at, label) in self.labels.iter().enumerate() {
                let overlap = self.overlaps(at).get(row).copied().unwrap_or_default();
                let free = !taken[at] && label.class_id == class_id && f64::from(overlap) >= FOUND_IOU;
                if free && best.is_none_or(|(most, _)| overlap > most) {
                    best = Some((overlap, at));
                }
            }
            let (_, at) = best?;
            taken[at] = true;
            Some(at)
        };
        self.kept.iter().map(of_row).collect()
    }
}

/// Overlap from which a box finds an object.
pub(crate) const FOUND_IOU: f64 = 0.5;

/// The log-odds of a probability, within what is meaningful.
pub(crate) fn log_odds(probability: f64) -> f64 {
    bounded(cache::log_odds(probability))
}

fn bounded(logit: f64) -> f64 {
    logit.clamp(-MOST_LOGIT, MOST_LOGIT)
}

/// 0 up to `from`, 1 from `to` on, a straight line between.
pub(crate) fn ramp(value: f64, from: f64, to: f64) -> f64 {
    ((value - from) / (to - from)).clamp(0.0, 1.0)
}
