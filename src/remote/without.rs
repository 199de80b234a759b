//! A program that was built without object stores.

use super::{Link, ObjectUrl};
use crate::{Error, Result};
use std::{io, path::Path};

/// That a place cannot be used.
pub(super) fn refused(url: &ObjectUrl) -> Error {
    Error::Mismatch {
        found: format!("{url}: this program was built without object stores"),
        remedy:
            "Use the program of the Python package, or build it with `cargo build --release --features object-store`."
                .into(),
    }
}

/// Refuses the copy of what lies in an object store.
///
/// # Errors
/// [`Error::Mismatch`].
pub fn pull_cache(folder: &Path, _again: bool) -> Result<()> {
    pull_listing(folder)
}

/// Refuses the copy of what lies in an object store.
///
/// # Errors
/// [`Error::Mismatch`].
pub fn pull_listing(data: &Path) -> Result<()> {
    ObjectUrl::of_copy(data).map_or(Ok(()), |url| Err(refused(&url)))
}

/// Nothing is listed; what is in a store was refused before.
pub(crate) fn refuse_unlisted<'a>(_data: &Path, _files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    Ok(())
}

/// What a link to an object means: that it cannot be read. `None` of what is no such link.
pub(crate) fn read(path: &Path, _most_bytes: u64) -> Option<io::Result<Vec<u8>>> {
    Link::at(path).map(|link| Err(io::Error::other(refused(&link.url).to_string())))
}

/// Nothing can be fetched.
pub(crate) fn read_ahead(_path: &Path) {}
