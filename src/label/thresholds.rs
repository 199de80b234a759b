//! From which score on the boxes of a class are labels.
//!
//! Scores are calibrated first ([`crate::issues::calibrate`]): `q` is the probability that a box
//! finds a label of its class. The boxes of a class over a score are right in the share that is the
//! mean of their `q`; the lowest score at which this mean reaches the wanted precision is the
//! threshold. A class of few right boxes takes the `q` at which the boxes of all classes reach it.

use super::{Measured, Threshold};
use crate::{
    cache::HeadKind,
    issues::calibrate::{Calibration, FOLDS, Point},
};

/// Classes with fewer right boxes take the threshold of all classes together.
const FEW_RIGHT: usize = 20;
/// No box is likelier right.
const NEVER: f64 = f64::INFINITY;

/// The lowest probability (`q`) of a label of each class.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Thresholds {
    least: Vec<f64>,
}

impl Thresholds {
    /// Those at which these boxes, calibrated thus, have the wanted precision.
    fn reaching(precision: f64, points: &[Point], calibration: &Calibration, num_classes: usize) -> Self {
        let mut all = Vec::with_capacity(points.len());
        let mut own: Vec<(usize, Vec<f64>)> = vec![(0, Vec::new()); num_classes];
        for point in points {
            let q = calibration.probability(point.logit, point.class_id);
            all.push(q);
            if let Some((right, own)) = own.get_mut(point.class_id as usize) {
                *right += usize::from(point.right);
                own.push(q);
            }
        }
        let common = lowest(precision, all);
        let of_class = |(right, own)| if right < FEW_RIGHT { common } else { lowest(precision, own) };
        Self { least: own.into_iter().map(of_class).collect() }
    }
}

/// The lowest of these probabilities at which the mean of those from it on is as wanted; equal ones are all in or all out.
fn lowest(mean: f64, mut probabilities: Vec<f64>) -> f64 {
    probabilities.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut count, mut least) = (0.0, 0.0, NEVER);
    for equal in probabilities.chunk_by(|a, b| a == b) {
        sum += equal.iter().sum::<f64>();
        count += equal.len() as f64;
        if sum < mean * count {
            break;
        }
        least = equal.first().copied().unwrap_or(NEVER);
    }
    least
}

/// What decides about a box.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    /// Calibrated, with the least probability of each class.
    Calibrated { calibration: Calibration, thresholds: Thresholds },
    /// One score for all; calibrated where there are labelled images.
    Score { conf: f64, calibration: Option<Calibration> },
}

impl Rule {
    /// Of the boxes of labelled images, which may be none where a score is asked for.
    pub(super) fn of(threshold: Threshold, points: &[Point], num_classes: usize) -> Self {
        match threshold {
            Threshold::Precision(precision) => {
                let calibration = Calibration::of(points, num_classes);
                let thresholds = Thresholds::reaching(precision, points, &calibration, num_classes);
                Self::Calibrated { calibration, thresholds }
            }
            Threshold::Score(conf) => {
                let calibration = (!points.is_empty()).then(|| Calibration::of(points, num_classes));
                Self::Score { conf, calibration }
            }
        }
    }

    /// The probability that a box is right; its score where nothing says how much that is worth.
    pub(super) fn probability(&self, logit: f64, class_id: u32, score: f64) -> f64 {
        match self {
            Self::Calibrated { calibration, .. } | Self::Score { calibration: Some(calibration), .. } => {
                calibration.probability(logit, class_id)
            }
            Self::Score { calibration: None, .. } => score,
        }
    }

    /// Whether a box is a label.
    pub(super) fn is_label(&self, logit: f64, class_id: u32, score: f64) -> bool {
        match self {
            Self::Calibrated { calibration, thresholds } => {
                let least = thresholds.least.get(class_id as usize).copied().unwrap_or(NEVER);
                calibration.probability(logit, class_id) >= least
            }
            Self::Score { conf, .. } => score >= *conf,
        }
    }

    /// The lowest score of a label of a class; `None` where no score is enough.
    pub(super) fn conf(&self, class_id: u32, head: HeadKind) -> Option<f64> {
        match self {
            Self::Calibrated { calibration, thresholds } => {
                let least = thresholds.least.get(class_id as usize).copied().filter(|least| *least < 1.0)?;
                calibration.logit_of(least, class_id).map(|logit| head.probability_f64(logit))
            }
            Self::Score { conf, .. } => Some(*conf),
        }
    }

    /// Whether probabilities are calibrated.
    pub(super) fn is_calibrated(&self) -> bool {
        !matches!(self, Self::Score { calibration: None, .. })
    }
}

/// Boxes and labels that were counted.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) boxes: u64,
    pub(super) right: u64,
    pub(super) labels: u64,
}

impl Count {
    pub(super) fn with(self, other: Self) -> Self {
        Self { boxes: self.boxes + other.boxes, right: self.right + other.right, labels: self.labels + other.labels }
    }

    pub(super) fn measured(self) -> Measured {
        let Self { boxes, right, labels } = self;
        let share = |of: u64| (of > 0).then(|| right as f64 / of as f64);
        Measured {
            boxes,
            right,
            labels,
            precision: share(boxes),
            precision_95: (boxes > 0).then(|| wilson(right as f64, boxes as f64)),
            recall: share(labels),
        }
    }
}

/// Boxes over the threshold of each class, by folds: each is judged by a rule of the others.
pub(super) fn measure(threshold: Threshold, points: &[Point], num_classes: usize) -> Vec<Count> {
    let mut counts = vec![Count::default(); num_classes];
    for fold in 0..FOLDS {
        let others: Vec<Point> = points.iter().filter(|point| point.fold != fold).copied().collect();
        let rule = Rule::of(threshold, &others, num_classes);
        for point in points.iter().filter(|point| point.fold == fold) {
            if let Some(count) = counts.get_mut(point.class_id as usize)
                && rule.is_label(point.logit, point.class_id, point.score)
            {
                count.boxes += 1;
                count.right += u64::from(point.right);
            }
        }
    }
    counts
}

/// Wilson's interval of a share at 95 %.
fn wilson(right: f64, all: f64) -> [f64; 2] {
    const Z: f64 = 1.959_963_984_540_054;
    let (share, z2) = (right / all, Z * Z / all);
    let centre = (share + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (share * (1.0 - share) / all + z2 / (4.0 * all)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: HeadKind = HeadKind::Yolov8Dfl;

    /// Scores are what they say: at 0.9 nine in ten are right, at 0.5 one half, at 0.1 one in ten.
    fn points(class_id: u32, count: usize) -> Vec<Point> {
        let of = |n: usize| {
            let (logit, right) = match n % 3 {
                0 => (9.0f64.ln(), !(n / 3).is_multiple_of(10)),
                1 => (0.0, (n / 3).is_multiple_of(2)),
                _ => (-9.0f64.ln(), (n / 3).is_multiple_of(10)),
            };
            Point { logit, score: HEAD.probability_f64(logit), class_id, right, fold: n % FOLDS }
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn the_lowest_score_that_reaches_the_mean() {
        assert_eq!(lowest(0.8, vec![0.5, 0.9, 0.9, 0.2]), 0.9);
        assert_eq!(lowest(0.75, vec![0.5, 0.9, 0.9, 0.2]), 0.5);
        assert_eq!(lowest(0.8, vec![0.9, 0.75, 0.75, 0.75, 0.75]), 0.9);
        assert_eq!(lowest(0.95, vec![0.5, 0.9]), NEVER);
        assert_eq!(lowest(0.5, Vec::new()), NEVER);
    }

    #[test]
    fn a_wanted_precision_is_reached_and_higher_ones_need_higher_scores() {
        let points = points(0, 3000);
        let at = |precision: f64| Rule::of(Threshold::Precision(precision), &points, 1).conf(0, HEAD).unwrap_or(2.0);
        assert!((at(0.85) - 0.9).abs() < 0.05 && (at(0.65) - 0.5).abs() < 0.05, "{} {}", at(0.85), at(0.65));
        assert_eq!(Rule::of(Threshold::Precision(0.99), &points, 1).conf(0, HEAD), None);
        let counts = measure(Threshold::Precision(0.85), &points, 1);
        assert_eq!((counts[0].boxes, counts[0].right), (1000, 900));
    }

    #[test]
    fn a_class_of_few_right_boxes_takes_the_threshold_of_all() {
        let mut all = points(0, 3000);
        all.extend(points(1, 3));
        let rule = Rule::of(Threshold::Precision(0.85), &all, 3);
        let conf = |class_id| rule.conf(class_id, HEAD).unwrap_or(2.0);
        // The few boxes of class 1 lie between the many of class 0.
        assert!((conf(0) - 0.9).abs() < 0.01, "{}", conf(0));
        assert!((0.45..0.95).contains(&conf(1)) && (conf(2) - conf(1)).abs() < 0.1, "{} {}", conf(1), conf(2));
    }

    #[test]
    fn one_score_for_all_needs_no_labels() {
        let rule = Rule::of(Threshold::Score(0.4), &[], 2);
        assert!(!rule.is_calibrated() && rule.conf(1, HEAD) == Some(0.4));
        assert!(rule.is_label(0.0, 1, 0.4) && !rule.is_label(0.0, 1, 0.39));
        assert_eq!(rule.probability(0.0, 1, 0.39), 0.39);
    }

    #[test]
    fn intervals_are_wilsons() {
        // statsmodels.stats.proportion.proportion_confint(45, 50, method="wilson")
        let [low, high] = wilson(45.0, 50.0);
        assert!((low - 0.786_398).abs() < 1e-6 && (high - 0.956_524).abs() < 1e-6, "{low} {high}");
    }
}
