//! The cache's folder before a build: what must not be touched, what is there already.

use crate::{
    Result,
    cache::{CacheReader, MANIFEST_NAME, Manifest},
    dataset::Dataset,
    outputs::refuse_foreign_entries,
};
use std::{collections::BTreeSet, path::Path};

/// Folders of a cache.
const FOLDERS: [&str; 2] = ["images", "predictions"];

/// Refuses a folder that holds anything a build did not write, so that nothing of the user's is ever removed or mixed in.
///
/// # Errors
/// [`crate::Error::Mismatch`] naming the first such file, [`crate::Error::Io`].
pub fn refuse_foreign_files(out: &Path) -> Result<()> {
    const WHAT: &str = "cache";
    refuse_foreign_entries(out, WHAT, |name| name == MANIFEST_NAME || FOLDERS.contains(&name))?;
    let is_part = |name: &str| name.starts_with("part-") && name.ends_with(".parquet");
    FOLDERS.iter().try_for_each(|folder| refuse_foreign_entries(&out.join(folder), WHAT, is_part))
}

/// Ids of the images that are in the cache. Opening checks every footer, so that a build never goes on with damage.
///
/// # Errors
/// As [`CacheReader::open`].
pub fn image_ids(out: &Path, manifest: &Manifest) -> Result<BTreeSet<i64>> {
    if manifest.parts.is_empty() {
        return Ok(BTreeSet::new());
    }
    CacheReader::open(out)?.keys().map(|key| Ok(key?.0)).collect()
}

/// The first image of the cache whose path is another one in the data set now, in words.
///
/// # Errors
/// As [`CacheReader::open`].
pub fn first_other_sample(out: &Path, manifest: &Manifest, dataset: &Dataset) -> Result<Option<String>> {
    if manifest.parts.is_empty() {
        return Ok(None);
    }
    for image in CacheReader::open(out)?.images() {
        let image = image?;
        let now = usize::try_from(image.image_id).ok().and_then(|id| dataset.samples.get(id));
        if now.is_none_or(|sample| sample.relative != image.path) {
            let now = now.map_or("nothing", |sample| &sample.relative);
            return Ok(Some(format!("image {} is {} in the cache, {now} now", image.image_id, image.path)));
        }
    }
    Ok(None)
}
