//! Kinds of detection heads: what their logits mean and where their predictions stand. One place for each kind.

use crate::{
    grid::Grid,
    odds::{log_odds, sigmoid},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of head whose outputs a cache can hold. A cache of another one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HeadKind {
    /// YOLOv8, 9, 10, 11 and 12: a box of DFL bins in each cell of a grid, independent classes (sigmoid).
    #[serde(rename = "yolov8-dfl")]
    Yolov8Dfl,
    /// YOLO26: the same without bins.
    #[serde(rename = "yolov8-direct")]
    Yolov8Direct,
    /// DETR with focal loss (Deformable DETR, RT-DETR): a box of each query, independent classes (sigmoid).
    #[serde(rename = "detr-sigmoid")]
    DetrSigmoid,
}

impl HeadKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Yolov8Dfl, Self::Yolov8Direct, Self::DetrSigmoid];

    /// As in the manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yolov8Dfl => "yolov8-dfl",
            Self::Yolov8Direct => "yolov8-direct",
            Self::DetrSigmoid => "detr-sigmoid",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether its predictions stand in the cells of a grid; else they are answers to queries.
    pub fn is_on_grid(self) -> bool {
        match self {
            Self::Yolov8Dfl | Self::Yolov8Direct => true,
            Self::DetrSigmoid => false,
        }
    }

    /// The probability of a class that has this logit, 0..=1.
    pub fn probability(self, logit: f32) -> f32 {
        self.probability_f64(f64::from(logit)) as f32
    }

    /// [`HeadKind::probability`] in double precision.
    pub fn probability_f64(self, logit: f64) -> f64 {
        match self {
            Self::Yolov8Dfl | Self::Yolov8Direct | Self::DetrSigmoid => sigmoid(logit),
        }
    }

    /// The logit of a class that has this probability, 0..=1; infinite for 0 and 1.
    pub fn logit(self, probability: f64) -> f64 {
        match self {
            Self::Yolov8Dfl | Self::Yolov8Direct | Self::DetrSigmoid => log_odds(probability),
        }
    }

    /// The same, kept finite: what was rounded to 0 or 1 is taken for as far from it as float32 can tell.
    pub fn finite_logit(self, probability: f32) -> f32 {
        self.logit(f64::from(probability).clamp(1e-12, 1.0 - f64::from(f32::EPSILON))) as f32
    }
}

impl fmt::Display for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the predictions of a head stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Places {
    /// In the cells of a grid.
    Grid(Grid),
    /// They are answers to so many learned queries, without a place of their own.
    Queries(usize),
}

impl Places {
    /// Predictions of one image, before any selection.
    pub fn count(&self) -> usize {
        match self {
            Self::Grid(grid) => grid.num_anchors(),
            Self::Queries(queries) => *queries,
        }
    }

    /// The grid, where there is one.
    pub fn grid(&self) -> Option<&Grid> {
        match self {
            Self::Grid(grid) => Some(grid),
            Self::Queries(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kinds() {
        for kind in HeadKind::ALL {
            assert_eq!(HeadKind::from_name(kind.as_str()), Some(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(HeadKind::from_name("yolov8"), None);
    }

    #[test]
    fn logits_and_probabilities_are_inverse() {
        for kind in HeadKind::ALL {
            for logit in [-8.0f32, -0.5, 0.0, 3.0] {
                let back = kind.logit(f64::from(kind.probability(logit)));
                assert!((back - f64::from(logit)).abs() < 1e-3, "{kind:?} {logit}");
                assert!((kind.finite_logit(kind.probability(logit)) - logit).abs() < 1e-3, "{kind:?} {logit}");
            }
            assert_eq!(kind.probability(0.0), 0.5);
            assert_eq!((kind.logit(0.0), kind.logit(1.0)), (f64::NEG_INFINITY, f64::INFINITY));
            assert!(kind.finite_logit(0.0) < -27.0 && kind.finite_logit(1.0) > 15.0);
            assert!(kind.finite_logit(0.0).is_finite() && kind.finite_logit(1.0).is_finite());
        }
    }
}
