//! `logitcache issues`

use super::{
    Status,
    args::IssuesArgs,
    data::{notes, show, some_failed, with_progress},
    output,
};
use crate::{
    Result,
    issues::{self, Issue, IssuesOptions, IssuesReport},
    words::{SHOWN, counted},
};
use indicatif::HumanCount;

pub fn run(args: &IssuesArgs, quiet: bool) -> Result<Status> {
    let options = IssuesOptions {
        cache: args.cache.clone(),
        data: args.data.clone(),
        images_dir: args.images.clone(),
        method: args.method,
        kinds: args.kind.clone(),
        top: args.top,
        out: args.out.clone(),
        pictures: args.pictures,
    };
    let report = with_progress(quiet, |run| issues::issues(&options, run))?;
    notes(quiet, &report.notes);
    show(args.json, &report, || shown(&report))?;
    Ok(some_failed(&report.failures))
}

fn shown(report: &IssuesReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{}, {}; method {}",
        counted(report.images, "labelled image"),
        counted(report.labels, "label"),
        report.method.as_str()
    )];
    if report.issues.is_empty() {
        lines.push("nothing found".into());
    }
    let row = |(rank, issue): (usize, &Issue)| {
        vec![
            (rank + 1).to_string(),
            issue.kind.as_str().to_owned(),
            format!("{:.3}", issue.score),
            issue.path.clone(),
            issue.why.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = report.issues.iter().take(SHOWN).enumerate().map(row).collect();
    if !rows.is_empty() {
        lines.push(output::table(&["", "kind", "score", "image", "why"], &[true, false, true, false, false], &rows));
    }
    if report.issues.len() > SHOWN {
        lines.push(format!(
            "... and {} more (--json has them, --out writes a page)",
            HumanCount((report.issues.len() - SHOWN) as u64)
        ));
    }
    lines.extend(output::failures(&report.failures, "could not be judged: their labels cannot be read"));
    lines.extend(report.files.first().map(|page| format!("review page: {}", page.display())));
    lines
}
