//! What a training step is fed with: augmented pixels, labels, and the teacher's cached predictions moved along. The trainer and
//! the Python package take their batches from here.
//!
//! ```text
//! cache, data set ── images ── TrainImage list ── TrainSet::open ── pixel cache (mapped) or decoding each time
//!                                                   │
//!                           (seed, epoch, index) ──┤ Draws ── Scene: tiles of letterboxed pictures, map to the window, flip, colours
//!                                                   │            ├── render       u8 pixels [H, W, 3]
//!                                                   │            ├── labels       boxes in pixels of the window
//!                                                   │            └── targets      the teacher's anchors, logits, boxes in the window (or its objects)
//!                                                   └── Loader: batches in order, made on background threads
//! ```
//!
//! Nothing here depends on threads or timing: what a batch holds follows from the seed, the epoch and the positions of its
//! images in the list.

mod batch;
mod classes;
pub mod images;
mod loader;
mod pixel_cache;
mod pixels;
mod set;

pub use batch::{Batch, LabelBatch};
pub use classes::{Classes, SharedClasses};
pub use loader::{Loader, LoaderOptions, LoaderTimes, Position};
pub use set::{PixelCacheOptions, Scratch, TrainSet, other_places, other_strides, pixel_cache_bytes};

pub use crate::augment::{Augment, GRID_STEP_PX, Geometry};
pub use crate::targets::{ObjectBatch, ObjectClasses, TeacherBatch};

use crate::types::LabelBox;
use std::path::PathBuf;

/// Input pixels per cell of the levels of every student's head, finest first.
pub const STUDENT_STRIDES: [u32; 3] = [8, 16, 32];

/// One image to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainImage {
    /// Its id in the cache (position in the data set's sorted sample list).
    pub image_id: i64,
    /// Where to open it.
    pub path: PathBuf,
    /// The path as the cache and messages show it: relative to the data set.
    pub relative: String,
    /// SHA-256 of the file as it was when the teacher saw it; `None` where nothing is known of it.
    pub expected_sha256: Option<[u8; 32]>,
    /// Ground truth in the student's class ids and in pixels of the original image; `None` for an unlabelled image.
    pub labels: Option<Vec<LabelBox>>,
}
