//! The cache's folder before a build: what must not be touched, what is there already.

use crate::{
    Error, Result,
    cache::{CacheReader, Folder, MANIFEST_NAME, Manifest, PartEntry, SHARDS_FOLDER, ShardedCache, manifest_path},
    dataset::Dataset,
    fsio::STALE_SUFFIX,
    outputs::refuse_foreign_entries,
};
use std::{ops::Range, path::Path};

/// Folders of a cache's parts.
const FOLDERS: [&str; 2] = ["images", "predictions"];

/// Refuses a folder that holds anything a build did not write, so that nothing of the user's is ever removed or mixed in.
///
/// # Errors
/// [`crate::Error::Mismatch`] naming the first such file, [`crate::Error::Io`].
pub fn refuse_foreign_files(out: &Path) -> Result<()> {
    const WHAT: &str = "cache";
    refuse_foreign_entries(out, WHAT, |name| {
        name == MANIFEST_NAME || name == SHARDS_FOLDER || FOLDERS.contains(&name)
    })?;
    refuse_foreign_entries(&out.join(SHARDS_FOLDER), WHAT, |name| name.ends_with(".json"))?;
    let is_part = |name: &str| {
        let name = name.strip_suffix(STALE_SUFFIX).unwrap_or(name);
        name.starts_with("part-") && name.ends_with(".parquet")
    };
    FOLDERS.iter().try_for_each(|folder| refuse_foreign_entries(&out.join(folder), WHAT, is_part))
}

/// Refuses a folder in which shards are built that have no manifest yet: what is not in the manifest would be taken for left over.
///
/// # Errors
/// [`Error::Cache`].
pub fn refuse_unfinished_shards(out: &Path) -> Result<()> {
    if !ShardedCache::is_begun(out) || manifest_path(out).exists() {
        return Ok(());
    }
    Err(Error::Cache {
        path: out.to_owned(),
        found: "this cache is being built in shards, and not all of them are there".into(),
        remedy: "Build the others with `shard=`; `cache_merge(shards=true)` says which are missing. Or choose another \
                 `out=`, or start again with `overwrite=true`."
            .into(),
    })
}

/// Parts that are opened at once to see which images are there.
const PARTS_AT_ONCE: usize = 256;

/// A set of image ids that is mostly stretches: those of the finished part of a build.
#[derive(Debug, Default)]
pub struct ImageIds(Vec<Range<i64>>);

impl ImageIds {
    /// The ids of these stretches, which may come in any order.
    pub fn of(mut stretches: Vec<Range<i64>>) -> Self {
        stretches.sort_unstable_by_key(|ids| ids.start);
        let mut joined: Vec<Range<i64>> = Vec::new();
        for ids in stretches {
            match joined.last_mut().filter(|last| ids.start <= last.end) {
                Some(last) => last.end = last.end.max(ids.end),
                None => joined.push(ids),
            }
        }
        Self(joined)
    }

    pub fn len(&self) -> u64 {
        self.0.iter().map(|ids| (ids.end - ids.start) as u64).sum()
    }

    pub fn contains(&self, image_id: i64) -> bool {
        let begun = self.0.partition_point(|ids| ids.start <= image_id);
        begun.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|ids| image_id < ids.end)
    }
}

/// Ids of the images that are in the parts of `manifest`. Opening checks every footer, so that a build never goes on with damage.
///
/// # Errors
/// As [`CacheReader::open`].
pub fn image_ids(out: &Path, manifest: &Manifest) -> Result<ImageIds> {
    if manifest.parts.is_empty() {
        return Ok(ImageIds::default());
    }
    let views = manifest.settings.views().per_image() as u64;
    let ids_of = |part: &PartEntry| part.first_image_id..part.last_image_id + 1;
    let storage = Folder::new(out);
    let without_parts = Manifest { parts: Vec::new(), failures: Vec::new(), ..manifest.clone() };
    let mut stretches = Vec::new();
    // Not all at once: what is mapped of a part takes memory.
    for parts in manifest.parts.chunks(PARTS_AT_ONCE) {
        let some = Manifest { parts: parts.to_vec(), ..without_parts.clone() };
        let mut others = CacheReader::with_manifest(&storage, some)?.manifest().clone();
        // A part with as many rows as its ids have views lacks none of them; only of the others every row is looked at.
        others.parts.retain(|part| {
            let ids = ids_of(part);
            let is_whole = part.images == (ids.end - ids.start) as u64 * views;
            stretches.extend(is_whole.then_some(ids));
            !is_whole
        });
        for key in CacheReader::with_manifest(&storage, others)?.keys() {
            let (image_id, _) = key?;
            match stretches.last_mut().filter(|last| last.end == image_id || last.end == image_id + 1) {
                Some(last) => last.end = image_id + 1,
                None => stretches.push(image_id..image_id + 1),
            }
        }
    }
    let ids = ImageIds::of(stretches);
    if ids.len() != manifest.images() {
        // An image is there twice; the reader says which.
        CacheReader::with_manifest(&storage, manifest.clone())?.keys().try_for_each(|key| key.map(drop))?;
    }
    Ok(ids)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_ids_are_joined() {
        let ids = ImageIds::of(vec![8..9, 0..3, 3..5, 2..4, 8..9]);
        assert_eq!(ids.0, [0..5, 8..9]);
        assert_eq!(ids.len(), 6);
        let inside: Vec<i64> = (-1..12).filter(|id| ids.contains(*id)).collect();
        assert_eq!(inside, [0, 1, 2, 3, 4, 8]);
        assert!(!ImageIds::default().contains(0) && ImageIds::default().len() == 0);
    }
}
