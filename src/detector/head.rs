//! What a head gives for one image, read by the rules of its kind.

use super::reduce::{ScoreSums, add_class};
use crate::{
    cache::{Grid, HeadKind, Places, expected_bin},
    types::BoxXyxyPx,
};

/// How much lower than a threshold's logit a logit may be and still have its probability compared: far more than any rounding.
const LOGIT_SLACK: f32 = 1e-3;

/// The most bins of a side that are believed; YOLOv8 has 16.
pub(super) const MAX_BINS: usize = 1024;

/// What the box values of a head are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxRule {
    /// `[4 * reg_max, N]` logits: the distances of the left, top, right and bottom edge from the cell's centre, in cells, each
    /// the expectation of `reg_max` bins.
    Bins {
        /// Bins of a side.
        reg_max: usize,
    },
    /// `[4, N]`: the distances themselves of the left, top, right and bottom edge from the cell's
    /// centre, in cells.
    Distances,
    /// `[4, N]`: centre x, centre y, width, height in input pixels.
    CentreSizePx,
}

impl BoxRule {
    /// Values of one prediction.
    pub fn channels(self) -> usize {
        match self {
            Self::Bins { reg_max } => 4 * reg_max,
            Self::Distances | Self::CentreSizePx => 4,
        }
    }
}

/// What a head gives for each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSpec {
    /// What its logits mean.
    pub kind: HeadKind,
    /// C, the number of classes.
    pub num_classes: usize,
    /// What its box values are.
    pub boxes: BoxRule,
    /// Where its N predictions stand.
    pub places: Places,
    /// Whether it gives each object one prediction, so that none need be suppressed.
    pub one_to_one: bool,
}

impl HeadSpec {
    /// N, predictions of one image.
    pub fn num_places(&self) -> usize {
        self.places.count()
    }

    /// The bins of a side; 0 for a head without them.
    pub fn reg_max(&self) -> usize {
        match self.boxes {
            BoxRule::Bins { reg_max } => reg_max,
            BoxRule::Distances | BoxRule::CentreSizePx => 0,
        }
    }

    /// Input pixels per cell of each level; empty for a head of queries.
    pub fn strides(&self) -> Vec<u32> {
        self.places.grid().into_iter().flat_map(Grid::strides).collect()
    }

    /// Input pixels per cell where a prediction stands; `None` for a head of queries.
    pub fn stride_at(&self, place: usize) -> Option<u32> {
        Some(self.places.grid()?.level_of(place)?.stride)
    }
}

/// The class logit that an untrained head of the YOLO families gives in every cell: `ln(5 / C / (640 / stride)^2)`, some 5
/// objects in an image of 640 pixels (`Detect.bias_init`, Ultralytics 8.4.190).
pub fn prior_class_logit(num_classes: usize, stride: u32) -> f32 {
    let cells = (640.0 / f64::from(stride)).powi(2);
    (5.0 / num_classes as f64 / cells).ln() as f32
}

/// One image's head outputs, as the network gives them (channels first).
#[derive(Debug, Clone, Copy)]
pub struct HeadView<'a> {
    spec: &'a HeadSpec,
    class_logits: &'a [f32],
    box_values: &'a [f32],
}

/// A class of a prediction with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassScore {
    /// Which prediction, from 0 to N - 1.
    pub place: usize,
    /// Which class.
    pub class_id: u32,
    /// 0..=1.
    pub score: f32,
}

impl<'a> HeadView<'a> {
    /// The outputs of a head: class logits `[C, N]` and box values as [`HeadSpec::boxes`] says.
    ///
    /// # Errors
    /// In words, when they have another number of values.
    pub fn new(spec: &'a HeadSpec, class_logits: &'a [f32], box_values: &'a [f32]) -> Result<Self, String> {
        let (classes, places) = (spec.num_classes, spec.num_places());
        for (values, channels, what) in
            [(class_logits, classes, "class logits"), (box_values, spec.boxes.channels(), "box values")]
        {
            if values.len() != channels * places {
                let found = values.len();
                return Err(format!("the model gave {found} {what}, expected {channels} for each of {places} anchors"));
            }
        }
        Ok(Self { spec, class_logits, box_values })
    }

    /// What the head is.
    pub fn spec(&self) -> &'a HeadSpec {
        self.spec
    }

    /// `[C, N]`, all places of the first class first.
    pub fn class_logits(&self) -> &'a [f32] {
        self.class_logits
    }

    /// As [`HeadSpec::boxes`] says.
    pub fn box_values(&self) -> &'a [f32] {
        self.box_values
    }

    /// `[4 * reg_max, N]`: the bins of left, top, right, bottom. `None` for a head without them.
    pub fn dfl_logits(&self) -> Option<&'a [f32]> {
        matches!(self.spec.boxes, BoxRule::Bins { .. }).then_some(self.box_values)
    }

    /// The probability of a class of one prediction, 0..=1.
    ///
    /// # Panics
    /// If there is no such class or place.
    pub fn probability(&self, place: usize, class_id: usize) -> f32 {
        self.spec.kind.probability(self.class_logits[class_id * self.spec.num_places() + place])
    }

    /// The box of one prediction, in input pixels.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn box_xyxy_input_px(&self, place: usize) -> BoxXyxyPx {
        let n = self.spec.num_places();
        let at = |channel: usize| self.box_values[channel * n + place];
        match (self.spec.boxes, self.spec.places.grid()) {
            (BoxRule::Bins { reg_max }, Some(grid)) => {
                let side = |side: usize| expected_bin((0..reg_max).map(|bin| at(side * reg_max + bin)));
                grid.cell(place).box_xyxy_input_px([0, 1, 2, 3].map(side))
            }
            (BoxRule::Distances, Some(grid)) => grid.cell(place).box_xyxy_input_px([0, 1, 2, 3].map(at)),
            _ => {
                let (x, y, half_width, half_height) = (at(0), at(1), at(2) / 2.0, at(3) / 2.0);
                BoxXyxyPx { x1: x - half_width, y1: y - half_height, x2: x + half_width, y2: y + half_height }
            }
        }
    }

    /// Highest logit, score and sum of probabilities of every prediction, into memory that is used again.
    ///
    /// # Errors
    /// In words, when a class logit is not finite.
    pub fn sum_scores(&self, sums: &mut ScoreSums) -> Result<(), String> {
        let n = self.spec.num_places();
        sums.reset(n);
        for row in self.class_logits.chunks_exact(n.max(1)) {
            add_class(row, &mut sums.max_logit, &mut sums.prob_sum);
        }
        // A sum over probabilities is finite unless a logit was NaN; an infinite logit shows in the maximum.
        if !sums.prob_sum.iter().sum::<f32>().is_finite() || !sums.max_logit.iter().all(|logit| logit.is_finite()) {
            return Err("the model gave class logits that are not finite".into());
        }
        let kind = self.spec.kind;
        sums.scores.iter_mut().zip(&sums.max_logit).for_each(|(score, &logit)| *score = kind.probability(logit));
        Ok(())
    }

    /// Every class of every prediction whose probability is over `conf`, class by class.
    ///
    /// # Errors
    /// In words, when a class logit is not finite.
    pub fn over(&self, conf: f32) -> Result<Vec<ClassScore>, String> {
        // Most values are far below the threshold; their probability need not be known.
        let lowest = self.spec.kind.logit(f64::from(conf)) as f32 - LOGIT_SLACK;
        let mut found = Vec::new();
        for (class_id, logits) in (0..).zip(self.class_logits.chunks_exact(self.spec.num_places().max(1))) {
            // Without an early end, so that the processor tests many values at once.
            if !logits.iter().fold(true, |all, logit| all & logit.is_finite()) {
                return Err("the model gave class logits that are not finite".into());
            }
            for (place, &logit) in logits.iter().enumerate() {
                // Not `logit < lowest`: where the bound is not a number, nothing is skipped.
                if !(logit >= lowest || lowest.is_nan()) {
                    continue;
                }
                let score = self.spec.kind.probability(logit);
                if score > conf {
                    found.push(ClassScore { place, class_id, score });
                }
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageSize;

    #[test]
    fn decoded_boxes_are_centre_and_size() {
        let spec = HeadSpec {
            kind: HeadKind::Yolov8Direct,
            num_classes: 1,
            boxes: BoxRule::CentreSizePx,
            places: Places::Grid(Grid::new(ImageSize { width: 8, height: 8 }, &[8])),
            one_to_one: false,
        };
        let view = HeadView::new(&spec, &[0.0], &[10.0, 20.0, 4.0, 6.0]).unwrap();
        assert_eq!(view.box_xyxy_input_px(0), BoxXyxyPx { x1: 8.0, y1: 17.0, x2: 12.0, y2: 23.0 });
        assert_eq!((view.probability(0, 0), view.dfl_logits()), (0.5, None));
    }

    #[test]
    fn bins_of_channels_first_are_those_of_the_rows() {
        let grid = Grid::new(ImageSize { width: 32, height: 32 }, &[8, 16, 32]);
        let spec = HeadSpec {
            kind: HeadKind::Yolov8Dfl,
            num_classes: 2,
            boxes: BoxRule::Bins { reg_max: 5 },
            places: Places::Grid(grid.clone()),
            one_to_one: false,
        };
        let values: Vec<f32> = (0..20 * 21).map(|i| ((i * 37) % 101) as f32 * 0.17 - 6.0).collect();
        let view = HeadView::new(&spec, &[0.0; 42], &values).unwrap();
        for place in 0..21 {
            let row: Vec<f32> = (0..20).map(|channel| values[channel * 21 + place]).collect();
            assert_eq!(view.box_xyxy_input_px(place), grid.cell(place).box_of_bins(&row));
        }
    }

    #[test]
    fn an_untrained_head_expects_five_objects() {
        // Ultralytics 8.4.190, Detect.bias_init for 80 classes: math.log(5 / 80 / (640 / s) ** 2)
        for (stride, expected) in [(8, -11.536_642), (16, -10.150_348), (32, -8.764_053)] {
            assert!((prior_class_logit(80, stride) - expected).abs() < 1e-5, "{stride}");
        }
    }

    #[test]
    fn other_numbers_of_values_are_refused() {
        let spec = HeadSpec {
            kind: HeadKind::DetrSigmoid,
            num_classes: 3,
            boxes: BoxRule::CentreSizePx,
            places: Places::Queries(2),
            one_to_one: false,
        };
        let refused = |class: usize, boxes: usize| HeadView::new(&spec, &vec![0.0; class], &vec![0.0; boxes]).err();
        assert_eq!(refused(6, 8), None);
        assert!(refused(5, 8).unwrap().contains("5 class logits, expected 3 for each of 2"));
        assert!(refused(6, 7).unwrap().contains("7 box values, expected 4"));
    }
}
