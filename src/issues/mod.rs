//! `issues`: which labels are wrong, as far as the teacher's cached outputs tell. No model is run.
//!
//! ```text
//! cache, view 0 ─ a sample ─ calibration per class ─ made faults ─ weights        (soft)
//!       │                                            smallest similarity of all   (objectlab)
//!       └─ every image, in order ─ findings ─ the N most suspicious ─ table, page, files
//! ```
//!
//! Images are read from the map in their order, a few at a time, and only the most suspicious are
//! kept: memory does not grow with their number. The same cache gives the same list.

pub(crate) mod calibrate;
pub(crate) mod census;
mod evidence;
mod faults;
mod fiftyone;
mod files;
mod finding;
pub(crate) mod labels;
mod learn;
mod objectlab;
mod page;
mod run;
pub(crate) mod seen;
mod soft;
#[cfg(test)]
mod tests;

pub use run::issues;

use crate::types::{BoxXyxyPx, Failure};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// How suspicion is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Ours: the label's losses under the teacher's soft outputs, weighed by what the cache itself
    /// teaches.
    Soft,
    /// ObjectLab (arXiv 2309.00832), with calibrated scores.
    Objectlab,
    /// FiftyOne's mistakenness, with calibrated scores.
    Fiftyone,
}

impl Method {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Objectlab => "objectlab",
            Self::Fiftyone => "fiftyone",
        }
    }

    /// What it finds.
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Soft => &[Kind::Missing, Kind::Location, Kind::Class, Kind::Spurious, Kind::Duplicate],
            Self::Objectlab => &[Kind::Missing, Kind::Location, Kind::Class],
            Self::Fiftyone => &[Kind::Missing, Kind::Location, Kind::Class, Kind::Spurious],
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An object without a label.
    Missing,
    /// A label that is not where the object is.
    Location,
    /// A label of the wrong class.
    Class,
    /// A label where no such object is.
    Spurious,
    /// A label that repeats another.
    Duplicate,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Missing, Self::Location, Self::Class, Self::Spurious, Self::Duplicate];

    /// As on the command line and in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Location => "location",
            Self::Class => "class",
            Self::Spurious => "spurious",
            Self::Duplicate => "duplicate",
        }
    }
}

/// What to look for.
#[derive(Debug, Clone)]
pub struct IssuesOptions {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// The data set whose labels are judged as they are now; `None`: the labels that the cache
    /// holds.
    pub data: Option<PathBuf>,
    /// Where its images lie, for COCO and VOC.
    pub images_dir: Option<PathBuf>,
    /// How suspicion is computed.
    pub method: Method,
    /// Only these kinds; all of the method where there is none.
    pub kinds: Vec<Kind>,
    /// Most issues, and most images, that are listed.
    pub top: usize,
    /// A new folder for the review page and the files; `None` writes nothing.
    pub out: Option<PathBuf>,
    /// Most pictures on the page.
    pub pictures: usize,
}

/// What was found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct IssuesReport {
    /// The program and its version.
    pub written_by: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// The data set whose labels were judged; `None` where they are the cache's.
    pub data: Option<PathBuf>,
    /// Digest of the cache's content.
    pub content_sha256: Option<String>,
    /// How suspicion was computed.
    pub method: Method,
    /// The kinds that were looked for.
    pub kinds: Vec<Kind>,
    /// Labelled images, each looked at once (view 0).
    pub images: u64,
    /// Their labels.
    pub labels: u64,
    /// Suspicions of every score: one for each label at most, and the teacher's boxes without a
    /// label.
    pub suspicions: u64,
    /// The most suspicious, the first the worst.
    pub issues: Vec<Issue>,
    /// The images of the highest scores, the first the worst.
    pub worst_images: Vec<WorstImage>,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
    /// Images whose labels could not be read; they were not judged.
    pub failures: Vec<Failure>,
    /// Files that were written.
    pub files: Vec<PathBuf>,
}

/// One suspicion.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Issue {
    /// What is wrong.
    pub kind: Kind,
    /// How suspicious, 0..=1; with `soft` about the probability of such a fault.
    pub score: f64,
    /// Position of the image in the data set.
    pub image_id: i64,
    /// Path of the image, relative to the data set.
    pub path: String,
    /// Width of the image in pixels.
    pub width: u32,
    /// Height of the image in pixels.
    pub height: u32,
    /// The label; `None` where one is missing.
    pub label: Option<SuspectLabel>,
    /// The teacher's box that speaks against it.
    pub teacher: Option<TeacherBox>,
    /// In a sentence.
    pub why: String,
}

/// A label of a cache.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SuspectLabel {
    /// Its number among the labels of the image, from 0.
    pub index: usize,
    /// Its class, as the teacher names it.
    pub class: String,
    /// The teacher's class id.
    pub class_id: u32,
    /// In pixels of the image.
    pub box_xyxy_px: BoxXyxyPx,
}

/// A box of the teacher.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TeacherBox {
    /// Its class: the one that the teacher would rather see, or its most probable one.
    pub class: String,
    /// The teacher's class id.
    pub class_id: u32,
    /// The teacher's probability of that class.
    pub score: f64,
    /// In pixels of the image.
    pub box_xyxy_px: BoxXyxyPx,
    /// Overlap with the label (intersection over union); `None` without one.
    pub iou: Option<f64>,
    /// The most probable classes, and the label's.
    pub classes: Vec<ClassProbability>,
}

/// A class and the teacher's probability of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClassProbability {
    /// Its name.
    pub class: String,
    /// From a sigmoid: the classes of a box need not sum to 1.
    pub probability: f64,
}

/// An image with suspicions.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorstImage {
    /// Position in the data set.
    pub image_id: i64,
    /// Relative to the data set.
    pub path: String,
    /// Of its most suspicious box; with `objectlab` as that method has it for images.
    pub score: f64,
    /// Suspicions with a score of at least one half.
    pub issues: u64,
}
