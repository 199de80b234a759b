//! Strategies: from what was measured to the images to label.
//!
//! Equal scores are decided by the image's id, so that the choice depends on nothing else.

use super::{
    Strategy,
    measure::Measured,
    sketch::{Point, squared_distance},
};
use crate::{Result, toolkit::Run};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// `combined` chooses diverse ones among so many times the budget.
const POOL: usize = 4;
/// A rare class counts at most so much more than a frequent one, and that so much less.
const MOST_WEIGHT: f64 = 4.0;

/// Positions of the chosen images in `all`, the first to label first; no more than there are.
///
/// # Errors
/// [`crate::Error::Interrupted`].
pub(super) fn choose(
    method: Strategy,
    all: &[Measured],
    budget: usize,
    seed: u64,
    num_classes: usize,
    run: &Run<'_>,
) -> Result<Vec<usize>> {
    let candidates: Vec<usize> = (0..all.len()).filter(|&at| !all[at].labelled).collect();
    let budget = budget.min(candidates.len());
    match method {
        Strategy::Random => {
            let mut order = candidates;
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            order.truncate(budget);
            Ok(order)
        }
        Strategy::Uncertainty => Ok(highest(candidates, budget, |at| all[at].uncertainty_bits)),
        Strategy::Disagreement => Ok(highest(candidates, budget, |at| all[at].disagreement.unwrap_or_default())),
        Strategy::Balance => balanced(all, candidates, budget, num_classes, run),
        Strategy::Diversity => farthest(all, candidates, budget, run),
        Strategy::Combined => {
            let weights = weights(all, num_classes);
            let score = |at: usize| {
                let weight = |class_id: u32| weights.get(class_id as usize).copied().unwrap_or(1.0);
                let bits: f64 = all[at].bits.iter().map(|&(class, bits)| weight(class) * f64::from(bits)).sum();
                bits * (1.0 + all[at].disagreement.unwrap_or_default())
            };
            let pool = highest(candidates, budget.saturating_mul(POOL), score);
            farthest(all, pool, budget, run)
        }
    }
}

/// The candidates of the highest scores, the highest first.
fn highest(mut candidates: Vec<usize>, most: usize, score: impl Fn(usize) -> f64) -> Vec<usize> {
    candidates.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
    candidates.truncate(most);
    candidates
}

/// How much a class counts: the root of how many times rarer it is than the mean of the classes that there are.
fn weights(all: &[Measured], num_classes: usize) -> Vec<f64> {
    let mut objects = vec![0.0f64; num_classes];
    for &(class, count) in all.iter().flat_map(|image| &image.objects) {
        if let Some(sum) = objects.get_mut(class as usize) {
            *sum += f64::from(count);
        }
    }
    let seen = objects.iter().filter(|sum| **sum > 0.0).count().max(1);
    let mean = objects.iter().sum::<f64>() / seen as f64;
    let weight = |sum: f64| (mean / sum.max(1e-9)).sqrt().clamp(1.0 / MOST_WEIGHT, MOST_WEIGHT);
    objects.into_iter().map(weight).collect()
}

/// Each time the image that adds most to the sum over classes of `ln(1 + objects)`, labelled images included. That sum is
/// submodular, so a gain never grows: an image whose old gain is highest after it was computed anew is the best one
/// (lazy greedy: Minoux 1978).
fn balanced(
    all: &[Measured],
    candidates: Vec<usize>,
    budget: usize,
    num_classes: usize,
    run: &Run<'_>,
) -> Result<Vec<usize>> {
    let mut objects = vec![0.0f64; num_classes];
    let add = |objects: &mut Vec<f64>, image: &Measured| {
        for &(class, count) in &image.objects {
            if let Some(sum) = objects.get_mut(class as usize) {
                *sum += f64::from(count);
            }
        }
    };
    all.iter().filter(|image| image.labelled).for_each(|image| add(&mut objects, image));
    let gain = |objects: &[f64], image: &Measured| -> f64 {
        let of = |&(class, count): &(u32, f32)| {
            let before = objects.get(class as usize).copied().unwrap_or_default();
            (f64::from(count) / (1.0 + before)).ln_1p()
        };
        image.objects.iter().map(of).sum()
    };
    let mut heap: BinaryHeap<(Gain, Reverse<usize>)> =
        candidates.iter().map(|&at| (Gain(gain(&objects, &all[at])), Reverse(at))).collect();
    let mut chosen = Vec::with_capacity(budget);
    while let (true, Some((_, Reverse(at)))) = (chosen.len() < budget, heap.pop()) {
        let now = (Gain(gain(&objects, &all[at])), Reverse(at));
        if heap.peek().is_some_and(|next| *next > now) {
            heap.push(now);
            continue;
        }
        run.go_on()?;
        add(&mut objects, &all[at]);
        chosen.push(at);
    }
    Ok(chosen)
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Gain(f64);

impl Eq for Gain {}

impl Ord for Gain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Gain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Each time the candidate that is farthest from its nearest labelled or chosen image; where there is none yet, the first
/// candidate.
fn farthest(all: &[Measured], candidates: Vec<usize>, budget: usize, run: &Run<'_>) -> Result<Vec<usize>> {
    let labelled: Vec<&Point> = all.iter().filter(|image| image.labelled).map(|image| &image.point).collect();
    let mut nearest: Vec<f32> = candidates
        .par_iter()
        .map(|&at| labelled.iter().map(|point| squared_distance(point, &all[at].point)).fold(f32::INFINITY, f32::min))
        .collect();
    let mut chosen = Vec::with_capacity(budget);
    while chosen.len() < budget {
        run.go_on()?;
        let best = nearest.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        let Some((best, _)) = best else { break };
        let Some(&at) = candidates.get(best) else { break };
        chosen.push(at);
        let point = &all[at].point;
        nearest.par_iter_mut().zip(&candidates).with_min_len(4096).for_each(|(nearest, &other)| {
            *nearest = nearest.min(squared_distance(point, &all[other].point));
        });
        // Never again, not even among images that all lie in one place.
        nearest[best] = f32::NEG_INFINITY;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Strategy, sketch::DIMENSIONS},
        *,
    };
    use proptest::prelude::*;
    use std::{collections::HashSet, sync::atomic::AtomicBool};

    fn image(id: i64, labelled: bool, objects: &[(u32, f32)], at: f32) -> Measured {
        let mut point = [0.0; DIMENSIONS];
        point[0] = at;
        Measured {
            image_id: id,
            labelled,
            uncertainty_bits: f64::from(at),
            disagreement: Some(1.0 - f64::from(at) / 100.0),
            objects: objects.to_vec(),
            bits: objects.to_vec(),
            point,
        }
    }

    fn chosen(method: Strategy, all: &[Measured], budget: usize) -> Vec<usize> {
        let stop = AtomicBool::new(false);
        let run = Run { stop: &stop, total: &|_| (), done: &|_| () };
        choose(method, all, budget, 7, 3, &run).unwrap()
    }

    #[test]
    fn scores_decide_and_then_the_order() {
        let all =
            [image(0, false, &[], 1.0), image(1, true, &[], 9.0), image(2, false, &[], 5.0), image(3, false, &[], 5.0)];
        assert_eq!(chosen(Strategy::Uncertainty, &all, 2), [2, 3]);
        assert_eq!(chosen(Strategy::Disagreement, &all, 2), [0, 2]);
    }

    #[test]
    fn balance_takes_the_class_that_is_missing() {
        let all = [
            image(0, true, &[(0, 10.0)], 0.0),
            image(1, false, &[(0, 3.0)], 0.0),
            image(2, false, &[(1, 1.0)], 0.0),
            image(3, false, &[(1, 2.0)], 0.0),
            image(4, false, &[(2, 0.5)], 0.0),
        ];
        // 1 + 2 objects of class 1: ln 3; then class 2: ln 1.5; then the rest of class 1: ln(4/3); class 0: ln(14/11).
        assert_eq!(chosen(Strategy::Balance, &all, 9), [3, 4, 2, 1]);
    }

    #[test]
    fn diversity_goes_to_the_farthest_and_knows_what_is_labelled() {
        let all = [
            image(0, true, &[], 0.0),
            image(1, false, &[], 1.0),
            image(2, false, &[], 10.0),
            image(3, false, &[], 9.5),
            image(4, false, &[], 5.0),
        ];
        assert_eq!(chosen(Strategy::Diversity, &all, 4), [2, 4, 1, 3]);
        let same = [image(0, false, &[], 3.0), image(1, false, &[], 3.0), image(2, false, &[], 3.0)];
        assert_eq!(chosen(Strategy::Diversity, &same, 3), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn every_strategy_gives_the_budget_without_repeating(
            images in prop::collection::vec((any::<bool>(), 0u32..3, 0f32..5.0, 0f32..50.0), 0..40),
            budget in 1usize..50,
        ) {
            let all: Vec<Measured> = (0..).zip(&images)
                .map(|(id, &(labelled, class, count, at))| image(id, labelled, &[(class, count)], at)).collect();
            let candidates = all.iter().filter(|image| !image.labelled).count();
            for method in [Strategy::Combined, Strategy::Uncertainty, Strategy::Disagreement, Strategy::Balance,
                           Strategy::Diversity, Strategy::Random] {
                let chosen = chosen(method, &all, budget);
                prop_assert_eq!(chosen.len(), budget.min(candidates));
                prop_assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), chosen.len());
                prop_assert!(chosen.iter().all(|&at| !all[at].labelled));
            }
        }
    }
}
