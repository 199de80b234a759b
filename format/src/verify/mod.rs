//! Checks a cache completely: every byte against its digest first, and only what has passed is parsed, with the `arrow`
//! reader that other engines' users would use and with the mapped reader; both must agree and hold to every rule.
//! Files of an archive are read with the first one alone.

pub(super) mod arrow_records;
pub(super) mod files;
mod levels;
mod page_header;
pub(super) mod pages;
mod part;
mod rules;

use super::{CacheReader, ContentDigests, Manifest, content_digests, manifest_file::MANIFEST_NAME};
use crate::{
    Error, Result,
    storage::Folder,
    types::{ImageSize, ViewChange, Views},
};
use rayon::prelude::*;
use rules::Rules;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::HashSet, path::Path};

/// A rule that draws views, with its name as `settings.view_rule` has it. A program that knows the rule of a cache gives it
/// to [`verify`], which then holds every stored view against what the rule draws.
#[derive(Debug, Clone, Copy)]
pub struct ViewRule {
    /// Its name and version.
    pub name: &'static str,
    /// What makes the view (of the image with this id, for a model input of this size).
    pub change: fn(Views, i64, i32, ImageSize) -> ViewChange,
}

/// What `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// Whether the cache holds every sample of its data set or names it as a failure, and holds at
    /// least one.
    pub complete: bool,
    /// Parts in the manifest.
    pub parts: u64,
    /// Images in the manifest.
    pub images: u64,
    /// Views of each beside the image itself.
    pub views: u32,
    /// Prediction rows in the manifest.
    pub rows: u64,
    /// Bytes of the Parquet files in the manifest.
    pub bytes: u64,
    /// Images that the manifest names as failed.
    pub failures: u64,
    /// The content digest, computed anew; null where problems prevented that.
    pub content_sha256: Option<String>,
    /// What is wrong. Empty: the cache is sound.
    pub problems: Vec<Problem>,
    /// What is worth knowing but harms nothing: files that do not belong to the cache, an unfinished build.
    pub notes: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// The file at fault, relative to the cache's folder.
    pub file: String,
    /// What was found, and what was expected.
    pub problem: String,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Verifies the cache in `folder`; views of other rules than `view_rule` are held to their ranges alone. Parts are checked in parallel on rayon's current pool; memory is bounded by a row
/// group per thread.
///
/// # Errors
/// [`Error::Cache`] where the folder holds no manifest at all. Damage is not an error but a [`Problem`] of the report.
pub fn verify(folder: &Path, view_rule: Option<&ViewRule>) -> Result<VerifyReport> {
    verify_with_progress(folder, view_rule, &|_| {})
}

/// As [`verify`], telling `progress` the number of bytes after each piece that was hashed; [`VerifyReport::bytes`] in all.
///
/// # Errors
/// As [`verify`].
pub fn verify_with_progress(
    folder: &Path,
    view_rule: Option<&ViewRule>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<VerifyReport> {
    let mut report = VerifyReport {
        complete: false,
        parts: 0,
        images: 0,
        views: 0,
        rows: 0,
        bytes: 0,
        failures: 0,
        content_sha256: None,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    if !folder.is_dir() {
        return Manifest::load(folder).map(|_| report); // the error that says so
    }
    let manifest = match Manifest::load_if_present(folder) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Manifest::load(folder).map(|_| report), // the error that says so
        Err(error) => {
            report.problems.push(Problem { file: MANIFEST_NAME.to_owned(), problem: describe(error) });
            return Ok(report);
        }
    };
    report.complete = manifest.complete;
    report.parts = manifest.parts.len() as u64;
    report.images = manifest.images();
    report.views = manifest.settings.views;
    report.rows = manifest.rows();
    report.bytes = manifest.bytes();
    report.failures = manifest.failures.len() as u64;
    report.notes = files::notes(folder, &manifest);

    let rules = Rules::new(&manifest, view_rule);
    let of_parts: Vec<Vec<Problem>> =
        manifest.parts.par_iter().map(|entry| part::check(folder, entry, &rules, progress)).collect();
    report.problems.extend(of_parts.into_iter().flatten());
    report.problems.extend(rules::of_manifest(&manifest).into_iter().map(in_manifest));
    if report.problems.is_empty() {
        check_content(folder, manifest, &mut report);
    }
    Ok(report)
}

/// Over all parts: no image twice, no failure that is there after all, the digests of the whole.
fn check_content(folder: &Path, manifest: Manifest, report: &mut VerifyReport) {
    let stated = manifest.digests.clone();
    let found = if manifest.is_archive() {
        content_of_archive(folder, &manifest, report)
    } else {
        content_of_mapped(folder, manifest, report)
    };
    match found {
        Err(problem) => report.problems.push(in_manifest(problem)),
        Ok(found) => {
            if let Some(stated) = stated.filter(|stated| *stated != found) {
                let problem = format!("its content digests are {stated:?}, the parts give {found:?}");
                report.problems.push(in_manifest(problem));
            }
            report.content_sha256 = Some(found.content_sha256);
        }
    }
}

fn content_of_archive(
    folder: &Path,
    manifest: &Manifest,
    report: &mut VerifyReport,
) -> std::result::Result<ContentDigests, String> {
    let of_part = |part| arrow_records::stored_digests(folder, part);
    let images = manifest.parts.iter().map(of_part).collect::<std::result::Result<Vec<_>, _>>()?.concat();
    let there: HashSet<i64> = images.iter().map(|((image_id, _), _)| *image_id).collect();
    let both = manifest.failures.iter().filter(|f| there.contains(&f.image_id));
    report.problems.extend(both.map(|f| in_manifest(failed_but_there(f.image_id))));
    content_digests(images)
}

fn content_of_mapped(
    folder: &Path,
    manifest: Manifest,
    report: &mut VerifyReport,
) -> std::result::Result<ContentDigests, String> {
    let found = CacheReader::with_manifest(&Folder::new(folder), manifest).and_then(|reader| {
        for failure in &reader.manifest().failures {
            if reader.image(failure.image_id, 0)?.is_some() {
                report.problems.push(in_manifest(failed_but_there(failure.image_id)));
            }
        }
        reader.content_digests()
    });
    found.map_err(describe)
}

fn failed_but_there(image_id: i64) -> String {
    format!("image {image_id} is among the failures and in a part")
}

fn in_manifest(problem: String) -> Problem {
    Problem { file: MANIFEST_NAME.to_owned(), problem }
}

/// An error's finding without the path and the remedy, which the report has elsewhere.
pub(super) fn describe(error: Error) -> String {
    match error {
        Error::Cache { found, .. } => found,
        Error::Io { action, source, .. } => format!("cannot {action} it: {source}"),
        other => other.to_string(),
    }
}
