//! The records of all shards become the cache's manifest.

use super::{SHARDS_FOLDER, Shard, ShardRecord, ShardedCache};
use crate::{
    CacheReader, Error, Result,
    columns::Table,
    fsio::{remove_abandoned, remove_file, set_aside},
    leftovers::{is_part, is_temporary, list},
    manifest::Manifest,
    manifest_file::MANIFEST_NAME,
};
use std::{collections::HashSet, path::PathBuf};

/// What became of an attempt to publish.
#[derive(Debug)]
pub enum Publication {
    /// The cache has its manifest.
    Published(Box<Manifest>),
    /// These shards have no record yet.
    Missing(Vec<Shard>),
    /// This shard, maybe among others, has to be built again: its record or one of its parts is damaged or gone.
    Damaged(Shard, Box<Error>),
}

impl ShardedCache {
    /// Publishes the manifest if every shard has a record: of several processes that try, one writes it. Then tidies up: temporary
    /// files that no process writes are removed, parts that the manifest does not name are set aside.
    ///
    /// # Errors
    /// [`Error::Cache`] of damage that is of no one shard, [`Error::Io`].
    pub fn publish(&self) -> Result<Publication> {
        let manifest = match Manifest::load_from(self.storage())? {
            Some(published) => published,
            None => {
                let missing = self.missing()?;
                if !missing.is_empty() {
                    return Ok(Publication::Missing(missing));
                }
                let mut manifest = match self.united() {
                    Ok(manifest) => manifest,
                    Err(error) => {
                        return match self.shard_at_fault(&error) {
                            Some(shard) => Ok(Publication::Damaged(shard, Box::new(error))),
                            None => Err(error),
                        };
                    }
                };
                if manifest.publish(self.storage())? { manifest } else { self.published()? }
            }
        };
        self.tidy(&manifest)?;
        Ok(Publication::Published(Box::new(manifest)))
    }

    /// The manifest that another worker published a moment ago.
    fn published(&self) -> Result<Manifest> {
        let gone = || self.incomplete_at(MANIFEST_NAME, "it is gone");
        Manifest::load_from(self.storage())?.ok_or_else(gone)
    }

    /// The manifest of all records.
    fn united(&self) -> Result<Manifest> {
        let mut manifest = self.job().manifest();
        for shard in self.job().each_shard() {
            let record = self.record(shard)?.ok_or_else(|| self.incomplete(shard, "it is gone"))?;
            if let Some(found) = self.shortage(&record) {
                return Err(self.incomplete(shard, &found));
            }
            let ShardRecord { parts, failures, .. } = record;
            manifest.parts.extend(parts);
            manifest.failures.extend(failures);
        }
        // Shards follow each other, so parts and failures are in order.
        manifest.complete = manifest.images() > 0;
        if manifest.complete {
            self.storage().bring(&manifest.parts)?;
            let cache = CacheReader::with_manifest(self.storage(), manifest)?;
            let digests = cache.content_digests()?;
            manifest = cache.manifest().clone();
            manifest.digests = Some(digests);
        }
        Ok(manifest)
    }

    fn incomplete(&self, shard: Shard, found: &str) -> Error {
        self.incomplete_at(&shard.record_name(), found)
    }

    fn incomplete_at(&self, name: &str, found: &str) -> Error {
        Error::Cache {
            path: self.folder().join(name),
            found: found.to_owned(),
            remedy: "Remove it and build that shard again.".into(),
        }
    }

    /// What killed and superseded workers left.
    fn tidy(&self, manifest: &Manifest) -> Result<()> {
        let folder = self.folder();
        let named: HashSet<PathBuf> =
            manifest.parts.iter().flat_map(|part| part.files(folder)).map(|(_, path, ..)| path).collect();
        let tables = [Table::Images, Table::Predictions].map(|table| folder.join(table.folder()));
        for table in &tables {
            list(table, is_part)?.iter().filter(|path| !named.contains(*path)).try_for_each(|path| set_aside(path))?;
        }
        let shards = folder.join(SHARDS_FOLDER);
        list(&shards, |name| name.ends_with(super::PROGRESS_SUFFIX))?.iter().try_for_each(|path| remove_file(path))?;
        for place in tables.iter().chain([&shards, &folder.to_path_buf()]) {
            list(place, is_temporary)?.iter().try_for_each(|path| remove_abandoned(path).map(drop))?;
        }
        Ok(())
    }
}
