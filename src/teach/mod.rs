//! `build`: a frozen teacher runs over a data set into a cache, once, in parallel, resumable.

mod commit;
mod estimate;
mod folder;
mod input_check;
mod merge;
mod plan;
mod prepare;
mod select;
mod shard;
mod worker;

pub(crate) use folder::{refuse_foreign_files, refuse_unfinished_shards};
pub use merge::{ShardsMerged, merge_shards};
pub use plan::Plan;
pub use prepare::Build;
pub(crate) use prepare::teacher;
pub use select::{Selected, Selection, Selector};
pub use shard::{DamagedShard, ShardReport};

use crate::{
    augment::Views,
    cache::{MissingLabels, Shard},
    dataset::{DataSource, NameMap},
    detector::{HeadSpec, Provider, Reading},
    eval::TeacherSight,
    types::{Failure, InputSize, LogitType, PassedOver, Profile, Store},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{num::NonZeroUsize, path::PathBuf};

/// Everything that decides what a build does.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// The ONNX file.
    pub teacher: PathBuf,
    /// The data set and its split.
    pub source: DataSource,
    /// Folder of the cache.
    pub out: PathBuf,
    /// Input size; `None`: the model's own, 640 for a dynamic one.
    pub imgsz: Option<InputSize>,
    /// Images per run; `None`: the model's own, for a dynamic one 1 on a CPU and 16 on a GPU.
    pub batch: Option<NonZeroUsize>,
    /// Worker threads.
    pub jobs: NonZeroUsize,
    /// Where the teacher runs.
    pub provider: Provider,
    /// The ONNX Runtime library, where the user names one.
    pub ort_lib: Option<PathBuf>,
    /// Lowest class probability that keeps an anchor.
    pub min_score: f32,
    /// Most anchors kept of an image.
    pub top_k: NonZeroUsize,
    /// Share of the image's sum of squared scores that is enough, 0..=1; 1: no limit by it.
    pub coverage: f64,
    /// The same for the anchors that keep their class logits; `None`: by the number of classes.
    pub class_coverage: Option<f64>,
    /// How logits are stored; `dense` has float16 in any case.
    pub logits: LogitType,
    /// What is stored of each anchor; `None`: everything that the head has.
    pub store: Option<Store>,
    /// Selected anchors or every one.
    pub profile: Profile,
    /// Images per file pair.
    pub images_per_part: NonZeroUsize,
    /// Views of each image beside the image itself, and their seed.
    pub views: Views,
    /// What the user says of the teacher's file.
    pub reading: Reading,
    /// Class names for a model without metadata.
    pub names: Option<Vec<String>>,
    /// Classes of the data set that the teacher has under other names.
    pub class_map: NameMap,
    /// Build without labels.
    pub ignore_labels: bool,
    /// What an image without a label file means.
    pub missing_labels: MissingLabels,
    /// Start again where a cache is there.
    pub overwrite: bool,
    /// Build this piece of the cache only; other processes build the others. `overwrite` is then not looked at.
    pub shard: Option<Shard>,
}

/// Up to so many classes, the class logits of an anchor as float16 take no more than its DFL logits of 8 bits: every kept
/// anchor has them.
const FEW_CLASSES: usize = 32;
/// What share of the squared scores has class logits where there are more classes (`docs/benchmarks.md`, "Size against
/// fidelity").
const MANY_CLASSES_COVERAGE: f64 = 0.998;

impl BuildOptions {
    /// What is stored of a teacher with this head.
    fn store_of(&self, head: &HeadSpec) -> Store {
        let all = if head.reg_max() > 0 { Store::All } else { Store::Cls };
        self.store.unwrap_or(all)
    }

    /// The share of the squared scores that has class logits, for a teacher of so many classes.
    fn class_coverage_of(&self, num_classes: usize) -> f64 {
        self.class_coverage.unwrap_or(if num_classes <= FEW_CLASSES { 1.0 } else { MANY_CLASSES_COVERAGE })
    }
}

/// What a build did. Of a shard, images, rows, bytes and failures are those of the shard.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct BuildReport {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Samples of the data set.
    pub samples: u64,
    /// Images in the cache.
    pub images: u64,
    /// Views of each beside the image itself.
    pub views: u32,
    /// Images put there by this run.
    pub images_this_run: u64,
    /// Kept anchors in the cache.
    pub rows: u64,
    /// Bytes of the cache's files, manifest included.
    pub bytes: u64,
    /// Whether every sample is either in the cache or a named failure, and at least one is in the
    /// cache. Of a shard: whether this is so of the whole cache.
    pub complete: bool,
    /// Digest over the logical content of the whole cache, when complete.
    pub content_sha256: Option<String>,
    /// Images that are not in the cache, with the reason.
    pub failures: Vec<Failure>,
    /// Files of the data set that are no images of it.
    pub passed_over: PassedOver,
    /// What the user should know of the data set and the cache's place, a line each.
    pub notes: Vec<String>,
    /// The last of the notes, where boxes without area were left out of the labels that this run read; null where none were.
    pub labels_left_out: Option<String>,
    /// Of a shard, where it stands; null for a build of the whole cache.
    pub shard: Option<ShardReport>,
    /// What the teacher sees on the images of the cache, when complete; null for a shard.
    pub teacher: Option<TeacherSight>,
    /// Seconds from the first image to the last file.
    pub elapsed_s: f64,
    /// `images_this_run / elapsed_s`.
    pub images_per_s: f64,
}
