//! What `eval` tells: one value that the terminal, JSON, CSV and Markdown all show.

use super::{bootstrap::Comparison, latency::Latency, score::Scores};
use crate::types::{Failure, PassedOver};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// One or several models on one data set.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EvalReport {
    /// The data set.
    pub data: PathBuf,
    /// Its split.
    pub split: String,
    /// Images that every model was scored on.
    pub images: u64,
    /// Images left out because nobody labelled them.
    pub unlabelled_images: u64,
    /// Images left out because they could not be read or a model gave nothing usable for them.
    pub failures: Vec<Failure>,
    /// Files of the data set that are no images of it.
    pub passed_over: PassedOver,
    /// What the user should know of the data set, a line each.
    pub notes: Vec<String>,
    /// What became a detection.
    pub settings: EvalSettings,
    /// In the order they were given.
    pub models: Vec<ModelReport>,
    /// Seconds that scoring took, all models and comparisons together.
    pub scoring_s: f64,
    /// Seconds from the first session to the last score.
    pub elapsed_s: f64,
}

/// Thresholds and the library.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EvalSettings {
    /// A class probability must be greater than this.
    pub conf: f32,
    /// Overlap (intersection over union) above which the lower of two boxes of a class is dropped.
    pub iou: f64,
    /// Most detections of an image.
    pub max_detections: usize,
    /// Version of ONNX Runtime.
    pub runtime: String,
    /// Where the models ran.
    pub provider: String,
    /// Draws of the bootstrap.
    pub bootstrap_draws: u64,
    /// Share of the draws that an interval covers.
    pub bootstrap_coverage: f64,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ModelReport {
    /// Its file's name, or its path where two have the same name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Digest of the file.
    pub sha256: String,
    /// Size of the file.
    pub file_bytes: u64,
    /// Weights.
    pub parameters: u64,
    /// Classes that it knows.
    pub num_classes: usize,
    /// Input width in pixels.
    pub input_width: u32,
    /// Input height in pixels.
    pub input_height: u32,
    /// What it computes in or keeps weights in, the narrowest: `fp32`, `fp16`, `int8`, or another type that quantizers know.
    pub precision: String,
    /// Times of the bare session; empty with `--latency-runs 0`.
    pub latency: Vec<Latency>,
    /// Memory that loading and running a session with one thread takes at most, in bytes; none where the system does not tell it
    /// (Linux with glibc does) or with `--latency-runs 0`.
    pub memory_bytes: Option<u64>,
    /// The name of a model of this report that is at least as accurate, fast, small and sparing of memory, and better in one of
    /// these; none of a model on the frontier.
    pub beaten_by: Option<String>,
    /// Images per second from file to detections, all threads.
    pub images_per_s: f64,
    /// What it is worth.
    pub scores: Scores,
    /// Against the first model; none for the first one.
    pub against_first: Option<Comparison>,
}
