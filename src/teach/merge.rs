//! `cache merge --shards`: publishing a cache whose shards are finished.

use super::shard::DamagedShard;
use crate::{
    Error, Result,
    cache::{self, JOB_NAME, Publication, Shard, ShardedCache},
    remote,
    types::Failure,
    words::counted,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What [`merge_shards`] found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShardsMerged {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Number of shards, all of them finished.
    pub shards: u32,
    /// Images in the cache.
    pub images: u64,
    /// Kept anchors.
    pub rows: u64,
    /// Bytes of the Parquet files.
    pub bytes: u64,
    /// Whether the cache holds an image.
    pub complete: bool,
    /// Digest over the logical content, when complete.
    pub content_sha256: Option<String>,
    /// Images that are not in the cache, with the reason.
    pub failures: Vec<Failure>,
}

/// Publishes a cache whose shards are all finished. One that is published already stays as it is.
///
/// # Errors
/// [`Error::Later`] naming the shards that are not finished, or where a build has the cache for itself; [`Error::Cache`] of a folder in
/// which no shards were built, and of a damaged or missing file; [`Error::Io`].
pub fn merge_shards(folder: &Path) -> Result<ShardsMerged> {
    let storage = remote::storage(folder)?;
    if storage.read(JOB_NAME, u64::MAX)?.is_none() {
        return Err(Error::Cache {
            path: folder.to_owned(),
            found: "no shards were built here".into(),
            remedy: "Give the folder that `shard=` builds into.".into(),
        });
    }
    let publish = || -> Result<ShardsMerged> {
        let cache = ShardedCache::open(storage, cache::share(folder)?)?;
        match cache.publish()? {
            Publication::Missing(shards) => Err(missing(folder, &shards, cache.job().shards)),
            Publication::Damaged(shard, error) => Err(damaged(DamagedShard::new(shard, *error), cache.job().shards)),
            Publication::Published(manifest) => Ok(ShardsMerged {
                cache: folder.to_owned(),
                shards: cache.job().shards,
                images: manifest.images(),
                rows: manifest.rows(),
                bytes: manifest.bytes(),
                complete: manifest.complete,
                content_sha256: manifest.digests.map(|digests| digests.content_sha256),
                failures: manifest.failures,
            }),
        }
    };
    publish().map_err(Error::or_later)
}

fn missing(folder: &Path, shards: &[Shard], count: u32) -> Error {
    let numbers: Vec<u32> = shards.iter().map(|shard| shard.number()).collect();
    let have = if numbers.len() == 1 { "has" } else { "have" };
    Error::Later(Box::new(Error::Cache {
        path: folder.to_owned(),
        found: format!("{} of {count} {have} no record yet: {}", counted(numbers.len(), "shard"), in_ranges(&numbers)),
        remedy: format!("Build what is missing, for example with `shard={}/{count}`.", numbers.first().unwrap_or(&1)),
    }))
}

fn damaged(shard: DamagedShard, count: u32) -> Error {
    Error::Cache {
        path: shard.path,
        found: format!("shard {} of {count} is damaged: {}", shard.number, shard.found),
        remedy: format!("Build it again with `shard={}/{count}`, which makes it anew.", shard.number),
    }
}

/// Increasing numbers as "1, 3 to 5"; of very many ranges the first.
fn in_ranges(numbers: &[u32]) -> String {
    const SHOWN: usize = 100;
    let ranges: Vec<String> = numbers
        .chunk_by(|a, b| a + 1 == *b)
        .filter_map(|run| match run {
            [] => None,
            [one] => Some(one.to_string()),
            [first, .., last] => Some(format!("{first} to {last}")),
        })
        .collect();
    let more = if ranges.len() > SHOWN { ", ..." } else { "" };
    ranges.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_shards_are_named_in_ranges() {
        assert_eq!(in_ranges(&[3]), "3");
        assert_eq!(in_ranges(&[1, 2, 5, 7, 8, 9]), "1 to 2, 5, 7 to 9");
        let odd: Vec<u32> = (0..300).map(|i| 2 * i).collect();
        assert!(in_ranges(&odd).ends_with("198, ..."));
    }
}
