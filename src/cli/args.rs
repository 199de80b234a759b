//! What the user typed. Resolved once into the library's own options by each command's file; no library code sees a flag.

use crate::{
    cache::MissingLabels,
    teacher::Provider,
    types::{Profile, Store},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::{
    num::{NonZeroU32, NonZeroUsize, ParseFloatError},
    path::PathBuf,
    str::FromStr,
};

/// Run a frozen ONNX detector over a data set once, keep its soft outputs in Parquet, distil students from the map.
///
/// Exit status: 0 all done; 1 done, but some items failed (each named); 2 could not do it; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "logitcache", version, max_term_width = 110)]
pub struct Cli {
    /// No progress on stderr.
    #[arg(long, global = true)]
    pub quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the teacher over a data set and store what it says.
    Build(Box<BuildArgs>),
    /// Score models on labelled images: mAP, recall of small objects, size, latency, and what changed against the first.
    Eval(Box<EvalArgs>),
    /// Show what is in a cache, or one image's predictions as a table.
    Inspect(InspectArgs),
    /// Check every byte against its digest, then every rule of the format.
    Verify(VerifyArgs),
    /// Draw a small labelled data set of shapes, for trying things.
    Synth(SynthArgs),
}

/// `logitcache build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The teacher: an ONNX export of a YOLOv8-family detector.
    #[arg(long, value_name = "T.onnx")]
    pub teacher: PathBuf,
    /// A data.yaml, a COCO instances.json, a folder of Pascal VOC XML, or a folder of images.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the images (COCO and VOC, where they do not lie beside the labels).
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Split of a data.yaml.
    #[arg(long, default_value = "train")]
    pub split: String,
    /// Folder of the cache. An unfinished one with the same settings is continued.
    #[arg(long, value_name = "CACHE")]
    pub out: PathBuf,
    /// Input size in pixels (square) [default: the model's own, 640 for a dynamic one].
    #[arg(long)]
    pub imgsz: Option<u32>,
    /// Images per run of the teacher [default: the model's own; dynamic: 1 on a CPU, 16 on a GPU].
    #[arg(long)]
    pub batch: Option<NonZeroUsize>,
    /// Worker threads [default: one per processor].
    #[arg(long)]
    pub jobs: Option<NonZeroUsize>,
    /// Where the teacher runs. A provider that is not there is an error.
    #[arg(long, value_enum, default_value_t = ProviderArg::Cpu)]
    pub provider: ProviderArg,
    /// The ONNX Runtime library (libonnxruntime.so).
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
    /// Keep anchors whose highest class probability is at least this.
    #[arg(long, default_value_t = 0.01, value_parser = probability::<f32>, allow_negative_numbers = true)]
    pub min_score: f32,
    /// Keep at most this many anchors of an image, the highest scores first.
    #[arg(long, default_value = "300")]
    pub top_k: NonZeroUsize,
    /// Class and DFL logits, or class logits alone (boxes are stored in any case).
    #[arg(long, value_enum, default_value_t = StoreArg::All)]
    pub store: StoreArg,
    /// `mapped` keeps the selected anchors, `dense` every one (2.4 MB an image for 80 classes at 640).
    #[arg(long, value_enum, default_value_t = ProfileArg::Mapped)]
    pub profile: ProfileArg,
    /// Images per Parquet file pair: what a crash can cost at most.
    #[arg(long, default_value = "4096")]
    pub images_per_part: NonZeroUsize,
    /// Class names, one a line, for a model without metadata.
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// Build without labels.
    #[arg(long)]
    pub ignore_labels: bool,
    /// What an image without a label file means.
    #[arg(long, value_enum, default_value_t = MissingArg::Background)]
    pub missing_labels: MissingArg,
    /// Remove the cache that is there and start again.
    #[arg(long)]
    pub overwrite: bool,
    /// One JSON object on stdout (schemas/build.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache eval`
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// An ONNX export of a YOLOv8-family detector. Give it several times to compare models with the first.
    #[arg(long, value_name = "M.onnx", required = true)]
    pub model: Vec<PathBuf>,
    /// A data.yaml, a COCO instances.json, or a folder of Pascal VOC XML.
    #[arg(long)]
    pub data: PathBuf,
    /// Folder of the images (COCO and VOC, where they do not lie beside the labels).
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// Split of a data.yaml.
    #[arg(long, default_value = "val")]
    pub split: String,
    /// Class probability over which a box counts.
    #[arg(long, default_value_t = 0.001, value_parser = probability::<f32>, allow_negative_numbers = true)]
    pub conf: f32,
    /// Overlap over which the lower of two boxes of a class is dropped.
    #[arg(long, default_value_t = 0.7, value_parser = probability::<f64>, allow_negative_numbers = true)]
    pub iou: f64,
    /// Class names, one a line, for models without metadata.
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// What an image without a label file means. Unlabelled images do not count.
    #[arg(long, value_enum, default_value_t = MissingArg::Background)]
    pub missing_labels: MissingArg,
    /// Input size in pixels (square) [default: each model's own, 640 for a dynamic one].
    #[arg(long)]
    pub imgsz: Option<u32>,
    /// Worker threads [default: one per processor].
    #[arg(long)]
    pub jobs: Option<NonZeroUsize>,
    /// Where the models run. A provider that is not there is an error.
    #[arg(long, value_enum, default_value_t = ProviderArg::Cpu)]
    pub provider: ProviderArg,
    /// The ONNX Runtime library (libonnxruntime.so).
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
    /// Timed runs of the bare session with one thread and with --jobs threads; 0 leaves latency out.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub latency_runs: u32,
    /// Folder for eval.json, eval.csv and eval.md.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// One JSON object on stdout (schemas/eval.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// One image: its id, its path, or the end of its path.
    #[arg(long, value_name = "ID|PATH")]
    pub image: Option<String>,
    /// One JSON object on stdout (schemas/inspect.schema.json, schemas/inspect-image.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// One JSON object on stdout (schemas/verify.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache synth`
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Folder to make; must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Number of images, train and val together.
    #[arg(long, default_value = "128")]
    pub images: NonZeroU32,
    /// Longest side of an image, about, in pixels.
    #[arg(long, default_value_t = 320, value_parser = clap::value_parser!(u32).range(64..=4096))]
    pub imgsz: u32,
    /// Same seed, same bytes.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One JSON object on stdout (schemas/synth.schema.json).
    #[arg(long)]
    pub json: bool,
}

fn probability<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err = ParseFloatError> + PartialOrd + From<u8>,
{
    let value: T = text.parse().map_err(|e| format!("{e}"))?;
    if (T::from(0)..=T::from(1)).contains(&value) {
        Ok(value)
    } else {
        Err("expected a probability from 0 to 1".into())
    }
}

/// `--provider`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ProviderArg {
    /// ONNX Runtime's own CPU kernels.
    Cpu,
    /// Intel OpenVINO (the onnxruntime-openvino wheel).
    Openvino,
    /// NVIDIA CUDA (the onnxruntime-gpu wheel).
    Cuda,
    /// NVIDIA TensorRT (the onnxruntime-gpu wheel).
    Tensorrt,
}

/// `--store`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StoreArg {
    /// Class logits and DFL logits.
    All,
    /// Class logits.
    Cls,
}

/// `--profile`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ProfileArg {
    /// Selected anchors.
    Mapped,
    /// Every anchor.
    Dense,
}

/// `--missing-labels`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum MissingArg {
    /// It shows no object, as in Ultralytics.
    Background,
    /// Nobody looked.
    Unlabelled,
}

impl From<ProviderArg> for Provider {
    fn from(arg: ProviderArg) -> Self {
        match arg {
            ProviderArg::Cpu => Self::Cpu,
            ProviderArg::Openvino => Self::Openvino,
            ProviderArg::Cuda => Self::Cuda,
            ProviderArg::Tensorrt => Self::Tensorrt,
        }
    }
}

impl From<StoreArg> for Store {
    fn from(arg: StoreArg) -> Self {
        match arg {
            StoreArg::All => Self::All,
            StoreArg::Cls => Self::Cls,
        }
    }
}

impl From<ProfileArg> for Profile {
    fn from(arg: ProfileArg) -> Self {
        match arg {
            ProfileArg::Mapped => Self::Mapped,
            ProfileArg::Dense => Self::Dense,
        }
    }
}

impl From<MissingArg> for MissingLabels {
    fn from(arg: MissingArg) -> Self {
        match arg {
            MissingArg::Background => Self::Background,
            MissingArg::Unlabelled => Self::Unlabelled,
        }
    }
}
