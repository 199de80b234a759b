//! What a cache is: the content of `manifest.json`. Reading and writing the file is in `manifest_file`.

use crate::{
    columns::Shape,
    grid::Grid,
    head::{HeadKind, Places},
    input_rule::InputRule,
    name_map::NameMap,
    types::{Failure, ImageSize, LogitType, Profile, Store, Views},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// The format's name in every manifest and footer.
pub const FORMAT_NAME: &str = "logitcache";
/// The format version that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Features that this program understands; a cache that needs another one is refused.
pub const KNOWN_FEATURES: &[&str] = &[ARCHIVE_FEATURE, INPUT_RULE_FEATURE];
/// What a cache may be about: the tasks that this program understands; a cache of another one is refused.
pub const KNOWN_TASKS: &[&str] = &[DETECT];
/// The task of boxes with classes.
pub const DETECT: &str = "detect";
/// The reader feature of a cache whose files are compressed for shipping and cannot be mapped.
pub const ARCHIVE_FEATURE: &str = "archive";
/// The reader feature of a cache whose teacher takes images by another rule than Ultralytics' ([`Teacher::input_rule`]).
pub const INPUT_RULE_FEATURE: &str = "input-rule";

/// `manifest.json`: what the cache holds, how it was made, and the digest of every file of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Which format this is.
    pub format: Format,
    /// What the predictions are about: `detect`, boxes with classes. A reader refuses a task that it does not know.
    pub task: String,
    /// The program and version that wrote the manifest last.
    pub producer: String,
    /// The model whose outputs are stored.
    pub teacher: Teacher,
    /// The data set that it ran over.
    pub dataset: DatasetInfo,
    /// How it ran and what was kept.
    pub settings: Settings,
    /// Whether every sample of the data set is in a part or among the failures, and at least one is
    /// in a part.
    pub complete: bool,
    /// Digests over the whole content; null while a build is going on.
    pub digests: Option<ContentDigests>,
    /// The parts in order of (first_image_id, name). Files that are not named here do not belong to the cache.
    pub parts: Vec<PartEntry>,
    /// The images that are missing, in order of their ids; tried again when the build is run again.
    pub failures: Vec<Failure>,
    /// SHA-256 of every byte of this file before the line that holds this field. Set when the file is written.
    pub manifest_sha256: String,
}

/// The format's name, version and needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Format {
    /// Always `logitcache`.
    pub name: String,
    /// Grows when files change in a way that older programs would misread.
    pub version: u32,
    /// What a reader must understand; one that does not know all of them refuses the cache.
    pub reader_features: Vec<String>,
    /// What a program that adds to the cache must understand as well.
    pub writer_features: Vec<String>,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            name: FORMAT_NAME.to_owned(),
            version: FORMAT_VERSION,
            reader_features: Vec::new(),
            writer_features: Vec::new(),
        }
    }
}

/// The model whose outputs are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Teacher {
    /// Name of the ONNX file, without its folder.
    pub file_name: String,
    /// SHA-256 of the ONNX file.
    pub sha256: String,
    /// Kind of detection head: `yolov8-dfl` and `yolov8-direct` have one box in each cell of a grid and independent sigmoids,
    /// `detr-sigmoid` has one of each query. A reader refuses a head that it does not know.
    #[schemars(with = "String")]
    pub head: HeadKind,
    /// Number of classes.
    pub num_classes: u32,
    /// DFL bins per box side; 0 for a head without DFL.
    pub reg_max: u32,
    /// Input pixels per grid cell, in the order in which the anchors are numbered; empty for a head of queries.
    pub strides: Vec<u32>,
    /// Number of queries; 0 for a head on a grid.
    #[serde(default)]
    pub queries: u32,
    /// Whether the head gives each object one prediction, so that a reader suppresses none; absent where it does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub one_to_one: bool,
    /// One name per class, in order of the class ids.
    pub class_names: Vec<String>,
    /// Width of the model's input in pixels.
    pub input_width: u32,
    /// Height of the model's input in pixels.
    pub input_height: u32,
    /// The narrowest type that the model computes in or keeps weights in: `fp32`, `fp16`, `int8`, or another type of quantizers.
    pub precision: String,
    /// How pixel values become input values, in words.
    pub normalisation: String,
    /// How an image is fitted into the input, in words.
    pub letterbox: String,
    /// Both as data; absent where they are Ultralytics' rule.
    #[serde(default, skip_serializing_if = "InputRule::is_default")]
    pub input_rule: InputRule,
}

impl Teacher {
    /// Width and height of the model's input.
    pub fn input(&self) -> ImageSize {
        ImageSize { width: self.input_width, height: self.input_height }
    }

    /// Where the head's predictions stand.
    pub fn places(&self) -> Places {
        if self.queries > 0 {
            Places::Queries(self.queries as usize)
        } else {
            Places::Grid(Grid::new(self.input(), &self.strides))
        }
    }

    /// Number of predictions before selection: anchors over all strides, or queries.
    pub fn total_anchors(&self) -> u64 {
        self.places().count() as u64
    }
}

/// The data set that the teacher ran over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatasetInfo {
    /// How it was given: `yolo`, `coco`, `voc` or `folder`.
    pub format: String,
    /// Which split of it; empty where there are none.
    pub split: String,
    /// Where it lies, relative to the cache's folder where that can be expressed. Not compared on resume.
    pub root: String,
    /// What was given as the data set (a data.yaml, a JSON file, a folder), in the form of `root`; empty in caches of the first
    /// programs. Not compared on resume.
    #[serde(default)]
    pub source: String,
    /// `--images`, in the form of `root`; null where it was not given. Not compared on resume.
    #[serde(default)]
    pub images_dir: Option<String>,
    /// Number of samples in its sorted list; image ids run from 0 up to this.
    pub samples: u64,
    /// SHA-256 over the paths of the sorted sample list, each followed by a line feed: pins what an image id means.
    pub samples_sha256: String,
    /// What became of its labels.
    pub labels: LabelsState,
    /// Its own class names in the order of its own class ids; empty where no labels are stored. Labels are stored in the
    /// teacher's class ids, matched by name.
    #[serde(default)]
    pub class_names: Vec<String>,
    /// Classes of the data set that are a class of the teacher under another name, each with that name (`--map`). Empty in caches of
    /// earlier programs.
    #[serde(default)]
    pub class_map: NameMap,
}

/// What became of the data set's labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LabelsState {
    /// They are in the cache, in the teacher's class ids.
    Stored,
    /// There are some, but the user asked to leave them out.
    Ignored,
    /// The data set has none.
    Absent,
}

/// What an image without a label file is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissingLabels {
    /// Labelled, without objects.
    Background,
    /// Not labelled.
    Unlabelled,
}

impl MissingLabels {
    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Background => "background",
            Self::Unlabelled => "unlabelled",
        }
    }
}

/// How the teacher ran and what was kept. All of it must be the same to go on with a cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Anchors whose highest class probability is below this are dropped.
    pub min_score: f32,
    /// At most this many anchors are kept per image, those of the highest scores.
    pub top_k: u32,
    /// Of the anchors that the other two rules leave, only the best are kept whose squared scores make up this share of the sum over all
    /// anchors; 1 where all of them are kept.
    pub coverage: f64,
    /// Of the kept anchors, the best have class logits: the fewest whose squared scores make up this share of the sum over all anchors; 1 where
    /// all of them have.
    pub class_coverage: f64,
    /// How logits are stored.
    pub logits: LogitType,
    /// Which outputs are stored.
    pub store: Store,
    /// How they lie in the files.
    pub profile: Profile,
    /// Images per run of the teacher.
    pub batch: u32,
    /// ONNX Runtime's execution provider.
    pub provider: String,
    /// Name and version of the library that ran the teacher.
    pub runtime: String,
    /// Names and versions of what decoded and scaled the images.
    pub decoder: String,
    /// What an image without a label file is taken for.
    pub missing_labels: MissingLabels,
    /// Whether labels were left out on request.
    pub ignore_labels: bool,
    /// Augmented views of each image beside the image itself.
    #[serde(default)]
    pub views: u32,
    /// What the views are drawn from; 0 without views.
    #[serde(default)]
    pub view_seed: u64,
    /// Name and version of the rule that draws and renders the views; empty without views.
    #[serde(default)]
    pub view_rule: String,
}

impl Settings {
    /// How many views an image has and what they are drawn from.
    pub fn views(&self) -> Views {
        Views { count: self.views, seed: self.view_seed }
    }
}

/// One part: a pair of files of the same name in `images/` and `predictions/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartEntry {
    /// `part-<first image id, 9 digits>-<first 8 digits of content_sha256>`; the files add `.parquet`.
    pub name: String,
    /// Lowest image id in it.
    pub first_image_id: i64,
    /// Highest image id in it. The ids between need not be in it: parts may interleave.
    pub last_image_id: i64,
    /// Rows of the images file.
    pub images: u64,
    /// Rows of the predictions file.
    pub rows: u64,
    /// The digest of the part's content: the same rule as for the whole cache, over its images.
    pub content_sha256: String,
    /// `images/<name>.parquet`.
    pub images_file: FileEntry,
    /// `predictions/<name>.parquet`.
    pub predictions_file: FileEntry,
}

/// Size and digests of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the whole file; checked by `verify`.
    pub sha256: String,
    /// SHA-256 of the file's end: Parquet metadata, its 4-byte length and the magic; checked at every open.
    pub footer_sha256: String,
}

/// Digests over the images of a part or cache in order of (image_id, view).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContentDigests {
    /// Over everything: the record and labels digests of every image.
    pub content_sha256: String,
    /// Over the digests of the image files: the same pictures, whatever the teacher.
    pub images_sha256: String,
    /// Over the labels digests: the same labels.
    pub labels_sha256: String,
}

/// One setting that differs between a cache and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingDifference {
    /// Which one, as in the manifest: `settings.top_k`.
    pub name: String,
    /// Its value in the cache.
    pub in_cache: String,
    /// The value wanted now.
    pub wanted: String,
}

/// What may differ without a different content: names and places.
const NOT_COMPARED: [&str; 4] = ["teacher.file_name", "dataset.root", "dataset.source", "dataset.images_dir"];

impl Manifest {
    /// The manifest of a cache without parts.
    pub fn new(teacher: Teacher, dataset: DatasetInfo, settings: Settings) -> Self {
        let mut format = Format::default();
        if !teacher.input_rule.is_default() {
            format.reader_features.push(INPUT_RULE_FEATURE.to_owned());
        }
        Self {
            format,
            task: DETECT.to_owned(),
            producer: Self::current_producer(),
            teacher,
            dataset,
            settings,
            complete: false,
            digests: None,
            parts: Vec::new(),
            failures: Vec::new(),
            manifest_sha256: String::new(),
        }
    }

    /// This program and its version, as a manifest names them.
    pub fn current_producer() -> String {
        concat!("logitcache ", env!("CARGO_PKG_VERSION")).to_owned()
    }

    /// Whether the files are compressed for shipping: the same columns and values, but nothing that can be mapped.
    pub fn is_archive(&self) -> bool {
        self.format.reader_features.iter().any(|f| f == ARCHIVE_FEATURE)
    }

    /// Makes it the manifest of an archive, or of a cache that can be mapped. Says nothing of files that are there already.
    pub fn set_archive(&mut self, archive: bool) {
        let features = &mut self.format.reader_features;
        features.retain(|f| f != ARCHIVE_FEATURE);
        if archive {
            features.push(ARCHIVE_FEATURE.to_owned());
        }
    }

    /// What to do with the archive in `folder` where one that can be mapped is needed.
    pub fn how_to_unpack(&self, folder: &Path) -> String {
        let profile = self.settings.profile.as_str();
        format!("Turn it back first: `convert({}, profile={profile}, out=NEW_FOLDER)`.", folder.display())
    }

    /// Adds a finished part at its place in the order.
    pub fn add_part(&mut self, part: PartEntry) {
        let key = |p: &PartEntry| (p.first_image_id, p.name.clone());
        let at = self.parts.partition_point(|p| key(p) < key(&part));
        self.parts.insert(at, part);
    }

    /// Values per row of `class_logits`.
    pub fn class_len(&self) -> usize {
        self.teacher.num_classes as usize
    }

    /// Values per row of `dfl_logits`; 0 where they are not stored.
    pub fn dfl_len(&self) -> usize {
        match self.settings.store {
            Store::All => 4 * self.teacher.reg_max as usize,
            Store::Cls => 0,
        }
    }

    /// Which columns the files have and how their values lie.
    pub fn shape(&self) -> Shape {
        Shape {
            head: self.teacher.head,
            class_len: self.class_len(),
            dfl_len: self.dfl_len(),
            logits: self.settings.logits,
            strides: self.teacher.strides.iter().map(|&stride| stride as i32).collect(),
        }
    }

    /// Rows of all images files: one of each image and of each of its views.
    pub fn records(&self) -> u64 {
        sum(self.parts.iter().map(|p| p.images))
    }

    /// Images in the parts; each is there with all its views.
    pub fn images(&self) -> u64 {
        self.records() / self.settings.views().per_image() as u64
    }

    /// Rows of all predictions files.
    pub fn rows(&self) -> u64 {
        sum(self.parts.iter().map(|p| p.rows))
    }

    /// Bytes of all Parquet files.
    pub fn bytes(&self) -> u64 {
        sum(self.parts.iter().flat_map(|p| [p.images_file.bytes, p.predictions_file.bytes]))
    }

    /// Everything that must be the same to go on with this cache and is not: teacher, data set and settings, without
    /// names and places. `wanted` is the manifest that a build with the present settings would start from.
    pub fn settings_difference(&self, wanted: &Manifest) -> Vec<SettingDifference> {
        let sections = |m: &Manifest| {
            [
                ("teacher", serde_json::to_value(&m.teacher)),
                ("dataset", serde_json::to_value(&m.dataset)),
                ("settings", serde_json::to_value(&m.settings)),
            ]
        };
        let mut differences = Vec::new();
        for ((section, ours), (_, theirs)) in sections(self).into_iter().zip(sections(wanted)) {
            let (Ok(Value::Object(ours)), Ok(Value::Object(theirs))) = (ours, theirs) else { continue };
            for (key, in_cache) in &ours {
                let name = format!("{section}.{key}");
                let wanted = theirs.get(key).unwrap_or(&Value::Null);
                if in_cache != wanted && !NOT_COMPARED.contains(&name.as_str()) {
                    let (in_cache, wanted) = show_difference(in_cache, wanted);
                    differences.push(SettingDifference { name, in_cache, wanted });
                }
            }
        }
        differences
    }
}

/// The sum of what a manifest states, which need not be true: the highest number where it is larger.
fn sum(stated: impl Iterator<Item = u64>) -> u64 {
    stated.fold(0, u64::saturating_add)
}

/// Two values as text; of two lists only the first elements that differ, so that 80 class names stay readable.
fn show_difference(a: &Value, b: &Value) -> (String, String) {
    // Settings are float32: shown as such, not with the digits of their float64 form.
    let plain = |v: &Value| match v.as_f64() {
        Some(number) if v.is_f64() => (number as f32).to_string(),
        _ => v.to_string(),
    };
    let (Value::Array(x), Value::Array(y)) = (a, b) else { return (plain(a), plain(b)) };
    let at = x.iter().zip(y).position(|(v, w)| v != w).unwrap_or(x.len().min(y.len()));
    let show = |list: &[Value]| match list.get(at) {
        Some(value) => format!("{} values, number {at} is {value}", list.len()),
        None => format!("{} values", list.len()),
    };
    (show(x), show(y))
}
