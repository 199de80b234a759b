//! Reads a part of any profile without mapping it: every byte against its digest first, and only what has passed is parsed.

use super::{
    ContentDigests, ContentHasher, ImageDigests, ImageKey, ImageRecord, Manifest, PartEntry, REMEDY_VERIFY,
    columns::Table,
    footer::check_archive,
    part::MappedPart,
    storage::{Folder, Storage},
    verify::{arrow_records, files::check_bytes, pages},
};
use crate::{Error, Result};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Calls `each` with every image of a part of the cache in `folder`, in order of (image_id, view). Memory is bounded by a
/// row group of each file.
///
/// # Errors
/// [`Error::Cache`] naming the file that is not as the manifest says or contradicts itself; [`Error::Io`]; what `each` gives,
/// which ends the reading.
pub fn for_each_image<E: From<Error>>(
    folder: &Path,
    part: &PartEntry,
    manifest: &Manifest,
    mut each: impl FnMut(ImageRecord) -> Result<(), E>,
) -> Result<(), E> {
    for (_, path, entry, _) in part.files(folder) {
        check_bytes(&path, entry, &|_| {}).map_err(|found| damaged(&path, found))?;
    }
    if manifest.is_archive() {
        check_archive_files(folder, part, manifest).map_err(|(table, found)| {
            let [images, predictions] = part.files(folder);
            damaged(&if table == Table::Images { images.1 } else { predictions.1 }, found)
        })?;
    } else {
        // The decoder of pages trusts footers and page headers; these refuse what says anything else than the format.
        let mapped = MappedPart::open(&Folder::new(folder), part, manifest)?;
        for (table, path, ..) in part.files(folder) {
            if let Some(found) = pages::check(&mapped, table, manifest).into_iter().next() {
                return Err(damaged(&path, found).into());
            }
        }
    }
    let mut stopped = None;
    let read = decode(folder, part, manifest, |stored| {
        each(stored.record).map_err(|error| {
            stopped = Some(error);
            String::new()
        })
    });
    match (stopped, read) {
        (Some(error), _) => Err(error),
        (None, read) => Ok(read.map_err(|found| damaged(&part.images_path(folder), found))?),
    }
}

/// The footers of an archive's part; the table at fault and what was found in it, in words.
pub(super) fn check_archive_files(folder: &Path, part: &PartEntry, manifest: &Manifest) -> Result<(), (Table, String)> {
    for (table, path, entry, rows) in part.files(folder) {
        let bytes = Folder::new(folder).bytes(&part.file_name(table), entry.bytes);
        let bytes = bytes.map_err(|e| (table, super::verify::describe(e)))?;
        check_archive(&path, &bytes, entry, rows, table, manifest).map_err(|found| (table, found))?;
    }
    Ok(())
}

/// As [`arrow_records::for_each`], for files whose bytes were checked. The decoders of compressed pages trust lengths; a file
/// that was made to mislead them, digests and all, ends in an error as well.
pub(super) fn decode(
    folder: &Path,
    part: &PartEntry,
    manifest: &Manifest,
    each: impl FnMut(arrow_records::StoredImage) -> Result<(), String>,
) -> Result<(), String> {
    let read = AssertUnwindSafe(|| arrow_records::for_each(folder, part, manifest, each));
    catch_unwind(read).unwrap_or_else(|_| Err("its pages cannot be decoded".to_owned()))
}

/// Key and digests of every image of a part, computed from its values; they give the content digest that the part states.
///
/// # Errors
/// As [`for_each_image`]; [`Error::Cache`] where the values give another content digest.
pub fn part_digests(folder: &Path, part: &PartEntry, manifest: &Manifest) -> Result<Vec<(ImageKey, ImageDigests)>> {
    let shape = manifest.shape();
    let mut found = Vec::new();
    let mut content = ContentHasher::default();
    for_each_image(folder, part, manifest, |record| {
        let digests = ImageDigests::of(&record, &shape);
        content.push(&digests);
        found.push(((record.image_id, record.view), digests));
        Ok::<(), Error>(())
    })?;
    let digest = content.finish().content_sha256;
    if digest != part.content_sha256 {
        let found = format!("its content digest is {digest}, the manifest says {}", part.content_sha256);
        return Err(damaged(&part.images_path(folder), found));
    }
    Ok(found)
}

/// The digests over the images of all parts; `images` need not be in order.
///
/// # Errors
/// What is there twice, in words.
pub fn content_digests(mut images: Vec<(ImageKey, ImageDigests)>) -> Result<ContentDigests, String> {
    images.sort_unstable_by_key(|(key, _)| *key);
    let mut content = ContentHasher::default();
    let mut last = None;
    for (key, digests) in &images {
        if last.replace(*key) == Some(*key) {
            return Err(format!("image {}, view {} is in the cache twice", key.0, key.1));
        }
        content.push(digests);
    }
    Ok(content.finish())
}

fn damaged(path: &Path, found: String) -> Error {
    Error::Cache { path: PathBuf::from(path), found, remedy: REMEDY_VERIFY.to_owned() }
}
