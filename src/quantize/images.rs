//! Which images of a cache are used, and how they become a model's input.

use crate::{
    Error, Result,
    augment::Views,
    cache::{CacheReader, MissingLabels, decode_f32},
    dataset::{DataSource, Sample},
    detector::Detector,
    eval::evenly,
    pipeline::{ImageSource, cached_ids, cached_samples},
    types::Failure,
};
use std::collections::HashSet;

/// Images of the cache that both models are run on where there are no labels.
const SCORED: usize = 64;

/// Images of the cache that are looked at for those to use.
const LOOKED_AT: usize = 20_000;

/// Images on which the teacher sees something are better to calibrate with than others.
const SEEN: f32 = 0.25;

/// Images of the cache, evenly spread over those on which the teacher sees something, then over the others. And whether it sees
/// something on any.
pub(super) fn calibration_ids(reader: &CacheReader, most: usize) -> Result<(Vec<i64>, bool)> {
    let ids = evenly(cached_ids(reader)?, LOOKED_AT);
    let mut seen = Vec::new();
    let mut others = Vec::new();
    for id in ids {
        let Some(image) = reader.image(id, 0)? else { continue };
        let best = decode_f32(image.predictions.scores).fold(0.0f32, f32::max);
        if best > SEEN { seen.push(id) } else { others.push(id) }
    }
    let missing = most.saturating_sub(seen.len());
    let any_seen = !seen.is_empty();
    let mut ids = evenly(seen, most);
    ids.extend(evenly(others, missing));
    ids.sort_unstable();
    Ok((ids, any_seen))
}

/// Divides images into those to measure ranges on, `wanted` or as many as there are, and those to compare models on. These are
/// others, evenly spread, so that both are of the same kind. If there are no more than `wanted`, `compared` are kept back for
/// that; of fewer than twice as many, all are used for both, and the last value is false.
pub(super) fn divided(samples: &[Sample], wanted: usize, compared: usize) -> (Vec<Sample>, Vec<Sample>, bool) {
    let total = samples.len();
    let others = match total.saturating_sub(wanted) {
        0 if total >= 2 * compared => compared,
        more => more.min(compared),
    };
    if others == 0 {
        return (samples.to_vec(), samples.to_vec(), false);
    }
    let pick = |compared: bool| -> Vec<Sample> {
        let chosen = samples.iter().enumerate().filter(|(at, _)| (at * others % total < others) == compared);
        chosen.map(|(_, sample)| sample.clone()).collect()
    };
    (pick(false), pick(true), true)
}

/// Images that were not used yet.
pub(super) fn other_images(reader: &CacheReader, used: &[i64]) -> Result<Vec<i64>> {
    let used: HashSet<i64> = used.iter().copied().collect();
    let all = cached_ids(reader)?;
    Ok(evenly(all.into_iter().filter(|id| !used.contains(id)).collect(), SCORED))
}

/// The pictures, where the cache says, or else in the data set that was named.
pub(super) fn samples(reader: &CacheReader, ids: &[i64], named: Option<&DataSource>) -> Result<Vec<Sample>> {
    match (cached_samples(reader, ids, None), named) {
        (Err(Error::Dataset { .. }), Some(source)) => {
            let split = reader.manifest().dataset.split.clone();
            cached_samples(reader, ids, Some(&DataSource { split, ..source.clone() }))
        }
        (samples, _) => samples,
    }
}

pub(super) fn source<'a>(samples: &'a [Sample], detector: &Detector) -> ImageSource<'a> {
    ImageSource {
        samples,
        image_ids: None,
        input: detector.input,
        rule: detector.input_rule,
        class_map: None,
        missing_labels: MissingLabels::Unlabelled,
        views: Views::default(),
    }
}

/// `[3, H, W]` of each image that can be read.
pub(super) fn inputs(samples: &[Sample], detector: &Detector, failures: &mut Vec<Failure>) -> Vec<Vec<f32>> {
    let source = source(samples, detector);
    let mut scratch = source.scratch();
    let mut inputs = Vec::with_capacity(samples.len());
    for at in 0..samples.len() as i64 {
        let mut pixels = vec![0.0; source.values_per_image()];
        match source.prepare((at, 0), &mut scratch, &mut pixels) {
            Ok(_) => inputs.push(pixels),
            Err(failure) if failures.iter().any(|other| other.path == failure.path) => {}
            Err(failure) => failures.push(failure),
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_number_that_was_asked_for_is_calibrated_on_and_others_are_compared() {
        let counts = |total: usize, wanted: usize| {
            let sample = |at: usize| Sample::of_picture(Path::new("/"), &format!("{at}.png")).unwrap();
            let samples: Vec<Sample> = (0..total).map(sample).collect();
            let (observe, compare, apart) = divided(&samples, wanted, 16);
            let observed: HashSet<_> = observe.iter().map(|sample| &sample.path).collect();
            assert_eq!(compare.iter().all(|sample| !observed.contains(&sample.path)), apart);
            (observe.len(), compare.len(), apart)
        };
        assert_eq!(counts(144, 128), (128, 16, true));
        assert_eq!(counts(20, 4), (4, 16, true));
        assert_eq!(counts(17, 1), (1, 16, true));
        assert_eq!(counts(10, 4), (4, 6, true));
        assert_eq!(counts(129, 128), (128, 1, true));
        assert_eq!(counts(100, 128), (84, 16, true));
        assert_eq!(counts(31, 128), (31, 31, false));
        assert_eq!(counts(1, 1), (1, 1, false));
    }
}
