//! The cache's folder before a build: what must not be touched, what is there already.

use crate::{
    Error, Result,
    cache::{CacheReader, MANIFEST_NAME, Manifest},
    dataset::Dataset,
    fsio::{Lock, TEMP_PREFIX},
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Folders of a cache.
const FOLDERS: [&str; 2] = ["images", "predictions"];

/// Refuses a folder that holds anything a build did not write, so that nothing of the user's is ever removed or mixed in.
///
/// # Errors
/// [`Error::Cache`] naming the first such file, [`Error::Io`].
pub fn refuse_foreign_files(out: &Path) -> Result<()> {
    let mut foreign = BTreeSet::new();
    for path in entries(out)? {
        let name = file_name(&path);
        let known = name == MANIFEST_NAME || name == Lock::FILE_NAME || name.starts_with(TEMP_PREFIX);
        if FOLDERS.contains(&name.as_str()) {
            foreign.extend(entries(&path)?.into_iter().filter(|file| !is_part_file(file)));
        } else if !known {
            foreign.insert(path);
        }
    }
    match foreign.first() {
        None => Ok(()),
        Some(path) => Err(Error::Cache {
            path: out.to_owned(),
            found: format!("this folder holds {}, which no build wrote", path.display()),
            remedy: "Choose another --out, or move that file away.".into(),
        }),
    }
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

fn is_part_file(path: &Path) -> bool {
    let name = file_name(path);
    name.starts_with(TEMP_PREFIX) || (name.starts_with("part-") && name.ends_with(".parquet"))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))?;
    list.map(|entry| entry.map(|e| e.path()).map_err(|e| Error::io(folder, "list", e))).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
