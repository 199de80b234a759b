//! What a detector's file is: family, head, input rule, and what can be distilled from it.

use crate::{
    Result,
    cache::to_hex,
    detector::{BatchSize, Detector, DetectorOptions, LogitSource, Provider, Reading, SessionOptions},
    preprocess::InputRule,
    teach,
    training::{STUDENT_STRIDES, other_places, other_strides},
    types::InputSize,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::Path;

/// A detector's file.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ModelSummary {
    /// The file's name.
    pub file_name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Its family, in words.
    pub family: String,
    /// Kind of head, as a cache's manifest names it.
    pub head: String,
    /// Number of classes.
    pub num_classes: usize,
    /// Their names in the order of the class ids; numbers where the file does not name them.
    pub class_names: Vec<String>,
    /// Width of the input in pixels.
    pub input_width: u32,
    /// Height of the input in pixels.
    pub input_height: u32,
    /// Whether it takes images of this size and no other.
    pub fixed_size: bool,
    /// How images become its input.
    pub input_rule: InputRule,
    /// Images of one run; null where it takes any number.
    pub batch: Option<usize>,
    /// The narrowest number type that it computes in or keeps weights in.
    pub precision: String,
    /// Weights, as far as layers hold them as constants.
    pub parameters: u64,
    /// Where its class logits come from, in words.
    pub logits: String,
    /// DFL bins of a side; 0 for a head without.
    pub bins: usize,
    /// Predictions of one image.
    pub predictions: usize,
    /// Input pixels per cell of each level; empty for a head of queries. A stride that comes several times has so many boxes a
    /// cell.
    pub strides: Vec<u32>,
    /// Whether doubles among its predictions are to be suppressed.
    pub needs_nms: bool,
    /// What a cache of it holds and who can learn from it, a line each.
    pub distillation: Vec<String>,
    /// Largest difference of a box value between the file's own output and its raw tensors, in input pixels, on one picture of
    /// noise.
    pub max_box_error_px: f32,
    /// Largest difference of a class probability.
    pub max_score_error: f32,
}

/// Reads a detector's file and proves on one picture that it was understood.
///
/// # Errors
/// As [`Detector::load`] and [`Detector::self_check`].
pub fn model(path: &Path, reading: Reading, imgsz: Option<InputSize>) -> Result<ModelSummary> {
    let options = DetectorOptions { imgsz, reading, unnamed: true, ..DetectorOptions::default() };
    let model = Detector::load(path, &options)?;
    let check = model.self_check(&SessionOptions { provider: Provider::Cpu, intra_threads: 1 })?;
    let head = &model.head;
    Ok(ModelSummary {
        file_name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        sha256: to_hex(&model.sha256),
        family: model.family().to_owned(),
        head: head.kind.as_str().to_owned(),
        num_classes: head.num_classes,
        input_width: model.input.width,
        input_height: model.input.height,
        fixed_size: model.is_of_fixed_size(),
        input_rule: model.input_rule,
        batch: match model.batch {
            BatchSize::Fixed(images) => Some(images),
            BatchSize::Dynamic => None,
        },
        precision: model.precision.as_str().to_owned(),
        parameters: model.num_parameters(),
        logits: model.logits.as_str().to_owned(),
        bins: head.reg_max(),
        predictions: head.num_places(),
        strides: head.strides(),
        needs_nms: !head.one_to_one,
        distillation: distillation(&model, path),
        max_box_error_px: check.max_box_error_px,
        max_score_error: check.max_score_error,
        class_names: model.class_names,
    })
}

/// By the rules that training has.
fn distillation(model: &Detector, path: &Path) -> Vec<String> {
    let head = &model.head;
    let boxes = if head.reg_max() > 0 { "DFL logits and boxes" } else { "boxes (no DFL logits)" };
    let logits = match model.logits {
        LogitSource::Raw => "class logits",
        LogitSource::Joint => "logits of objectness times class",
        LogitSource::Softmax => "log-odds of the class probabilities",
    };
    let teacher = teach::teacher(model, path);
    let other = other_places(&teacher, model.input).or_else(|| other_strides(&teacher, &STUDENT_STRIDES));
    let students = match other {
        Some(why) => format!("a student of any kind and input size, from the teacher's objects: {why}"),
        None => "a student of any kind at its input size, anchor by anchor".to_owned(),
    };
    vec![format!("a cache holds {logits}, {boxes}"), format!("who can learn from it: {students}")]
}
