//! How long a model takes for one image: the session alone, without decoding, letterbox and suppression.

use super::bootstrap::quantile;
use crate::{
    Error, Result,
    detector::{BatchSize, Detector, DetectorSession, Provider, SessionOptions},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, num::NonZeroUsize, time::Instant};

/// Runs before the first one that counts: memory is taken and code is read in by then.
pub(crate) const WARM_UP_RUNS: u32 = 3;

/// Times of one session, over several runs on the same image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    let of_threads = |threads| {
        let mut timed = TimedSession::new(model, provider, threads)?;
        for _ in 0..WARM_UP_RUNS {
            timed.run_ms(pixels)?;
        }
        let mut times_ms = (0..runs).map(|_| timed.run_ms(pixels)).collect::<Result<Vec<f64>>>()?;
        times_ms.sort_by(f64::total_cmp);
        let at = |share| quantile(&times_ms, share).unwrap_or_default();
        Ok(Latency { threads, runs, p50_ms: at(0.5), p90_ms: at(0.9) })
    };
    thread_counts(provider, all_threads).into_iter().map(of_threads).collect()
}

/// The numbers of threads that a session is timed with: one and all. A GPU has no threads to choose.
pub(crate) fn thread_counts(provider: Provider, all_threads: NonZeroUsize) -> BTreeSet<usize> {
    match provider {
        Provider::Cpu | Provider::Openvino => BTreeSet::from([1, all_threads.get()]),
        Provider::Cuda | Provider::Tensorrt => BTreeSet::from([1]),
    }
}

/// A session whose runs are timed.
pub(crate) struct TimedSession<'a> {
    model: &'a Detector,
    session: DetectorSession,
}

impl<'a> TimedSession<'a> {
    /// # Errors
    /// As [`DetectorSession::new`].
    pub(crate) fn new(model: &'a Detector, provider: Provider, threads: usize) -> Result<Self> {
        let session = DetectorSession::new(model, &SessionOptions { provider, intra_threads: threads })?;
        Ok(Self { model, session })
    }

    /// Runs once, on one image's input (`[3, H, W]`); gives milliseconds an image. A model of fixed batch always runs all its
    /// images; its time is shared out over them.
    ///
    /// # Errors
    /// [`Error::Model`] where the run fails.
    pub(crate) fn run_ms(&mut self, pixels: &[f32]) -> Result<f64> {
        let images = match self.model.batch {
            BatchSize::Fixed(images) => images,
            BatchSize::Dynamic => 1,
        };
        let started = Instant::now();
        self.session.run(1, pixels).map_err(|error| Error::Model {
            path: self.model.path.clone(),
            found: format!("it cannot be run: {error}"),
            remedy: "Try `provider=cpu`, or export the model again.".into(),
        })?;
        Ok(started.elapsed().as_secs_f64() * 1e3 / images as f64)
    }
}
