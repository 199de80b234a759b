//! `config.json`: everything that decides what a training run does.

use super::{CONFIG_NAME, RunData};
use crate::{Error, Result, fsio, types::InputSize};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fs, path::Path};

/// The optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
}

impl OptimizerKind {
    /// The name as `config.json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Adamw => "adamw",
            Self::Sgd => "sgd",
        }
    }
}

/// What of the teacher's outputs is distilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distill {
    /// Classes, DFL and boxes.
    All,
    /// Classes alone.
    Cls,
    /// The teacher's objects as if they were labels: boxes with one class each, none of the teacher's doubt. A baseline.
    PseudoLabels,
    /// Nothing: labels alone.
    None,
}

impl Distill {
    /// The name as `config.json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Cls => "cls",
            Self::PseudoLabels => "pseudo-labels",
            Self::None => "none",
        }
    }
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
    /// The name as `config.json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp32 => "fp32",
        }
    }
}

/// How the learning rate falls after the warm-up, per epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Half a cosine wave.
    Cosine,
    /// A straight line.
    Linear,
}

impl Decay {
    /// The name as `config.json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Linear => "linear",
        }
    }
}

/// Which loss compares the classes. `s` and `t` are the logits of student and teacher, `p_s` and `p_t` their sigmoids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClsLoss {
    /// `T^2 * KL(softmax(t / T) || softmax(s / T))` over the classes (Hinton et al. 2015). It compares classes with each other and
    /// cannot see the level of the logits, so it is silent about scores and about background: kept anchors only.
    SoftmaxKl,
    /// Sum over the classes of `BCE(p_s, p_t) * |p_t - p_s|` (BCKD, Yang et al. 2023, <https://arxiv.org/abs/2308.14286>, eq. 5 and 6).
    /// As in the authors' code the weight is **not** detached: gradients flow through it too. Kept and dropped anchors.
    Bckd,
    /// Sum over the classes of `BCE(p_s, p_t)`. Kept and dropped anchors.
    Bce,
}

impl ClsLoss {
    /// The name as `config.json` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SoftmaxKl => "softmax-kl",
            Self::Bckd => "bckd",
            Self::Bce => "bce",
        }
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
    /// Share of the multiply-adds that is pruned from what it starts from; null: none.
    #[serde(default)]
    pub prune: Option<f64>,
}

impl Settings {
    /// Whether autocast is on.
    pub fn is_bf16(&self) -> bool {
        self.precision == Precision::Bf16
    }
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
    /// SHA-256 of the quantized file whose rounding it is trained with; null: none.
    #[serde(default)]
    pub qat_sha256: Option<String>,
    /// Names of the classes in order of their ids.
    pub class_names: Vec<String>,
    /// Input size in pixels: the side of a square, or height and width.
    pub imgsz: InputSize,
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
            remedy: "Choose another `out=`, or start again with `overwrite=true`.".into(),
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
            found: format!("{} was made with other settings:\n  {}", run.display(), lines.join("\n  ")),
            remedy: "Resume with the settings of the run, choose another `out=`, or start again with `overwrite=true`."
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
