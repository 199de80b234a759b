//! The arguments of every command. Each command's file resolves them into the library's own options.
//!
//! The first line of an option's text is what `-h` shows; `--help` shows all of it.

mod cache;
mod choices;
mod data;
mod labels;
mod models;
mod serve;
mod train;

pub use cache::{
    AuditArgs, BuildArgs, CacheArgs, CacheCommand, CacheDiffArgs, CacheMergeArgs, CacheSubsetArgs, ConvertArgs,
    InspectArgs, VerifyArgs,
};
pub use data::{
    DataArgs, DataCheckArgs, DataCommand, DataConvertArgs, DataDedupArgs, DataDiffArgs, DataMergeArgs, DataOutArgs,
    DataSourceArgs, DataSplitArgs, DataStatsArgs, DataSubsetArgs, DistanceArgs,
};
pub use labels::{IssuesArgs, LabelArgs, SelectArgs};
pub use models::{DetectorArgs, EvalArgs, PredictArgs, QuantizeArgs, ReadingArgs, ReportArgs, RuntimeArgs};
pub use serve::ServeArgs;
pub use train::{ExportArgs, ExportFormat, TrainArgs};

use super::bounds;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

/// Headings of the options in a help text.
mod heading {
    pub const DATA: &str = "Data";
    pub const CLASSES: &str = "Classes and labels";
    pub const SELECTION: &str = "What is stored";
    pub const VIEWS: &str = "Augmented views";
    pub const RUNTIME: &str = "Runtime";
    pub const SETTINGS: &str = "Settings";
    pub const OUTPUT: &str = "Output";
    pub const COMPARISON: &str = "Comparison";
    pub const DETECTION: &str = "Detection";
    pub const DISTILLATION: &str = "Distillation";
    pub const OPTIMIZATION: &str = "Optimization";
    pub const NETWORK: &str = "Network";
    pub const VALIDATION: &str = "Validation";
    pub const AUGMENTATION: &str = "Augmentation";
    pub const CALIBRATION: &str = "Calibration";
}

/// Cache the outputs of an ONNX detector over a data set, and distil small detectors from the cache.
///
/// Exit status: 0 success; 1 success, but some items failed (each is named); 2 failure; 75 failure of `build --shard` or `cache
/// merge --shards` that may be gone at the next try; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "logitcache", version, max_term_width = 100)]
pub struct Cli {
    /// Do not show progress on stderr.
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Folder for local copies of what lies in object stores [default: ~/.cache/logitcache].
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the teacher over a data set and store its outputs in a cache.
    ///
    /// A build that was interrupted resumes with the same command; the result has the same content digest.
    Build(Box<BuildArgs>),
    /// Train a student (YOLOv8, YOLO11 or YOLO26) from a cache, or from labels only.
    Train(Box<TrainArgs>),
    /// Score models on labelled images: mAP, recall of small objects, size, latency.
    Eval(Box<EvalArgs>),
    /// Detect objects in images: counts, drawn boxes, label files, COCO results.
    Predict(PredictArgs),
    /// Show training runs and caches on one HTML page: settings, curves, scores, images.
    Report(Box<ReportArgs>),
    /// Show what a cache or a detector's file holds, or the cached predictions of one image.
    Inspect(InspectArgs),
    /// Check every byte of a cache against its digest, and every rule of the format.
    Verify(VerifyArgs),
    /// Compare training gradients from the cache with the live teacher's.
    Audit(Box<AuditArgs>),
    /// Compress a cache into an archive, or turn an archive back into a cache.
    Convert(ConvertArgs),
    /// Unite, cut down and compare caches.
    ///
    /// Caches are never changed: what is written goes into a new folder.
    Cache(CacheArgs),
    /// Check, count, convert, merge, split and compare data sets.
    ///
    /// Data sets are never changed: what is written goes into a new folder, with a manifest.json of what was done.
    Data(Box<DataArgs>),
    /// Find label errors from the cached predictions: missing, misplaced, wrong class, spurious, duplicate boxes.
    ///
    /// No model is run. Only view 0 of each labelled image is looked at.
    Issues(IssuesArgs),
    /// Choose the images to label next from the cached predictions: uncertain, rare, unlike the others.
    ///
    /// No model is run.
    Select(SelectArgs),
    /// Write a data set with pseudo-labels: the teacher's boxes above a score that gives the wanted precision.
    ///
    /// Labels of people stay as they are. No model is run; only view 0 of each image is looked at.
    Label(LabelArgs),
    /// Show models, caches and training runs on a web page, with an HTTP API.
    ///
    /// Ctrl-C answers what is in flight and ends; a second one ends at once.
    Serve(Box<ServeArgs>),
    /// Write a trained student as an ONNX file.
    Export(ExportArgs),
    /// Write a detector as an ONNX file with 8-bit integers, calibrated on the images of a cache.
    ///
    /// Shows size, accuracy and latency beside the model's. Nothing is trained, and no labels are needed.
    Quantize(Box<QuantizeArgs>),
    /// Draw a small labelled data set of shapes.
    Synth(SynthArgs),
    /// Run the whole workflow in two minutes on drawn shapes.
    ///
    /// Draws shapes, caches a small teacher, trains a student with and without the cache and compares them.
    Demo(DemoArgs),
    /// Print a script for shell completion.
    Completions(CompletionsArgs),
    /// Write the manual pages.
    Man(ManArgs),
}

/// `logitcache synth`
#[derive(Debug, Args)]
pub struct SynthArgs {
    /// Folder to create; must not exist or be empty.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Replace the drawn data set at --out.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/synth.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
    /// Number of images, training and validation split together.
    #[arg(long, default_value = "128", value_parser = bounds::drawn_images, help_heading = heading::SETTINGS)]
    pub images: NonZeroU32,
    /// Longest side of an image in pixels, approximately.
    #[arg(long, default_value_t = 320, value_parser = bounds::drawn_side, help_heading = heading::SETTINGS)]
    pub imgsz: u32,
    /// Only the first N training images have labels [default: all].
    ///
    /// The others lie in images/unlabelled, without label files. data.yaml has all of them, labelled.yaml only the
    /// images with labels.
    #[arg(long, value_name = "N", value_parser = bounds::drawn_images, help_heading = heading::SETTINGS)]
    pub labelled: Option<NonZeroU32>,
    /// Random seed: the same seed gives the same files.
    #[arg(long, default_value_t = 0, help_heading = heading::SETTINGS)]
    pub seed: u64,
}

/// `logitcache demo`
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Folder for all files; must not exist or be empty.
    #[arg(long, value_name = "DIR", default_value = "demo", help_heading = heading::OUTPUT)]
    pub dir: PathBuf,
    /// Replace the demonstration in --dir.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Random seed for images and weights.
    #[arg(long, default_value_t = 0, help_heading = heading::SETTINGS)]
    pub seed: u64,
    /// Number of images to draw; one in five is kept for scoring, and one in forty of the others has labels.
    #[arg(long, default_value = "2000", value_parser = bounds::demo_images, help_heading = heading::SETTINGS)]
    pub images: NonZeroU32,
    /// Training epochs with the cache; from the labels alone there are as many steps.
    #[arg(long, default_value = "4", value_parser = bounds::epochs, help_heading = heading::SETTINGS)]
    pub epochs: NonZeroUsize,
}

/// `logitcache completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell. Bash: `source <(logitcache completions bash)`.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `logitcache man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for logitcache.1 and one page per command; earlier pages are replaced.
    ///
    /// For example ~/.local/share/man/man1.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Replace other files of these names too.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
}

/// The two names of a `--map`, split at the first `=`.
fn two_names(text: &str) -> Result<(String, String), String> {
    let names = one_or_two_names(text).ok().filter(|(_, models)| !models.is_empty());
    names.ok_or_else(|| "expected two class names with a `=` between them, the data set's first".into())
}

/// The same; the second is empty for a class that the teacher does not have.
fn one_or_two_names(text: &str) -> Result<(String, String), String> {
    let names = text.split_once('=').map(|(own, models)| (own.trim().to_owned(), models.trim().to_owned()));
    let names = names.filter(|(own, _)| !own.is_empty());
    names.ok_or_else(|| "expected the data set's class, a `=`, and the teacher's class (or nothing)".into())
}
