//! Precision over recall, class by class: the curves whose areas are the average precisions.

use super::matches::{Matches, NUM_RECALLS, recall};

/// Precision at the recalls 0.00, 0.01, ..., 1.00 of detections matched at IoU 0.5, as COCO reads it: the highest at that recall or a
/// higher one.
#[derive(Debug, Clone, PartialEq)]
pub struct PrecisionRecall {
    /// Of each class by its id; `None` for a class without objects. The mean over a class's points is its AP@0.5.
    pub classes: Vec<Option<Vec<(f64, f64)>>>,
    /// The mean over classes with objects, (recall, precision). The mean over its points is mAP@0.5. Empty without objects.
    pub mean: Vec<(f64, f64)>,
}

impl PrecisionRecall {
    /// The curves of one model.
    pub fn of(matches: &Matches) -> Self {
        let classes: Vec<Option<Vec<(f64, f64)>>> = matches
            .classes
            .iter()
            .map(|class| {
                let precisions = class.precisions_50(matches.num_images)?;
                Some(precisions.iter().enumerate().map(|(step, &precision)| (recall(step), precision)).collect())
            })
            .collect();
        let with_objects = classes.iter().flatten().count();
        let mean_at = |step: usize| {
            let sum: f64 = classes.iter().flatten().filter_map(|curve| curve.get(step)).map(|(_, p)| p).sum();
            (recall(step), sum / with_objects as f64)
        };
        let mean = if with_objects == 0 { Vec::new() } else { (0..NUM_RECALLS).map(mean_at).collect() };
        Self { classes, mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::{ScoredImage, score_and_matches},
        types::{BoxXyxyPx, Detection, TruthBox},
    };

    fn at(x: f32) -> BoxXyxyPx {
        BoxXyxyPx { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 }
    }

    #[test]
    fn the_area_under_a_curve_is_the_average_precision() {
        let truth = |class_id, x| TruthBox { class_id, box_xyxy_px: at(x), area_px2: 100.0, is_crowd: false };
        let found = |class_id, x, score| Detection { class_id, score, box_xyxy_px: at(x) };
        let images = [ScoredImage {
            image_id: 0,
            truth: vec![truth(0, 0.0), truth(0, 20.0), truth(0, 40.0), truth(1, 60.0)],
            detections: vec![
                found(0, 0.0, 0.9),
                found(0, 100.0, 0.8),
                found(0, 20.0, 0.7),
                found(1, 120.0, 0.6),
                found(1, 60.0, 0.5),
            ],
        }];
        let names: Vec<String> = ["a", "b", "without objects"].map(Into::into).into();
        let (scores, matches) = score_and_matches(&images, &names).unwrap();
        let curves = PrecisionRecall::of(&matches);
        let area = |points: &[(f64, f64)]| points.iter().map(|(_, p)| p).sum::<f64>() / points.len() as f64;
        for (class, curve) in scores.classes.iter().zip(&curves.classes) {
            match (class.ap_50, curve) {
                (None, None) => {}
                (Some(ap), Some(curve)) => assert!((area(curve) - ap).abs() < 1e-12, "{}", class.name),
                other => panic!("{}: {other:?}", class.name),
            }
        }
        assert!(curves.classes[2].is_none());
        assert!((area(&curves.mean) - scores.coco.ap_50.unwrap()).abs() < 1e-12);
        // One of three found first, then one of three wrong: 1 up to recall 1/3, then 2/3 up to 2/3, then nothing.
        let first = curves.classes[0].as_ref().unwrap();
        assert_eq!(
            [first[0].1, first[33].1, first[34].1, first[66].1, first[67].1],
            [1.0, 1.0, 2.0 / 3.0, 2.0 / 3.0, 0.0]
        );
        assert_eq!(first[100].0, 1.0);
    }
}
