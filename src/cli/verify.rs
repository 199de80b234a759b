//! `logitcache verify`

use super::{
    Status,
    args::VerifyArgs,
    print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Result,
    augment::with_views,
    cache::{Manifest, VerifyReport, verify_with_progress},
    words::counted,
};
use indicatif::HumanBytes;
use std::sync::{Mutex, PoisonError};

pub fn run(args: &VerifyArgs, quiet: bool) -> Result<Status> {
    // A manifest that cannot be read is `verify`'s to report.
    let total = Manifest::load(&args.cache).map_or(0, |manifest| manifest.bytes());
    let progress = Mutex::new(Progress::new(total, Unit::Bytes, quiet));
    let report = verify_with_progress(&args.cache, &|bytes| {
        progress.lock().unwrap_or_else(PoisonError::into_inner).advance_by(bytes);
    });
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    let report = report?;
    if args.json {
        print_json(&report)?
    } else {
        print(&show(&report))?
    }
    Ok(if report.is_sound() { Status::Done } else { Status::Failed })
}

fn show(report: &VerifyReport) -> String {
    let mut lines: Vec<String> = report.problems.iter().map(|p| format!("{}: {}", p.file, p.problem)).collect();
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    if report.is_sound() {
        lines.push(format!(
            "valid: {}{}, {}, {} in {}; every byte and every rule of the format checked",
            counted(report.images, "image"),
            with_views(report.views),
            counted(report.rows, "prediction"),
            HumanBytes(report.bytes),
            counted(report.parts, "part")
        ));
        lines.extend(report.content_sha256.iter().map(|digest| format!("content sha256 {digest}")));
    } else {
        lines.push(format!(
            "{}. Restore the named files from a copy, or build again with --overwrite.",
            counted(report.problems.len(), "problem")
        ));
    }
    lines.join("\n")
}
