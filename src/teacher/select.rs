//! Which anchors of one image are kept, and what is remembered of the others.
//!
//! Rule: anchors are taken in the order of their highest logit, the highest first, the lower anchor first among equals, for as long as
//! their score (highest class probability) is at least `min_score`, they are not more than `top_k`, and what was taken before makes up less than
//! `coverage` of the image's sum of squared scores. They are stored in increasing anchor order.
//!
//! Why squares: a distillation loss weighs an anchor by its score, and different anchors have different logits of the student, so the squared
//! length of an image's gradient is the sum of the anchors', each about proportional to its squared score. Keeping the share `c` of that sum
//! keeps the cosine between the gradients at about `sqrt(c)`, for the image with one object as for the one with fifty.

use super::{
    boxes::{BoxSource, Grid},
    reduce::add_class,
};
use crate::{cache::Predictions, preprocess::LetterboxPlan, types::BoxXyxyPx};
use half::f16;

/// Thresholds of the selection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Selection {
    /// Lowest class probability that keeps an anchor, 0..=1.
    pub min_score: f32,
    /// Most anchors kept of one image.
    pub top_k: usize,
    /// Share of the sum of squared scores that is enough, 0..=1; at 1 it ends nothing.
    pub coverage: f64,
}

impl Selection {
    /// Keeps every anchor (the `dense` profile).
    pub const ALL: Self = Self { min_score: 0.0, top_k: usize::MAX, coverage: 1.0 };
}

/// One image's head outputs, as the network gives them (channel-major).
#[derive(Debug, Clone, Copy)]
pub struct HeadView<'a> {
    /// `[num_classes, num_anchors]` logits before the sigmoid.
    pub class_logits: &'a [f32],
    /// Where the boxes come from.
    pub boxes: BoxSource<'a>,
}

/// What [`Selector::select`] gives for one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    /// The kept anchors.
    pub predictions: Predictions,
    /// Highest class probability among dropped anchors, 0 if none was dropped.
    pub dropped_max_score: f32,
    /// Mean class probability over dropped anchors and classes, 0 if none was dropped.
    pub dropped_mean_prob: f32,
}

/// Selects anchors; holds the scratch memory of one thread.
#[derive(Debug)]
pub struct Selector {
    grid: Grid,
    selection: Selection,
    store_dfl: bool,
    max_logit: Vec<f32>,
    prob_sum: Vec<f32>,
    kept: Vec<bool>,
}

impl Selector {
    /// A selector for heads with this grid of anchors; `store_dfl` says whether DFL logits are kept.
    pub fn new(grid: Grid, selection: Selection, store_dfl: bool) -> Self {
        let n = grid.num_anchors();
        Self { grid, selection, store_dfl, max_logit: vec![0.0; n], prob_sum: vec![0.0; n], kept: vec![false; n] }
    }

    /// Applies the rule to one image.
    ///
    /// # Errors
    /// In words, when the teacher gave a value that is not finite or cannot be held as float16, or tensors of another size.
    pub fn select(&mut self, head: HeadView<'_>, plan: &LetterboxPlan) -> Result<Selected, String> {
        self.select_with(head, |in_input| plan.to_image(in_input))
    }

    /// As [`Selector::select`], where `to_image` brings a box of the input into pixels of the image, clipped to it.
    ///
    /// # Errors
    /// As [`Selector::select`].
    pub fn select_with(
        &mut self,
        head: HeadView<'_>,
        to_image: impl Fn(BoxXyxyPx) -> BoxXyxyPx,
    ) -> Result<Selected, String> {
        let num_anchors = self.grid.num_anchors();
        let num_classes = head.class_logits.len() / num_anchors;
        if num_classes == 0 || head.class_logits.len() != num_classes * num_anchors {
            return Err(format!(
                "the teacher gave {} class logits, not a multiple of its {num_anchors} anchors",
                head.class_logits.len()
            ));
        }
        head.boxes.check(num_anchors)?;
        self.reduce_classes(head.class_logits);
        // A sum over probabilities is finite unless a logit was NaN; an infinite logit shows in the maximum.
        if !self.prob_sum.iter().sum::<f32>().is_finite() || !self.max_logit.iter().all(|l| l.is_finite()) {
            return Err("the teacher gave class logits that are not finite".into());
        }
        let anchors = self.choose();
        let (dropped_max_score, dropped_mean_prob) = self.dropped(num_classes);

        let mut p = Predictions {
            anchor: Vec::with_capacity(anchors.len()),
            stride: Vec::with_capacity(anchors.len()),
            score: Vec::with_capacity(anchors.len()),
            class_id: Vec::with_capacity(anchors.len()),
            boxes_xyxy_px: Vec::with_capacity(anchors.len()),
            class_logits: gather_f16(head.class_logits, num_anchors, &anchors)?,
            dfl_logits: match head.boxes {
                BoxSource::Dfl(logits) if self.store_dfl => gather_f16(logits, num_anchors, &anchors)?,
                _ => Vec::new(),
            },
        };
        for &anchor in &anchors {
            let max = self.max_logit[anchor];
            let class = (0..num_classes).find(|&c| head.class_logits[c * num_anchors + anchor] == max).unwrap_or(0);
            let cell = self.grid.cell(anchor);
            let in_input = head.boxes.decode(anchor, num_anchors, cell);
            if ![in_input.x1, in_input.y1, in_input.x2, in_input.y2].iter().all(|v| v.is_finite()) {
                return Err(format!("the teacher's box at anchor {anchor} is not finite"));
            }
            p.anchor.push(anchor as i32);
            p.stride.push(cell.stride as i32);
            p.score.push(sigmoid(max));
            p.class_id.push(class as i32);
            p.boxes_xyxy_px.push(to_image(in_input));
        }
        Ok(Selected { predictions: p, dropped_max_score, dropped_mean_prob })
    }

    /// Fills, for every anchor, the highest logit and the sum of probabilities over classes.
    fn reduce_classes(&mut self, class_logits: &[f32]) {
        let n = self.grid.num_anchors();
        self.max_logit.fill(f32::NEG_INFINITY);
        self.prob_sum.fill(0.0);
        for row in class_logits.chunks_exact(n) {
            add_class(row, &mut self.max_logit, &mut self.prob_sum);
        }
    }

    /// The kept anchors in increasing order; marks them in `self.kept`.
    fn choose(&mut self) -> Vec<usize> {
        let Selection { min_score, top_k, coverage } = self.selection;
        let scores = self.max_logit.iter().map(|&logit| sigmoid(logit));
        let square = |score: f32| f64::from(score) * f64::from(score);
        let (mut total, mut candidates) = (0.0, Vec::new());
        for (anchor, score) in scores.enumerate() {
            total += square(score);
            if score >= min_score {
                candidates.push((anchor, score));
            }
        }
        if candidates.len() > top_k || coverage < 1.0 {
            candidates
                .sort_unstable_by(|(a, _), (b, _)| self.max_logit[*b].total_cmp(&self.max_logit[*a]).then(a.cmp(b)));
            candidates.truncate(top_k);
        }
        if coverage < 1.0 {
            let mut taken = 0.0;
            let enough = candidates.iter().take_while(|(_, score)| {
                let more = taken < coverage * total;
                taken += square(*score);
                more
            });
            let enough = enough.count();
            candidates.truncate(enough);
        }
        let mut anchors: Vec<usize> = candidates.into_iter().map(|(anchor, _)| anchor).collect();
        anchors.sort_unstable();
        self.kept.fill(false);
        for &a in &anchors {
            self.kept[a] = true;
        }
        anchors
    }

    /// Highest and mean class probability over the anchors that `choose` left out.
    fn dropped(&self, num_classes: usize) -> (f32, f32) {
        let (mut max, mut sum, mut count) = (f32::NEG_INFINITY, 0.0f64, 0usize);
        for ((&kept, &logit), &prob) in self.kept.iter().zip(&self.max_logit).zip(&self.prob_sum) {
            if !kept {
                max = max.max(logit);
                sum += f64::from(prob);
                count += 1;
            }
        }
        if count == 0 { (0.0, 0.0) } else { (sigmoid(max), (sum / (count * num_classes) as f64) as f32) }
    }
}

/// The logistic function, evaluated in double precision so that its rounding never decides a threshold.
pub fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32
}

/// `[channels, num_anchors]` at some anchors as `[anchors.len(), channels]` in float16.
fn gather_f16(values: &[f32], num_anchors: usize, anchors: &[usize]) -> Result<Vec<f16>, String> {
    let channels = values.len() / num_anchors;
    let mut out = Vec::with_capacity(channels * anchors.len());
    for &anchor in anchors {
        for channel in 0..channels {
            let value = values[channel * num_anchors + anchor];
            let stored = f16::from_f32(value);
            if !stored.is_finite() {
                return Err(format!(
                    "the teacher's logit {value} at anchor {anchor} does not fit float16 (largest: {})",
                    f16::MAX
                ));
            }
            out.push(stored);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ImageSize, Letterbox};
    use proptest::prelude::*;

    const INPUT: u32 = 32;

    fn grid() -> Grid {
        Grid::new(INPUT, INPUT, &[8, 16, 32])
    }

    fn plan() -> LetterboxPlan {
        Letterbox::fit(ImageSize { width: INPUT, height: INPUT }, INPUT, INPUT)
    }

    /// The rule, spelled out over single values.
    fn by_hand(logits: &[f32], n: usize, s: Selection) -> (Vec<i32>, f32, f32) {
        let c = logits.len() / n;
        let prob = |k: usize, a: usize| 1.0 / (1.0 + (-f64::from(logits[k * n + a])).exp());
        let best = |a: usize| (0..c).map(|k| logits[k * n + a]).fold(f32::MIN, f32::max);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| best(b).partial_cmp(&best(a)).unwrap().then(a.cmp(&b)));
        let score = |a: usize| (0..c).map(|k| prob(k, a)).fold(0.0, f64::max) as f32;
        let squares = |anchors: &[usize]| anchors.iter().map(|&a| f64::from(score(a)).powi(2)).sum::<f64>();
        let total = squares(&(0..n).collect::<Vec<_>>());
        let best: Vec<usize> = order.into_iter().filter(|&a| score(a) >= s.min_score).take(s.top_k).collect();
        // The shortest beginning that makes up the share, or all of it.
        let enough = |k: &usize| s.coverage < 1.0 && squares(&best[..*k]) >= s.coverage * total;
        let mut keep = best[..(0..=best.len()).find(enough).unwrap_or(best.len())].to_vec();
        keep.sort();
        let dropped: Vec<usize> = (0..n).filter(|a| !keep.contains(a)).collect();
        let probs: Vec<f64> = dropped.iter().flat_map(|&a| (0..c).map(move |k| prob(k, a))).collect();
        let mean = if probs.is_empty() { 0.0 } else { probs.iter().sum::<f64>() / probs.len() as f64 };
        (keep.iter().map(|&a| a as i32).collect(), probs.iter().copied().fold(0.0, f64::max) as f32, mean as f32)
    }

    proptest! {
        #[test]
        fn follows_the_rule(
            logits in prop::collection::vec(-12.0f32..6.0, 3 * 21),
            min_score in 0.0f32..0.9,
            top_k in 0usize..25,
            coverage in prop_oneof![Just(1.0), 0.0..1.0f64, 0.99..1.0f64],
        ) {
            let dfl = vec![0.0; 64 * 21];
            let selection = Selection { min_score, top_k, coverage };
            let head = HeadView { class_logits: &logits, boxes: BoxSource::Dfl(&dfl) };
            let got = Selector::new(grid(), selection, true).select(head, &plan()).unwrap();
            let (anchors, max, mean) = by_hand(&logits, 21, selection);
            prop_assert_eq!(&got.predictions.anchor, &anchors);
            prop_assert!((got.dropped_max_score - max).abs() < 1e-6);
            prop_assert!((got.dropped_mean_prob - mean).abs() < 1e-5 * mean.max(1e-3), "{} {}", got.dropped_mean_prob, mean);
            prop_assert_eq!(got.predictions.class_logits.len(), anchors.len() * 3);
            prop_assert_eq!(got.predictions.dfl_logits.len(), anchors.len() * 64);
        }
    }

    #[test]
    fn equal_scores_keep_the_lower_anchor_and_the_lower_class() {
        let logits = vec![1.0; 2 * 21];
        let dfl = vec![0.0; 64 * 21];
        let head = HeadView { class_logits: &logits, boxes: BoxSource::Dfl(&dfl) };
        let got = Selector::new(grid(), Selection { min_score: 0.01, top_k: 3, coverage: 1.0 }, false)
            .select(head, &plan())
            .unwrap();
        assert_eq!(got.predictions.anchor, [0, 1, 2]);
        assert_eq!(got.predictions.class_id, [0, 0, 0]);
        assert!(got.predictions.dfl_logits.is_empty());
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        let dfl = vec![0.0; 64 * 21];
        let select = |logits: &[f32]| {
            let head = HeadView { class_logits: logits, boxes: BoxSource::Dfl(&dfl) };
            Selector::new(grid(), Selection { min_score: 0.01, top_k: 300, coverage: 1.0 }, true)
                .select(head, &plan())
                .unwrap_err()
        };
        let mut logits = vec![-5.0f32; 2 * 21];
        logits[7] = f32::NAN;
        assert!(select(&logits).contains("not finite"));
        logits[7] = f32::INFINITY;
        assert!(select(&logits).contains("not finite"));
        logits[7] = 70_000.0;
        assert!(select(&logits).contains("float16"));
        assert!(select(&logits[1..]).contains("not a multiple"));
    }
}
