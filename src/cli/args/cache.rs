//! Commands that make, show and check caches.

use super::{ReadingArgs, RuntimeArgs, bounds, choices, heading, two_names};
use crate::{
    cache::{MissingLabels, Shard},
    convert::Target,
    types::{InputSize, LogitType, Profile, Store},
};
use clap::{Args, Subcommand};
use std::{num::NonZeroUsize, path::PathBuf};

/// `logitcache build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The teacher: an ONNX export of a detector.
    #[arg(long, value_name = "T.onnx", help_heading = heading::DATA)]
    pub teacher: PathBuf,
    /// What the user says of its file.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// The data set: a data.yaml, a COCO instances.json, a folder of Pascal VOC XML, or a folder of images.
    #[arg(long, help_heading = heading::DATA)]
    pub data: PathBuf,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Split of a data.yaml, or a list of a VOC release.
    #[arg(long, default_value = "train", help_heading = heading::DATA)]
    pub split: String,
    /// Class names, one per line, for a model without metadata.
    #[arg(long, value_name = "FILE", help_heading = heading::CLASSES)]
    pub names: Option<PathBuf>,
    /// Treat a class of the data set as this class of the teacher; repeat for each class.
    ///
    /// Classes of equal names need no --map.
    #[arg(long, value_name = "NAME=TEACHERS_NAME", value_parser = two_names, help_heading = heading::CLASSES)]
    pub map: Vec<(String, String)>,
    /// Do not read or store labels.
    #[arg(long, conflicts_with = "map", help_heading = heading::CLASSES)]
    pub ignore_labels: bool,
    /// What an image without a label file means.
    #[arg(long, value_name = "MEANING", default_value = MissingLabels::Background.as_str(), value_parser = choices::missing_labels(), conflicts_with = "ignore_labels", help_heading = heading::CLASSES)]
    pub missing_labels: MissingLabels,
    /// Keep anchors until they hold this fraction of the image's total squared score; 1: keep all [default: 0.9998].
    ///
    /// Anchors are taken from the highest score down. --top-k and --min-score can end the list earlier.
    #[arg(long, value_name = "FRACTION", value_parser = bounds::share, allow_negative_numbers = true, help_heading = heading::SELECTION)]
    pub coverage: Option<f64>,
    /// Store class logits of the best anchors, up to this fraction of the total squared score [default: 1 up to 32 classes, else 0.998].
    ///
    /// Of the other kept anchors the cache holds the highest probability, its class, and one mean for all other classes.
    #[arg(long, value_name = "FRACTION", value_parser = bounds::fraction, allow_negative_numbers = true, help_heading = heading::SELECTION)]
    pub class_coverage: Option<f64>,
    /// Keep at most this many anchors of an image, the highest scores first [default: 3000].
    #[arg(long, value_name = "N", value_parser = bounds::top_k, help_heading = heading::SELECTION)]
    pub top_k: Option<NonZeroUsize>,
    /// Keep only anchors whose highest class probability is at least this [default: 0].
    #[arg(long, value_name = "PROBABILITY", value_parser = bounds::lowest_score, allow_negative_numbers = true, help_heading = heading::SELECTION)]
    pub min_score: Option<f32>,
    /// Number type of the stored logits [default: 8bit-dfl].
    #[arg(long, value_name = "TYPE", value_parser = choices::logits(), help_heading = heading::SELECTION)]
    pub logits: Option<LogitType>,
    /// Which logits are stored; boxes are stored in any case [default: all that the teacher's head has].
    #[arg(long, value_name = "WHAT", value_parser = choices::store(), help_heading = heading::SELECTION)]
    pub store: Option<Store>,
    /// Selected anchors, or every anchor with logits as float16.
    #[arg(long, value_name = "PROFILE", default_value = Profile::Mapped.as_str(), value_parser = choices::profile(), help_heading = heading::SELECTION)]
    pub profile: Profile,
    /// Also cache N augmented copies of each image; `train` shows the same pixels.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = bounds::views, help_heading = heading::VIEWS)]
    pub views: u32,
    /// Random seed for --views.
    #[arg(long, default_value_t = 0, requires = "views", help_heading = heading::VIEWS)]
    pub seed: u64,
    /// Input size in pixels: 640 (a square), or 480x640 (height x width) [default: the model's own, 640 for a dynamic one].
    #[arg(long, value_parser = bounds::input_size, help_heading = heading::RUNTIME)]
    pub imgsz: Option<InputSize>,
    /// Images per run of the teacher [default: the model's own; dynamic: 1 on a CPU, 16 on a GPU].
    #[arg(long, value_parser = bounds::batch, help_heading = heading::RUNTIME)]
    pub batch: Option<NonZeroUsize>,
    /// How the teacher runs.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Folder of the cache; an unfinished build with the same settings is resumed.
    #[arg(long, value_name = "CACHE", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Images per pair of Parquet files: the most that a crash can cost.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = bounds::images_per_part, help_heading = heading::OUTPUT)]
    pub images_per_part: NonZeroUsize,
    /// Build piece I of N of the cache (I from 1 to N); other processes, on this machine or on others, build the rest into --out.
    ///
    /// The last of them publishes the cache, which is then the same as one process makes. Exit status 75: the same command may succeed
    /// later. See docs/how-to/build-on-several-machines.md.
    #[arg(long, value_name = "I/N", conflicts_with = "overwrite", help_heading = heading::OUTPUT)]
    pub shard: Option<Shard>,
    /// Remove the cache at --out and start again.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/build.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache audit`
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// The teacher that the cache was built with.
    #[arg(long, value_name = "T.onnx", help_heading = heading::DATA)]
    pub teacher: PathBuf,
    /// Accept that the cache was built with a substitute for the teacher, such as its quantized file, and judge that by its gradients.
    #[arg(long, help_heading = heading::DATA)]
    pub substitute: bool,
    /// Family of the teacher [default: found in its graph].
    #[arg(long, value_name = "NAME", value_parser = choices::family(), help_heading = heading::DATA)]
    pub family: Option<String>,
    /// The data set, if it has moved since the build.
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Take the gradients at this student's outputs: an ONNX export with the teacher's head [default: an untrained YOLOv8].
    #[arg(long, value_name = "S.onnx", help_heading = heading::COMPARISON)]
    pub student: Option<PathBuf>,
    /// Number of images to compare, each with all its views, spread evenly over the cache; 0: all.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = bounds::sample, help_heading = heading::COMPARISON)]
    pub sample: usize,
    /// Lowest mean cosine at which a loss passes.
    #[arg(long, value_name = "COSINE", default_value_t = 0.999, value_parser = bounds::fraction, allow_negative_numbers = true, help_heading = heading::COMPARISON)]
    pub min_cosine: f64,
    /// Temperature of softmax-kl and of the DFL loss.
    #[arg(long, default_value_t = 4.0, value_parser = bounds::positive, allow_negative_numbers = true, help_heading = heading::COMPARISON)]
    pub temperature: f64,
    /// How the models run.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
    /// Print one JSON object on stdout (schemas/audit.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache convert`
#[derive(Debug, Args)]
pub struct ConvertArgs {
    /// Folder of the existing cache; it is not changed.
    pub cache: PathBuf,
    /// `archive` compresses a cache; `mapped` and `dense` turn its archive back into what it was.
    #[arg(long, value_name = "PROFILE", value_parser = choices::target(), help_heading = heading::SETTINGS)]
    pub profile: Target,
    /// Folder of the new cache; an interrupted conversion of the same cache is resumed.
    #[arg(long, value_name = "CACHE2", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Remove the cache at --out and start again.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/convert.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache inspect`
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Folder of a cache, or a detector's .onnx file.
    #[arg(value_name = "CACHE|M.onnx")]
    pub cache: PathBuf,
    /// Of an .onnx file: what the user says of it.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Of an .onnx file that leaves its input size open: that size, as 640 (a square) or 480x640 (height x width) [default: 640].
    #[arg(long, value_parser = bounds::input_size, help_heading = heading::RUNTIME)]
    pub imgsz: Option<InputSize>,
    /// Show one image: its id, its path, or the end of its path.
    #[arg(long, value_name = "ID|PATH", help_heading = heading::SETTINGS)]
    pub image: Option<String>,
    /// View of the image; 0 is the image without augmentation.
    #[arg(long, value_name = "V", default_value_t = 0, requires = "image", value_parser = bounds::view, help_heading = heading::SETTINGS)]
    pub view: i32,
    /// Draw predictions (score over 0.25, after NMS) and labels into this PNG or JPEG file.
    ///
    /// Of a view, the image is the one that the teacher saw. A file that was drawn here before is replaced.
    #[arg(long, value_name = "FILE", requires = "image", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Replace another file at --out too.
    #[arg(long, requires = "out", help_heading = heading::OUTPUT)]
    pub overwrite: bool,
    /// Print one JSON object on stdout (schemas/inspect.schema.json, inspect-image.schema.json, inspect-model.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Print one JSON object on stdout (schemas/verify.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache cache`
#[derive(Debug, Args)]
pub struct CacheArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CacheCommand,
}

/// The commands of `logitcache cache`.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Write the images of several caches of one teacher as one cache, or the mean of several teachers.
    ///
    /// Teacher, input size, classes and settings must be the same. Images are numbered anew, so augmented views cannot be
    /// taken over.
    Merge(CacheMergeArgs),
    /// Write a cache of some of the images: listed ones, or those that show some classes.
    ///
    /// Images are numbered anew, so augmented views cannot be taken over.
    Subset(CacheSubsetArgs),
    /// Show where two teachers disagree on the same images, by class and by image.
    Diff(CacheDiffArgs),
}

/// `logitcache cache merge`
#[derive(Debug, Args)]
pub struct CacheMergeArgs {
    /// Folders of the caches.
    #[arg(required_unless_present = "shards", num_args = 2.., value_name = "CACHE")]
    pub caches: Vec<PathBuf>,
    /// Publish this cache, whose shards are all built (`build --shard`); says which are missing. Nothing else is given then.
    ///
    /// The last shard to finish does this itself. Exit status 75: shards are missing, or the same command may succeed later.
    #[arg(long, value_name = "CACHE", conflicts_with_all = ["caches", "ensemble", "out"], help_heading = heading::SETTINGS)]
    pub shards: Option<PathBuf>,
    /// The caches are of different teachers on the same images: store the mean of their logits.
    ///
    /// The teachers must have the same head, input size and classes. docs/format.md says how the mean is made.
    #[arg(long, help_heading = heading::SETTINGS)]
    pub ensemble: bool,
    /// Folder of the new cache; it must not exist.
    #[arg(long, value_name = "CACHE2", required_unless_present = "shards", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Print one JSON object on stdout (schemas/cache-written.schema.json, with --shards schemas/shards-merged.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache cache subset`
#[derive(Debug, Args)]
pub struct CacheSubsetArgs {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Keep images with a label of this class; repeat for several [default: all].
    ///
    /// Of an image without labels the teacher's boxes count, those with a score over 0.25. Labels and predictions of other classes stay.
    #[arg(long, value_name = "NAME", help_heading = heading::SETTINGS)]
    pub class: Vec<String>,
    /// Keep the images that this text file lists: paths in the data set or their ends, one a line [default: all].
    #[arg(long, value_name = "FILE", help_heading = heading::SETTINGS)]
    pub list: Option<PathBuf>,
    /// Folder of the new cache; it must not exist.
    #[arg(long, value_name = "CACHE2", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Print one JSON object on stdout (schemas/cache-written.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache cache diff`
#[derive(Debug, Args)]
pub struct CacheDiffArgs {
    /// The first cache.
    pub a: PathBuf,
    /// The second one.
    pub b: PathBuf,
    /// Name at most this many images, those of the most disagreement.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = bounds::listed, help_heading = heading::SETTINGS)]
    pub top: usize,
    /// Print one JSON object on stdout (schemas/cache-diff.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}
