//! The cache: the crate `logitcache-format`, with the rule by which this program draws views.

use crate::{
    Error,
    augment::{DrawViews as _, VIEW_RULE},
    preprocess::DECODER,
    words,
};
pub use logitcache_format::{
    ARCHIVE_FEATURE, CacheReader, Cell, Codebook, ContentDigests, ContentHasher, DatasetInfo, FORMAT_NAME,
    FORMAT_VERSION, FileEntry, Folder, Format, Grid, HeadKind, ImageDigests, ImageKey, ImageRecord, ImageView,
    KNOWN_FEATURES, LabelColumns, LabelsState, Level, MANIFEST_NAME, Manifest, Map, MissingLabels, PartEntry,
    PartWriter, Places, PredictionColumns, Predictions, Problem, SettingDifference, Settings, Sha256Bytes, Storage,
    Teacher, Values, VerifyReport, clear, columns, content_digests, decode_f16, decode_f32, decode_i32, expected_bin,
    for_each_image, labels_digest, lower_sides, manifest_path, part_digests, record_digest, remove_leftovers,
    rows_with_class_logits, to_hex,
};
use logitcache_format::{Result, ViewRule};
use std::path::Path;

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
    let cache = CacheReader::open(folder)?;
    let failures = &cache.manifest().failures;
    if cache.is_empty() && !failures.is_empty() {
        let reasons = words::reasons(failures, " (`logitcache inspect `json=`` has all)");
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
