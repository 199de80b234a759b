//! Our own method: how improbable a label is under the teacher's class distributions and boxes.
//!
//! Scores are calibrated per class by the labels of the cache itself ([`super::calibrate`]). Of
//! each label eleven numbers tell how well the teacher bears it out ([`super::evidence`]): losses
//! of class and place, as in loss inspection (arXiv 2303.06999), with what would explain them.
//! Three logistic regressions turn them into the probabilities that the label is badly located, of
//! the wrong class, or of nothing. They learn from faults that the program makes itself in copies
//! of the labels ([`super::faults`]); faults of all kinds are in the same copies, so that each
//! learns to tell its own from the others. How many labels are wrong in truth is estimated from the
//! probabilities, so that kinds can be compared. Images lie in five folds, and each fold is judged by
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
    seen::{FOUND_IOU, Seen, ramp},
};
use crate::toolkit::iou_px;
use rayon::prelude::*;
use std::collections::BTreeSet;

/// Labels, copies included, that are spoiled to learn from; images are copied until there are as
/// many.
const LABELS_LEARNED: usize = 4000;
/// Copies of an image at most.
const MOST_COPIES: usize = 20;
/// Shapes of labels that are remembered for boxes elsewhere.
const SHAPES: usize = 10_000;
/// Rounds in which the share of faults is estimated.
const ROUNDS: usize = 200;
/// A box that the labels would hardly confirm is no missing object.
const LEAST_MISSING: f64 = 1e-4;

/// What the cache taught.
pub(super) struct Soft {
    calibrations: Vec<Calibration>,
    /// Of each fold: moved, of another class, added; `None` where there were no such faults to
    /// learn from.
    models: Vec<[Option<Model<NUMBERS>>; 3]>,
    /// How many labels are such a fault, in the order of the models.
    shares: [Share; 3],
}

/// The faults that are learned, in the order of the models.
const LEARNED: [(Made, Kind); 3] =
    [(Made::Moved, Kind::Location), (Made::OtherClass, Kind::Class), (Made::Added, Kind::Spurious)];

/// Fold of an image, the numbers of its labels, and those of its spoiled copies.
type Learned = (usize, Vec<[f64; NUMBERS]>, Vec<([f64; NUMBERS], Made)>);

/// How many of the labels are a fault of some kind: in the spoiled copies, and in truth as far as
/// the probabilities themselves tell.
///
/// A model that learned where one label in ten is spoiled expects as many in truth. Saerens,
/// Latinne, Decaestecker, "Adjusting the outputs of a classifier to new a priori probabilities",
/// 2002: the share is the mean of the probabilities that are corrected by it.
#[derive(Debug, Clone, Copy)]
struct Share {
    learned: f64,
    estimated: f64,
}

impl Share {
    fn of(learned: f64, probabilities: &[f64]) -> Self {
        let count = probabilities.len() as f64;
        let mut share = Self { learned, estimated: learned };
        if learned <= 0.0 || learned >= 1.0 || probabilities.is_empty() {
            return share;
        }
        for _ in 0..ROUNDS {
            let sum: f64 = probabilities.iter().map(|&p| share.corrected(p)).sum();
            // No fewer than one in all: a share of 0 would say that nothing can be wrong.
            share.estimated = (sum / count).clamp(1.0 / (count + 1.0), 0.5);
        }
        share
    }

    fn corrected(&self, probability: f64) -> f64 {
        if self.learned <= 0.0 || self.learned >= 1.0 {
            return probability;
        }
        let wrong = probability * self.estimated / self.learned;
        let right = (1.0 - probability) * (1.0 - self.estimated) / (1.0 - self.learned);
        if wrong + right > 0.0 { wrong / (wrong + right) } else { probability }
    }
}

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
            let own = (0..seen.labels.len()).map(|at| evidence::of(seen, calibration, at).numbers).collect();
            Some((fold, own, (0..copies).flat_map(of_copy).collect()))
        };
        let examples: Vec<Learned> = sample.par_iter().filter_map(of_image).collect();
        let of_fold = |fold: usize| {
            LEARNED.map(|(kind, _)| {
                let others = examples.iter().filter(|(of, ..)| *of != fold).flat_map(|(_, _, examples)| examples);
                let own: Vec<Example<NUMBERS>> = others.map(|(numbers, made)| (*numbers, *made == kind)).collect();
                Model::fit(own.iter())
            })
        };
        let models: Vec<[Option<Model<NUMBERS>>; 3]> = (0..FOLDS).into_par_iter().map(of_fold).collect();
        let share = |which: usize| {
            let (kind, _) = LEARNED[which];
            let made = examples.iter().flat_map(|(_, _, examples)| examples).filter(|(_, made)| *made == kind).count();
            let all: usize = examples.iter().map(|(_, _, examples)| examples.len()).sum();
            let of_image = |(fold, own, _): &Learned| {
                let model = models.get(*fold).and_then(|models| models[which].as_ref());
                own.iter().filter_map(|numbers| Some(model?.probability(numbers))).collect::<Vec<f64>>()
            };
            Share::of(made as f64 / all.max(1) as f64, &examples.iter().flat_map(of_image).collect::<Vec<f64>>())
        };
        let shares = [share(0), share(1), share(2)];
        Self { calibrations, models, shares }
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
            for ((model, share), (_, kind)) in models.iter().zip(&self.shares).zip(LEARNED) {
                let Some(model) = model else { continue };
                let row = match kind {
                    Kind::Class => of.other.map(|(_, row)| row),
                    _ => of.nearest.or(of.other.map(|(_, row)| row)),
                };
                let class_id = match kind {
                    Kind::Class => of.other.map(|(class, _)| class),
                    _ => None,
                };
                let score = share.corrected(model.probability(&of.numbers));
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
            let score = ramp(iou_px(label.box_xyxy_px, second.box_xyxy_px), 0.5, 1.0);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_faults_is_found_from_the_probabilities() {
        // A classifier that learned with one fault in ten and sees 1 % or 30 % of them: of faults and
        // others it gives one of two values, each right in nine of ten cases.
        let (high, low) = (0.1 * 0.9 / (0.1 * 0.9 + 0.9 * 0.1), 0.1 * 0.1 / (0.1 * 0.1 + 0.9 * 0.9));
        for share in [0.01, 0.3] {
            let highs = (10_000.0 * (share * 0.9 + (1.0 - share) * 0.1)) as usize;
            let probabilities: Vec<f64> = (0..10_000).map(|n| if n < highs { high } else { low }).collect();
            let found = Share::of(0.1, &probabilities);
            assert!((found.estimated - share).abs() < 0.002, "{found:?}");
            assert!(found.corrected(high) > found.corrected(low));
        }
        assert_eq!(Share::of(0.0, &[0.5]).corrected(0.5), 0.5);
    }
}
