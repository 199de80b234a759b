//! A model behind a bounded queue: one session for each core, each with a thread of its own that decodes, runs and suppresses one
//! picture after the other. On a CPU this is faster than batches, because no core waits for another's share of a layer.

use super::answer::Fault;
use crate::{
    Result,
    detector::{Detector, DetectorSession},
    eval::{Candidate, Inference, InferenceOptions, NmsOptions, before_suppression, detect},
    preprocess::{self, DecodeLimits, LetterboxPlan, Preprocessor, RgbImage},
    types::{Detection, ImageSize},
};
use axum::{body::Bytes, http::StatusCode};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::Instant,
};
use tokio::sync::oneshot;

/// Most boxes before suppression that are answered.
const MOST_CANDIDATES: usize = 2000;
/// A client comes back after so many seconds.
const RETRY_AFTER_S: u32 = 1;

/// What is asked of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) nms: NmsOptions,
    /// The boxes before suppression with a score over this, too.
    pub(super) candidates: Option<f32>,
}

/// What a model found on a picture.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) size: ImageSize,
    pub(super) detections: Vec<Detection>,
    /// With how many were left out.
    pub(super) candidates: Option<(Vec<Candidate>, usize)>,
    pub(super) latency: LatencyMs,
}

/// Where the time of one picture went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub(super) struct LatencyMs {
    /// Waiting for a session.
    pub(super) queue: f64,
    /// Reading the picture.
    pub(super) decode: f64,
    /// Making the model's input of it.
    pub(super) preprocess: f64,
    /// The model.
    pub(super) inference: f64,
    /// Decoding and suppressing its boxes.
    pub(super) nms: f64,
    /// All of it.
    pub(super) total: f64,
}

struct Job {
    bytes: Bytes,
    ask: Ask,
    since: Instant,
    answer: oneshot::Sender<std::result::Result<Found, String>>,
}

/// A model that takes pictures.
pub(super) struct Engine {
    pub(super) model: Arc<Detector>,
    pub(super) name: String,
    jobs: Sender<Job>,
}

impl Engine {
    /// Loads the model and starts its threads, which end when the engine is dropped.
    ///
    /// # Errors
    /// As [`Inference::open`].
    pub(super) fn start(name: String, options: &InferenceOptions, max_waiting: usize) -> Result<(Self, Vec<String>)> {
        let inference = Inference::open(options.clone())?;
        let notes = inference.notes().collect();
        let (model, sessions) = inference.into_parts();
        let model = Arc::new(model);
        let (jobs, queue) = bounded(max_waiting);
        for session in sessions {
            let (model, queue) = (Arc::clone(&model), queue.clone());
            thread::spawn(move || Worker::new(&model, session).work(&queue));
        }
        Ok((Self { model, name, jobs }, notes))
    }

    /// Pictures that wait.
    pub(super) fn waiting(&self) -> usize {
        self.jobs.len()
    }

    /// Runs a picture.
    ///
    /// # Errors
    /// 429 where too many wait; 422 where the picture cannot be read.
    pub(super) async fn run(&self, bytes: Bytes, ask: Ask) -> std::result::Result<Found, Fault> {
        let (answer, found) = oneshot::channel();
        match self.jobs.try_send(Job { bytes, ask, since: Instant::now(), answer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let waiting = self.jobs.capacity().unwrap_or_default();
                return Err(Fault::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "busy",
                    format!("{waiting} pictures wait for the model already"),
                )
                .remedy("Send the picture again later.")
                .retry_after(RETRY_AFTER_S));
            }
            Err(TrySendError::Disconnected(_)) => return Err(gone()),
        }
        match found.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(reason)) => Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable", reason)
                .remedy("Send a JPEG, PNG, WebP, BMP or TIFF picture.")),
            Err(_) => Err(gone()),
        }
    }
}

fn gone() -> Fault {
    Fault::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the model's thread ended")
        .remedy("Start the server again.")
}

/// One session and its memory.
struct Worker<'a> {
    model: &'a Detector,
    session: DetectorSession,
    image: RgbImage,
    preprocessor: Preprocessor,
    pixels: Vec<f32>,
}

impl<'a> Worker<'a> {
    fn new(model: &'a Detector, session: DetectorSession) -> Self {
        let values = 3 * model.input.height as usize * model.input.width as usize;
        let preprocessor = Preprocessor::new(&model.input_rule);
        Self { model, session, image: RgbImage::empty(), preprocessor, pixels: vec![0.0; values] }
    }

    fn work(mut self, queue: &Receiver<Job>) {
        for job in queue {
            // A client that went away needs no answer.
            if job.answer.is_closed() {
                continue;
            }
            let found = survived(|| self.one(&job));
            let _ = job.answer.send(found);
        }
    }

    fn one(&mut self, job: &Job) -> std::result::Result<Found, String> {
        let mut clock = Clock { since: job.since };
        let mut latency = LatencyMs { queue: clock.lap(), ..LatencyMs::default() };
        preprocess::decode_into(&job.bytes, &DecodeLimits::default(), &mut self.image).map_err(|e| e.to_string())?;
        latency.decode = clock.lap();
        let size = self.image.size;
        let plan = LetterboxPlan::by(self.model.input_rule.fit, size, self.model.input);
        self.preprocessor.letterbox_into(&self.image, &plan, &mut self.pixels);
        latency.preprocess = clock.lap();
        let heads = self.session.run(1, &self.pixels).map_err(|error| error.to_string())?;
        latency.inference = clock.lap();
        let detections = detect(heads.view(0)?, &plan, &job.ask.nms)?;
        let candidates = match job.ask.candidates {
            Some(conf) => Some(before_suppression(heads.view(0)?, &plan, conf, MOST_CANDIDATES)?),
            None => None,
        };
        latency.nms = clock.lap();
        latency.total = job.since.elapsed().as_secs_f64() * 1e3;
        Ok(Found { size, detections, candidates, latency })
    }
}

/// What the work gives; a panic in it, as of a decoder, costs that picture alone.
fn survived<T>(work: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    // Buffers are written anew for each picture, so none of them is left half done.
    let unfinished = || Err("the picture cannot be processed: a program error was met".to_owned());
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| unfinished())
}

/// Milliseconds since the last time it was asked.
struct Clock {
    since: Instant,
}

impl Clock {
    fn lap(&mut self) -> f64 {
        let now = Instant::now();
        let lap = now.duration_since(self.since).as_secs_f64() * 1e3;
        self.since = now;
        lap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        let answer: std::result::Result<(), String> = survived(|| panic!("a decoder's own fault"));
        panic::set_hook(hook);
        assert!(answer.unwrap_err().contains("cannot be processed"));
        assert_eq!(survived(|| Ok(3)), Ok(3));
    }
}
