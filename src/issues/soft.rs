//! Our own method: how improbable a label is under the teacher's class distributions and boxes.
//!
//! Scores are calibrated per class by the labels of the cache itself ([`super::calibrate`]). Of
//! each label eleven numbers tell how well the teacher bears it out ([`super::evidence`]): losses
//! of class and place, as in loss inspection (arXiv 2303.06999), with what would explain them.
//! Three logistic regressions turn them into the probabilities that the label is badly located, of
//! the wrong class, or of nothing. They learn from faults that the program makes itself in copies
//! of the labels ([`super::faults`]); faults of all kinds are in the same copies, so that each
//! learns to tell its own from the others. Images lie in five folds, and each fold is judged by
//! what the other four taught.
//!
//! - Missing: a box of the teacher that finds no label (IoU 0.5, each label once), `q * (1 -
//!   ramp(u, 0.2, 0.6)) * (1 - ramp(v, 0.4, 0.8))`: the calibrated probability that its labels have
//!   such a box, less what labels of its class (highest overlap u) and of other classes (v)
//!   explain.
//! - Duplicate: two labels of a class that overlap by u, `ramp(u, 0.5, 1)`; of the two the one that
//!   the teacher's boxes fit less.

use super::{
    Kind,
    calibrate::{Calibration, FOLDS, Point, fold_of, points},
    evidence::{self, Evidence, NUMBERS},
    faults::{Made, Shape, spoil},
    finding::Finding,
    learn::{Example, Model},
    seen::{FOUND_IOU, Seen, iou, ramp},
};
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Labels, copies included, that are spoiled to learn from; images are copied until there are as
/// many.
const LABELS_LEARNED: usize = 4000;
/// Copies of an image at most.
const MOST_COPIES: usize = 20;
/// Shapes of labels that are remembered for boxes elsewhere.
const SHAPES: usize = 10_000;
/// A box that the labels would hardly confirm is no missing object.
const LEAST_MISSING: f64 = 1e-4;

/// What the cache taught.
pub(super) struct Soft {
    calibrations: Vec<Calibration>,
    /// Of each fold: moved, of another class, added; `None` where there were no such faults to
    /// learn from.
    models: Vec<[Option<Model<NUMBERS>>; 3]>,
}

/// The faults that are learned, in the order of the models.
const LEARNED: [(Made, Kind); 3] =
    [(Made::Moved, Kind::Location), (Made::OtherClass, Kind::Class), (Made::Added, Kind::Spurious)];

impl Soft {
    /// Learns from a sample of the images.
    pub(super) fn learn(calibrations: Vec<Calibration>, sample: &[Seen]) -> Self {
        let shape = |seen: &Seen| seen.labels.iter().map(|label| Shape::of(label, seen.size)).collect::<Vec<_>>();
        let shapes: Vec<Shape> = crate::eval::evenly(sample.iter().flat_map(shape).collect(), SHAPES);
        let classes: BTreeSet<u32> = sample.iter().flat_map(|seen| &seen.labels).map(|label| label.class_id).collect();
        let classes: Vec<u32> = classes.into_iter().collect();
        let labels: usize = sample.iter().map(|seen| seen.labels.len()).sum();
        let copies = LABELS_LEARNED.div_ceil(labels.max(1)).clamp(1, MOST_COPIES) as u64;
        let of_image = |seen: &Seen| {
            let fold = fold_of(seen.image_id);
            let calibration = calibrations.get(fold)?;
            let of_copy = |copy| {
                let (labels, made) = spoil(&seen.labels, seen.size, &shapes, &classes, (seen.image_id, copy));
                let mut copy = seen.clone();
                copy.relabel(labels);
                let numbers = (0..made.len()).map(|at| evidence::of(&copy, calibration, at).numbers);
                numbers.zip(made).collect::<Vec<_>>()
            };
            Some((fold, (0..copies).flat_map(of_copy).collect::<Vec<_>>()))
        };
        let examples: Vec<(usize, Vec<([f64; NUMBERS], Made)>)> = sample.par_iter().filter_map(of_image).collect();
        let of_fold = |fold: usize| {
            LEARNED.map(|(kind, _)| {
                let others = examples.iter().filter(|(of, _)| *of != fold).flat_map(|(_, examples)| examples);
                let own: Vec<Example<NUMBERS>> = others.map(|(numbers, made)| (*numbers, *made == kind)).collect();
                Model::fit(own.iter())
            })
        };
        let models = (0..FOLDS).into_par_iter().map(of_fold).collect();
        Self { calibrations, models }
    }

    /// Everything that could be wrong with an image, with its probability.
    pub(super) fn findings(&self, seen: &Seen) -> Vec<Finding> {
        let fold = fold_of(seen.image_id);
        let (Some(calibration), Some(models)) = (self.calibrations.get(fold), self.models.get(fold)) else {
            return Vec::new();
        };
        let evidence: Vec<Evidence> = (0..seen.labels.len()).map(|at| evidence::of(seen, calibration, at)).collect();
        let mut findings = Vec::new();
        for (at, of) in evidence.iter().enumerate() {
            for (model, (_, kind)) in models.iter().zip(LEARNED) {
                let Some(model) = model else { continue };
                let row = match kind {
                    Kind::Class => of.other.map(|(_, row)| row),
                    _ => of.nearest.or(of.other.map(|(_, row)| row)),
                };
                let class_id = match kind {
                    Kind::Class => of.other.map(|(class, _)| class),
                    _ => None,
                };
                let score = model.probability(&of.numbers);
                findings.push(Finding { kind, score, label: Some(at), row, class_id, twin: None });
            }
        }
        findings.extend(duplicates(seen, &evidence));
        findings.extend(missing(seen, calibration));
        findings
    }
}

fn duplicates(seen: &Seen, evidence: &[Evidence]) -> Vec<Finding> {
    let fit = |at: usize| evidence.get(at).map_or(0.0, |of| of.fit + of.own * 1e-3);
    let mut found = Vec::new();
    for (at, label) in seen.labels.iter().enumerate() {
        for (other, second) in seen.labels.iter().enumerate().skip(at + 1).filter(|(_, l)| l.class_id == label.class_id)
        {
            let score = ramp(iou(label.box_xyxy_px, second.box_xyxy_px), 0.5, 1.0);
            if score > 0.0 {
                // Of equals the later one, which was added.
                let (worse, better) = if fit(at) < fit(other) { (at, other) } else { (other, at) };
                let row = evidence.get(worse).and_then(|of| of.nearest);
                let (label, twin) = (Some(worse), Some(better));
                found.push(Finding { kind: Kind::Duplicate, score, label, row, class_id: None, twin });
            }
        }
    }
    found
}

fn missing(seen: &Seen, calibration: &Calibration) -> Vec<Finding> {
    let mut missing = Vec::new();
    for (&row, found) in seen.kept.iter().zip(seen.found()) {
        let Some(detection) = seen.rows.get(row).filter(|_| found.is_none()) else { continue };
        let (mut own, mut other) = (0.0f64, 0.0f64);
        for (at, label) in seen.labels.iter().enumerate() {
            let overlap = seen.overlaps(at).get(row).copied().map_or(0.0, f64::from);
            let most = if label.class_id == detection.class_id { &mut own } else { &mut other };
            *most = most.max(overlap);
        }
        let q = calibration.probability(seen.best_logit(row), detection.class_id);
        let score = q * (1.0 - ramp(own, 0.2, 0.6)) * (1.0 - ramp(other, 0.4, 0.8));
        if score > LEAST_MISSING {
            let class_id = Some(detection.class_id);
            missing.push(Finding { kind: Kind::Missing, score, label: None, row: Some(row), class_id, twin: None });
        }
    }
    missing
}

/// The boxes of a sample, for [`Calibration::of_folds`].
pub(super) fn sample_points(sample: &[Seen]) -> Vec<Point> {
    sample.iter().flat_map(points).collect()
}

const _: () = assert!(FOUND_IOU == 0.5, "the text above names it");
