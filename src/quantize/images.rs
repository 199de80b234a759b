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

/// Images of the cache, evenly spread over those on which the teacher sees something, then over the others.
pub(super) fn calibration_ids(reader: &CacheReader, most: usize) -> Result<Vec<i64>> {
    let ids = evenly(cached_ids(reader)?, LOOKED_AT);
    let mut seen = Vec::new();
    let mut others = Vec::new();
    for id in ids {
        let Some(image) = reader.image(id, 0)? else { continue };
        let best = decode_f32(image.predictions.scores).fold(0.0f32, f32::max);
        if best > SEEN { seen.push(id) } else { others.push(id) }
    }
    let missing = most.saturating_sub(seen.len());
    let mut ids = evenly(seen, most);
    ids.extend(evenly(others, missing));
    ids.sort_unstable();
    Ok(ids)
}

/// Images that were not used yet; all where none is left.
pub(super) fn other_images(reader: &CacheReader, used: &[i64]) -> Result<Vec<i64>> {
    let used: HashSet<i64> = used.iter().copied().collect();
    let all = cached_ids(reader)?;
    let others: Vec<i64> = all.iter().copied().filter(|id| !used.contains(id)).collect();
    Ok(evenly(if others.is_empty() { all } else { others }, SCORED))
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
