//! `quantize`: a detector's file with 8-bit integers, without labels and without training.
//!
//! ```text
//! images of the cache ─ observe: distribution of each tensor ─ ranges (calibration)
//!                     └ compare: divergence of each candidate from the model itself ─ the calibration, the layers that stay float
//! the file ─ accuracy (labels, or the model itself) and latency beside the model's ─ written last
//! ```
//!
//! Divergences are measured against the model's own outputs. For a teacher these are what its cache holds; for a student they
//! are not: the difference between a student and its teacher is much larger than what rounding changes, and would hide it.

mod accuracy;
mod divergence;
mod histogram;
mod images;
mod observe;
mod passes;
mod plan;
mod range;
mod run;
mod speed;

pub use accuracy::Accuracy;
pub use plan::LayerChoice;
pub use range::Calibration;
pub use run::quantize;
pub use speed::{LEAST_PAIRS, Speed, Verdict};

use crate::{
    dataset::DataSource,
    detector::{Placement, Provider, Reading},
    types::{Failure, InputSize},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The lock of what threads share, also after a panic of one of them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to quantize, and how.
#[derive(Debug, Clone)]
pub struct QuantizeOptions {
    /// The ONNX file of a float32 detector.
    pub model: PathBuf,
    /// Class names for a model without metadata.
    pub names: Option<Vec<String>>,
    /// What the user says of the file.
    pub reading: Reading,
    /// Input size of a model of any size; `None`: the cache's.
    pub imgsz: Option<InputSize>,
    /// Folder of the cache whose images are used.
    pub cache: PathBuf,
    /// Labelled images to score on; `None`: detections are compared with the model's own.
    pub source: Option<DataSource>,
    /// Images that the ranges are measured on.
    pub images: NonZeroUsize,
    /// How ranges are chosen.
    pub calibration: Calibration,
    /// The share of multiply-adds in layers that may stay float, 0..1, the most sensitive layers first. 0: none is measured.
    pub keep_float: f64,
    /// Where activations are rounded; `None`: as the provider needs it.
    pub placement: Option<Placement>,
    /// Timed runs of each model; 0: none.
    pub latency_runs: u32,
    /// Worker threads.
    pub jobs: NonZeroUsize,
    /// Where models run.
    pub provider: Provider,
    /// The ONNX Runtime library, where the user names one.
    pub ort_lib: Option<PathBuf>,
    /// The file to write.
    pub out: PathBuf,
    /// Whether a file of another program is replaced.
    pub overwrite: bool,
}

/// What was done, and what it costs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QuantizeReport {
    /// The program and its version.
    pub written_by: String,
    /// The float32 file.
    pub model: PathBuf,
    /// Its digest.
    pub model_sha256: String,
    /// The new file.
    pub out: PathBuf,
    /// Its digest.
    pub out_sha256: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Input size at which the ranges were measured and the models compared.
    pub imgsz: InputSize,
    /// Images that the ranges were measured on.
    pub images: u64,
    /// Other images, on which models were compared; fewer where nothing had to be chosen by the outputs.
    pub compared_images: u64,
    /// Images that could not be used.
    pub failures: Vec<Failure>,
    /// Where activations are rounded.
    pub placement: Placement,
    /// How the ranges were chosen: the best of `candidates`, or the one that was asked for.
    pub calibration: Calibration,
    /// The divergences that the choice was made by; empty where nothing was to be chosen.
    pub candidates: Vec<Candidate>,
    /// Divergence of the written model from the float32 model, in nats per expected object.
    pub divergence: f64,
    /// Every layer, in the order of the graph.
    pub layers: Vec<LayerChoice>,
    /// The share of multiply-adds in layers that stayed float, the last layers included.
    pub float_share: f64,
    /// Size of the float32 file.
    pub model_bytes: u64,
    /// Size of the new file.
    pub out_bytes: u64,
    /// Both models on the same images; none without labels where nothing had to be chosen by the outputs.
    pub accuracy: Option<Accuracy>,
    /// Both models in turns, with one thread and with all.
    pub speed: Vec<Speed>,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
}

/// A way to choose ranges, with all layers quantized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Candidate {
    /// Which.
    pub calibration: Calibration,
    /// Divergence from the float32 model, in nats per expected object.
    pub divergence: f64,
}
