//! Which anchors of one image are kept, and what is remembered of the others.
//!
//! Rule: anchors are taken in the order of their highest logit, the highest first, the lower anchor first among equals, for as long as
//! their score (highest class probability) is at least `min_score`, they are not more than `top_k`, and what was taken before makes up less than
//! `coverage` of the image's sum of squared scores. They are stored in increasing anchor order. Of these, the fewest that make up `class_coverage`
//! of the same sum keep their class logits; of the others the cache knows the highest probability and the mean of the rest.
//!
//! Why squares: a distillation loss weighs an anchor by its score, and different anchors have different logits of the student, so the squared
//! length of an image's gradient is the sum of the anchors', each about proportional to its squared score. Keeping the share `c` of that sum
//! keeps the cosine between the gradients at about `sqrt(c)`, for the image with one object as for the one with fifty.

use crate::{
    cache::{Codebook, Predictions, lower_sides, rows_with_class_logits},
    detector::{HeadSpec, HeadView, ScoreSums},
    preprocess::LetterboxPlan,
    types::{BoxXyxyPx, LogitType},
};
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
    /// The same for class logits; at 1 every kept anchor has them.
    pub class_coverage: f64,
    /// How logits are rounded.
    pub logits: LogitType,
}

impl Selection {
    /// Keeps every anchor (the `dense` profile).
    pub const ALL: Self =
        Self { min_score: 0.0, top_k: usize::MAX, coverage: 1.0, class_coverage: 1.0, logits: LogitType::Float16 };
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
    /// Sum of the scores (highest class probabilities) of the dropped anchors, 0 if none was dropped.
    pub dropped_score_sum: f32,
    /// Mean probability of the classes other than the highest over the kept anchors without class logits, 0 if all have them.
    pub rest_mean_prob: f32,
}

/// Selects anchors; holds the scratch memory of one thread.
#[derive(Debug)]
pub struct Selector {
    head: HeadSpec,
    selection: Selection,
    store_dfl: bool,
    sums: ScoreSums,
    kept: Vec<bool>,
}

impl Selector {
    /// A selector for this head; `store_dfl` says whether DFL logits are kept.
    pub fn new(head: HeadSpec, selection: Selection, store_dfl: bool) -> Self {
        let kept = vec![false; head.num_places()];
        Self { head, selection, store_dfl, sums: ScoreSums::default(), kept }
    }

    /// Applies the rule to one image.
    ///
    /// # Errors
    /// In words, when the teacher gave a value that is not finite or cannot be held as float16.
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
        let (num_anchors, num_classes) = (self.head.num_places(), self.head.num_classes);
        head.sum_scores(&mut self.sums)?;
        let (anchors, class_rows) = self.choose();
        let dropped = self.dropped(num_classes);

        let dfl = head.dfl_logits().filter(|_| self.store_dfl);
        let dfl_logits = dfl.map(|logits| gather(logits, num_anchors, &anchors, self.round_dfl())).transpose()?;
        let mut p = Predictions {
            anchor: Vec::with_capacity(anchors.len()),
            stride: Vec::with_capacity(anchors.len()),
            score: Vec::with_capacity(anchors.len()),
            class_id: Vec::with_capacity(anchors.len()),
            boxes_xyxy_px: Vec::with_capacity(anchors.len()),
            class_logits: Vec::new(),
            dfl_logits: dfl_logits.unwrap_or_default(),
        };
        let class_logits = head.class_logits();
        for &anchor in &anchors {
            let max = self.sums.max_logit[anchor];
            let class = (0..num_classes).find(|&c| class_logits[c * num_anchors + anchor] == max).unwrap_or(0);
            let in_input = head.box_xyxy_input_px(anchor);
            if ![in_input.x1, in_input.y1, in_input.x2, in_input.y2].iter().all(|v| v.is_finite()) {
                return Err(format!("the teacher's box at anchor {anchor} is not finite"));
            }
            p.anchor.push(anchor as i32);
            p.stride.extend(self.head.stride_at(anchor).map(|stride| stride as i32));
            p.score.push(self.sums.scores[anchor]);
            p.class_id.push(class as i32);
            p.boxes_xyxy_px.push(to_image(in_input));
        }
        let with = rows_with_class_logits(&p.score, class_rows);
        let of = |wanted: bool| anchors.iter().zip(&with).filter(move |(_, has)| **has == wanted).map(|(&a, _)| a);
        p.class_logits = gather(class_logits, num_anchors, &of(true).collect::<Vec<_>>(), self.round_class())?;
        let rest_mean_prob = self.rest(of(false), num_classes);
        Ok(Selected {
            predictions: p,
            dropped_max_score: dropped.max_score,
            dropped_mean_prob: dropped.mean_prob,
            dropped_score_sum: dropped.score_sum,
            rest_mean_prob,
        })
    }

    /// How the class logits of an anchor are stored.
    fn round_class(&self) -> fn(&[f32]) -> Vec<f16> {
        match self.selection.logits {
            LogitType::Float16 | LogitType::Bits8Dfl => to_f16,
            LogitType::Bits8 => |row| row.iter().map(|&v| Codebook::class().round(v)).collect(),
        }
    }

    /// How the DFL logits of an anchor are stored.
    fn round_dfl(&self) -> fn(&[f32]) -> Vec<f16> {
        match self.selection.logits {
            LogitType::Float16 => to_f16,
            LogitType::Bits8 | LogitType::Bits8Dfl => |row| {
                let mut lowered = row.to_vec();
                lower_sides(&mut lowered);
                lowered.into_iter().map(|v| Codebook::dfl().round(v)).collect()
            },
        }
    }

    /// Mean probability of the classes other than the highest over these anchors, 0 where there is nothing to take the mean of.
    fn rest(&self, anchors: impl Iterator<Item = usize>, num_classes: usize) -> f32 {
        let (mut sum, mut count) = (0.0f64, 0usize);
        for anchor in anchors {
            sum += (f64::from(self.sums.prob_sum[anchor]) - f64::from(self.sums.scores[anchor])).max(0.0);
            count += num_classes - 1;
        }
        if count == 0 { 0.0 } else { (sum / count as f64) as f32 }
    }

    /// The kept anchors in increasing order, marked in `self.kept`, and how many of them have class logits.
    fn choose(&mut self) -> (Vec<usize>, usize) {
        let Selection { min_score, top_k, coverage, class_coverage, .. } = self.selection;
        let (mut total, mut candidates) = (0.0, Vec::new());
        for (anchor, &score) in self.sums.scores.iter().enumerate() {
            total += square(score);
            if score >= min_score {
                candidates.push((anchor, score));
            }
        }
        let best_first = |(a, _): &(usize, f32), (b, _): &(usize, f32)| {
            self.sums.max_logit[*b].total_cmp(&self.sums.max_logit[*a]).then(a.cmp(b))
        };
        if candidates.len() > top_k {
            candidates.select_nth_unstable_by(top_k, best_first);
            candidates.truncate(top_k);
        }
        if coverage < 1.0 || class_coverage < 1.0 {
            candidates.sort_unstable_by(best_first);
        }
        candidates.truncate(covering(&candidates, coverage, total));
        let class_rows = covering(&candidates, class_coverage, total);
        let mut anchors: Vec<usize> = candidates.into_iter().map(|(anchor, _)| anchor).collect();
        anchors.sort_unstable();
        self.kept.fill(false);
        for &a in &anchors {
            self.kept[a] = true;
        }
        (anchors, class_rows)
    }

    /// What is remembered of the anchors that `choose` left out.
    fn dropped(&self, num_classes: usize) -> Dropped {
        let (mut max_score, mut sum, mut score_sum, mut count) = (0.0f32, 0.0f64, 0.0f64, 0usize);
        for ((&kept, &score), &prob) in self.kept.iter().zip(&self.sums.scores).zip(&self.sums.prob_sum) {
            if !kept {
                max_score = max_score.max(score);
                sum += f64::from(prob);
                score_sum += f64::from(score);
                count += 1;
            }
        }
        if count == 0 {
            return Dropped::default();
        }
        Dropped { max_score, mean_prob: (sum / (count * num_classes) as f64) as f32, score_sum: score_sum as f32 }
    }
}

/// Of the dropped anchors; zeros where there are none.
#[derive(Default)]
struct Dropped {
    max_score: f32,
    mean_prob: f32,
    score_sum: f32,
}

fn square(score: f32) -> f64 {
    f64::from(score) * f64::from(score)
}

/// How many of the candidates, the best first, make up `share` of the total of squared scores; all of them where 1 is asked for.
fn covering(candidates: &[(usize, f32)], share: f64, total: f64) -> usize {
    if share >= 1.0 {
        return candidates.len();
    }
    let mut taken = 0.0;
    let enough = candidates.iter().take_while(|(_, score)| {
        let more = taken < share * total;
        taken += square(*score);
        more
    });
    enough.count()
}

/// `[channels, num_anchors]` at some anchors as `[anchors.len(), channels]`, each row rounded by `round`.
fn gather(
    values: &[f32],
    num_anchors: usize,
    anchors: &[usize],
    round: fn(&[f32]) -> Vec<f16>,
) -> Result<Vec<f16>, String> {
    let channels = values.len() / num_anchors;
    let mut out = Vec::with_capacity(channels * anchors.len());
    let mut row = vec![0.0; channels];
    for &anchor in anchors {
        for (channel, slot) in row.iter_mut().enumerate() {
            *slot = values[channel * num_anchors + anchor];
        }
        if let Some(value) = row.iter().find(|v| !f16::from_f32(**v).is_finite()) {
            let largest = f16::MAX;
            return Err(format!(
                "the teacher's logit {value} at anchor {anchor} does not fit float16 (largest: {largest})"
            ));
        }
        out.extend(round(&row));
    }
    Ok(out)
}

fn to_f16(row: &[f32]) -> Vec<f16> {
    row.iter().map(|&v| f16::from_f32(v)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{Grid, HeadKind, Places},
        detector::BoxRule,
        types::ImageSize,
    };
    use proptest::prelude::*;

    const INPUT: u32 = 32;

    /// 21 anchors.
    fn head(num_classes: usize) -> HeadSpec {
        HeadSpec {
            kind: HeadKind::Yolov8Dfl,
            num_classes,
            boxes: BoxRule::Bins { reg_max: 16 },
            places: Places::Grid(Grid::new(ImageSize { width: INPUT, height: INPUT }, &[8, 16, 32])),
            one_to_one: false,
        }
    }

    fn plan() -> LetterboxPlan {
        LetterboxPlan::fit(ImageSize { width: INPUT, height: INPUT }, INPUT, INPUT)
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
            class_coverage in prop_oneof![Just(1.0), 0.0..1.0f64],
        ) {
            let dfl = vec![0.0; 64 * 21];
            let selection =
                Selection { min_score, top_k, coverage, class_coverage: class_coverage.min(coverage), logits: LogitType::Float16 };
            let head = head(3);
            let view = HeadView::new(&head, &logits, &dfl).unwrap();
            let got = Selector::new(head.clone(), selection, true).select(view, &plan()).unwrap();
            let (anchors, max, mean) = by_hand(&logits, 21, selection);
            prop_assert_eq!(&got.predictions.anchor, &anchors);
            prop_assert!((got.dropped_max_score - max).abs() < 1e-6);
            prop_assert!((got.dropped_mean_prob - mean).abs() < 1e-5 * mean.max(1e-3), "{} {}", got.dropped_mean_prob, mean);
            // Class logits: the same rule with another share, of the same anchors.
            let of_classes = Selection { coverage: selection.class_coverage, ..selection };
            let class_anchors: Vec<i32> = match selection.class_coverage {
                1.0 => anchors.clone(),
                _ => by_hand(&logits, 21, of_classes).0,
            };
            let expected: Vec<f16> = class_anchors.iter().flat_map(|&a| (0..3).map(move |k| k * 21 + a as usize)).map(|at| f16::from_f32(logits[at])).collect();
            prop_assert_eq!(&got.predictions.class_logits, &expected);
            let others: Vec<f64> = anchors
                .iter()
                .filter(|a| !class_anchors.contains(a))
                .flat_map(|&a| {
                    let mut probs: Vec<f64> = (0..3).map(|k| 1.0 / (1.0 + (-f64::from(logits[k * 21 + a as usize])).exp())).collect();
                    probs.sort_by(f64::total_cmp);
                    probs[..2].to_vec()
                })
                .collect();
            let rest = if others.is_empty() { 0.0 } else { others.iter().sum::<f64>() / others.len() as f64 };
            prop_assert!((f64::from(got.rest_mean_prob) - rest).abs() < 1e-5 * rest.max(1e-2), "{} {rest}", got.rest_mean_prob);
            prop_assert_eq!(got.predictions.dfl_logits.len(), anchors.len() * 64);
        }
    }

    #[test]
    fn equal_scores_keep_the_lower_anchor_and_the_lower_class() {
        let logits = vec![1.0; 2 * 21];
        let dfl = vec![0.0; 64 * 21];
        let head = head(2);
        let view = HeadView::new(&head, &logits, &dfl).unwrap();
        let selection = Selection { top_k: 3, ..Selection::ALL };
        let got = Selector::new(head.clone(), selection, false).select(view, &plan()).unwrap();
        assert_eq!(got.predictions.anchor, [0, 1, 2]);
        assert_eq!(got.predictions.class_id, [0, 0, 0]);
        assert!(got.predictions.dfl_logits.is_empty());
    }

    #[test]
    fn logits_of_8_bits_are_rounded_and_sides_end_at_0() {
        let logits: Vec<f32> = (0..2 * 21).map(|i| -9.0 + 0.313 * i as f32).collect();
        let dfl: Vec<f32> = (0..64 * 21).map(|i| ((i * 37) % 101) as f32 * 0.17 - 6.0).collect();
        let head = head(2);
        let view = HeadView::new(&head, &logits, &dfl).unwrap();
        let select = |logits| {
            let selection = Selection { logits, ..Selection::ALL };
            Selector::new(head.clone(), selection, true).select(view, &plan()).unwrap()
        };
        let (exact, coded) = (select(LogitType::Float16).predictions, select(LogitType::Bits8).predictions);
        assert_eq!((&exact.score, &exact.boxes_xyxy_px), (&coded.score, &coded.boxes_xyxy_px));
        for (exact, coded) in exact.class_logits.iter().zip(&coded.class_logits) {
            assert!(Codebook::class().code(*coded).is_some());
            assert!((exact.to_f32() - coded.to_f32()).abs() <= 0.25 + 0.01, "{exact} {coded}");
        }
        for (exact, coded) in exact.dfl_logits.chunks(16).zip(coded.dfl_logits.chunks(16)) {
            let highest = exact.iter().map(|v| v.to_f32()).fold(f32::MIN, f32::max);
            assert_eq!(coded.iter().map(|v| v.to_f32()).fold(f32::MIN, f32::max), 0.0);
            for (exact, coded) in exact.iter().zip(coded) {
                assert!((exact.to_f32() - highest - coded.to_f32()).abs() <= 0.125 + 0.02, "{exact} {coded}");
            }
        }
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        let dfl = vec![0.0; 64 * 21];
        let head = head(2);
        let select = |logits: &[f32]| {
            let view = HeadView::new(&head, logits, &dfl).unwrap();
            Selector::new(head.clone(), Selection::ALL, true).select(view, &plan()).unwrap_err()
        };
        let mut logits = vec![-5.0f32; 2 * 21];
        logits[7] = f32::NAN;
        assert!(select(&logits).contains("not finite"));
        logits[7] = f32::INFINITY;
        assert!(select(&logits).contains("not finite"));
        logits[7] = 70_000.0;
        assert!(select(&logits).contains("float16"));
    }
}
