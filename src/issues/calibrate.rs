//! What the teacher's scores are worth on this data set: the share of its boxes that the labels
//! confirm.
//!
//! Platt scaling (Platt 1999; Niculescu-Mizil and Caruana 2005): `p = sigmoid(slope * logit +
//! intercept[class])`, with one slope for all classes and an intercept for each. An intercept is
//! drawn to that of all classes together by a normal prior of variance 1, so that a class with few
//! boxes has nearly the common one. A box counts as right where it finds a label (IoU 0.5, each
//! label once).
//!
//! Wrong labels must not vouch for themselves: images lie in five folds, and the scores of a fold
//! are calibrated by the other four.

use super::{
    learn::{Example, Model},
    seen::Seen,
};
use crate::cache::{log_odds, sigmoid};

/// Folds of images.
pub(crate) const FOLDS: usize = 5;
/// Newton steps for an intercept; it converges in fewer.
const STEPS: usize = 30;

/// The fold of an image.
pub(crate) fn fold_of(image_id: i64) -> usize {
    usize::try_from(image_id.rem_euclid(FOLDS as i64)).unwrap_or_default()
}

/// One box of the teacher.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) logit: f64,
    /// What the head's kind says of that logit, 0..=1.
    pub(crate) score: f64,
    pub(crate) class_id: u32,
    /// Whether it finds a label.
    pub(crate) right: bool,
    /// Of its image, below [`FOLDS`].
    pub(crate) fold: usize,
}

/// The boxes of an image.
pub(crate) fn points(seen: &Seen) -> Vec<Point> {
    let point = |(&row, found): (&usize, Option<usize>)| {
        let class_id = seen.rows.get(row)?.class_id;
        Some(Point {
            logit: seen.best_logit(row),
            score: seen.best_probability(row),
            class_id,
            right: found.is_some(),
            fold: fold_of(seen.image_id),
        })
    };
    seen.kept.iter().zip(seen.found()).filter_map(point).collect()
}

/// From a logit to the probability that the labels confirm it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Calibration {
    slope: f64,
    intercepts: Vec<f64>,
}

impl Calibration {
    /// One for each fold, from the boxes of the others.
    pub(crate) fn of_folds(points: &[Point], num_classes: usize) -> Vec<Self> {
        let others = |fold: usize| points.iter().filter(|point| point.fold != fold).copied().collect::<Vec<_>>();
        (0..FOLDS).map(|fold| Self::of(&others(fold), num_classes)).collect()
    }

    /// Of these boxes.
    pub(crate) fn of(points: &[Point], num_classes: usize) -> Self {
        let examples: Vec<Example<1>> = points.iter().map(|point| ([point.logit], point.right)).collect();
        let (slope, intercept) = match Model::fit(examples.iter()) {
            Some(model) => model.line(0),
            // All are right or none is: scores are taken for what they say, moved by how many that
            // are.
            None => {
                let right = points.iter().filter(|point| point.right).count() as f64;
                (1.0, ((right + 1.0) / (points.len() as f64 - right + 1.0)).ln())
            }
        };
        // A higher score is never worth less.
        let slope = slope.max(0.0);
        let mut by_class: Vec<Vec<Point>> = vec![Vec::new(); num_classes];
        for point in points {
            if let Some(own) = by_class.get_mut(point.class_id as usize) {
                own.push(*point);
            }
        }
        let of_class = |own: Vec<Point>| {
            let mut value: f64 = intercept;
            for _ in 0..STEPS {
                let (mut g, mut h) = (intercept - value, 1.0);
                for &Point { logit, right, .. } in &own {
                    let p = sigmoid(slope * logit + value);
                    g += f64::from(u8::from(right)) - p;
                    h += p * (1.0 - p);
                }
                value += (g / h).clamp(-2.0, 2.0);
            }
            value
        };
        Self { slope, intercepts: by_class.into_iter().map(of_class).collect() }
    }

    /// The probability that a box with this logit of a class is right.
    pub(crate) fn probability(&self, logit: f64, class_id: u32) -> f64 {
        sigmoid(self.slope * logit + self.intercepts.get(class_id as usize).copied().unwrap_or_default())
    }

    /// The logit of a class at which a box is right with this probability; `None` where no logit is.
    pub(crate) fn logit_of(&self, probability: f64, class_id: u32) -> Option<f64> {
        let intercept = self.intercepts.get(class_id as usize).copied().unwrap_or_default();
        Some((log_odds(probability) - intercept) / self.slope).filter(|logit| logit.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(logit: f64, class_id: u32, right: bool, fold: usize) -> Point {
        Point { logit, score: sigmoid(logit), class_id, right, fold }
    }

    #[test]
    fn shares_of_right_boxes_come_back_and_rare_classes_are_as_all() {
        // At a logit of 2 three in four are right, at -1 one in ten; class 1 has no box.
        let mut points = Vec::new();
        for n in 0..4000 {
            points.push(point(2.0, 0, n % 4 != 0, n % FOLDS));
            points.push(point(-1.0, 0, n % 10 == 0, n % FOLDS));
        }
        let calibration = Calibration::of(&points, 2);
        assert!((calibration.probability(2.0, 0) - 0.75).abs() < 0.005, "{calibration:?}");
        assert!((calibration.probability(-1.0, 0) - 0.1).abs() < 0.005, "{calibration:?}");
        assert!((calibration.probability(2.0, 1) - calibration.probability(2.0, 0)).abs() < 0.005);
    }

    #[test]
    fn a_fold_has_no_part_in_its_own_calibration() {
        let mut points: Vec<Point> =
            (0..1000).map(|n| point(f64::from(n % 7) - 3.0, 0, n % 7 > 2, n as usize % FOLDS)).collect();
        let before = Calibration::of_folds(&points, 1);
        points.iter_mut().filter(|point| point.fold == 2).for_each(|point| point.right = !point.right);
        let after = Calibration::of_folds(&points, 1);
        assert_eq!(before[2], after[2]);
        assert_ne!(before[1], after[1]);
    }

    #[test]
    fn boxes_that_are_all_right_or_none_give_finite_numbers() {
        for right in [true, false] {
            let points: Vec<Point> =
                (0..100).map(|n| point(f64::from(n) / 10.0, 0, right, n as usize % FOLDS)).collect();
            let p = Calibration::of(&points, 1).probability(3.0, 0);
            assert!(p.is_finite() && (p > 0.7) == right, "{p}");
        }
        assert_eq!(Calibration::of(&[], 1).probability(0.0, 0), 0.5);
    }
}
