//! `select`: which images to label next, by the teacher's cached outputs. No model is run.
//!
//! ```text
//! every image ─ what the teacher sees ─ uncertainty, disagreement of views, classes, a point in 32 dimensions
//!                                          └─ a strategy ─ the N images
//! ```
//!
//! Of each image a few numbers are kept, about 300 bytes with its path; the rest is read from the map. The same cache
//! gives the same images.

mod choose;
mod measure;
mod run;
mod sketch;
mod write;

pub use run::select;

use crate::toolkit::{Format, Manifest};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// What makes an image worth a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Diverse ones among the most uncertain, rare classes first (after PPAL, arXiv 2211.11612).
    Combined,
    /// The highest sum of the entropies of the teacher's boxes (Brust et al. 2019, arXiv
    /// 1809.09875).
    Uncertainty,
    /// The images whose views the teacher sees most differently (after CALD, arXiv 2103.10374).
    Disagreement,
    /// Those that add most to classes of which few are labelled or chosen.
    Balance,
    /// Those farthest from all that are labelled or chosen (k-centre greedy: Sener and Savarese
    /// 2018, arXiv 1708.00489).
    Diversity,
    /// At random: what the others have to beat.
    Random,
}

impl Strategy {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Combined => "combined",
            Self::Uncertainty => "uncertainty",
            Self::Disagreement => "disagreement",
            Self::Balance => "balance",
            Self::Diversity => "diversity",
            Self::Random => "random",
        }
    }
}

/// What to choose.
#[derive(Debug, Clone)]
pub struct SelectOptions {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Number of images.
    pub budget: usize,
    /// What makes an image worth a label.
    pub method: Strategy,
    /// A text file of the images that have labels already, one a line, as paths or as the ends of
    /// paths; `None`: those with labels in the cache.
    pub labelled: Option<PathBuf>,
    /// Of [`Strategy::Random`].
    pub seed: u64,
    /// The data set, if it has moved since the build.
    pub data: Option<PathBuf>,
    /// Where its images lie, for COCO and VOC.
    pub images_dir: Option<PathBuf>,
    /// A new folder for the chosen images; `None` writes nothing.
    pub out: Option<PathBuf>,
    /// Its format.
    pub to: Format,
    /// Whether image files are hard-linked there.
    pub link: bool,
}

/// What was chosen.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SelectReport {
    /// The program and its version.
    pub written_by: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Digest of the cache's content.
    pub content_sha256: Option<String>,
    /// What made an image worth a label.
    pub method: Strategy,
    /// Images that have labels already.
    pub labelled_images: u64,
    /// Images without labels, among which was chosen.
    pub candidates: u64,
    /// The chosen ones, the first to label first.
    pub selected: Vec<Selected>,
    /// Classes of the teacher, in order.
    pub classes: Vec<ClassExpected>,
    /// What a user should know, a line each.
    pub notes: Vec<String>,
    /// The data set that was written.
    pub data_set: Option<Manifest>,
}

/// A chosen image.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Selected {
    /// Position in the data set of the cache.
    pub image_id: i64,
    /// Relative to the data set.
    pub path: String,
    /// Sum of the entropies of the teacher's boxes, in bits.
    pub uncertainty_bits: f64,
    /// How differently the teacher sees the views, 0..1; `None` in a cache without views.
    pub disagreement: Option<f64>,
    /// Objects that the teacher expects: the sum of its boxes' scores.
    pub expected_objects: f64,
}

/// A class, as the teacher sees it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ClassExpected {
    /// Its name.
    pub name: String,
    /// The teacher's class id.
    pub class_id: u32,
    /// Objects on labelled images: their labels where the cache has them, otherwise what the teacher
    /// expects.
    pub labelled: f64,
    /// Objects that the teacher expects on all candidates.
    pub candidates: f64,
    /// Objects that it expects on the chosen ones.
    pub selected: f64,
}
