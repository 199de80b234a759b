//! Data sets and caches in object stores: `s3://bucket/key`, `gs://bucket/key`, `az://container/key`.
//!
//! What lies in a store is worked on in a local copy, whose folder stands for it: `s3://bucket/a/b` is
//! `<local copies>/s3/bucket/a/b`. So a path says by itself where it belongs, and paths from a cache to its data set are the same
//! in the store as here.
//!
//! - A cache is fetched whole, part by part, each checked against its digest; what is there already stays. Finished parts and
//!   the manifest of a cache that is written go to the store at once, the manifest only where it is still the one that was read.
//! - Of a data set, descriptions are fetched. Images and label files of single images become links that name their object, and are
//!   fetched when they are read. What a description names outside of its own folder is refused: it was not listed.
//!
//! Without the feature `object-store` such places are refused.

#[cfg(feature = "object-store")]
mod ahead;
#[cfg(feature = "object-store")]
mod cache;
#[cfg(feature = "object-store")]
mod client;
#[cfg(feature = "object-store")]
mod credentials;
mod link;
#[cfg(feature = "object-store")]
mod listing;
mod places;
#[cfg(not(feature = "object-store"))]
mod without;

#[cfg(feature = "object-store")]
pub(crate) use ahead::{read, read_ahead};
pub(crate) use link::{Link, is_link};
#[cfg(feature = "object-store")]
pub(crate) use listing::refuse_unlisted;
pub(crate) use places::{from_folder, place};
#[cfg(not(feature = "object-store"))]
pub use without::{pull_cache, pull_listing, pull_listing as pull_images};
#[cfg(not(feature = "object-store"))]
pub(crate) use without::{read, read_ahead, refuse_unlisted};
#[cfg(feature = "object-store")]
pub use {cache::ObjectFolder, cache::pull_cache, listing::pull_images, listing::pull_listing};

use crate::outputs::real_path;
use crate::{Error, Result};
#[cfg(feature = "object-store")]
use logitcache_format::fsio;
use logitcache_format::{Folder, Storage, paths};
use std::{
    env, fmt, io,
    path::{Component, Path, PathBuf},
    sync::OnceLock,
};

/// Kinds of stores, as their URLs begin.
const SCHEMES: [&str; 3] = ["s3", "gs", "az"];
/// Other words for them, which mean a URL even where a slash was forgotten.
const OTHER_SCHEMES: [&str; 7] = ["abfs", "abfss", "gcs", "http", "https", "s3a", "s3n"];

/// Where local copies lie, if it was said.
static COPIES: OnceLock<PathBuf> = OnceLock::new();

/// A place in an object store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectUrl {
    scheme: &'static str,
    bucket: String,
    /// Without a slash at either end; empty for the bucket itself.
    key: String,
}

impl fmt::Display for ObjectUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.bucket)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "/{}", self.key) }
    }
}

impl ObjectUrl {
    /// A URL as a user writes it; `None` of what is none.
    ///
    /// # Errors
    /// [`Error::Mismatch`] of one of another kind, one that names no bucket, or a key that cannot be a path here.
    pub fn parse(path: &Path) -> Result<Option<Self>> {
        let Some((word, rest)) = path.to_str().and_then(split_scheme) else { return Ok(None) };
        let scheme = SCHEMES.into_iter().find(|known| *known == word);
        let (Some(scheme), Some(rest)) = (scheme, rest.strip_prefix("//")) else {
            return Err(Error::Mismatch {
                found: format!("{} is neither a local path nor a URL that can be used", path.display()),
                remedy:
                    "Object stores are written as s3://bucket/folder, gs://bucket/folder or az://container/folder, \
                         local files as plain paths."
                        .into(),
            });
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let key = key.trim_end_matches('/');
        let is_name = |name: &str| !matches!(name, "" | "." | "..");
        if !is_name(bucket) || !(key.is_empty() || key.split('/').all(is_name)) {
            return Err(Error::Mismatch {
                found: format!("{} is not a place in an object store that can be used", path.display()),
                remedy: format!("Write it as {scheme}://bucket/folder, without empty parts and without `.` and `..`."),
            });
        }
        Ok(Some(Self { scheme, bucket: bucket.to_owned(), key: key.to_owned() }))
    }

    /// What the local path is a copy of; `None` where it is no copy.
    fn of_copy(path: &Path) -> Option<Self> {
        let inside = paths::absolute(path);
        let mut names = inside.strip_prefix(copies().ok()?).ok()?.components().map(|component| match component {
            Component::Normal(name) => name.to_str(),
            _ => None,
        });
        let scheme = names.next()??;
        let scheme = SCHEMES.into_iter().find(|known| *known == scheme)?;
        let bucket = names.next()??.to_owned();
        let key = names.collect::<Option<Vec<_>>>()?.join("/");
        Some(Self { scheme, bucket, key })
    }

    /// The object or folder `name` inside.
    #[cfg(feature = "object-store")]
    fn join(&self, name: &str) -> Self {
        let key = if self.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.key) };
        Self { key, ..self.clone() }
    }

    /// The local copy.
    #[cfg(feature = "object-store")]
    fn copy(&self) -> Result<PathBuf> {
        let bucket = copies()?.join(self.scheme).join(&self.bucket);
        Ok(if self.key.is_empty() { bucket } else { bucket.join(&self.key) })
    }
}

/// The word before the colon of a URL, and what follows the colon. A word of object stores needs no `//` after it to be taken for
/// one: whoever writes `s3:/bucket` does not mean a folder named `s3:`.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (word, rest) = text.split_once(':')?;
    let is_word = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let is_store = || SCHEMES.iter().chain(&OTHER_SCHEMES).any(|known| word.eq_ignore_ascii_case(known));
    (is_word && (rest.starts_with("//") || (rest.starts_with('/') && is_store()))).then_some((word, rest))
}

/// Whether a path is a URL, of whatever kind.
pub fn is_url(path: &Path) -> bool {
    path.to_str().and_then(split_scheme).is_some()
}

/// Says where local copies lie; without it, `logitcache` in the user's folder for caches. The first call counts.
pub fn keep_copies_in(folder: &Path) {
    COPIES.get_or_init(|| real_path(folder));
}

fn copies() -> Result<&'static Path> {
    if let Some(copies) = COPIES.get() {
        return Ok(copies);
    }
    let named = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let place = named("LOGITCACHE_CACHE_DIR")
        .or_else(|| named("XDG_CACHE_HOME").map(|folder| folder.join("logitcache")))
        .or_else(|| named("HOME").map(|folder| folder.join(".cache/logitcache")));
    let place = place.ok_or_else(|| Error::Mismatch {
        found: "there is no place for local copies of what lies in an object store".into(),
        remedy: "Say where with LOGITCACHE_CACHE_DIR.".into(),
    })?;
    Ok(COPIES.get_or_init(|| real_path(&place)))
}

/// The local path that stands for a place: of a URL its local copy, of which nothing need be there yet; any other path as it is.
///
/// # Errors
/// As [`ObjectUrl::parse`]; [`Error::Mismatch`] where this program knows no object stores.
pub fn local(place: &Path) -> Result<PathBuf> {
    match ObjectUrl::parse(place)? {
        None => Ok(place.to_owned()),
        #[cfg(feature = "object-store")]
        Some(url) => url.copy(),
        #[cfg(not(feature = "object-store"))]
        Some(url) => Err(without::refused(&url)),
    }
}

/// A text in which local copies are named by the URLs that they are copies of.
pub fn with_urls(text: &str) -> String {
    let Some(copies) = COPIES.get().and_then(|copies| copies.to_str()) else { return text.to_owned() };
    SCHEMES
        .iter()
        .fold(text.to_owned(), |text, scheme| text.replace(&format!("{copies}/{scheme}/"), &format!("{scheme}://")))
}

/// What to do where it is a local copy that cannot be written, and not the place in the store that it is a copy of.
pub fn copy_at_fault(error: &Error) -> Option<&'static str> {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let (Error::Io { path, source, .. } | Error::NoSpace { path, source, .. }) = error.within() else { return None };
    let is_of_disk = matches!(source.kind(), PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull);
    (is_of_disk && path.starts_with(COPIES.get()?)).then_some(
        "Local copies of what lies in an object store need a folder that can be written to and has space; name another with \
         `cache_dir=` or LOGITCACHE_CACHE_DIR.",
    )
}

/// Where the files of a cache in `folder` lie.
///
/// # Errors
/// [`Error::Mismatch`], [`Error::Cache`] of a store that cannot be used.
pub fn storage(folder: &Path) -> Result<Box<dyn Storage>> {
    #[cfg(feature = "object-store")]
    if let Some(url) = ObjectUrl::of_copy(folder) {
        fsio::create_folder(folder)?;
        return Ok(Box::new(ObjectFolder::open(url, folder)?));
    }
    Ok(Box::new(Folder::new(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths_and_must_name_a_place() {
        let parsed = |text: &str| ObjectUrl::parse(Path::new(text)).map(|url| url.map(|url| url.to_string()));
        assert_eq!(parsed("s3://b/a/c/").unwrap().unwrap(), "s3://b/a/c");
        assert_eq!(parsed("gs://b").unwrap().unwrap(), "gs://b");
        assert_eq!(parsed("az://b/a b#1.jpg").unwrap().unwrap(), "az://b/a b#1.jpg");
        for path in ["s3/b", "/s3://b", "", "s3:", "a:b/c", "day 1:/x", "./s3://b", "c:/data", "1://b"] {
            assert_eq!(parsed(path).unwrap(), None, "{path}");
            assert!(!is_url(Path::new(path)), "{path}");
        }
        for url in ["s3://", "s3:///a", "s3://b/a//c", "s3://b/../c", "s3://b/./c", "s3://../c"] {
            assert!(parsed(url).is_err(), "{url}");
        }
        for url in
            ["S3://b/a", "s3:/b", "S3:/b", "s3a://b", "gcs://b", "https://b/a", "hdfs://b", "file:///b", "abfss:/b"]
        {
            let error = parsed(url).unwrap_err().to_string();
            assert!(error.starts_with(url) && error.contains("s3://bucket/folder"), "{error}");
            assert!(is_url(Path::new(url)));
        }
    }
}
