//! What the user typed. Resolved once into the library's own options by each command's file; no library code sees a flag.

use super::bounds;
use crate::{
    cache::MissingLabels,
    convert::Target,
    teacher::Provider,
    types::{LogitType, Profile, Store},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
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
    /// Run the teacher again over a sample of a cache: would a student be moved the same way?
    Audit(Box<AuditArgs>),
    /// Run the teacher over a data set and store what it says.
    Build(Box<BuildArgs>),
    /// Turn a cache into an archive for shipping, or an archive back into the cache that it was made from.
    Convert(ConvertArgs),
    /// Score models on labelled images: mAP, recall of small objects, size, latency, and what changed against the first.
    Eval(Box<EvalArgs>),
    /// Show what is in a cache, or one image's predictions as a table.
    Inspect(InspectArgs),
    /// Count, draw and write down what a model sees on pictures.
    Predict(PredictArgs),
    /// Check every byte against its digest, then every rule of the format.
    Verify(VerifyArgs),
    /// Distil a YOLOv8 student from a cache, without the teacher (or train one from labels alone).
    Train(Box<TrainArgs>),
    /// Put runs and caches on one page: settings, curves, scores, calibration, pictures.
    Report(Box<ReportArgs>),
    /// Write a trained student as an ONNX file in Ultralytics' export form.
    Export(ExportArgs),
    /// Draw a small labelled data set of shapes, for trying things.
    Synth(SynthArgs),
    /// Show the whole way in two minutes: draw shapes, cache a small teacher, train a student with and without, compare.
    Demo(DemoArgs),
    /// Print a script that lets a shell complete commands and flags.
    Completions(CompletionsArgs),
    /// Write the manual pages.
    Man(ManArgs),
}

/// `logitcache audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// The teacher that the cache was built with.
    #[arg(long, value_name = "T.onnx")]
    pub teacher: PathBuf,
    /// Take the gradients at the outputs of this student, an ONNX export with the teacher's head [default: an untrained YOLOv8].
    #[arg(long, value_name = "S.onnx")]
    pub student: Option<PathBuf>,
    /// Images to compare, spread evenly over the cache; 0: all.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = bounds::sample)]
    pub sample: usize,
    /// Lowest mean cosine of a loss that passes.
    #[arg(long, value_name = "COSINE", default_value_t = 0.999, value_parser = bounds::fraction, allow_negative_numbers = true)]
    pub min_cosine: f64,
    /// Temperature of softmax-kl and of the DFL term.
    #[arg(long, default_value_t = 4.0, value_parser = bounds::positive, allow_negative_numbers = true)]
    pub temperature: f64,
    /// The data set, where it is not where the cache says.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, where they do not lie beside the labels).
    #[arg(long, value_name = "DIR", requires = "data")]
    pub images: Option<PathBuf>,
    /// Worker threads [default: one per processor].
    #[arg(long, value_parser = bounds::jobs)]
    pub jobs: Option<NonZeroUsize>,
    /// Where the models run. A provider that is not there is an error.
    #[arg(long, value_enum, default_value_t = ProviderArg::Cpu)]
    pub provider: ProviderArg,
    /// The ONNX Runtime library (libonnxruntime.so).
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
    /// One JSON object on stdout (schemas/audit.schema.json).
    #[arg(long)]
    pub json: bool,
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
    #[arg(long, value_parser = bounds::side)]
    pub imgsz: Option<u32>,
    /// Images per run of the teacher [default: the model's own; dynamic: 1 on a CPU, 16 on a GPU].
    #[arg(long, value_parser = bounds::batch)]
    pub batch: Option<NonZeroUsize>,
    /// Worker threads [default: one per processor].
    #[arg(long, value_parser = bounds::jobs)]
    pub jobs: Option<NonZeroUsize>,
    /// Where the teacher runs. A provider that is not there is an error.
    #[arg(long, value_enum, default_value_t = ProviderArg::Cpu)]
    pub provider: ProviderArg,
    /// The ONNX Runtime library (libonnxruntime.so).
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
    /// Keep anchors whose highest class probability is at least this.
    #[arg(long, default_value_t = 0.0, value_parser = bounds::probability::<f32>, allow_negative_numbers = true)]
    pub min_score: f32,
    /// Keep at most this many anchors of an image, the highest scores first.
    #[arg(long, default_value = "1000", value_parser = bounds::top_k)]
    pub top_k: NonZeroUsize,
    /// Of these, keep only the best, whose squared scores make up this share of the sum over all anchors; 1: keep all of them.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9998, value_parser = bounds::fraction, allow_negative_numbers = true)]
    pub coverage: f64,
    /// Of the kept anchors, the best keep their class logits: those whose squared scores make up this share of the same sum; 1: all of them.
    #[arg(long, value_name = "SHARE", default_value_t = 0.995, value_parser = bounds::fraction, allow_negative_numbers = true)]
    pub class_coverage: f64,
    /// How logits are stored: one byte each or two. A dense cache has float16.
    #[arg(long, value_enum, default_value_t = LogitsArg::Bits8)]
    pub logits: LogitsArg,
    /// Class and DFL logits, or class logits alone (boxes are stored in any case).
    #[arg(long, value_enum, default_value_t = StoreArg::All)]
    pub store: StoreArg,
    /// `mapped` keeps the selected anchors, `dense` every one (2.4 MB an image for 80 classes at 640).
    #[arg(long, value_enum, default_value_t = ProfileArg::Mapped)]
    pub profile: ProfileArg,
    /// Cache so many augmented views of each image beside the image itself; `train` shows the same pixels.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = bounds::views)]
    pub views: u32,
    /// What the views are drawn from; without --views it says nothing.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Images per Parquet file pair: what a crash can cost at most.
    #[arg(long, default_value = "4096", value_parser = bounds::images_per_part)]
    pub images_per_part: NonZeroUsize,
    /// Class names, one a line, for a model without metadata.
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// A class of the data set is this class of the teacher; once for each class of another name.
    #[arg(long, value_name = "NAME=TEACHERS_NAME", value_parser = two_names)]
    pub map: Vec<(String, String)>,
    /// Build without labels.
    #[arg(long, conflicts_with = "map")]
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

/// `logitcache convert`
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Folder of the cache that is there; it stays as it is.
    pub cache: PathBuf,
    /// `archive`: compressed, for shipping. `mapped`, `dense`: what an archive was made from.
    #[arg(long, value_enum, value_name = "P")]
    pub profile: TargetArg,
    /// Folder of the new cache. An interrupted conversion of the same cache is continued.
    #[arg(long, value_name = "CACHE2")]
    pub out: PathBuf,
    /// Remove the cache that is at --out and start again.
    #[arg(long)]
    pub overwrite: bool,
    /// One JSON object on stdout (schemas/convert.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// How a detector runs: what `eval` and `predict` share.
#[derive(Debug, Args)]
pub struct DetectorArgs {
    /// Class names, one a line, for a model without metadata.
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
    /// Input size in pixels (square) [default: the model's own, 640 for a dynamic one].
    #[arg(long, value_parser = bounds::side)]
    pub imgsz: Option<u32>,
    /// Worker threads [default: one per processor].
    #[arg(long, value_parser = bounds::jobs)]
    pub jobs: Option<NonZeroUsize>,
    /// Where the model runs. A provider that is not there is an error.
    #[arg(long, value_enum, default_value_t = ProviderArg::Cpu)]
    pub provider: ProviderArg,
    /// The ONNX Runtime library (libonnxruntime.so).
    #[arg(long, value_name = "PATH")]
    pub ort_lib: Option<PathBuf>,
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
    #[arg(long, default_value_t = 0.001, value_parser = bounds::probability::<f32>, allow_negative_numbers = true)]
    pub conf: f32,
    /// Overlap over which the lower of two boxes of a class is dropped.
    #[arg(long, default_value_t = 0.7, value_parser = bounds::probability::<f64>, allow_negative_numbers = true)]
    pub iou: f64,
    /// A class of the data set is this class of the models; once for each class of another name. It is scored under that name.
    #[arg(long, value_name = "NAME=MODELS_NAME", value_parser = two_names)]
    pub map: Vec<(String, String)>,
    /// What an image without a label file means. Unlabelled images do not count.
    #[arg(long, value_enum, default_value_t = MissingArg::Background)]
    pub missing_labels: MissingArg,
    /// How the models run.
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// Timed runs of the bare session with one thread and with --jobs threads; 0 leaves latency out.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = bounds::latency_runs)]
    pub latency_runs: u32,
    /// Folder for eval.json, eval.csv and eval.md. Those of an earlier evaluation are replaced.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Replace files at --out that are not of an earlier evaluation, too.
    #[arg(long, requires = "out")]
    pub overwrite: bool,
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
    /// A view of the image; 0 is the image as it is.
    #[arg(long, value_name = "V", default_value_t = 0, requires = "image", value_parser = bounds::view)]
    pub view: i32,
    /// Draw the image's predictions (score over 0.25, doubles suppressed) and labels into this picture file; of a view, the
    /// picture that the teacher saw. A PNG or JPEG that was drawn here before is replaced.
    #[arg(long, value_name = "PICTURE", requires = "image")]
    pub out: Option<PathBuf>,
    /// Replace another file at --out, too.
    #[arg(long, requires = "out")]
    pub overwrite: bool,
    /// One JSON object on stdout (schemas/inspect.schema.json, schemas/inspect-image.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache predict`
#[derive(Debug, Args)]
pub struct PredictArgs {
    /// Pictures, and folders of pictures (with everything below them).
    #[arg(required = true, value_name = "IMAGE|FOLDER")]
    pub pictures: Vec<PathBuf>,
    /// The model: an ONNX export of a YOLOv8-family detector.
    #[arg(long, value_name = "M.onnx")]
    pub model: PathBuf,
    /// Show objects whose score is greater than this.
    #[arg(long, default_value_t = 0.25, value_parser = bounds::probability::<f32>, allow_negative_numbers = true)]
    pub conf: f32,
    /// Drop a box that overlaps a better one of its class by more than this (intersection over union).
    #[arg(long, default_value_t = 0.7, value_parser = bounds::probability::<f64>, allow_negative_numbers = true)]
    pub iou: f64,
    /// Folder for the pictures with boxes, `labels/*.txt` (class, centre, width, height as parts of the sides) and
    /// `detections.json` (COCO results; image ids count the pictures in the order shown, category ids are the model's class ids,
    /// both from 0). New, empty, or of an earlier run [default: nothing is written].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Write the score into `labels/*.txt` as a sixth column. Such files are no labels to train on.
    #[arg(long, requires = "out")]
    pub save_conf: bool,
    /// Write into a folder that holds other things, too; the pictures themselves are never written over.
    #[arg(long, requires = "out")]
    pub overwrite: bool,
    /// How the model runs.
    #[command(flatten)]
    pub detector: DetectorArgs,
    /// One JSON object on stdout (schemas/predict.schema.json).
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

/// `logitcache train`
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The cache to distil from; needed unless --distill none.
    #[arg(long, value_name = "CACHE")]
    pub cache: Option<PathBuf>,
    /// yolov8n, s, m, l, x, or the smaller yolov8p and yolov8f (ours, not Ultralytics'), from random weights; or a .pt or
    /// .safetensors file to start from.
    #[arg(long, value_name = "NAME|FILE")]
    pub model: String,
    /// Folder of the run.
    #[arg(long, value_name = "RUN")]
    pub out: PathBuf,
    /// The data set: where the cache's is not where it was, for other labels, for validation, or without a cache.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, where they do not lie beside the labels).
    #[arg(long, value_name = "DIR")]
    pub images: Option<PathBuf>,
    /// A class of the data set is this class of the cache's teacher; once for each class of another name [default: as the cache was built].
    #[arg(long, value_name = "NAME=TEACHERS_NAME", value_parser = two_names, requires = "cache")]
    pub map: Vec<(String, String)>,
    /// Split to train on, without a cache.
    #[arg(long, default_value = "train")]
    pub split: String,
    /// Split to validate on; `none` does not validate [default: val, where the data set has it].
    #[arg(long)]
    pub val_split: Option<String>,
    /// Validate every so many epochs (and after the last).
    #[arg(long, value_name = "N", default_value = "1", value_parser = bounds::epochs)]
    pub val_every: NonZeroUsize,
    /// Passes over the training images.
    #[arg(long, default_value = "100", value_parser = bounds::epochs)]
    pub epochs: NonZeroUsize,
    /// Stop after so many epochs without a better mAP@0.5:0.95; 0: never.
    #[arg(long, default_value_t = 50, value_parser = bounds::epochs_or_none)]
    pub patience: usize,
    /// Images per step.
    #[arg(long, default_value = "16", value_parser = bounds::batch)]
    pub batch: NonZeroUsize,
    /// Input size in pixels (square) [default: the cache's, 640 without one].
    #[arg(long, value_parser = bounds::side)]
    pub imgsz: Option<u32>,
    /// Optimizer.
    #[arg(long, value_enum, default_value_t = OptimizerArg::Adamw)]
    pub optimizer: OptimizerArg,
    /// Learning rate after the warm-up.
    #[arg(long, default_value_t = 1e-4, value_parser = bounds::positive, allow_negative_numbers = true)]
    pub lr: f64,
    /// Learning rate of the first step.
    #[arg(long, default_value_t = 1e-5, value_parser = bounds::positive, allow_negative_numbers = true)]
    pub warmup_lr: f64,
    /// Epochs over which the learning rate rises.
    #[arg(long, default_value_t = 3.0, value_parser = bounds::part_of_epochs, allow_negative_numbers = true)]
    pub warmup_epochs: f64,
    /// How the learning rate falls to a hundredth.
    #[arg(long, value_enum, default_value_t = DecayArg::Cosine)]
    pub decay: DecayArg,
    /// Temperature of softmax-kl and of the DFL term; 3 to 6 is sensible.
    #[arg(long, default_value_t = 4.0, value_parser = bounds::positive, allow_negative_numbers = true)]
    pub temperature: f64,
    /// Weight of the labels' loss; the rest, 1 - alpha, is the teacher's.
    #[arg(long, default_value_t = 0.7, value_parser = bounds::fraction, allow_negative_numbers = true)]
    pub alpha: f64,
    /// How classes are distilled.
    #[arg(long, value_enum, default_value_t = ClsLossArg::SoftmaxKl)]
    pub cls_loss: ClsLossArg,
    /// What is distilled: classes, DFL and boxes; classes alone; nothing.
    #[arg(long, value_enum, default_value_t = DistillArg::All)]
    pub distill: DistillArg,
    /// Number type of the forward and backward pass [default: bf16 where the processor has it].
    #[arg(long, value_enum)]
    pub precision: Option<PrecisionArg>,
    /// cpu, cuda, cuda:1 ...
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Threads of the processor [default: all].
    #[arg(long, value_parser = bounds::threads)]
    pub threads: Option<NonZeroUsize>,
    /// Same seed, same run (fp32 on a CPU: to the bit).
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Most memory-mapped disk space for decoded pictures, in GiB; above it they are decoded each time.
    #[arg(long, value_name = "GIB", default_value_t = 32.0, value_parser = bounds::not_negative, allow_negative_numbers = true)]
    pub pixel_cache_gib: f64,
    /// No augmentation.
    #[arg(long)]
    pub no_augment: bool,
    /// Epochs at the end without mosaic.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = bounds::epochs_or_none)]
    pub close_mosaic: usize,
    /// Go on with the run in --out; its settings must be the same.
    #[arg(long)]
    pub resume: bool,
    /// Remove the run that is there and start again.
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
    /// One JSON object on stdout (schemas/train.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folders that `train` or `build` made, in any number; the first run is the reference.
    #[arg(required = true, value_name = "RUN|CACHE")]
    pub folders: Vec<PathBuf>,
    /// The page: one HTML file of at most 5 MB that needs no network. An earlier page of this command is replaced.
    #[arg(long, value_name = "REPORT.html")]
    pub out: PathBuf,
    /// Replace another file at --out, too.
    #[arg(long)]
    pub overwrite: bool,
    /// The data set to score the runs' models on [default: what the first run was validated on].
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, where they do not lie beside the labels).
    #[arg(long, value_name = "DIR", requires = "data")]
    pub images: Option<PathBuf>,
    /// Split to score on [default: the run's, else val].
    #[arg(long)]
    pub split: Option<String>,
    /// The student before distillation: an ONNX file to score and to draw beside it.
    #[arg(long, value_name = "M.onnx")]
    pub before: Option<PathBuf>,
    /// Images to draw, those where labels, teacher and student disagree most.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = bounds::pictures)]
    pub max_pictures: usize,
    /// Run no model: what the folders hold, without scores and without students on the pictures.
    #[arg(long)]
    pub no_models: bool,
    /// How the models run.
    #[command(flatten)]
    pub detector: DetectorArgs,
}

/// `logitcache export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// A run's folder (its best weights; before the first validation its last ones) or a .safetensors or .pt file.
    #[arg(value_name = "RUN|FILE")]
    pub source: PathBuf,
    /// The ONNX file. One that the trainer wrote before is replaced.
    #[arg(long, value_name = "M.onnx")]
    pub out: PathBuf,
    /// Replace another file at --out, too.
    #[arg(long)]
    pub overwrite: bool,
    /// Input size in pixels (square) [default: the one it was trained with, 640 where the file does not say].
    #[arg(long, value_parser = bounds::side)]
    pub imgsz: Option<u32>,
    /// Class names, one a line, for a file without them.
    #[arg(long, value_name = "FILE")]
    pub names: Option<PathBuf>,
}

/// `logitcache synth`
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Folder to make; must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Remove the drawn data set that is there and start again.
    #[arg(long)]
    pub overwrite: bool,
    /// Number of images, train and val together.
    #[arg(long, default_value = "128", value_parser = bounds::drawn_images)]
    pub images: NonZeroU32,
    /// Longest side of an image, about, in pixels.
    #[arg(long, default_value_t = 320, value_parser = bounds::drawn_side)]
    pub imgsz: u32,
    /// Same seed, same bytes.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// One JSON object on stdout (schemas/synth.schema.json).
    #[arg(long)]
    pub json: bool,
}

/// `logitcache demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for all of it; must not exist or be empty.
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub dir: PathBuf,
    /// Other pictures and other random weights.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Number of images to draw; one in five is kept for scoring.
    #[arg(long, default_value = "250", value_parser = bounds::demo_images)]
    pub images: NonZeroU32,
    /// Passes of each student over the training images.
    #[arg(long, default_value = "30", value_parser = bounds::epochs)]
    pub epochs: NonZeroUsize,
    /// Remove the demonstration that is there and start again.
    #[arg(long)]
    pub overwrite: bool,
}

/// `logitcache completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell. Bash: `source <(logitcache completions bash)`.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// The two names of a `--map`, split at the first `=`.
fn two_names(text: &str) -> Result<(String, String), String> {
    let names = text.split_once('=').map(|(own, models)| (own.trim().to_owned(), models.trim().to_owned()));
    let names = names.filter(|(own, models)| !own.is_empty() && !models.is_empty());
    names.ok_or_else(|| "expected two class names with a `=` between them, the data set's first".into())
}

/// `logitcache man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for logitcache.1 and a page for each command, such as ~/.local/share/man/man1. Earlier pages are replaced.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace other files of these names, too.
    #[arg(long)]
    pub overwrite: bool,
}

/// `--optimizer`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OptimizerArg {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with Nesterov momentum.
    Sgd,
}

/// `--decay`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DecayArg {
    /// Half a cosine.
    Cosine,
    /// A straight line.
    Linear,
}

/// `--cls-loss`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClsLossArg {
    /// Kullback-Leibler divergence between softmaxes over classes, at the temperature.
    SoftmaxKl,
    /// Binary KL per class, weighted by the difference of the probabilities (BCKD).
    Bckd,
    /// Binary cross entropy per class.
    Bce,
}

/// `--distill`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DistillArg {
    /// Classes, DFL and boxes.
    All,
    /// Classes alone.
    Cls,
    /// Nothing: labels alone.
    None,
}

/// `--precision`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionArg {
    /// bfloat16 where that is safe, float32 elsewhere (autocast).
    Bf16,
    /// float32.
    Fp32,
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

/// `--logits`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum LogitsArg {
    /// One of 256 values, one byte.
    #[value(name = "8bit")]
    Bits8,
    /// DFL logits as one of 256 values, one byte; class logits in two bytes.
    #[value(name = "8bit-dfl")]
    Bits8Dfl,
    /// Two bytes.
    Float16,
}

/// `--profile`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ProfileArg {
    /// Selected anchors.
    Mapped,
    /// Every anchor.
    Dense,
}

/// `convert --profile`
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TargetArg {
    /// Compressed, for shipping.
    Archive,
    /// Selected anchors, for training.
    Mapped,
    /// Every anchor, for training.
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

impl From<LogitsArg> for LogitType {
    fn from(arg: LogitsArg) -> Self {
        match arg {
            LogitsArg::Bits8 => Self::Bits8,
            LogitsArg::Bits8Dfl => Self::Bits8Dfl,
            LogitsArg::Float16 => Self::Float16,
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

impl From<TargetArg> for Target {
    fn from(arg: TargetArg) -> Self {
        match arg {
            TargetArg::Archive => Self::Archive,
            TargetArg::Mapped => Self::Unpacked(Profile::Mapped),
            TargetArg::Dense => Self::Unpacked(Profile::Dense),
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
