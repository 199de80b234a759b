//! Where the data set of a cache lies, written so that it holds on every machine: relative to the cache where both lie in one
//! bucket or both on disks, else as a URL or an absolute path.

use super::{ObjectUrl, is_url, local};
use crate::{Result, cache::CacheReader};
use logitcache_format::paths;
use std::path::{Path, PathBuf};

/// What a cache in `folder` calls `path`; both are absolute, without links.
pub(crate) fn from_folder(folder: &Path, path: &Path) -> PathBuf {
    let bucket = |url: &ObjectUrl| (url.scheme, url.bucket.clone());
    match (ObjectUrl::of_copy(folder), ObjectUrl::of_copy(path)) {
        (None, None) => paths::relative_to(folder, path),
        (Some(a), Some(b)) if bucket(&a) == bucket(&b) => paths::relative_to(folder, path),
        (_, Some(url)) => url.to_string().into(),
        (_, None) => path.to_owned(),
    }
}

/// What [`from_folder`] named, seen from here: a local path, of what lies in a store the local copy.
///
/// # Errors
/// [`crate::Error::Cache`] where the text is no path of the format; as [`local`].
pub(crate) fn place(cache: &CacheReader, text: &str) -> Result<PathBuf> {
    if is_url(Path::new(text)) { local(Path::new(text)) } else { Ok(cache.place(text)?) }
}
