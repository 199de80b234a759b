//! The files of a cache in shards: the job, the records, how far shards are.

use super::{SHARDS_FOLDER, Shard, ShardJob, ShardRecord};
use crate::{
    Error, Result,
    columns::Table,
    digest::{sha256, to_hex},
    fsio::{Lock, create_folder},
    manifest::{Manifest, PartEntry},
    storage::Storage,
    verify::files::check_bytes,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashSet, io::ErrorKind, path::Path};

/// What all shards have in common, in the folder of the cache.
pub const JOB_NAME: &str = "shards/job.json";
/// A longer record is refused before memory is taken for it.
const MAX_RECORD_BYTES: u64 = 1 << 30;
const REMEDY_RECORD: &str = "Remove it and build that shard again.";

/// A cache that is built in shards, or was. While it is open, no build of the whole cache can begin.
#[derive(Debug)]
pub struct ShardedCache {
    lock: Lock,
    storage: Box<dyn Storage>,
    job: ShardJob,
    job_sha256: String,
}

impl ShardedCache {
    /// Whether a build in shards was begun in this folder.
    pub fn is_begun(folder: &Path) -> bool {
        folder.join(JOB_NAME).exists()
    }

    /// Begins the job in `storage`, or joins the one that was begun if it is the same. `lock` is on the storage's folder, shared
    /// with the other workers of this machine.
    ///
    /// # Errors
    /// [`Error::Mismatch`] naming what is different in the job that was begun; [`Error::Cache`] where the folder holds a cache that
    /// was not built in shards, or `job.json` is damaged; [`Error::Io`].
    pub fn join(storage: Box<dyn Storage>, lock: Lock, wanted: &ShardJob) -> Result<Self> {
        let folder = lock.folder();
        if storage.read(JOB_NAME, MAX_RECORD_BYTES)?.is_none() {
            if Manifest::load_from(storage.as_ref())?.is_some() {
                return Err(Error::Cache {
                    path: folder.to_owned(),
                    found: "there is a cache already, and it was not built in shards".into(),
                    remedy: "Choose another `out=`, or go on without `shard=`.".into(),
                });
            }
            create_folder(&folder.join(SHARDS_FOLDER))?;
            // Another worker may be faster; then its job counts.
            storage.create(JOB_NAME, &json(wanted, &folder.join(JOB_NAME))?)?;
        }
        let cache = Self::open(storage, lock)?;
        cache.refuse_other(wanted)?;
        Ok(cache)
    }

    /// Opens a job that was begun.
    ///
    /// # Errors
    /// [`Error::Cache`] where there is none or `job.json` is damaged, [`Error::Io`].
    pub fn open(storage: Box<dyn Storage>, lock: Lock) -> Result<Self> {
        let path = lock.folder().join(JOB_NAME);
        let bytes = storage.read(JOB_NAME, MAX_RECORD_BYTES)?.ok_or_else(|| Error::Cache {
            path: path.clone(),
            found: "there is no such file, so this cache is not built in shards".into(),
            remedy: "Check the path: give the folder that `shard=` builds into.".into(),
        })?;
        let job: ShardJob = parse(&path, &bytes, "Start again with an empty folder.")?;
        if job.version != ShardJob::VERSION || Shard::new(1, job.shards).is_none() {
            return Err(Error::Cache {
                path,
                found: format!("version {} with {} shards; supported is version 1", job.version, job.shards),
                remedy: "Use the version of logitcache that wrote it.".into(),
            });
        }
        Ok(Self { lock, storage, job, job_sha256: to_hex(&sha256(&bytes)) })
    }

    /// Where its files lie.
    pub(super) fn storage(&self) -> &dyn Storage {
        self.storage.as_ref()
    }

    /// What all shards have in common.
    pub fn job(&self) -> &ShardJob {
        &self.job
    }

    /// The cache's folder.
    pub fn folder(&self) -> &Path {
        self.lock.folder()
    }

    /// A record of `shard` with what `manifest` names.
    pub fn record_of(&self, shard: Shard, manifest: &Manifest) -> ShardRecord {
        let ids = shard.image_ids(self.job.dataset.samples);
        ShardRecord {
            job_sha256: self.job_sha256.clone(),
            shard: shard.number(),
            shards: shard.count(),
            first_image_id: ids.start,
            end_image_id: ids.end,
            parts: manifest.parts.clone(),
            failures: manifest.failures.clone(),
        }
    }

    /// The record of a finished shard; `None` where it is not finished.
    ///
    /// # Errors
    /// [`Error::Cache`] of a record that is damaged or of another job, [`Error::Io`].
    pub fn record(&self, shard: Shard) -> Result<Option<ShardRecord>> {
        self.read(&shard.record_name(), shard)
    }

    /// How far a shard is that a worker left; `None` where nothing is known.
    ///
    /// # Errors
    /// As [`ShardedCache::record`].
    pub fn progress(&self, shard: Shard) -> Result<Option<ShardRecord>> {
        self.read(&shard.progress_name(), shard)
    }

    /// As [`ShardedCache::record`], byte by byte: of an unpublished cache, a record that is damaged or names a file that is damaged
    /// or gone counts no more. It is removed, and damaged files are set aside, so that the shard can be built again.
    ///
    /// # Errors
    /// [`Error::Cache`] of a damaged record of a published cache, [`Error::Io`].
    pub fn sound_record(&self, shard: Shard) -> Result<Option<ShardRecord>> {
        if Manifest::load_from(self.storage())?.is_some() {
            return self.record(shard);
        }
        self.sound(self.record(shard), &shard.record_name(), true)
    }

    /// As [`ShardedCache::progress`], byte by byte, as [`ShardedCache::sound_record`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sound_progress(&self, shard: Shard) -> Result<Option<ShardRecord>> {
        self.sound(self.progress(shard), &shard.progress_name(), false)
    }

    fn sound(&self, found: Result<Option<ShardRecord>>, name: &str, is_whole: bool) -> Result<Option<ShardRecord>> {
        match found {
            Ok(Some(record)) if !self.are_sound(&record.parts)? || (is_whole && self.shortage(&record).is_some()) => {}
            Err(Error::Cache { .. }) => {}
            other => return other,
        }
        self.storage.remove(name)?;
        Ok(None)
    }

    /// Whether the files of these parts are what they are said to be; those that are not are set aside.
    fn are_sound(&self, parts: &[PartEntry]) -> Result<bool> {
        let mut all = true;
        for part in parts {
            // What cannot be fetched for another reason than damage is no verdict.
            match self.storage.bring(std::slice::from_ref(part)) {
                Err(Error::Cache { .. }) => all = false,
                brought => brought?,
            }
            for (table, path, entry, _) in part.files(self.folder()) {
                if check_bytes(&path, entry, &|_| {}).is_err() {
                    self.storage.set_aside(&part.file_name(table))?;
                    all = false;
                }
            }
        }
        Ok(all)
    }

    /// What a record lacks of its shard's images, in words.
    pub(super) fn shortage(&self, record: &ShardRecord) -> Option<String> {
        let views = self.job.settings.views().per_image() as u64;
        let images = record.parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.images));
        let expected = (record.end_image_id - record.first_image_id) as u64;
        let found = (images / views).saturating_add(record.failures.len() as u64);
        (images % views != 0 || found != expected)
            .then(|| format!("it accounts for {found} of the {expected} images of the shard"))
    }

    /// The shard that an error is about, by the file that it names: its record, or one of its parts.
    pub(super) fn shard_at_fault(&self, error: &Error) -> Option<Shard> {
        let path = match error {
            Error::Cache { path, .. } => path,
            Error::Io { path, source, .. } if source.kind() == ErrorKind::NotFound => path,
            _ => return None,
        };
        let names = |shard: &Shard| {
            let of_part = |part: &PartEntry| part.files(self.folder()).iter().any(|(_, file, ..)| file == path);
            self.folder().join(shard.record_name()) == *path
                || matches!(self.record(*shard), Ok(Some(record)) if record.parts.iter().any(of_part))
        };
        self.job.each_shard().find(names)
    }

    /// Says how far a shard is: whoever does the rest of it starts from there. The parts must be there already.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn save_progress(&self, shard: Shard, progress: &ShardRecord) -> Result<()> {
        let name = shard.progress_name();
        self.storage.hand_out(&progress.parts)?;
        self.storage.put(&name, &json(progress, &self.folder().join(&name))?)
    }

    /// Records a finished shard, unless another worker has; the parts that the record does not name are set aside then. Returns
    /// whether this record counts.
    ///
    /// # Errors
    /// As [`ShardedCache::record`].
    pub fn finish(&self, shard: Shard, record: &ShardRecord) -> Result<bool> {
        let name = shard.record_name();
        let path = self.folder().join(&name);
        self.storage.hand_out(&record.parts)?;
        let counts = self.storage.create(&name, &json(record, &path)?)?;
        if !counts && let Some(other) = self.record(shard)? {
            self.set_aside(&record.parts, &other.parts)?;
        }
        self.storage.remove(&shard.progress_name())?;
        Ok(counts)
    }

    /// Sets the files of `parts` aside that are not among `named`.
    fn set_aside(&self, parts: &[PartEntry], named: &[PartEntry]) -> Result<()> {
        let named: HashSet<&str> = named.iter().map(|part| part.name.as_str()).collect();
        let superseded = parts.iter().filter(|part| !named.contains(part.name.as_str()));
        let files = superseded.flat_map(|part| [Table::Images, Table::Predictions].map(|table| part.file_name(table)));
        files.into_iter().try_for_each(|name| self.storage.set_aside(&name))
    }

    /// The shards that have no record.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn missing(&self) -> Result<Vec<Shard>> {
        // One look at the folder, however many there are.
        let there: HashSet<String> = self.storage.names_in(SHARDS_FOLDER)?.into_iter().collect();
        let has = |shard: &Shard| {
            shard.record_name().strip_prefix(&format!("{SHARDS_FOLDER}/")).is_some_and(|name| there.contains(name))
        };
        Ok(self.job.each_shard().filter(|shard| !has(shard)).collect())
    }

    /// Refuses work for another job.
    fn refuse_other(&self, wanted: &ShardJob) -> Result<()> {
        let differences = self.job.manifest().settings_difference(&wanted.manifest());
        let mut lines: Vec<String> = differences
            .iter()
            .map(|d| format!("  {}: {} in the cache, {} now", d.name, d.in_cache, d.wanted))
            .collect();
        if self.job.shards != wanted.shards {
            lines.push(format!("  shards: {} in the cache, {} now", self.job.shards, wanted.shards));
        }
        if self.job.files_sha256 != wanted.files_sha256 {
            lines.push(
                "  files_sha256: sizes or times of images or label files are not those that the first worker saw"
                    .to_owned(),
            );
        }
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::Mismatch {
            found: format!("{} is built in shards with other settings:\n{}", self.folder().display(), lines.join("\n")),
            remedy:
                "All shards need the same teacher, data set, settings and number of shards. Use those of the cache, or \
                     choose another `out=`."
                    .into(),
        })
    }

    fn read(&self, name: &str, shard: Shard) -> Result<Option<ShardRecord>> {
        let path = self.folder().join(name);
        let Some(bytes) = self.storage.read(name, MAX_RECORD_BYTES)? else { return Ok(None) };
        let record: ShardRecord = parse(&path, &bytes, REMEDY_RECORD)?;
        self.check(&record, shard).map_err(|found| Error::Cache { path, found, remedy: REMEDY_RECORD.into() })?;
        Ok(Some(record))
    }

    /// That a record is of this job and this shard; what was found, in words, where it is not.
    fn check(&self, record: &ShardRecord, shard: Shard) -> Result<(), String> {
        if record.job_sha256 != self.job_sha256 {
            return Err("it belongs to another job.json".into());
        }
        let ids = shard.image_ids(self.job.dataset.samples);
        let stated = (record.shard, record.shards, record.first_image_id..record.end_image_id);
        if stated != (shard.number(), shard.count(), ids.clone()) {
            return Err(format!("it says that it is shard {}/{}, images {:?}", stated.0, stated.1, stated.2));
        }
        let part = |part: &&PartEntry| !ids.contains(&part.first_image_id) || !ids.contains(&part.last_image_id);
        if let Some(part) = record.parts.iter().find(part) {
            return Err(format!("part `{}` is not of the images {ids:?} of the shard", part.name));
        }
        match record.failures.iter().find(|failure| !ids.contains(&failure.image_id)) {
            Some(failure) => Err(format!("image {} is not one of the images {ids:?} of the shard", failure.image_id)),
            None => Ok(()),
        }
    }
}

fn json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::io(path, "write to", e.into()))?;
    text.push(b'\n');
    Ok(text)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8], remedy: &str) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::Cache {
        path: path.to_owned(),
        found: format!("it is not a file of a build in shards: {e}"),
        remedy: remedy.to_owned(),
    })
}
