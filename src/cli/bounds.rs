//! The bounds of every number that a user gives: one place, asked before anything is opened or made.

use crate::{augment::Views, dataset::synth::SynthConfig, detector::MAX_BATCH, types::InputSize};
use std::{
    num::{NonZeroU32, NonZeroUsize, ParseFloatError},
    str::FromStr,
    thread,
};

/// Worker threads; those that more than four for each processor would get are left out silently, as they only take memory.
const MAX_JOBS: u64 = 1024;
/// Threads of the trainer for each processor: their number is part of the result, so none are left out.
const THREADS_PER_PROCESSOR: u64 = 4;
/// Epochs, and what is counted in them.
const MAX_EPOCHS: u64 = 100_000;
/// Images of a Parquet file pair: they are held back until it is written.
const MAX_PART: u64 = 1_000_000;
/// Issues that are listed: they are held in memory.
const MOST_LISTED: u64 = 1_000_000;
/// Images to compare, anchors to keep: more than any image or data set has.
const MANY: u64 = u32::MAX as u64;

type Parsed<T> = Result<T, String>;

fn whole(text: &str, least: u64, most: u64, what: &str) -> Parsed<u64> {
    let value = text.parse().ok().filter(|value| (least..=most).contains(value));
    value.ok_or_else(|| format!("expected a whole number from {least} to {most}{what}"))
}

fn at_least_one(text: &str, most: u64) -> Parsed<NonZeroUsize> {
    whole(text, 1, most, "").map(|value| NonZeroUsize::new(value as usize).unwrap_or(NonZeroUsize::MIN))
}

/// `--imgsz` of a model.
pub fn input_size(text: &str) -> Parsed<InputSize> {
    text.parse()
}

/// `--batch`
pub fn batch(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, MAX_BATCH as u64)
}

/// `quantize --sample`: what flows through the model is measured on each.
pub fn calibration_images(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, 100_000)
}

/// `--jobs`
pub fn jobs(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, MAX_JOBS)
}

/// `train --threads`
pub fn threads(text: &str) -> Parsed<NonZeroUsize> {
    let processors = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).get() as u64;
    let most = THREADS_PER_PROCESSOR * processors;
    whole(text, 1, most, &format!(", {THREADS_PER_PROCESSOR} for each processor of this machine"))
        .map(|value| NonZeroUsize::new(value as usize).unwrap_or(NonZeroUsize::MIN))
}

/// `--epochs`, `--val-every`
pub fn epochs(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, MAX_EPOCHS)
}

/// `--patience`, `--close-mosaic`
pub fn epochs_or_none(text: &str) -> Parsed<usize> {
    whole(text, 0, MAX_EPOCHS, "").map(|value| value as usize)
}

/// `issues --top`
pub fn listed(text: &str) -> Parsed<usize> {
    whole(text, 1, MOST_LISTED, "").map(|value| value as usize)
}

/// `issues --pictures`
pub fn review_pictures(text: &str) -> Parsed<usize> {
    whole(text, 0, MOST_LISTED, "").map(|value| value as usize)
}

/// `--top-k`
pub fn top_k(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, MANY)
}

/// `--images-per-part`
pub fn images_per_part(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, MAX_PART)
}

/// `--views`
pub fn views(text: &str) -> Parsed<u32> {
    whole(text, 0, u64::from(Views::MOST), "").map(|value| value as u32)
}

/// `--view`
pub fn view(text: &str) -> Parsed<i32> {
    views(text).map(|value| value as i32)
}

/// `audit --sample`
pub fn sample(text: &str) -> Parsed<usize> {
    whole(text, 0, MANY, "").map(|value| value as usize)
}

/// `--latency-runs`
pub fn latency_runs(text: &str) -> Parsed<u32> {
    whole(text, 0, 100_000, "").map(|value| value as u32)
}

/// `--opset`: what the trainer can write.
pub fn opset(text: &str) -> Parsed<i64> {
    whole(text, 15, 22, "").map(|value| value as i64)
}

/// `--max-det`
pub fn detections(text: &str) -> Parsed<NonZeroUsize> {
    at_least_one(text, 30_000)
}

/// `--max-pictures`: the page has at most 5 MB.
pub fn pictures(text: &str) -> Parsed<usize> {
    whole(text, 0, 1000, "").map(|value| value as usize)
}

/// `synth --images`, `demo --images`
pub fn drawn_images(text: &str) -> Parsed<NonZeroU32> {
    let value = whole(text, 1, u64::from(SynthConfig::MAX_IMAGES), "")?;
    Ok(NonZeroU32::new(value as u32).unwrap_or(NonZeroU32::MIN))
}

/// `demo --images`: with fewer there is nothing to score the students on.
pub fn demo_images(text: &str) -> Parsed<NonZeroU32> {
    let value = whole(text, 5, u64::from(SynthConfig::MAX_IMAGES), "")?;
    Ok(NonZeroU32::new(value as u32).unwrap_or(NonZeroU32::MIN))
}

/// `synth --imgsz`: the longest side of a picture, about.
pub fn drawn_side(text: &str) -> Parsed<u32> {
    whole(text, 64, 4096, "").map(|value| value as u32)
}

/// `--min-score`: no probability is above 1, and hardly any is 1.
pub fn lowest_score(text: &str) -> Parsed<f32> {
    let value = text.parse().ok().filter(|value| (0.0..1.0).contains(value));
    value.ok_or_else(|| "expected a probability from 0 to less than 1".into())
}

/// `--conf`, `--iou`
pub fn probability<T>(text: &str) -> Parsed<T>
where
    T: FromStr<Err = ParseFloatError> + PartialOrd + From<u8>,
{
    let value = text.parse().ok().filter(|value| (T::from(0)..=T::from(1)).contains(value));
    value.ok_or_else(|| "expected a probability from 0 to 1".into())
}

fn number(text: &str, fits: impl Fn(f64) -> bool, expected: &str) -> Parsed<f64> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && fits(*value));
    value.ok_or_else(|| format!("expected {expected}"))
}

/// `data --distance`: beyond it a search compares all with all.
pub fn distance(text: &str) -> Parsed<u32> {
    whole(text, 0, 64, "").map(|value| value as u32)
}

/// `--lr`, `--warmup-lr`: far beyond what trains anything.
pub fn learning_rate(text: &str) -> Parsed<f64> {
    number(text, |v| v > 0.0 && v <= 1e9, "a number above 0, up to 1000000000")
}

/// `--temperature`
pub fn positive(text: &str) -> Parsed<f64> {
    number(text, |v| v > 0.0 && v <= 1e6, "a number above 0, up to 1000000")
}

/// `--pixel-cache-gib`
pub fn not_negative(text: &str) -> Parsed<f64> {
    number(text, |v| (0.0..=1e9).contains(&v), "a number from 0 to 1000000000")
}

/// `--warmup-epochs`: part of an epoch is one too.
pub fn part_of_epochs(text: &str) -> Parsed<f64> {
    number(text, |v| (0.0..=MAX_EPOCHS as f64).contains(&v), &format!("a number from 0 to {MAX_EPOCHS}"))
}

/// `--coverage`: at 0 nothing would be kept.
pub fn share(text: &str) -> Parsed<f64> {
    number(text, |v| v > 0.0 && v <= 1.0, "a number above 0, up to 1")
}

/// `--prune`: at 0 nothing would go, at 1 nothing would stay.
pub fn pruned_share(text: &str) -> Parsed<f64> {
    number(text, |v| v > 0.0 && v < 1.0, "a number between 0 and 1")
}

/// `--class-coverage`, `--alpha`, `--min-cosine`
pub fn fraction(text: &str) -> Parsed<f64> {
    number(text, |v| (0.0..=1.0).contains(&v), "a number from 0 to 1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_told_with_the_bounds() {
        assert_eq!(batch("0").unwrap_err(), "expected a whole number from 1 to 1024");
        assert_eq!(batch("1024").unwrap().get(), 1024);
        assert!(threads("1000000").unwrap_err().contains("4 for each processor of this machine"));
        assert_eq!(threads("2").unwrap().get(), 2);
        assert_eq!(epochs_or_none("18446744073709551615").unwrap_err(), "expected a whole number from 0 to 100000");
        assert_eq!(probability::<f32>("NaN").unwrap_err(), "expected a probability from 0 to 1");
        assert_eq!(fraction("inf").unwrap_err(), "expected a number from 0 to 1");
        assert_eq!(positive("0").unwrap_err(), "expected a number above 0, up to 1000000");
        assert_eq!(learning_rate("1e30").unwrap_err(), "expected a number above 0, up to 1000000000");
        assert_eq!(not_negative("1e30").unwrap_err(), "expected a number from 0 to 1000000000");
    }
}
