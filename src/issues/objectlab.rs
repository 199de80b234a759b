//! ObjectLab: Tkachenko, Thyagarajan, Mueller, "ObjectLab: Automated Diagnosis of Mislabeled Images
//! in Object Detection Data", 2023 (arXiv 2309.00832). Written from the paper. Here a score is 1
//! minus the paper's, so that a high one is suspicious.
//!
//! The paper's thresholds suppose softmax scores, which sigmoid detectors seldom reach: scores are
//! calibrated per class first.

use super::{Kind, finding::Finding};
use crate::{
    toolkit::iou_px,
    types::{BoxXyxyPx, Detection, LabelBox},
};

/// A prediction of at least this score that touches no label is an overlooked object; of more, one
/// of another class a swap.
const HIGH: f64 = 0.95;
/// Predictions of more are held against the place of a label.
const LOW: f64 = 0.5;
/// Share of the overlap in the similarity.
const OVERLAP_SHARE: f64 = 0.9;
/// How fast nearness fades, per pixel.
const NEARNESS: f64 = 0.1;
/// Two labels of different classes with this overlap contradict each other.
const SAME_PLACE: f64 = 0.95;
/// A quality of 0 does not hide the other kinds.
const LEAST_QUALITY: f64 = 1e-100;
/// Temperature of the minimum over an image.
const TEMPERATURE: f64 = 0.1;

/// One image: labels, predictions and their scores after calibration.
pub(super) struct Boxes<'a> {
    pub(super) labels: &'a [LabelBox],
    pub(super) found: &'a [Detection],
    pub(super) scores: &'a [f64],
}

/// Overlap and nearness of two boxes, 0..=1: the nearness is that of the authors' program,
/// `exp(-0.1 * distance of the centres)`.
fn similarity(a: BoxXyxyPx, b: BoxXyxyPx) -> f64 {
    let centre = |b: BoxXyxyPx| [f64::from(b.x1 + b.x2) / 2.0, f64::from(b.y1 + b.y2) / 2.0];
    let ([ax, ay], [bx, by]) = (centre(a), centre(b));
    OVERLAP_SHARE * iou_px(a, b) + (1.0 - OVERLAP_SHARE) * (-NEARNESS * (ax - bx).hypot(ay - by)).exp()
}

impl Boxes<'_> {
    /// The smallest similarity over 0 of a label and a prediction; 1 where there is none.
    pub(super) fn least_similarity(&self) -> f64 {
        let pairs = self.labels.iter().flat_map(|label| self.found.iter().map(move |found| (label, found)));
        let all = pairs.map(|(label, found)| similarity(label.box_xyxy_px, found.box_xyxy_px));
        all.filter(|s| *s > 0.0).fold(1.0, f64::min)
    }

    /// Every suspicion, `least` being the smallest similarity of the whole data set.
    pub(super) fn findings(&self, least: f64) -> Vec<Finding> {
        let mut findings: Vec<Finding> = Vec::new();
        for at in 0..self.labels.len() {
            let (located, row) = self.located(at);
            findings.push(self.finding(Kind::Location, located, at, row));
            let (swapped, row) = self.swapped(at, least);
            findings.push(self.finding(Kind::Class, swapped, at, row));
        }
        for (row, (found, score)) in self.found.iter().zip(self.scores).enumerate() {
            let touches = |label: &LabelBox| iou_px(label.box_xyxy_px, found.box_xyxy_px) > 0.0;
            if *score >= HIGH && !self.labels.iter().any(touches) {
                let same = self.labels.iter().filter(|label| label.class_id == found.class_id);
                let nearest = same.map(|label| similarity(label.box_xyxy_px, found.box_xyxy_px));
                let quality = nearest.reduce(f64::max).unwrap_or(least * (1.0 - score));
                let (kind, class_id) = (Kind::Missing, Some(found.class_id));
                findings.push(Finding {
                    kind,
                    score: 1.0 - quality,
                    label: None,
                    row: Some(row),
                    class_id,
                    twin: None,
                });
            }
        }
        findings
    }

    fn finding(&self, kind: Kind, quality: f64, at: usize, row: Option<usize>) -> Finding {
        let class_id = row.filter(|_| kind == Kind::Class).and_then(|row| Some(self.found.get(row)?.class_id));
        Finding { kind, score: 1.0 - quality, label: Some(at), row, class_id, twin: None }
    }

    /// The highest similarity to predictions of the label's class that touch it, with the
    /// prediction.
    fn located(&self, at: usize) -> (f64, Option<usize>) {
        let Some(label) = self.labels.get(at) else { return (1.0, None) };
        let near = self.found.iter().zip(self.scores).enumerate().filter(|(_, (found, score))| {
            found.class_id == label.class_id && **score > LOW && iou_px(label.box_xyxy_px, found.box_xyxy_px) > 0.0
        });
        match nearest(near.map(|(row, (found, _))| (row, similarity(label.box_xyxy_px, found.box_xyxy_px)))) {
            Some((row, s)) => (s, Some(row)),
            None => (1.0, None),
        }
    }

    /// 1 less the highest similarity to a prediction of another class.
    fn swapped(&self, at: usize, least: f64) -> (f64, Option<usize>) {
        let Some(label) = self.labels.get(at) else { return (1.0, None) };
        let contradicts = |other: &LabelBox| {
            other.class_id != label.class_id && iou_px(other.box_xyxy_px, label.box_xyxy_px) >= SAME_PLACE
        };
        let others = self.found.iter().zip(self.scores).enumerate();
        let others = others.filter(|(_, (found, score))| found.class_id != label.class_id && **score > HIGH);
        let highest = nearest(others.map(|(row, (found, _))| (row, similarity(label.box_xyxy_px, found.box_xyxy_px))));
        let row = highest.map(|(row, _)| row);
        if self.labels.iter().any(contradicts) {
            return (least, row);
        }
        (highest.map_or(1.0, |(_, s)| (1.0 - s).max(least)), row)
    }
}

fn nearest(all: impl Iterator<Item = (usize, f64)>) -> Option<(usize, f64)> {
    all.reduce(|a, b| if b.1 > a.1 { b } else { a })
}

/// The suspicion of a whole image: 1 less the geometric mean over the kinds of a soft minimum of
/// the qualities.
pub(super) fn image_score(findings: &[Finding]) -> f64 {
    let kinds = [Kind::Missing, Kind::Location, Kind::Class];
    let log_of_kind = |kind: Kind| {
        let qualities: Vec<f64> = findings.iter().filter(|f| f.kind == kind).map(|f| 1.0 - f.score).collect();
        soft_minimum(&qualities).max(LEAST_QUALITY).ln()
    };
    1.0 - (kinds.map(log_of_kind).iter().sum::<f64>() / kinds.len() as f64).exp()
}

/// The mean with the weights `softmax((1 - q) / temperature)`; 1 of nothing.
fn soft_minimum(qualities: &[f64]) -> f64 {
    let weight = |q: &f64| ((1.0 - q) / TEMPERATURE).exp();
    let total: f64 = qualities.iter().map(weight).sum();
    if total > 0.0 { qualities.iter().map(|q| q * weight(q)).sum::<f64>() / total } else { 1.0 }
}
