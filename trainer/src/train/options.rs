//! Everything that decides what a training run does.

use super::{loss::ClsLoss, schedule::Decay};
use crate::{
    Error, Result,
    dataset::{DataSource, NameMap},
    fsio,
    report::RunData,
    student::Scale,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use tch::Device;

/// Name of the file in a run's folder that says how it was made.
pub const CONFIG_NAME: &str = "config.json";

/// What a student starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Random weights.
    Random(Scale),
    /// A `.pt` or `.safetensors` file.
    File(PathBuf),
}

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
}

/// What of the teacher's outputs is distilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distill {
    /// Classes, DFL and boxes.
    All,
    /// Classes alone.
    Cls,
    /// Nothing: labels alone.
    None,
}

/// Number type of the forward and backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bfloat16 where that is safe, float32 elsewhere (autocast).
    Bf16,
    /// float32.
    Fp32,
}

impl Precision {
    /// bfloat16 where the device computes in it.
    pub fn default_for(device: Device) -> Self {
        #[cfg(target_arch = "x86_64")]
        let processor = std::is_x86_feature_detected!("avx512bf16");
        #[cfg(not(target_arch = "x86_64"))]
        let processor = false;
        if device.is_cuda() || processor { Self::Bf16 } else { Self::Fp32 }
    }
}

/// Settings that decide the resulting weights; `config.json` keeps them, and `--resume` goes on only where they are the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Optimizer.
    pub optimizer: OptimizerKind,
    /// Learning rate after the warm-up.
    pub lr: f64,
    /// Learning rate of the first step.
    pub warmup_lr: f64,
    /// Epochs over which the learning rate rises.
    pub warmup_epochs: f64,
    /// How the learning rate falls to a hundredth.
    pub decay: Decay,
    /// Temperature of softmax-kl and of the DFL term.
    pub temperature: f64,
    /// Weight of the labels' loss; `1 - alpha` is the teacher's.
    pub alpha: f64,
    /// How classes are distilled.
    pub cls_loss: ClsLoss,
    /// What is distilled.
    pub distill: Distill,
    /// Number type of the passes.
    pub precision: Precision,
    /// Decides weights, order and augmentation.
    pub seed: u64,
    /// Whether pictures are augmented.
    pub augment: bool,
    /// Epochs at the end without mosaic.
    pub close_mosaic: usize,
    /// Epochs without a better result after which the run ends; 0: never.
    pub patience: usize,
    /// Validate every so many epochs.
    pub val_every: usize,
}

/// What a run was asked for.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The cache; `None`: labels alone.
    pub cache: Option<PathBuf>,
    /// What the student starts from.
    pub start: Start,
    /// Folder of the run.
    pub out: PathBuf,
    /// The data set, where one is named; its `split` is the one to train on without a cache.
    pub data: Option<DataSource>,
    /// Classes of the data set that the cache's teacher has under other names, beside what the cache says itself.
    pub class_map: NameMap,
    /// Split to validate on, where the user names one.
    pub val_split: Option<String>,
    /// Whether to validate at all.
    pub validate: bool,
    /// Square input size in pixels; `None`: the cache's, 640 without one.
    pub imgsz: Option<u32>,
    /// Where it computes.
    pub device: Device,
    /// Threads of the processor; `None`: all.
    pub threads: Option<NonZeroUsize>,
    /// Most bytes of decoded pictures on the disk.
    pub pixel_cache_bytes: u64,
    /// Go on with the run that is there.
    pub resume: bool,
    /// Remove the run that is there.
    pub overwrite: bool,
    /// What decides the weights.
    pub settings: Settings,
}

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunConfig {
    /// Program that made the run.
    pub producer: String,
    /// The student: `yolov8n` and so on.
    pub model: String,
    /// What it started from: `random`, or a file's name and SHA-256.
    pub start: String,
    /// Names of the classes in order of their ids.
    pub class_names: Vec<String>,
    /// Square input size in pixels.
    pub imgsz: u32,
    /// Images trained on.
    pub images: usize,
    /// SHA-256 over what is trained on: paths, digests and labels of the images.
    pub images_sha256: String,
    /// Content digest of the cache; null without one.
    pub cache_sha256: Option<String>,
    /// Threads of the processor: sums of another number of threads round differently.
    pub threads: usize,
    /// Device, in PyTorch's words.
    pub device: String,
    /// Where its data lie, for reports; not compared on resume. Empty in runs of earlier programs.
    #[serde(default)]
    pub data: RunData,
    /// What decides the weights.
    pub settings: Settings,
}

impl RunConfig {
    /// Writes `config.json` into the run's folder.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn save(&self, run: &Path) -> Result<()> {
        let path = run.join(CONFIG_NAME);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::io(&path, "write to", e.into()))?;
        Ok(fsio::write_atomic(&path, (text + "\n").as_bytes())?)
    }

    /// Reads `config.json` of a run; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Trainer`] where it is no such file.
    pub fn load(run: &Path) -> Result<Option<Self>> {
        let path = run.join(CONFIG_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(path, "read", e)),
        };
        serde_json::from_str(&text).map(Some).map_err(|e| Error::Trainer {
            found: format!("{}: this is not a run's configuration: {e}", path.display()),
            remedy: "Choose another --out, or start again with --overwrite.".into(),
        })
    }

    /// Refuses to go on where something that decides the weights differs.
    ///
    /// # Errors
    /// [`Error::Mismatch`] with every difference.
    pub fn refuse_other(&self, wanted: &Self, run: &Path) -> Result<()> {
        let as_value = |config: &Self| serde_json::to_value(config).unwrap_or(Value::Null);
        let mut lines = Vec::new();
        differences("", &as_value(self), &as_value(wanted), &mut lines);
        lines.retain(|line| !line.starts_with("producer") && !line.starts_with("data."));
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::Mismatch {
            found: format!("{} was made by other settings:\n  {}", run.display(), lines.join("\n  ")),
            remedy: "Resume with the settings of the run, choose another --out, or start again with --overwrite."
                .into(),
        })
    }
}

/// "settings.lr: 0.001 in the run, 0.01 now", for every value that differs.
fn differences(at: &str, run: &Value, wanted: &Value, lines: &mut Vec<String>) {
    match (run, wanted) {
        (Value::Object(run), Value::Object(wanted)) => {
            for (key, value) in run {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                differences(&at, value, wanted.get(key).unwrap_or(&Value::Null), lines);
            }
        }
        _ if run == wanted => {}
        _ => lines.push(format!("{at}: {run} in the run, {wanted} now")),
    }
}
