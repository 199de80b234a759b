//! What a build will do, told before it starts.

use super::BuildOptions;
use crate::{
    Error, Result,
    augment::with_views,
    teacher::HeadSpec,
    types::{LogitType, Profile, Store},
};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use std::{fmt, path::PathBuf, time::Duration};

/// Anchors per image that make up the default coverage, and those of the default class coverage, on COCO with a YOLO12n teacher (measured means);
/// the guess for other data.
const TYPICAL_ROWS: u64 = 230;
const TYPICAL_CLASS_ROWS: u64 = 80;

/// The plan of a build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Teacher, head, input, precision, in words.
    pub teacher: String,
    /// Data set, format, split, in words.
    pub dataset: String,
    /// ONNX Runtime's version, provider and threads, in words.
    pub runtime: String,
    /// Samples of the data set.
    pub samples: u64,
    /// Samples that are in the cache already.
    pub already_done: u64,
    /// Samples that failed before and are tried again.
    pub retried: u64,
    /// Samples that this run will work on.
    pub pending: u64,
    /// Views of each image beside the image itself.
    pub views: u32,
    /// Estimated bytes that this run adds.
    pub estimated_bytes: u64,
    /// The most that this run can add.
    pub most_bytes: u64,
    /// Free bytes where the cache lies.
    pub free_bytes: u64,
    /// Estimated time of this run, in seconds.
    pub estimated_s: f64,
    /// What the user should know of the data set, the cache's place and the teacher.
    pub notes: Vec<String>,
    /// What the user must know of the teacher.
    pub warning: Option<String>,
}

/// Size of one image (or view) in the cache, in bytes: `(estimate, most)`.
pub(super) fn bytes_per_picture(head: &HeadSpec, options: &BuildOptions) -> (u64, u64) {
    let dfl = match options.store {
        Store::All => 4 * head.reg_max.unwrap_or(0) as u64,
        Store::Cls => 0,
    };
    let dense = options.profile == Profile::Dense;
    // Scalar columns, bytes of a logit; some bits of each list's structure; digests, path and labels a few hundred.
    let (scalars, width) = if dense || options.logits == LogitType::Float16 { (44, 2) } else { (26, 1) };
    let list = |len: u64| len * width + len.div_ceil(8).min(6);
    let bytes =
        |rows: u64, class_rows: u64| 600 + rows * (scalars + list(dfl)) + class_rows * list(head.num_classes as u64);
    let most = if dense { head.num_anchors } else { head.num_anchors.min(options.top_k.get()) } as u64;
    let typical = |share: f64, rows: u64| if dense || share >= 1.0 { most } else { most.min(rows) };
    let rows = typical(options.coverage, TYPICAL_ROWS);
    let estimate = bytes(rows, typical(options.class_coverage, TYPICAL_CLASS_ROWS).min(rows));
    (estimate, bytes(most, most))
}

impl Plan {
    /// # Errors
    /// When the estimate is more than the free space.
    pub(super) fn refuse_if_it_cannot_fit(&self) -> Result<()> {
        if self.estimated_bytes <= self.free_bytes {
            return Ok(());
        }
        Err(Error::Mismatch {
            found: format!(
                "{}: the cache needs about {}, but only {} are free",
                self.cache.display(),
                HumanBytes(self.estimated_bytes),
                HumanBytes(self.free_bytes)
            ),
            remedy: "Free some space, choose another --out, or keep less: --views, --top-k, --min-score, --store cls."
                .into(),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "teacher   {}", self.teacher)?;
        writeln!(f, "data      {}", self.dataset)?;
        for note in &self.notes {
            writeln!(f, "          note: {note}")?;
        }
        writeln!(f, "runtime   {}", self.runtime)?;
        writeln!(f, "cache     {}", self.cache.display())?;
        write!(f, "to do     {} of {} images", HumanCount(self.pending), HumanCount(self.samples))?;
        write!(f, "{}", with_views(self.views))?;
        if self.already_done > 0 {
            write!(f, ", {} done before", HumanCount(self.already_done))?;
        }
        if self.retried > 0 {
            write!(f, ", {} failed before and tried again", HumanCount(self.retried))?;
        }
        if self.pending > 0 {
            write!(
                f,
                "\nestimate  {} (at most {}), {} free; about {}",
                HumanBytes(self.estimated_bytes),
                HumanBytes(self.most_bytes),
                HumanBytes(self.free_bytes),
                HumanDuration(Duration::from_secs_f64(self.estimated_s))
            )?;
        }
        Ok(())
    }
}
