//! The data-set toolkit: look at data sets and write new ones.
//!
//! A data set is opened with all its splits ([`DataSet`]). Images are read one by one, in parallel
//! and in a fixed order, so memory does not grow with their pixels. Whatever is written goes into a
//! new folder that appears whole or not at all, with a [`Manifest`] that tells what was done and
//! what the new format cannot hold. Inputs are never changed.

pub(crate) mod boxes;
mod check;
mod class_names;
mod convert;
mod data;
mod dedup;
mod diff;
mod fix;
pub(crate) mod folder;
pub(crate) mod formats;
mod hash;
mod highest;
mod list;
mod load;
mod manifest;
mod merge;
mod names;
mod near;
mod sizes;
mod split;
mod stats;
mod subset;
mod write;

pub use check::{Case, CheckOptions, CheckReport, Finding, Kind, Severity, check};
pub use convert::{ConvertOptions, convert};
pub use data::{DataOptions, DataSet, Split};
pub use dedup::{DedupOptions, DedupReport, Group, Leak, Member, Pair, dedup};
pub use diff::{BoxChange, Change, ClassDiff, DiffReport, ImageDiff, Moved, diff};
pub use formats::Format;
pub use hash::Hash;
pub use manifest::{Loss, Manifest, Origin, Placed, SplitCount, WriteOptions};
pub use merge::{MergeOptions, merge};
pub use near::{DEFAULT_DISTANCE, HASH_BITS};
pub use split::{Part, SplitOptions, split};
pub use stats::{Bucket, ClassStats, CoOccurrence, ImageSizeCount, SizeCounts, SplitStats, Stats, stats};
pub use subset::{SubsetOptions, subset};
pub(crate) use {
    boxes::iou_px,
    data::folder_of,
    highest::Highest,
    list::List,
    load::clipped,
    sizes::{LARGE_PX2, SMALL_PX2},
    write::{Job, Labeller, Relabelled, origin_of, write},
};

use crate::{Error, Result, types::Failure};
use std::sync::atomic::{AtomicBool, Ordering};

/// Images that are read before the next ones are begun: what is held in memory at once.
const CHUNK: usize = 1024;

/// What a long command is told by and tells.
pub struct Run<'a> {
    /// Raised to stop.
    pub stop: &'a AtomicBool,
    /// How many images are to be read; told once, before the first.
    pub total: &'a (dyn Fn(u64) + Sync),
    /// One more image is through; whether it failed.
    pub done: &'a (dyn Fn(bool) + Sync),
}

impl Run<'_> {
    /// # Errors
    /// [`Error::Interrupted`] once the user asked to stop.
    pub(crate) fn go_on(&self) -> Result<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Interrupted { remedy: "nothing was written; run the same command again.".into() }),
            false => Ok(()),
        }
    }
}

/// An image that could not be used.
fn failure(position: usize, path: &str, reason: String) -> Failure {
    Failure {
        image_id: i64::try_from(position).unwrap_or(i64::MAX),
        path: path.to_owned(),
        stage: crate::types::FailureStage::Read,
        reason,
    }
}
