//! What a new cache is.

use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// A cache that was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CacheWritten {
    /// The caches that were read.
    pub sources: Vec<PathBuf>,
    /// Folder of the new cache.
    pub cache: PathBuf,
    /// Images in it.
    pub images: u64,
    /// Of these, images with labels (background images included).
    pub labelled_images: u64,
    /// Kept anchors.
    pub rows: u64,
    /// Bytes of the Parquet files.
    pub bytes: u64,
    /// Digest over the logical content, computed from what was written.
    pub content_sha256: String,
    /// What the user should know, a line each.
    pub notes: Vec<String>,
}
