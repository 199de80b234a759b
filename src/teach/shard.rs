//! A shard of a build: what it works on, where its parts are named, what becomes of it in the end.

use super::{
    BuildOptions,
    folder::{self, ImageIds},
    prepare::{Ledger, Standing},
};
use crate::{
    Error, Result,
    cache::{self, Manifest, Publication, Shard, ShardJob, ShardRecord, ShardedCache, to_hex},
    dataset::{Dataset, Sample},
    error::may_pass,
    pipeline::read_file,
    remote::{self, Link},
    types::FailureStage,
    words::counted,
};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    ops::Range,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Of a longer list, so many images at even distances stand for the data set: every worker asks for the state of each of them.
const IMAGES_IN_IDENTITY: usize = 100_000;

/// A shard that may be built.
pub(super) struct ShardWork {
    cache: ShardedCache,
    shard: Shard,
    /// A worker has finished it already.
    recorded: bool,
    /// Images of the shard that were not there when the work began.
    absent: usize,
}

/// What became of a shard.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ShardReport {
    /// Which shard, from 1 on.
    pub number: u32,
    /// Of how many.
    pub count: u32,
    /// Its lowest image id.
    pub first_image_id: i64,
    /// The image id after its highest.
    pub end_image_id: i64,
    /// Whether the shard is finished.
    pub recorded: bool,
    /// Shards that are not finished.
    pub missing_shards: u64,
    /// Whether the cache has its manifest.
    pub published: bool,
    /// Another shard that is damaged and has to be built again before the cache can be published, if one is known.
    pub damaged: Option<DamagedShard>,
}

/// A finished shard that cannot be used as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DamagedShard {
    /// Which shard, from 1 on.
    pub number: u32,
    /// The file at fault.
    pub path: PathBuf,
    /// What is wrong with it.
    pub found: String,
}

impl DamagedShard {
    pub(super) fn new(shard: Shard, error: logitcache_format::Error) -> Self {
        let (path, found) = match error {
            logitcache_format::Error::Cache { path, found, .. } => (path, found),
            logitcache_format::Error::Io { path, action, source } => (path, format!("cannot {action}: {source}")),
            other => (PathBuf::new(), other.to_string()),
        };
        Self { number: shard.number(), path, found }
    }
}

/// A data set that other workers could open may be missing here for a while.
pub(super) fn dataset_may_come(error: Error, options: &BuildOptions) -> Error {
    match error {
        Error::Dataset { .. } if options.shard.is_some() && ShardedCache::is_begun(&options.out) => {
            Error::Later(Box::new(error))
        }
        other => other,
    }
}

/// Joins the job of `wanted`'s cache, or begins it, and finds out what is done of `shard`.
///
/// # Errors
/// [`Error::Later`] where none of the shard's images is there, or a build has the cache for itself; [`Error::Mismatch`] where the
/// shards that were begun are of another job; as [`ShardedCache::join`].
pub(super) fn begin(out: &Path, shard: Shard, wanted: &Manifest, dataset: &Dataset) -> Result<Standing> {
    let image_ids = shard.image_ids(dataset.samples.len() as u64);
    let samples = samples_of(dataset, &image_ids);
    let absent = samples.par_iter().filter(|sample| is_absent(&sample.path)).count();
    if absent == samples.len() {
        refuse_absent_images(shard, samples)?;
    }
    let lock = cache::share(out)?;
    folder::refuse_foreign_files(out)?;
    let (files_sha256, absent_anywhere) = files_digest(&dataset.samples);
    let job = ShardJob::new(wanted, shard.count(), files_sha256);
    let cache = ShardedCache::join(remote::storage(out)?, lock, &job)
        .map_err(|error| refused(error.into(), absent_anywhere))?;
    let mut manifest = cache.job().manifest();
    let record = cache.sound_record(shard)?;
    let recorded = record.is_some();
    let mut done = ImageIds::default();
    if let Some(ShardRecord { parts, failures, .. }) = record {
        (manifest.parts, manifest.failures) = (parts, failures);
        // Images that failed are tried again once the cache is published, by a build of the whole.
        done = ImageIds::of(vec![image_ids.clone()]);
    } else if let Some(ShardRecord { parts, failures, .. }) = cache.sound_progress(shard)? {
        let begun = Manifest { parts, failures, ..manifest.clone() };
        // What cannot be read is made again.
        if let Ok(found) = folder::image_ids(out, &begun) {
            (manifest, done) = (begun, found);
        }
    }
    let ledger = Ledger::Shard(Box::new(ShardWork { cache, shard, recorded, absent }));
    Ok(Standing { ledger, manifest, done, image_ids })
}

impl ShardWork {
    pub(super) fn folder(&self) -> &Path {
        self.cache.folder()
    }

    /// Names the parts so far.
    pub(super) fn save_progress(&self, manifest: &Manifest) -> Result<()> {
        Ok(self.cache.save_progress(self.shard, &self.cache.record_of(self.shard, manifest))?)
    }

    /// Ends a worker's run. Where the shard is `complete` it is recorded, and if it is the last one, the cache is published: then its
    /// manifest is given too.
    ///
    /// # Errors
    /// [`Error::Later`] where images were gone, or could not be read for a reason that may pass: nothing is recorded then. As
    /// [`ShardedCache::publish`].
    pub(super) fn finish(
        mut self,
        manifest: &Manifest,
        dataset: &Dataset,
        complete: bool,
    ) -> Result<(ShardReport, Option<Manifest>)> {
        if complete && !self.recorded {
            self.refuse_passing_failures(manifest, dataset)?;
            self.cache.finish(self.shard, &self.cache.record_of(self.shard, manifest))?;
            self.recorded = true;
        }
        let (missing_shards, published, damaged) = if self.recorded {
            match self.cache.publish()? {
                Publication::Published(manifest) => (0, Some(*manifest), None),
                Publication::Missing(shards) => (shards.len() as u64, None, None),
                // What this worker was to do is done; the shard at fault is another's work.
                Publication::Damaged(shard, error) => (0, None, Some(DamagedShard::new(shard, *error))),
            }
        } else {
            (self.cache.missing()?.len() as u64, None, None)
        };
        let ids = self.shard.image_ids(self.cache.job().dataset.samples);
        let report = ShardReport {
            number: self.shard.number(),
            count: self.shard.count(),
            first_image_id: ids.start,
            end_image_id: ids.end,
            recorded: self.recorded,
            missing_shards,
            published: published.is_some(),
            damaged,
        };
        Ok((report, published))
    }

    /// Refuses to record images as failed that were there a moment ago, or that another try may read.
    fn refuse_passing_failures(&self, manifest: &Manifest, dataset: &Dataset) -> Result<()> {
        let mut absent = 0;
        for failure in manifest.failures.iter().filter(|failure| failure.stage == FailureStage::Read) {
            let sample = usize::try_from(failure.image_id).ok().and_then(|id| dataset.samples.get(id));
            let Some(sample) = sample else { continue };
            let found = match first_byte(&sample.path) {
                Ok(()) if read_file(&sample.path).is_ok() => "could not be read, but can be now".to_owned(),
                Ok(()) => continue,
                Err(error) => {
                    absent += usize::from(is_absence(&error));
                    if !may_pass(&error) && absent <= self.absent {
                        continue;
                    }
                    format!("cannot be read any more, or not at the moment: {error}")
                }
            };
            let remedy = "Its shard was not recorded. Check that the place of the images is mounted, and run the same \
                          command again.";
            let (path, remedy) = (sample.path.clone(), remedy.to_owned());
            return Err(Error::Later(Box::new(Error::Dataset { path, found, remedy })));
        }
        Ok(())
    }
}

fn samples_of<'a>(dataset: &'a Dataset, image_ids: &Range<i64>) -> &'a [Sample] {
    dataset.samples.get(image_ids.start as usize..image_ids.end as usize).unwrap_or_default()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn is_absent(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| is_absence(&error)) && !remote::is_link(path)
}

/// Refuses a shard of which no image is there: a place that is not mounted, and not damage of so many images.
fn refuse_absent_images(shard: Shard, samples: &[Sample]) -> Result<()> {
    let Some(first) = samples.first() else { return Ok(()) };
    Err(Error::Later(Box::new(Error::Dataset {
        path: first.path.clone(),
        found: format!("none of the {} of shard {shard} is there", counted(samples.len(), "image")),
        remedy: "Check that the place of the images is mounted on this machine. Nothing was recorded.".into(),
    })))
}

/// Whether the first byte can be had.
fn first_byte(path: &Path) -> io::Result<()> {
    if let Some(read) = remote::read(path, u64::MAX) {
        return read.map(drop);
    }
    // A pipe would block for ever.
    if !fs::metadata(path)?.is_file() {
        return Ok(());
    }
    File::open(path)?.read(&mut [0]).map(drop)
}

/// Size and time of the last change, in nanoseconds since 1970; `None` of a file that is not there.
type FileState = Option<(u64, u128)>;

fn state_of(path: &Path) -> FileState {
    // The version of an object, wherever it was listed.
    if let Some(Link { bytes, etag, .. }) = Link::at(path) {
        let digest = Sha256::digest(etag.as_bytes());
        return Some((bytes, digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))));
    }
    let metadata = fs::metadata(path).ok()?;
    let changed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Some((metadata.len(), changed.map_or(0, |since| since.as_nanos())))
}

/// The digest over path, size and time of the last change of images and of their label files, and how many of the images are not
/// there. Exact bytes: docs/format.md.
fn files_digest(samples: &[Sample]) -> (String, usize) {
    let step = samples.len().div_ceil(IMAGES_IN_IDENTITY).max(1);
    let chosen: Vec<&Sample> = samples.iter().step_by(step).collect();
    let states = |sample: &&Sample| (state_of(&sample.path), sample.label_file().and_then(state_of));
    let states: Vec<(FileState, FileState)> = chosen.par_iter().map(states).collect();
    let mut hash = Sha256::new();
    for (sample, (image, labels)) in chosen.iter().zip(&states) {
        hash.update((sample.relative.len() as u64).to_le_bytes());
        hash.update(&sample.relative);
        for state in [image, labels] {
            let (length, changed) = state.unwrap_or_default();
            hash.update([u8::from(state.is_some())]);
            hash.update(length.to_le_bytes());
            hash.update(changed.to_le_bytes());
        }
    }
    (to_hex(&hash.finalize()), states.iter().filter(|(image, _)| image.is_none()).count())
}

/// Another job is another job for ever; but images that are not there may come.
fn refused(error: Error, absent: usize) -> Error {
    match error {
        Error::Mismatch { found, remedy } if absent > 0 && found.contains("files_sha256") => {
            Error::Later(Box::new(Error::Mismatch {
                found: format!("{found}\n  {} of the data set not there", counted_are(absent)),
                remedy,
            }))
        }
        other => other,
    }
}

fn counted_are(images: usize) -> String {
    format!("{} {}", counted(images, "image"), if images == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_a_data_set_is_in_names_sizes_and_times() {
        let dir = tempfile::tempdir().unwrap();
        let samples = |names: &[&str]| -> Vec<Sample> {
            names.iter().map(|name| Sample::of_picture(dir.path(), name).unwrap()).collect()
        };
        for name in ["a.jpg", "b.jpg"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let both = samples(&["a.jpg", "b.jpg"]);
        let (digest, absent) = files_digest(&both);
        assert_eq!(absent, 0);
        assert_eq!(files_digest(&both).0, digest);
        assert_ne!(files_digest(&samples(&["a.jpg"])).0, digest);
        assert_eq!(files_digest(&samples(&["a.jpg", "c.jpg"])).1, 1);
        let file = File::options().write(true).open(dir.path().join("b.jpg")).unwrap();
        let changed = file.metadata().unwrap().modified().unwrap();
        file.set_modified(changed + std::time::Duration::from_secs(1)).unwrap();
        assert_ne!(files_digest(&both).0, digest);
        file.set_modified(changed).unwrap();
        assert_eq!(files_digest(&both).0, digest);
        fs::write(dir.path().join("b.jpg"), "longer").unwrap();
        file.set_modified(changed).unwrap();
        assert_ne!(files_digest(&both).0, digest);
    }

    #[test]
    fn as_many_images_tell_a_data_set_as_the_document_says() {
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/format.md")).unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let stated = text.split_once("k = ceil(S / ").unwrap().1.split_once(')').unwrap().0;
        assert_eq!(stated.replace(',', "").parse(), Ok(IMAGES_IN_IDENTITY));
    }
}
