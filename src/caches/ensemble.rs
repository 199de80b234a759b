//! The mean of several teachers on the same images.
//!
//! The teachers have the same head, input, places and classes. A place (anchor) of the new cache is
//! one that at least one of them kept:
//!
//! - class logits: the mean of the teachers' class logits there. For a teacher that dropped the
//!   place, every class has the logit of its mean probability over dropped places
//!   (`dropped_mean_prob`).
//! - DFL logits and box: the mean over the teachers that kept the place, of each side's logits less
//!   their highest, and of each edge.
//! - Score and class follow from the mean logits. Places below `min_score`, or below the score that
//!   a place dropped by all could have (the sigmoid of the mean logit of the teachers'
//!   `dropped_max_score`), are dropped, and so is what is beyond `top_k`.
//! - What is dropped counts with the mean of the teachers' statistics. Every row has class logits
//!   (`class_coverage` is 1).
//!
//! Labels are those of the first cache, which must be the same in all.

use super::{CacheMergeOptions, CacheWritten, checked, write::NewCache};
use crate::{
    Error, Result,
    cache::{CacheReader, Codebook, ImageRecord, Manifest, Predictions, lower_sides, seen_from, to_hex},
    toolkit::Run,
    types::{BoxXyxyPx, Profile},
};
use half::f16;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Probabilities nearer to 0 or 1 are taken for as far from it.
const LEAST: f64 = 1e-9;

/// Writes the mean of caches.
pub(super) fn write(caches: &[CacheReader], options: &CacheMergeOptions, run: &Run<'_>) -> Result<CacheWritten> {
    let Some((first, others)) = caches.split_first() else { return Err(other_images("there is no cache".into())) };
    for other in others {
        refuse_other_head(first, other)?;
    }
    let manifest = manifest(caches, options)?;
    let mut walks: Vec<_> = caches.iter().map(|cache| cache.images()).collect();
    let mut new = NewCache::create(&options.out, manifest.clone())?;
    (run.total)(first.len() as u64);
    loop {
        run.go_on()?;
        let images = walks.iter_mut().map(Iterator::next).collect::<Vec<_>>();
        let (mut records, mut logits) = (Vec::with_capacity(images.len()), Vec::with_capacity(images.len()));
        for (image, cache) in images.into_iter().zip(caches) {
            if let Some(image) = image {
                let image = image?;
                records.push(checked(cache, &image)?);
                logits.push(image.predictions.all_class_logits());
            }
        }
        let Some((one, rest)) = records.split_first() else { break };
        if records.len() < caches.len() {
            return Err(other_images(format!("{} has images that another cache lacks", one.path)));
        }
        for (other, cache) in rest.iter().zip(others) {
            refuse_other_image(one, other, cache)?;
        }
        new.push(&mean(&records, &logits, &manifest).map_err(|found| Error::Mismatch {
            found: format!("{}: {found}", one.path),
            remedy: "Build the caches with a lower `min_score=` or a higher `coverage=`.".into(),
        })?)?;
        (run.done)(false);
    }
    new.finish(options.caches.clone(), Vec::new(), run)
}

fn other_images(found: String) -> Error {
    Error::Mismatch {
        found,
        remedy: "Build both caches from the same data set, with the same `views=` and seed.".into(),
    }
}

fn refuse_other_image(a: &ImageRecord, b: &ImageRecord, cache: &CacheReader) -> Result<()> {
    let found = if (a.image_id, a.view, &a.path) != (b.image_id, b.view, &b.path) {
        format!(
            "the caches have other images: where one has {} (view {}), {} has {} (view {})",
            a.path,
            a.view,
            cache.folder().display(),
            b.path,
            b.view
        )
    } else if a.file_sha256 != b.file_sha256 || (a.size, a.letterbox, a.change) != (b.size, b.letterbox, b.change) {
        format!("{} (view {}) was another picture when {} was built", a.path, a.view, cache.folder().display())
    } else if a.labels != b.labels {
        format!("{} has other labels in {}", a.path, cache.folder().display())
    } else {
        return Ok(());
    };
    Err(other_images(found))
}

fn refuse_other_head(first: &CacheReader, other: &CacheReader) -> Result<()> {
    let (a, b) = (first.manifest(), other.manifest());
    let same = |what: &'static str, a: String, b: String| {
        (a != b)
            .then(|| format!("{what} is {a} in {} and {b} in {}", first.folder().display(), other.folder().display()))
    };
    let (s, t) = (&a.settings, &b.settings);
    let found = same("the input size", format!("{:?}", a.teacher.input()), format!("{:?}", b.teacher.input()))
        .or_else(|| same("the list of classes", a.teacher.class_names.join(", "), b.teacher.class_names.join(", ")))
        .or_else(|| same("the head", a.teacher.head.to_string(), b.teacher.head.to_string()))
        .or_else(|| same("the list of strides", format!("{:?}", a.teacher.strides), format!("{:?}", b.teacher.strides)))
        .or_else(|| same("the number of queries", a.teacher.queries.to_string(), b.teacher.queries.to_string()))
        .or_else(|| same("the number of DFL bins", a.teacher.reg_max.to_string(), b.teacher.reg_max.to_string()))
        .or_else(|| {
            same("the input rule", format!("{:?}", a.teacher.input_rule), format!("{:?}", b.teacher.input_rule))
        })
        .or_else(|| {
            same(
                "what is stored",
                format!("{:?}", (s.store, s.logits, s.profile)),
                format!("{:?}", (t.store, t.logits, t.profile)),
            )
        })
        .or_else(|| {
            same(
                "the choice of views",
                format!("{:?}", (s.views, s.view_seed, &s.view_rule)),
                format!("{:?}", (t.views, t.view_seed, &t.view_rule)),
            )
        })
        .or_else(|| {
            (a.teacher.queries > 0).then(|| "the teachers have queries, which have no places in common".to_owned())
        });
    match found {
        Some(found) => Err(Error::Mismatch {
            found,
            remedy: "An ensemble needs teachers with the same head on a grid, input, classes and settings.".into(),
        }),
        None => Ok(()),
    }
}

fn manifest(caches: &[CacheReader], options: &CacheMergeOptions) -> Result<Manifest> {
    let Some(first) = caches.first() else { return Err(other_images("there is no cache".into())) };
    let mut manifest = first.manifest().clone();
    manifest.dataset = seen_from(&manifest.dataset, first.folder(), &options.out)?;
    let names: Vec<&str> = caches.iter().map(|cache| cache.manifest().teacher.file_name.as_str()).collect();
    manifest.teacher.file_name = format!("mean of {}", names.join(", "));
    let mut digest = Sha256::new();
    caches.iter().for_each(|cache| digest.update(cache.manifest().teacher.sha256.as_bytes()));
    manifest.teacher.sha256 = to_hex(&digest.finalize());
    let settings = caches.iter().map(|cache| &cache.manifest().settings);
    let mapped = manifest.settings.profile == Profile::Mapped;
    manifest.settings.min_score = settings.clone().map(|s| s.min_score).fold(0.0, f32::max);
    manifest.settings.top_k = settings.clone().map(|s| s.top_k).min().unwrap_or(manifest.settings.top_k);
    // Which of the rules dropped a place is not known of a mean: any may have.
    manifest.settings.coverage =
        if mapped { settings.map(|s| s.coverage).fold(1.0f64, f64::min).min(COVERAGE) } else { 1.0 };
    manifest.settings.class_coverage = 1.0;
    Ok(manifest)
}

/// A coverage of 1 would claim that nothing over `min_score` was dropped.
const COVERAGE: f64 = 0.9999;

/// One place, as far as it is summed up.
#[derive(Default)]
struct Place {
    stride: Option<i32>,
    class_logits: Vec<f64>,
    dfl_logits: Vec<f64>,
    edges: [f64; 4],
    keepers: f64,
    of: Vec<usize>,
}

/// The mean of one image's records, whose rows have these class logits.
fn mean(records: &[ImageRecord], logits: &[Vec<f32>], manifest: &Manifest) -> Result<ImageRecord, String> {
    let (classes, dfl_len) = (manifest.class_len(), manifest.dfl_len());
    let head = manifest.teacher.head;
    let logit = |probability: f32| head.logit(f64::from(probability).clamp(LEAST, 1.0 - LEAST));
    let count = records.len() as f64;
    let mut places: BTreeMap<i32, Place> = BTreeMap::new();
    for (number, (record, logits)) in records.iter().zip(logits).enumerate() {
        let p = &record.predictions;
        for (row, &anchor) in p.anchor.iter().enumerate() {
            let place = places.entry(anchor).or_default();
            place.stride = p.stride.get(row).copied();
            place.class_logits.resize(classes, 0.0);
            place.dfl_logits.resize(dfl_len, 0.0);
            let own = logits.iter().skip(row * classes).take(classes);
            place.class_logits.iter_mut().zip(own).for_each(|(sum, &logit)| *sum += f64::from(logit));
            let mut sides: Vec<f32> =
                p.dfl_logits.iter().skip(row * dfl_len).take(dfl_len).map(|v| v.to_f32()).collect();
            lower_sides(&mut sides);
            place.dfl_logits.iter_mut().zip(sides).for_each(|(sum, logit)| *sum += f64::from(logit));
            let b = p.boxes_xyxy_px.get(row).copied().unwrap_or_default();
            place.edges.iter_mut().zip([b.x1, b.y1, b.x2, b.y2]).for_each(|(sum, edge)| *sum += f64::from(edge));
            place.keepers += 1.0;
            place.of.push(number);
        }
    }
    let could_have = head.probability_f64(records.iter().map(|r| logit(r.dropped_max_score)).sum::<f64>() / count);
    let all_kept = records.iter().all(|r| r.predictions.len() as u64 == manifest.teacher.total_anchors());
    let least = if all_kept { 0.0 } else { could_have.max(f64::from(manifest.settings.min_score)) };
    let mut rows: Vec<(i32, f32, i32, Place)> = Vec::new();
    let mut dropped: Vec<f64> = Vec::new();
    for (anchor, mut place) in places {
        for (number, record) in records.iter().enumerate() {
            if !place.of.contains(&number) {
                let logit = logit(record.dropped_mean_prob);
                place.class_logits.iter_mut().for_each(|sum| *sum += logit);
            }
        }
        place.class_logits.iter_mut().for_each(|sum| *sum /= count);
        let best = place
            .class_logits
            .iter()
            .enumerate()
            .fold((0, f64::NEG_INFINITY), |best, (at, &logit)| if logit > best.1 { (at, logit) } else { best });
        let score = head.probability_f64(best.1);
        if score >= least { rows.push((anchor, score as f32, best.0 as i32, place)) } else { dropped.push(score) }
    }
    let most = manifest.settings.top_k as usize;
    if rows.len() > most && !all_kept {
        let mut order: Vec<f32> = rows.iter().map(|row| row.1).collect();
        order.sort_by(|a, b| b.total_cmp(a));
        let last = order.get(most).copied().unwrap_or_default();
        // Of equal scores at the end none is kept.
        let (kept, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.1 > last);
        dropped.extend(others.iter().map(|row| f64::from(row.1)));
        rows = kept;
    }
    let mut predictions = Predictions::default();
    let (of_class, of_dfl) = (Codebook::of_class(manifest.settings.logits), Codebook::of_dfl(manifest.settings.logits));
    let stored = |book: Option<&Codebook>, logit: f64| {
        book.map_or_else(|| f16::from_f64(logit), |book| book.round(logit as f32))
    };
    for (anchor, score, class_id, place) in rows {
        predictions.anchor.push(anchor);
        predictions.stride.extend(place.stride);
        predictions.score.push(score);
        predictions.class_id.push(class_id);
        let [x1, y1, x2, y2] = place.edges.map(|sum| (sum / place.keepers) as f32);
        predictions.boxes_xyxy_px.push(BoxXyxyPx { x1, y1, x2, y2 });
        predictions.class_logits.extend(place.class_logits.iter().map(|&logit| stored(of_class, logit)));
        let mut sides: Vec<f32> = place.dfl_logits.iter().map(|sum| (sum / place.keepers) as f32).collect();
        lower_sides(&mut sides);
        predictions.dfl_logits.extend(sides.iter().map(|&logit| stored(of_dfl, f64::from(logit))));
    }
    let over = |value: &dyn Fn(&ImageRecord) -> f32| records.iter().map(|r| f64::from(value(r))).sum::<f64>() / count;
    let highest = dropped.iter().copied().fold(if all_kept { 0.0 } else { could_have }, f64::max);
    let lost = manifest.teacher.total_anchors() as f64 - predictions.len() as f64;
    let Some(first) = records.first() else { return Err("there is no image".into()) };
    let sum =
        (over(&|r| r.dropped_score_sum) + dropped.iter().sum::<f64>()).clamp(highest, (highest * lost).max(highest));
    Ok(ImageRecord {
        dropped_max_score: highest as f32,
        dropped_mean_prob: over(&|r| r.dropped_mean_prob).min(highest) as f32,
        dropped_score_sum: if lost > 0.0 { sum as f32 } else { 0.0 },
        rest_mean_prob: 0.0,
        predictions,
        ..first.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_document() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md");
        let text = std::fs::read_to_string(path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        let after = |before: &str| text.split_once(before).unwrap().1.split_whitespace().next().unwrap().parse();
        assert_eq!(after("`coverage` at most "), Ok(COVERAGE));
        assert_eq!(after("Probabilities are first limited to "), Ok(LEAST));
    }
}
