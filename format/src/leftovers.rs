//! Files that a killed build left behind, and clearing a cache away: only names that this program gives are touched.

use super::{Manifest, columns::Table, manifest_path, shards::SHARDS_FOLDER};
use crate::{
    Error, Result,
    fsio::{Lock, STALE_SUFFIX, TEMP_PREFIX, remove_file, remove_if_empty},
    storage::Publish,
};
use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
};

/// Removes temporary files and the parts that the manifest does not name. Returns what was removed.
///
/// # Errors
/// [`Error::Io`] naming what cannot be listed or removed.
pub fn remove_leftovers(lock: &Lock, manifest: Option<&Manifest>) -> Result<Vec<PathBuf>> {
    let folder = lock.folder();
    let parts = manifest.map(|m| m.parts.as_slice()).unwrap_or_default();
    let named: HashSet<PathBuf> =
        parts.iter().flat_map(|p| [p.images_path(folder), p.predictions_path(folder)]).collect();
    let mut found = list(folder, is_temporary)?;
    for table in [Table::Images, Table::Predictions] {
        found.extend(list(&folder.join(table.folder()), |name| is_temporary(name) || is_part(name))?);
    }
    found.retain(|path| !named.contains(path));
    found.iter().try_for_each(|path| remove_file(path))?;
    Ok(found)
}

/// Removes a whole cache, the manifest first, so that a crash in between leaves orphans and not half a cache; then the records of
/// its shards and what they set aside. Files that this program did not name are left.
///
/// # Errors
/// [`Error::Io`] naming what cannot be removed.
pub fn clear(lock: &Lock) -> Result<()> {
    lock.publisher().map_or(Ok(()), Publish::clear)?;
    remove_file(&manifest_path(lock.folder()))?;
    crate::fsio::sync_folder(lock.folder())?;
    let shards = lock.folder().join(SHARDS_FOLDER);
    list(&shards, |name| name.ends_with(".json") || is_temporary(name))?
        .iter()
        .try_for_each(|path| remove_file(path))?;
    remove_if_empty(&shards);
    for table in [Table::Images, Table::Predictions] {
        list(&lock.folder().join(table.folder()), is_part_set_aside)?.iter().try_for_each(|path| remove_file(path))?;
    }
    remove_leftovers(lock, None).map(|_| ())
}

pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(TEMP_PREFIX)
}

/// Whether a file is named as one of a part: `part-<9 or more digits>-<8 hexadecimal digits>.parquet`.
pub fn is_part(name: &str) -> bool {
    let middle = name.strip_prefix("part-").and_then(|n| n.strip_suffix(".parquet"));
    middle.and_then(|m| m.split_once('-')).is_some_and(|(id, digest)| {
        id.len() >= 9
            && id.bytes().all(|c| c.is_ascii_digit())
            && digest.len() == 8
            && digest.bytes().all(|c| c.is_ascii_hexdigit())
    })
}

/// Whether a file is named as one of a part that was set aside.
pub fn is_part_set_aside(name: &str) -> bool {
    name.strip_suffix(STALE_SUFFIX).is_some_and(is_part)
}

pub(super) fn list(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>> {
    let cannot = |e| Error::io(folder, "list", e);
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(cannot)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        if entry.file_name().to_str().is_some_and(&wanted) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
