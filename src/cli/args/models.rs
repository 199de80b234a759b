//! Commands that run detectors.

use super::{bounds, choices, heading, two_names};
use crate::{
    cache::MissingLabels,
    detector::{Placement, Provider, Reading},
    preprocess::StatedInputRule,
    quantize::Calibration,
    types::InputSize,
};
use clap::Args;
use std::{num::NonZeroUsize, path::PathBuf, thread};

/// Where models run.
#[derive(Debug, Args)]
pub struct RuntimeArgs {
    /// Worker threads [default: one per processor].
    #[arg(long, value_name = "N", value_parser = bounds::jobs, help_heading = heading::RUNTIME)]
    jobs: Option<NonZeroUsize>,
    /// Execution provider. Fails if unavailable; never falls back.
    #[arg(long, value_name = "PROVIDER", default_value = Provider::Cpu.as_str(), value_parser = choices::provider(), help_heading = heading::RUNTIME)]
    pub provider: Provider,
    /// The ONNX Runtime library (libonnxruntime.so).
    #[arg(long, value_name = "PATH", help_heading = heading::RUNTIME)]
    pub ort_lib: Option<PathBuf>,
}

impl RuntimeArgs {
    /// Worker threads.
    pub fn jobs(&self) -> NonZeroUsize {
        self.jobs.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }
}

/// What a user says of a detector's file, where the file leaves it open.
#[derive(Debug, Args)]
pub struct ReadingArgs {
    /// Family of the model [default: found in its graph].
    #[arg(long, value_name = "NAME", value_parser = choices::family(), help_heading = heading::DATA)]
    pub family: Option<String>,
    /// How images are prepared for the model, where that differs from its family: parts joined by commas.
    ///
    /// `letterbox` (centred), `top-left` or `stretch`; `rgb` or `bgr`; `0-1`, `0-255` or `imagenet` (0 to 1, minus the mean,
    /// divided by the standard deviation). For example `--input-rule stretch,bgr`.
    #[arg(long, value_name = "RULE", value_parser = str::parse::<StatedInputRule>, help_heading = heading::DATA)]
    pub input_rule: Option<StatedInputRule>,
}

impl ReadingArgs {
    /// The first of the options that was given.
    pub fn stated(&self) -> Option<&'static str> {
        self.family.as_ref().map(|_| "--family").or(self.input_rule.map(|_| "--input-rule"))
    }

    /// As the library has it.
    pub fn reading(&self) -> Reading {
        Reading { family: self.family.clone(), input_rule: self.input_rule.unwrap_or_default() }
    }
}

/// How a detector runs: what `eval`, `predict` and `report` share.
#[derive(Debug, Args)]
pub struct DetectorArgs {
    /// Class names, one per line, for a model without metadata.
    #[arg(long, value_name = "FILE", help_heading = heading::DATA)]
    pub names: Option<PathBuf>,
    /// What the user says of the file.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Input size in pixels: 640 (a square), or 480x640 (height x width) [default: the model's size; if it is dynamic, 640, or for `quantize` that of the cache].
    #[arg(long, value_parser = bounds::input_size, help_heading = heading::RUNTIME)]
    pub imgsz: Option<InputSize>,
    /// Where it runs.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// `logitcache eval`
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// An ONNX export of a detector; repeat to compare further models with the first.
    #[arg(long, value_name = "M.onnx", required = true, help_heading = heading::DATA)]
    pub model: Vec<PathBuf>,
    /// The data set: a data.yaml, a COCO instances.json, or a folder of Pascal VOC XML.
    #[arg(long, help_heading = heading::DATA)]
    pub data: PathBuf,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Split of a data.yaml, or a list of a VOC release.
    #[arg(long, default_value = "val", help_heading = heading::DATA)]
    pub split: String,
    /// Score a class of the data set as this class of the models; repeat for each class.
    #[arg(long, value_name = "NAME=MODELS_NAME", value_parser = two_names, help_heading = heading::CLASSES)]
    pub map: Vec<(String, String)>,
    /// What an image without a label file means.
    #[arg(long, value_name = "MEANING", default_value = MissingLabels::Background.as_str(), value_parser = choices::missing_labels(), help_heading = heading::CLASSES)]
    pub missing_labels: MissingLabels,
    /// Lowest class probability of a detection.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.001, value_parser = bounds::probability::<f32>, allow_negative_numbers = true, help_heading = heading::DETECTION)]
    pub conf: f32,
    /// IoU above which NMS removes the lower-scoring box of a class.
    #[arg(long, default_value_t = 0.7, value_parser = bounds::probability::<f64>, allow_negative_numbers = true, help_heading = heading::DETECTION)]
    pub iou: f64,
    /// How the models run.
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// Number of timed runs with one thread and with --jobs threads; 0: do not measure latency.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = bounds::latency_runs, help_heading = heading::RUNTIME)]
    pub latency_runs: u32,
    /// Folder for eval.json, eval.csv and eval.md; those of an earlier evaluation are replaced.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Replace other files of these names too.
    #[arg(long, requires = "out", help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/eval.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache predict`
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Images, and folders of images (searched with all subfolders).
    #[arg(required = true, value_name = "IMAGE|FOLDER")]
    pub pictures: Vec<PathBuf>,
    /// The model: an ONNX export of a detector.
    #[arg(long, value_name = "M.onnx", help_heading = heading::DATA)]
    pub model: PathBuf,
    /// Lowest score of a detection that is shown.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.25, value_parser = bounds::probability::<f32>, allow_negative_numbers = true, help_heading = heading::DETECTION)]
    pub conf: f32,
    /// IoU above which NMS removes the lower-scoring box of a class.
    #[arg(long, default_value_t = 0.7, value_parser = bounds::probability::<f64>, allow_negative_numbers = true, help_heading = heading::DETECTION)]
    pub iou: f64,
    /// How the model runs.
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// Folder for images with boxes, `labels/*.txt` and `detections.json` [default: nothing is written].
    ///
    /// Label files hold class, centre x, centre y, width and height as fractions of the image's sides. `detections.json` holds COCO
    /// results: image ids count the images in the order shown, category ids are the model's class ids, both from 0. The folder must
    /// be new, empty, or of an earlier run.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Write the score as a sixth column of `labels/*.txt`; such files cannot be used as labels.
    #[arg(long, requires = "out", help_heading = heading::OUTPUT)]
    pub save_conf: bool,
    /// Write into a folder that holds other files too; the input images are never overwritten.
    #[arg(long, requires = "out", help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/predict.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache quantize`
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    /// The model: a float32 ONNX export of a detector.
    #[arg(value_name = "M.onnx")]
    pub model: PathBuf,
    /// Folder of a finished cache, whose images are used to calibrate; its teacher may be another model.
    #[arg(long, value_name = "CACHE", help_heading = heading::DATA)]
    pub cache: PathBuf,
    /// Labelled data set to score on [default: no labels; the model's own detections on other images of the cache].
    ///
    /// Without it, nothing is scored where nothing is chosen by the outputs either (one --calibration, --keep-float 0). If the images of the cache have moved since the build, they are looked for in this data set.
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of its images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Split of the data set to score on.
    #[arg(long, default_value = "val", requires = "data", help_heading = heading::DATA)]
    pub split: String,
    /// Number of images of the cache on which the ranges of the activations are measured.
    #[arg(long, value_name = "N", default_value = "128", value_parser = bounds::calibration_images, help_heading = heading::CALIBRATION)]
    pub sample: NonZeroUsize,
    /// How the range of each activation is chosen.
    #[arg(long, value_name = "METHOD", default_value = Calibration::Divergence.as_str(), value_parser = choices::calibration(), help_heading = heading::CALIBRATION)]
    pub calibration: Calibration,
    /// Share of the multiply-adds that may stay float32, in the layers that rounding harms most; 0: do not measure that.
    ///
    /// Without labels: each layer alone is quantized, and the outputs are compared with the model's own. The last layers before the
    /// outputs stay float32 in any case.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, value_parser = bounds::probability::<f64>, allow_negative_numbers = true, help_heading = heading::CALIBRATION)]
    pub keep_float: f64,
    /// Which tensors are rounded [default: what --provider computes fastest].
    #[arg(long, value_name = "WHERE", value_parser = choices::placement(), help_heading = heading::CALIBRATION)]
    pub placement: Option<Placement>,
    /// How the model runs.
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// Number of timed runs of both models, with one thread and with --jobs threads; 0: do not measure latency.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = bounds::latency_runs, help_heading = heading::RUNTIME)]
    pub latency_runs: u32,
    /// The file to write; a file that this command wrote is replaced.
    #[arg(long, value_name = "Q.onnx", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Replace another file at --out too.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/quantize.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders that `train`, `build` or `eval --out` made; the first run is the reference.
    #[arg(required = true, value_name = "RUN|CACHE|EVAL")]
    pub folders: Vec<PathBuf>,
    /// The data set to score the runs' models on [default: the validation data of the first run].
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Split to score on [default: the run's, else val].
    #[arg(long, help_heading = heading::DATA)]
    pub split: Option<String>,
    /// The student before distillation: an ONNX file to score and to draw beside it.
    #[arg(long, value_name = "M.onnx", help_heading = heading::DATA)]
    pub before: Option<PathBuf>,
    /// Do not run models: no scores, and no student boxes on the images.
    #[arg(long, conflicts_with_all = ["data", "split", "before"], help_heading = heading::RUNTIME)]
    pub no_models: bool,
    /// How the models run.
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// The HTML file (at most 5 MB, needs no network); an earlier report is replaced.
    #[arg(long, value_name = "REPORT.html", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Number of images to draw: those where labels, teacher and student disagree most.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = bounds::pictures, help_heading = heading::OUTPUT)]
    pub max_pictures: usize,
    /// Replace another file at --out too.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
}
