//! `logitcache convert`

use super::{
    Status,
    args::ConvertArgs,
    output, print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Result,
    convert::{Conversion, ConvertOptions, ConvertReport},
    words::counted,
};
use indicatif::{HumanBytes, HumanCount};
use std::sync::{Mutex, PoisonError};

pub fn run(args: &ConvertArgs, quiet: bool) -> Result<Status> {
    let conversion = Conversion::prepare(ConvertOptions {
        cache: args.cache.clone(),
        target: args.profile,
        out: args.out.clone(),
        overwrite: args.overwrite,
    })?;
    let (images, done) = (conversion.images(), conversion.images_done());
    if !quiet && done > 0 {
        output::note(&format!("{} of {} converted before", HumanCount(done), counted(images, "image")));
    }
    if !quiet {
        conversion.notes().iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    let stop = super::stop_on_ctrl_c();
    let progress = Mutex::new(Progress::new(images - done, Unit::Images, quiet));
    let report = conversion.run(stop, &|images| {
        progress.lock().unwrap_or_else(PoisonError::into_inner).advance_by(images);
    });
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&summary(&report))?;
    }
    Ok(Status::Done)
}

fn summary(report: &ConvertReport) -> String {
    let mut lines = vec![format!(
        "{}, {}, {} in {} ({:.0} % of {} in {})",
        counted(report.images, "image"),
        counted(report.rows, "prediction"),
        HumanBytes(report.bytes),
        report.cache.display(),
        100.0 * report.bytes as f64 / report.source_bytes.max(1) as f64,
        HumanBytes(report.source_bytes),
        report.source.display()
    )];
    lines.push(format!("content sha256 {}, as before", report.content_sha256));
    if report.failures > 0 {
        lines.push(format!(
            "{} failed when the cache was built and are in neither cache",
            counted(report.failures, "image")
        ));
    }
    lines.join("\n")
}
