//! Whether one model is better than another on the same images, or only luckier.
//!
//! A paired bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13: percentile intervals): images are drawn
//! with replacement, as many as there are; both models are scored on the same draw, an image drawn twice counting twice.
//! hotcoco's `compare` is not used, because it counts an image once however often it was drawn, which makes intervals too narrow.

use super::matches::Matches;
use crate::{Error, Result};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

/// How often images are drawn.
pub const NUM_DRAWS: u64 = 1000;

/// Share of the draws that an interval covers.
pub const COVERAGE: f64 = 0.95;

/// One number of a model less that of the first model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// On all images.
    pub value: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether the interval lies on one side of zero: the difference is more than the choice of images explains.
    pub more_than_chance: bool,
}

/// A model against the first one; none where the data has no object of the kind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Comparison {
    /// Of mAP@0.5.
    pub ap_50: Option<Difference>,
    /// Of mAP@0.5:0.95.
    pub ap: Option<Difference>,
    /// Of the recall of small objects.
    pub small_recall: Option<Difference>,
}

/// Compares `second` with `first`, both on the same images in the same order. Same input, same result, whatever the number of threads.
///
/// # Errors
/// [`Error::Mismatch`] where the numbers of images differ.
pub fn compare(first: &Matches, second: &Matches) -> Result<Comparison> {
    let num_images = first.num_images;
    if second.num_images != num_images {
        return Err(Error::Mismatch {
            found: format!("two models were scored on {num_images} and {} images", second.num_images),
            remedy: "Compare models on the same images.".into(),
        });
    }
    let draws: Vec<[Option<f64>; 3]> =
        (0..NUM_DRAWS).into_par_iter().map(|seed| differences(first, second, &draw(num_images, seed))).collect();
    let values = differences(first, second, &vec![1; num_images]);
    let difference = |number: usize| {
        let mut drawn: Vec<f64> = draws.iter().filter_map(|draw| draw[number]).collect();
        drawn.sort_by(f64::total_cmp);
        let (low, high) = (quantile(&drawn, (1.0 - COVERAGE) / 2.0)?, quantile(&drawn, (1.0 + COVERAGE) / 2.0)?);
        Some(Difference { value: values[number]?, low, high, more_than_chance: low > 0.0 || high < 0.0 })
    };
    Ok(Comparison { ap_50: difference(0), ap: difference(1), small_recall: difference(2) })
}

/// How often each image was drawn; every draw has its own random numbers.
fn draw(num_images: usize, seed: u64) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = vec![0; num_images];
    for _ in 0..num_images {
        weights[random.random_range(0..num_images)] += 1;
    }
    weights
}

/// AP50, AP, recall of small objects: second less first, where both have the number.
fn differences(first: &Matches, second: &Matches, weights: &[u32]) -> [Option<f64>; 3] {
    let numbers = |matches: &Matches| {
        let ap = matches.mean_average_precision(weights);
        [ap.map(|ap| ap.0), ap.map(|ap| ap.1), matches.small_recall(weights)]
    };
    let (first, second) = (numbers(first), numbers(second));
    std::array::from_fn(|i| Some(second[i]? - first[i]?))
}

/// Linear between the two nearest of the sorted values, as `numpy.quantile`.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let at = share * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (sorted.get(at.floor() as usize)?, sorted.get(at.ceil() as usize)?);
    Some(below + (above - below) * at.fract())
}
