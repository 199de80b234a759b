//! Whether scores mean what they say: of the detections with a score of 0.8, are eight in ten right?
//!
//! Guo et al., On Calibration of Modern Neural Networks, ICML 2017: detections in ten bins of equal width by their score, in each the
//! share of right ones beside the mean score; the expected calibration error is the mean of the differences, weighted by the numbers
//! of detections. A detection is right as COCO matches it at IoU 0.5: the highest score first takes an object of its class that no
//! other has.

use super::matches::Matches;

/// Bins of scores, from 0 to 1.
const NUM_BINS: usize = 10;

/// How right the scores of one model's detections are.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// From the lowest scores to the highest, [`NUM_BINS`] of them.
    pub bins: Vec<ScoreBin>,
    /// Mean over the detections of the difference between the mean score and the share of right ones of their bin, 0..=1; `None` without
    /// detections.
    pub expected_error: Option<f64>,
}

/// Detections of nearly the same score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreBin {
    /// Lowest score.
    pub from: f64,
    /// Highest score, part of the next bin (but of the last one).
    pub to: f64,
    /// Detections with such a score.
    pub detections: u64,
    /// Those of them that are right.
    pub right: u64,
    /// Sum of their scores.
    score_sum: f64,
}

impl ScoreBin {
    /// Mean score of the detections; `None` where there are none.
    pub fn mean_score(&self) -> Option<f64> {
        (self.detections > 0).then(|| self.score_sum / self.detections as f64)
    }

    /// Share of the detections that are right; `None` where there are none.
    pub fn precision(&self) -> Option<f64> {
        (self.detections > 0).then(|| self.right as f64 / self.detections as f64)
    }
}

impl Calibration {
    /// Of all classes together. Detections on crowd regions, neither right nor wrong, are left out.
    pub fn of(matches: &Matches) -> Self {
        let edge = |bin: usize| bin as f64 / NUM_BINS as f64;
        let mut bins: Vec<ScoreBin> = (0..NUM_BINS)
            .map(|bin| ScoreBin { from: edge(bin), to: edge(bin + 1), detections: 0, right: 0, score_sum: 0.0 })
            .collect();
        let counted = matches.classes.iter().flat_map(|class| &class.detections).filter(|found| found.ignored & 1 == 0);
        for found in counted {
            let score = f64::from(found.score);
            let bin = ((score * NUM_BINS as f64) as usize).min(NUM_BINS - 1);
            bins[bin].detections += 1;
            bins[bin].right += u64::from(found.right & 1);
            bins[bin].score_sum += score;
        }
        let detections: u64 = bins.iter().map(|bin| bin.detections).sum();
        let off: f64 = bins.iter().map(|bin| (bin.score_sum - bin.right as f64).abs()).sum();
        Self { bins, expected_error: (detections > 0).then(|| off / detections as f64) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        eval::{ScoredImage, score_and_matches},
        types::{BoxXyxyPx, Detection, TruthBox},
    };

    #[test]
    fn bins_and_error_by_hand() {
        let at = |x: f32| BoxXyxyPx { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 };
        let truth = |x| TruthBox { class_id: 0, box_xyxy_px: at(x), area_px2: 100.0, is_crowd: false };
        let found = |x, score| Detection { class_id: 0, score, box_xyxy_px: at(x) };
        let images = [ScoredImage {
            image_id: 0,
            truth: vec![truth(0.0), truth(20.0)],
            // Right, a second one on the same object (wrong), right, nothing there (wrong).
            detections: vec![found(0.0, 1.0), found(1.0, 0.75), found(20.0, 0.5), found(80.0, 0.25)],
        }];
        let (_, matches) = score_and_matches(&images, &["a".into()]).unwrap();
        let calibration = Calibration::of(&matches);
        let filled: Vec<_> = calibration
            .bins
            .iter()
            .enumerate()
            .filter(|(_, bin)| bin.detections > 0)
            .map(|(i, bin)| (i, bin.right, bin.mean_score().unwrap()))
            .collect();
        assert_eq!(filled, [(2, 0, 0.25), (5, 1, 0.5), (7, 0, 0.75), (9, 1, 1.0)]);
        // (0.25 + 0.5 + 0.75 + 0) / 4
        assert_eq!(calibration.expected_error, Some(0.375));
        assert_eq!(calibration.bins[0].precision(), None);
    }

    #[test]
    fn nothing_found_has_no_error() {
        let images = [ScoredImage { image_id: 0, truth: Vec::new(), detections: Vec::new() }];
        let (_, matches) = score_and_matches(&images, &["a".into()]).unwrap();
        assert_eq!(Calibration::of(&matches).expected_error, None);
    }
}
