//! `convert`: a cache in another profile, part by part, with the same content to the last bit.

mod prepare;
mod run;

pub use prepare::Conversion;

use crate::types::Profile;
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;

/// What a cache can be turned into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The archive of a cache: compressed, for shipping.
    Archive,
    /// What an archive was made from.
    Unpacked(Profile),
}

impl Target {
    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Unpacked(profile) => profile.as_str(),
        }
    }
}

/// Everything that decides what a conversion does.
#[derive(Debug, Clone)]
pub struct ConvertOptions {
    /// Folder of the cache that is there.
    pub cache: PathBuf,
    /// What to turn it into.
    pub target: Target,
    /// Folder of the new cache.
    pub out: PathBuf,
    /// Remove the cache that is at `out` and start again.
    pub overwrite: bool,
}

/// What a conversion did.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConvertReport {
    /// Folder of the cache that was read.
    pub source: PathBuf,
    /// Folder of the new cache.
    pub cache: PathBuf,
    /// What the new cache is: `mapped`, `dense` or `archive`.
    pub profile: String,
    /// File pairs, the same images in each as before.
    pub parts: u64,
    /// Images in the new cache.
    pub images: u64,
    /// Images put there by this run; the others were finished by one that was interrupted.
    pub images_this_run: u64,
    /// Kept anchors in the new cache.
    pub rows: u64,
    /// Images that the cache names as failed; they are named in the new one too.
    pub failures: u64,
    /// Bytes of the Parquet files that were read.
    pub source_bytes: u64,
    /// Bytes of the Parquet files that were written.
    pub bytes: u64,
    /// Digest over the logical content, computed from what was written and equal to the source's.
    pub content_sha256: String,
    /// What the user should know of the new cache's place, a line each.
    pub notes: Vec<String>,
    /// Seconds from the first image to the last file.
    pub elapsed_s: f64,
}
