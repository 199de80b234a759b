//! `cache subset`, `merge` and `diff`: caches cut down, united and compared, without the teacher.
//!
//! A new cache is written beside its final place and appears whole or not at all; what was read is
//! never changed. Every image is checked against its stored digest when it is read, and every part
//! is read back before it counts.

mod diff;
mod ensemble;
mod merge;
mod report;
mod subset;
mod write;

pub use diff::{CacheDiff, CacheDiffOptions, ClassAgreement, ImageAgreement, diff};
pub use merge::{CacheMergeOptions, merge};
pub use report::CacheWritten;
pub use subset::{CacheSubsetOptions, subset};

use crate::{
    Error, Result,
    cache::{CacheReader, ImageRecord, ImageView, open_finished, record_digest},
};
use std::path::Path;

/// Opens a cache whose images can be put into another one.
fn open(folder: &Path) -> Result<CacheReader> {
    let cache = open_finished(folder)?;
    if cache.is_empty() {
        return Err(Error::Cache {
            path: folder.to_owned(),
            found: "the cache holds no images".into(),
            remedy: "Give a cache with images.".into(),
        });
    }
    Ok(cache)
}

/// A copy of an image, which is what its digest says.
fn checked(cache: &CacheReader, image: &ImageView<'_>) -> Result<ImageRecord> {
    let record = image.to_record();
    let manifest = cache.manifest();
    let dfl_len = u32::try_from(manifest.dfl_len()).unwrap_or(u32::MAX);
    if record_digest(&record, manifest.teacher.num_classes, dfl_len) == image.record_sha256 {
        return Ok(record);
    }
    Err(Error::Cache {
        path: cache.folder().to_owned(),
        found: format!("image {} ({}) does not have the digest that is stored with it", image.image_id, image.path),
        remedy: "Run `verify()` to see what is damaged; restore those files from a copy.".into(),
    })
}

/// Refuses a cache whose augmented views are drawn from the numbers of its images, which change.
fn refuse_views(cache: &CacheReader) -> Result<()> {
    let views = cache.manifest().settings.views;
    if views == 0 {
        return Ok(());
    }
    Err(Error::Cache {
        path: cache.folder().to_owned(),
        found: format!(
            "the cache has {views} augmented views of each image, which are drawn from the number of the image; \
             in the new cache images have other numbers"
        ),
        remedy: "Use a cache that was built without `views=`.".into(),
    })
}
