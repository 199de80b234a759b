//! Precision, recall and F1 at the confidence where F1 is highest.
//!
//! Source: `ultralytics.utils.metrics.ap_per_class` and `smooth`, version 8.4.190: for each class with objects a curve of precision and one
//! of recall over 1,000 confidences from 0 to 1, at IoU 0.5; the confidence is the one, for all classes, where the mean F1 over these
//! classes, smoothed, is highest. Unlike there, detections on crowd regions are left out and a class counts at most 100 detections an image.

use super::matches::{ClassMatches, Matches};

/// Confidences of a curve.
const NUM_POINTS: usize = 1000;

/// Share of a curve over which its values are smoothed, to each side half.
const SMOOTHED_SHARE: f64 = 0.1;

/// Keeps divisions from being by zero, as there.
const EPSILON: f64 = 1e-16;

/// Precision, recall and F1 at one confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    pub precision: f64,
    pub recall: f64,
    pub f1: f64,
}

/// The confidence of the highest F1 and each class's values there; `None` for classes without objects.
#[derive(Debug, Clone, PartialEq)]
pub struct BestConfidence {
    pub confidence: f64,
    pub classes: Vec<Option<Point>>,
}

impl BestConfidence {
    /// `None` where there are no objects at all.
    pub fn of(matches: &Matches) -> Option<Self> {
        let curves: Vec<Option<Vec<Point>>> = matches.classes.iter().map(curve).collect();
        let with_objects = curves.iter().flatten().count();
        if with_objects == 0 {
            return None;
        }
        let mean_f1: Vec<f64> = (0..NUM_POINTS)
            .map(|i| curves.iter().flatten().map(|points| points[i].f1).sum::<f64>() / with_objects as f64)
            .collect();
        let smoothed = smooth(&mean_f1);
        let mut best = 0;
        for (i, value) in smoothed.iter().enumerate() {
            if *value > smoothed[best] {
                best = i;
            }
        }
        let classes = curves.into_iter().map(|points| points.map(|points| points[best])).collect();
        Some(Self { confidence: confidence(best), classes })
    }

    /// The mean over classes with objects.
    pub fn mean(&self) -> Point {
        let points: Vec<Point> = self.classes.iter().flatten().copied().collect();
        let mean = |value: fn(&Point) -> f64| points.iter().map(value).sum::<f64>() / points.len().max(1) as f64;
        Point { precision: mean(|p| p.precision), recall: mean(|p| p.recall), f1: mean(|p| p.f1) }
    }
}

/// The `i`-th confidence.
fn confidence(i: usize) -> f64 {
    i as f64 / (NUM_POINTS - 1) as f64
}

/// One class's values at each confidence; `None` without objects.
fn curve(class: &ClassMatches) -> Option<Vec<Point>> {
    let objects: u32 = class.objects.iter().map(|&(_, n)| n).sum();
    if objects == 0 {
        return None;
    }
    let (mut scores, mut precisions, mut recalls) = (Vec::new(), Vec::new(), Vec::new());
    let mut right = 0.0;
    for found in class.detections.iter().filter(|found| found.ignored & 1 == 0) {
        right += f64::from(found.right & 1);
        scores.push(f64::from(found.score));
        recalls.push(right / (f64::from(objects) + EPSILON));
        precisions.push(right / scores.len() as f64);
    }
    let point = |i: usize| {
        if scores.is_empty() {
            return Point { precision: 0.0, recall: 0.0, f1: 0.0 };
        }
        let precision = interpolate(confidence(i), &scores, &precisions, 1.0);
        let recall = interpolate(confidence(i), &scores, &recalls, 0.0);
        Point { precision, recall, f1: 2.0 * precision * recall / (precision + recall + EPSILON) }
    };
    Some((0..NUM_POINTS).map(point).collect())
}

/// `numpy.interp(-x, -scores, values, left=above)`: linear between the two scores around `x`, `above` where `x` is higher than all.
fn interpolate(x: f64, scores_falling: &[f64], values: &[f64], above: f64) -> f64 {
    // As many scores as are at least x; numpy takes the last of equal ones.
    match scores_falling.partition_point(|&score| score >= x) {
        0 => above,
        n if n == scores_falling.len() => values[n - 1],
        n => {
            let slope = (values[n] - values[n - 1]) / (scores_falling[n - 1] - scores_falling[n]);
            slope * (scores_falling[n - 1] - x) + values[n - 1]
        }
    }
}

/// Mean over a window around each value, the ends repeated.
fn smooth(values: &[f64]) -> Vec<f64> {
    let half = ((values.len() as f64 * SMOOTHED_SHARE * 2.0).round() as usize / 2 + 1) / 2;
    let last = values.len().saturating_sub(1);
    let at = |i: usize| values[i.saturating_sub(half).min(last)];
    (0..values.len()).map(|i| (i..=i + 2 * half).map(at).sum::<f64>() / (2 * half + 1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::matches::Match;
    use serde_json::Value;

    /// Against `ultralytics.utils.metrics.ap_per_class`: tests/fixtures/ap_per_class.py.
    #[test]
    fn same_as_ultralytics() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/fixtures/ap_per_class.json")).unwrap();
        for case in golden["cases"].as_array().unwrap() {
            let mut classes = vec![ClassMatches::default(); case["num_classes"].as_u64().unwrap() as usize];
            for object in case["objects"].as_array().unwrap() {
                classes[object[1].as_u64().unwrap() as usize].objects.push((object[0].as_u64().unwrap() as u32, 1));
            }
            for found in case["detections"].as_array().unwrap() {
                classes[found[1].as_u64().unwrap() as usize].detections.push(Match {
                    score: found[2].as_f64().unwrap() as f32,
                    image: found[0].as_u64().unwrap() as u32,
                    right: u16::from(found[3].as_bool().unwrap()),
                    ignored: 0,
                });
            }
            for class in &mut classes {
                class.detections.sort_by(|a, b| b.score.total_cmp(&a.score));
            }
            let best = BestConfidence::of(&Matches { num_images: 0, classes, small: Vec::new() }).unwrap();
            assert!((best.confidence - case["confidence"].as_f64().unwrap()).abs() < 1e-12);
            let expected = case["classes"].as_array().unwrap();
            assert_eq!(best.classes.iter().flatten().count(), expected.len());
            for row in expected {
                let point = best.classes[row[0].as_u64().unwrap() as usize].unwrap();
                for (ours, theirs) in
                    [point.precision, point.recall, point.f1].into_iter().zip([&row[1], &row[2], &row[3]])
                {
                    assert!((ours - theirs.as_f64().unwrap()).abs() < 1e-9, "{point:?} {row}");
                }
            }
        }
    }

    #[test]
    fn a_class_without_detections_counts_as_nothing_found() {
        let with_objects = ClassMatches { objects: vec![(0, 3)], detections: Vec::new() };
        let classes = vec![with_objects, ClassMatches::default()];
        let best = BestConfidence::of(&Matches { num_images: 1, classes, small: Vec::new() }).unwrap();
        assert_eq!(best.classes, [Some(Point { precision: 0.0, recall: 0.0, f1: 0.0 }), None]);
        let nothing = Matches { num_images: 1, classes: vec![ClassMatches::default()], small: Vec::new() };
        assert_eq!(BestConfidence::of(&nothing), None);
    }
}
