//! `logitcache report`

use super::{
    Status,
    args::ReportArgs,
    flags::as_flags,
    output, print,
    progress::{Progress, Unit},
};
use crate::{
    Error, Result,
    eval::NmsOptions,
    fsio,
    outputs::{self, OutputFile},
    report::{Report, ReportOptions},
    words::counted,
};
use indicatif::HumanBytes;
use std::path::{Path, PathBuf};

pub fn run(args: &ReportArgs, quiet: bool) -> Result<Status> {
    refuse_other_suffixes(&args.out)?;
    outputs::refuse_foreign_file(&args.out, OutputFile::Page, args.overwrite)?;
    let report = Report::prepare(options(args)?)?;
    if let Some(folder) = args.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        // Before the work, so that a place that cannot be written to is told at once.
        fsio::create_folder(folder)?;
    }
    let stop = super::stop_on_ctrl_c();
    let mut progress = Progress::new(report.num_images(), Unit::Images, quiet);
    let page = report.make(stop, |failed| progress.advance(failed));
    progress.finish();
    let page = page?;
    if !quiet {
        page.notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    fsio::write_atomic(&args.out, as_flags(&page.html).as_bytes())?;
    let mut lines = vec![format!(
        "{}: {}, {}, {}, {}",
        args.out.display(),
        counted(page.runs, "run"),
        counted(page.caches, "cache"),
        counted(page.pictures, "picture"),
        HumanBytes(page.html.len() as u64)
    )];
    lines.extend(output::failures(&page.failures, "could not be scored"));
    print(&lines.join("\n"))?;
    Ok(if page.failures.is_empty() { Status::Done } else { Status::SomeFailed })
}

fn refuse_other_suffixes(out: &Path) -> Result<()> {
    let suffix = out.extension().unwrap_or_default().to_ascii_lowercase();
    if suffix == "html" || suffix == "htm" {
        return Ok(());
    }
    Err(Error::Mismatch {
        found: format!("{} is not the name of an HTML file", out.display()),
        remedy: "Give --out a name that ends with .html.".into(),
    })
}

fn options(args: &ReportArgs) -> Result<ReportOptions> {
    Ok(ReportOptions {
        folders: args.folders.clone(),
        before: args.before.clone(),
        data: args.data.clone(),
        images_dir: args.images.clone(),
        split: args.split.clone(),
        run_models: !args.no_models,
        max_pictures: args.max_pictures,
        // Each model in turn takes the place of the empty path.
        detector: args.detector.resolve(PathBuf::new(), NmsOptions::SCORING)?,
    })
}
