//! How long a model takes for one image: the session alone, without decoding, letterbox and suppression.

use super::bootstrap::quantile;
use crate::{
    Error, Result,
    detector::{BatchSize, Detector, DetectorSession, Provider, SessionOptions},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeSet, num::NonZeroUsize, time::Instant};

/// Runs before the first one that counts: memory is taken and code is read in by then.
const WARM_UP_RUNS: u32 = 3;

/// Times of one session, over several runs on the same image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Latency {
    /// Threads of the session.
    pub threads: usize,
    /// Runs that were timed.
    pub runs: u32,
    /// Median, in milliseconds an image.
    pub p50_ms: f64,
    /// Nine of ten runs take at most this, in milliseconds an image.
    pub p90_ms: f64,
}

/// Times a model with one thread and with all, on one image's input (`[3, H, W]`). A model of fixed batch always runs all its images; its
/// time is shared out over them. A GPU has no threads to choose.
///
/// # Errors
/// As [`DetectorSession::new`]; [`Error::Model`] where a run fails.
pub fn latency(
    model: &Detector,
    provider: Provider,
    pixels: &[f32],
    all_threads: NonZeroUsize,
    runs: u32,
) -> Result<Vec<Latency>> {
    let images = match model.batch {
        BatchSize::Fixed(images) => images,
        BatchSize::Dynamic => 1,
    };
    let threads = match provider {
        Provider::Cpu | Provider::Openvino => BTreeSet::from([1, all_threads.get()]),
        Provider::Cuda | Provider::Tensorrt => BTreeSet::from([1]),
    };
    let of_threads = |threads| {
        let mut session = DetectorSession::new(model, &SessionOptions { provider, intra_threads: threads })?;
        let mut run = || {
            let started = Instant::now();
            session.run(1, pixels).map_err(|error| Error::Model {
                path: model.path.clone(),
                found: format!("it cannot be run: {error}"),
                remedy: "Try `provider=cpu`, or export the model again.".into(),
            })?;
            Ok::<f64, Error>(started.elapsed().as_secs_f64() * 1e3 / images as f64)
        };
        for _ in 0..WARM_UP_RUNS {
            run()?;
        }
        let mut times_ms = (0..runs).map(|_| run()).collect::<Result<Vec<f64>>>()?;
        times_ms.sort_by(f64::total_cmp);
        let at = |share| quantile(&times_ms, share).unwrap_or_default();
        Ok(Latency { threads, runs, p50_ms: at(0.5), p90_ms: at(0.9) })
    };
    threads.into_iter().map(of_threads).collect()
}
