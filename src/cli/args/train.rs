//! Commands of the trainer.

use super::{bounds, choices, heading, one_or_two_names};
use crate::{
    run::{ClsLoss, Decay, Distill, OptimizerKind, Precision},
    types::InputSize,
};
use clap::Args;
use std::{num::NonZeroUsize, path::PathBuf};

/// `logitcache train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The cache to distil from; required unless --distill none.
    #[arg(long, value_name = "CACHE", help_heading = heading::DATA)]
    pub cache: Option<PathBuf>,
    /// The student: yolov8n, yolo11n or yolo26n, the same with s, m, l or x, the smaller yolov8p or yolov8f, or a weights file.
    ///
    /// A name starts from random weights; a .pt or .safetensors file continues from it. yolov8p and yolov8f are logitcache's own
    /// sizes, not Ultralytics'.
    #[arg(long, value_name = "NAME|FILE", help_heading = heading::DATA)]
    pub model: String,
    /// Remove the least important channels of --model until this share of its multiply-adds is gone, then train.
    ///
    /// For trained weights alone. Channels that hang together go together, so the student is a smaller dense network; its
    /// weights, exports and resumed runs are those of the smaller one.
    #[arg(long, value_name = "SHARE", value_parser = bounds::pruned_share, allow_negative_numbers = true, help_heading = heading::NETWORK)]
    pub prune: Option<f64>,
    /// Train with the rounding of this file, which `quantize` made of the export of --model; the run's best.onnx is such a file.
    ///
    /// For trained weights alone, and in fp32. Scales, zero points and the choice of layers stay those of the file; the weights
    /// learn to live with them.
    #[arg(long, value_name = "Q.onnx", conflicts_with = "prune", help_heading = heading::NETWORK)]
    pub qat: Option<PathBuf>,
    /// The data set: for other labels, for validation, without a cache, or if it has moved since the build.
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Split of --data to train on.
    #[arg(long, default_value = "train", requires = "data", help_heading = heading::DATA)]
    pub split: String,
    /// Treat a class of the data set as this class of the cache's teacher; repeat for each class [default: as in the build].
    ///
    /// `NAME=` with nothing after it: the teacher has no such class; the student learns it from labels alone.
    #[arg(long, value_name = "NAME=TEACHERS_NAME", value_parser = one_or_two_names, requires = "cache", help_heading = heading::DATA)]
    pub map: Vec<(String, String)>,
    /// Most disk space for decoded images (memory-mapped), in GiB; images beyond it are decoded every time.
    #[arg(long, value_name = "GIB", default_value_t = 32.0, value_parser = bounds::not_negative, allow_negative_numbers = true, help_heading = heading::DATA)]
    pub pixel_cache_gib: f64,
    /// What is distilled from the teacher.
    #[arg(long, value_name = "WHAT", default_value = Distill::All.as_str(), value_parser = choices::distill(), help_heading = heading::DISTILLATION)]
    pub distill: Distill,
    /// Loss between the classes of student and teacher [default: softmax-kl].
    #[arg(long, value_name = "LOSS", value_parser = choices::cls_loss(), help_heading = heading::DISTILLATION)]
    pub cls_loss: Option<ClsLoss>,
    /// Weight of the label loss; the distillation loss has 1 - alpha [default: 0.7].
    #[arg(long, value_parser = bounds::fraction, allow_negative_numbers = true, help_heading = heading::DISTILLATION)]
    pub alpha: Option<f64>,
    /// Temperature of softmax-kl and of the DFL loss; 3 to 6 is sensible [default: 4].
    #[arg(long, value_parser = bounds::positive, allow_negative_numbers = true, help_heading = heading::DISTILLATION)]
    pub temperature: Option<f64>,
    /// Passes over the training images.
    #[arg(long, value_name = "N", default_value = "100", value_parser = bounds::epochs, help_heading = heading::OPTIMIZATION)]
    pub epochs: NonZeroUsize,
    /// Images per step.
    #[arg(long, value_name = "N", default_value = "16", value_parser = bounds::batch, help_heading = heading::OPTIMIZATION)]
    pub batch: NonZeroUsize,
    /// Input size in pixels: 640 (a square), or 480x640 (height x width) [default: the cache's, 640 without a cache].
    #[arg(long, value_parser = bounds::input_size, help_heading = heading::OPTIMIZATION)]
    pub imgsz: Option<InputSize>,
    /// Optimizer.
    #[arg(long, value_name = "NAME", default_value = OptimizerKind::Adamw.as_str(), value_parser = choices::optimizer(), help_heading = heading::OPTIMIZATION)]
    pub optimizer: OptimizerKind,
    /// Learning rate after the warm-up.
    #[arg(long, default_value_t = 1e-4, value_parser = bounds::learning_rate, allow_negative_numbers = true, help_heading = heading::OPTIMIZATION)]
    pub lr: f64,
    /// Learning rate of the first step.
    #[arg(long, value_name = "LR", default_value_t = 1e-5, value_parser = bounds::learning_rate, allow_negative_numbers = true, help_heading = heading::OPTIMIZATION)]
    pub warmup_lr: f64,
    /// Epochs over which the learning rate rises to --lr.
    #[arg(long, value_name = "N", default_value_t = 3.0, value_parser = bounds::part_of_epochs, allow_negative_numbers = true, help_heading = heading::OPTIMIZATION)]
    pub warmup_epochs: f64,
    /// How the learning rate falls to a hundredth of --lr.
    #[arg(long, value_name = "CURVE", default_value = Decay::Cosine.as_str(), value_parser = choices::decay(), help_heading = heading::OPTIMIZATION)]
    pub decay: Decay,
    /// Number type of forward and backward pass [default: bf16 if the processor supports it].
    #[arg(long, value_name = "TYPE", value_parser = choices::precision(), help_heading = heading::OPTIMIZATION)]
    pub precision: Option<Precision>,
    /// Device: cpu, cuda, cuda:1 ...
    #[arg(long, default_value = "cpu", help_heading = heading::OPTIMIZATION)]
    pub device: String,
    /// CPU threads [default: all processors].
    #[arg(long, value_name = "N", value_parser = bounds::threads, help_heading = heading::OPTIMIZATION)]
    pub threads: Option<NonZeroUsize>,
    /// Random seed: the same seed gives the same run (bit for bit in fp32 on a CPU).
    #[arg(long, default_value_t = 0, help_heading = heading::OPTIMIZATION)]
    pub seed: u64,
    /// Train without augmentation.
    #[arg(long, help_heading = heading::AUGMENTATION)]
    pub no_augment: bool,
    /// Number of last epochs without mosaic.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = bounds::epochs_or_none, conflicts_with = "no_augment", help_heading = heading::AUGMENTATION)]
    pub close_mosaic: usize,
    /// Split to validate on; `none`: do not validate [default: val, if the data set has it].
    #[arg(long, value_name = "SPLIT", help_heading = heading::VALIDATION)]
    pub val_split: Option<String>,
    /// Validate every N epochs and after the last one [default: 1].
    #[arg(long, value_name = "N", value_parser = bounds::epochs, help_heading = heading::VALIDATION)]
    pub val_every: Option<NonZeroUsize>,
    /// Stop after N epochs without a better mAP@0.5:0.95; 0: never [default: 50].
    #[arg(long, value_name = "N", value_parser = bounds::epochs_or_none, help_heading = heading::VALIDATION)]
    pub patience: Option<usize>,
    /// Folder of the run.
    #[arg(long, value_name = "RUN", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Resume the run in --out; its settings must be the same.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub resume: bool,
    /// Remove the run at --out and start again.
    #[arg(long, conflicts_with = "resume", help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/train.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Folder of a run, or a .safetensors or .pt file.
    ///
    /// Of a run, its best weights are taken; before the first validation, its last ones.
    #[arg(value_name = "RUN|FILE")]
    pub source: PathBuf,
    /// Input size in pixels: 640 (a square), or 480x640 (height x width) [default: the training size, 640 if the file does not tell].
    #[arg(long, value_parser = bounds::input_size, help_heading = heading::SETTINGS)]
    pub imgsz: Option<InputSize>,
    /// Class names, one per line, for a file without them.
    #[arg(long, value_name = "FILE", help_heading = heading::SETTINGS)]
    pub names: Option<PathBuf>,
    /// Weights and feature maps in float16: half the size. Input, output and the decoding of boxes stay float32.
    #[arg(long, help_heading = heading::NETWORK)]
    pub half: bool,
    /// Any number of images at once, of any size in multiples of 32.
    #[arg(long, help_heading = heading::NETWORK)]
    pub dynamic: bool,
    /// Version of ONNX's operators, 15 to 22.
    #[arg(long, value_name = "N", default_value = "17", value_parser = bounds::opset, help_heading = heading::NETWORK)]
    pub opset: i64,
    /// Suppress overlapping boxes in the file: the output is [batch, --max-det, 6], corners in input pixels, score, class.
    ///
    /// The best box comes first; rows of zeros follow the last one.
    #[arg(long, help_heading = heading::DETECTION)]
    pub nms: bool,
    /// With --nms: lowest score of a detection.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.25, value_parser = bounds::probability::<f32>, allow_negative_numbers = true, requires = "nms", help_heading = heading::DETECTION)]
    pub conf: f32,
    /// With --nms: IoU above which the lower-scoring box of a class is removed.
    #[arg(long, default_value_t = 0.7, value_parser = bounds::probability::<f32>, allow_negative_numbers = true, requires = "nms", help_heading = heading::DETECTION)]
    pub iou: f32,
    /// With --nms: most detections of an image.
    #[arg(long, value_name = "N", default_value = "300", value_parser = bounds::detections, requires = "nms", help_heading = heading::DETECTION)]
    pub max_det: NonZeroUsize,
    /// Run the file beside the student on this image, or on the images of this folder; exit 1 if it differs too much.
    #[arg(long, value_name = "IMAGE|FOLDER", help_heading = heading::COMPARISON)]
    pub check: Option<PathBuf>,
    /// The ONNX Runtime library (libonnxruntime.so), for --check.
    #[arg(long, value_name = "PATH", requires = "check", help_heading = heading::COMPARISON)]
    pub ort_lib: Option<PathBuf>,
    /// What is written.
    #[arg(long, value_name = "FORMAT", default_value = ExportFormat::Onnx.as_str(), value_parser = choices::export_format(), help_heading = heading::OUTPUT)]
    pub format: ExportFormat,
    /// The file; one that the trainer wrote before is replaced.
    #[arg(long, value_name = "M.onnx", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Replace another file at --out too.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
}

/// `--format` of `export`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One .onnx file.
    Onnx,
    /// OpenVINO's intermediate representation: .xml and .bin.
    Openvino,
}

impl ExportFormat {
    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Onnx => "onnx",
            Self::Openvino => "openvino",
        }
    }
}
