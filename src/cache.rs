//! The cache: the crate `logitcache-format`, with the rule by which this program draws views.

use crate::{
    Error,
    augment::{DrawViews as _, VIEW_RULE},
    fsio::Lock,
    outputs::real_path,
    preprocess::DECODER,
    remote, words,
};
pub use logitcache_format::{
    ARCHIVE_FEATURE, CacheReader, Cell, Codebook, ContentDigests, ContentHasher, DatasetInfo, FORMAT_NAME,
    FORMAT_VERSION, FileEntry, Folder, Format, Grid, HeadKind, ImageDigests, ImageKey, ImageRecord, ImageView,
    JOB_NAME, KNOWN_FEATURES, LabelColumns, LabelsState, Level, MANIFEST_NAME, MadeFolder, Manifest, Map,
    MissingLabels, PartEntry, PartWriter, Places, PredictionColumns, Predictions, Problem, Publication, SHARDS_FOLDER,
    SettingDifference, Settings, Sha256Bytes, Shard, ShardJob, ShardRecord, ShardedCache, Storage, Teacher, Values,
    VerifyReport, clear, columns, content_digests, decode_f16, decode_f32, decode_i32, expected_bin, for_each_image,
    labels_digest, log_odds, lower_sides, manifest_path, part_digests, record_digest, remove_leftovers,
    rows_with_class_logits, sigmoid, to_hex,
};
use logitcache_format::{Result, ViewRule, paths};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// As this program draws views.
const RULE: ViewRule =
    ViewRule { name: VIEW_RULE, change: |views, image_id, view, input| views.change(image_id, view, input) };

/// [`logitcache_format::verify()`], with this program's rule for views.
///
/// # Errors
/// As there.
pub fn verify(folder: &Path) -> Result<VerifyReport> {
    logitcache_format::verify(folder, Some(&RULE))
}

/// [`logitcache_format::verify_with_progress`], with this program's rule for views.
///
/// # Errors
/// As there.
pub fn verify_with_progress(folder: &Path, progress: &(dyn Fn(u64) + Sync)) -> Result<VerifyReport> {
    logitcache_format::verify_with_progress(folder, Some(&RULE), progress)
}

/// Opens a cache that is to be learned from or handed on: one that a build has finished.
///
/// # Errors
/// [`Error::Cache`] of an unfinished one and of one whose images all failed; as [`CacheReader::open`].
pub fn open_finished(folder: &Path) -> crate::Result<CacheReader> {
    let copy = remote::local(folder)?;
    // The copy itself is up to date already: whoever replaced the URL has fetched it.
    if remote::is_url(folder) {
        remote::pull_cache(&copy, false)?;
    }
    let folder = copy.as_path();
    let cache = CacheReader::open(folder)?;
    let failures = &cache.manifest().failures;
    if cache.is_empty() && !failures.is_empty() {
        let reasons = words::reasons(failures, " (`inspect(json=true)` has all)");
        return Err(Error::Cache {
            path: folder.to_owned(),
            found: format!(
                "the cache holds no images; {} failed when it was built:\n{}",
                failures.len(),
                reasons.join("\n")
            ),
            remedy: "Fix the images or their labels, then run the same `build()` again.".into(),
        });
    }
    if cache.manifest().complete {
        return Ok(cache);
    }
    Err(Error::Cache {
        path: folder.to_owned(),
        found: format!(
            "the cache holds {} of {} images: it is unfinished",
            cache.manifest().images(),
            cache.manifest().dataset.samples
        ),
        remedy: "Run the same `build()` again to finish it.".into(),
    })
}

/// What the paths of a cache's images are relative to; of a data set in an object store the local copy, with what the store has.
///
/// # Errors
/// [`Error::Cache`] where the manifest's text is no path; of the store.
pub(crate) fn images_root(cache: &CacheReader) -> crate::Result<PathBuf> {
    let root = remote::place(cache, &cache.manifest().dataset.root)?;
    remote::pull_listing(&root)?;
    Ok(root)
}

/// The right to work on a cache together with other workers.
///
/// # Errors
/// [`Error::Later`] where a build has the cache for itself; [`Error::Io`].
pub(crate) fn share(folder: &Path) -> crate::Result<Lock> {
    Lock::share(folder).map_err(|error| match error {
        held @ logitcache_format::Error::Cache { .. } => Error::Later(Box::new(held.into())),
        other => Error::from(other).or_later(),
    })
}

/// The digest of a list of images: their paths, each followed by a line feed.
#[derive(Default)]
pub(crate) struct Samples {
    hasher: Sha256,
    count: u64,
}

impl Samples {
    pub(crate) fn push(&mut self, path: &str) {
        self.hasher.update(path.as_bytes());
        self.hasher.update(b"\n");
        self.count += 1;
    }

    /// Their number and digest.
    pub(crate) fn finish(self) -> (u64, String) {
        (self.count, to_hex(&self.hasher.finalize()))
    }
}

/// The locations of a data set, which a manifest has relative to its cache, as seen from the folder
/// of another cache.
///
/// # Errors
/// [`Error::Cache`] of a location that is no path.
pub(crate) fn seen_from(dataset: &DatasetInfo, cache: &Path, other: &Path) -> crate::Result<DatasetInfo> {
    let (from, to) = (real_path(cache), real_path(other));
    let place = |text: &str| -> crate::Result<String> {
        let path = paths::from_column(text).map_err(|found| Error::Cache {
            path: cache.to_owned(),
            found,
            remedy: "Run `verify()`.".into(),
        })?;
        if path.is_absolute() || remote::is_url(&path) {
            return Ok(text.to_owned());
        }
        Ok(paths::to_column(&remote::from_folder(&to, &paths::absolute(&from.join(path)))))
    };
    Ok(DatasetInfo {
        root: place(&dataset.root)?,
        // The first programs left it empty.
        source: if dataset.source.is_empty() { String::new() } else { place(&dataset.source)? },
        images_dir: dataset.images_dir.as_deref().map(place).transpose()?,
        ..dataset.clone()
    })
}

/// Why this program cannot draw the pictures of a cache's views, in words; `None` where it can. They are of use only as the
/// very pixels that the teacher saw.
pub fn views_cannot_be_drawn(settings: &Settings) -> Option<String> {
    let (rule, decoder) = (&settings.view_rule, &settings.decoder);
    (rule != VIEW_RULE || decoder != DECODER).then(|| {
        format!(
            "its views were made by the rule `{rule}` from images decoded by `{decoder}`; this program supports \
             `{VIEW_RULE}` and `{DECODER}`"
        )
    })
}
