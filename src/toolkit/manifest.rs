//! What a written data set tells of itself: `manifest.json` in its folder, printed with `--json` as
//! well.

use super::Format;
use crate::types::Failure;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// Name of the file in the new folder.
pub(super) const FILE_NAME: &str = "manifest.json";
/// A row for each image: where it is now and where it came from.
pub(super) const SOURCES_NAME: &str = "sources.csv";
/// Cases of a loss that are named.
pub(super) const SHOWN: usize = 20;

/// How a data set is written, whatever wrote it.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// The new folder.
    pub out: PathBuf,
    /// The new format; that of the (first) data set where there is none.
    pub to: Option<Format>,
    /// Hard-link images where that can be, instead of copying them: a program that changes one then changes both.
    pub link: bool,
}

/// What was written, from what, and what was lost.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Manifest {
    /// The program and its version.
    pub written_by: String,
    /// `convert`, `merge`, `split`, `subset`, `dedup`, `check`, `select` or `label`.
    pub command: String,
    /// Settings that decide what is in the data set, as `name=value`.
    pub settings: Vec<String>,
    /// The data sets that were read.
    pub sources: Vec<Origin>,
    /// Folder of the new data set.
    pub out: PathBuf,
    /// How it is written down.
    pub format: Format,
    /// What to give as DATA: a file in the folder, or the folder itself.
    pub data: PathBuf,
    /// Class names by class id.
    pub classes: Vec<String>,
    /// Images and boxes of each split.
    pub splits: Vec<SplitCount>,
    /// How the image files came into the folder.
    pub image_files: Placed,
    /// Images that have another name than before; `sources.csv` has all names.
    pub renamed: u64,
    /// What the data sets hold and the new one does not, or holds otherwise.
    pub losses: Vec<Loss>,
    /// Images that could not be read and are not in the new data set.
    pub failures: Vec<Failure>,
}

/// A data set that was read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Origin {
    /// As given.
    pub data: PathBuf,
    /// `yolo`, `coco`, `voc`, `cvat`, `label-studio` or `folder`.
    pub format: String,
    /// Class names by class id.
    pub classes: Vec<String>,
    /// Images of all splits that were read.
    pub images: u64,
}

/// One split of the new data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SplitCount {
    /// Its name.
    pub name: String,
    /// Images.
    pub images: u64,
    /// Of these, images without any box.
    pub background_images: u64,
    /// Boxes.
    pub boxes: u64,
}

/// How image files came into the folder. They are never changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Placed {
    /// Hard links: the same file under another name, which takes no space.
    pub linked: u64,
    /// Copies.
    pub copied: u64,
}

/// One kind of loss or change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Loss {
    /// What, in words that follow the number.
    pub what: String,
    /// How many.
    pub count: u64,
    /// The first images that are concerned, by their old paths.
    pub images: Vec<String>,
}
