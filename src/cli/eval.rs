//! `logitcache eval`

use super::{
    Status,
    args::EvalArgs,
    output::{self, table},
    print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Error, Result,
    dataset::{DataSource, NameMap},
    eval::{Eval, EvalOptions, EvalReport, NmsOptions, Scores},
    fsio,
    outputs::{self, OutputFile},
    words::counted,
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// What `--out` puts into its folder.
const FILES: [(&str, OutputFile); 3] =
    [("eval.json", OutputFile::EvalJson), ("eval.csv", OutputFile::EvalCsv), ("eval.md", OutputFile::EvalMarkdown)];

/// Classes shown on the terminal; `--json` gives all.
const CLASSES_SHOWN: usize = 20;

pub fn run(args: &EvalArgs, quiet: bool) -> Result<Status> {
    if let Some(out) = &args.out {
        let inputs = || args.model.iter().chain([&args.data]).chain(&args.detector.names).map(PathBuf::as_path);
        let refuse = |(name, kind)| {
            outputs::refuse_input(&out.join(name), inputs())?;
            outputs::refuse_foreign_file(&out.join(name), kind, args.overwrite)
        };
        FILES.into_iter().try_for_each(refuse)?;
    }
    let eval = Eval::prepare(options(args)?)?;
    if let Some(out) = &args.out {
        // Before the work, so that a place that cannot be written to is told at once.
        fsio::create_folder(out)?;
    }
    if !quiet {
        eval.notes().iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    eval.warnings().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let stop = super::stop_on_ctrl_c();
    let mut progress = Progress::new(eval.num_images(), Unit::Images, quiet);
    let told = eval.notes().len();
    let report = eval.run(stop, |failed| progress.advance(failed));
    progress.finish();
    let report = report?;
    if !quiet {
        report.notes.iter().skip(told).for_each(|note| output::note(&format!("note: {note}")));
    }
    if let Some(out) = &args.out {
        save(&report, out)?;
    }
    if args.json {
        print_json(&report)?
    } else {
        print(&show(&report))?
    }
    Ok(if report.failures.is_empty() { Status::Done } else { Status::SomeFailed })
}

fn options(args: &EvalArgs) -> Result<EvalOptions> {
    // Each model in turn; clap asks for at least one.
    let first = args.model.first().cloned().unwrap_or_default();
    let nms = NmsOptions { conf: args.conf, iou: args.iou, ..NmsOptions::SCORING };
    Ok(EvalOptions {
        models: args.model.clone(),
        source: DataSource { data: args.data.clone(), images_dir: args.images.clone(), split: args.split.clone() },
        class_map: NameMap::new(args.map.iter().cloned())?,
        missing_labels: args.missing_labels,
        detector: args.detector.resolve(first, nms)?,
        latency_runs: args.latency_runs,
    })
}

/// The report in three forms.
fn save(report: &EvalReport, out: &Path) -> Result<()> {
    let [json, csv, markdown] = FILES.map(|(name, _)| out.join(name));
    let text = serde_json::to_string_pretty(report).map_err(|e| Error::io(&json, "write to", io::Error::other(e)))?;
    fsio::write_atomic(&json, (text + "\n").as_bytes())?;
    fsio::write_atomic(&csv, report.to_csv().as_bytes())?;
    Ok(fsio::write_atomic(&markdown, report.to_markdown().as_bytes())?)
}

fn show(report: &EvalReport) -> String {
    let (head, rows) = report.table();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let right: Vec<bool> = (0..head.len()).map(|column| column > 0).collect();
    let mut lines = report.captions();
    lines.extend([String::new(), table(&head, &right, &rows)]);
    if let [model] = report.models.as_slice() {
        lines.extend([String::new(), classes(&model.scores)]);
    }
    lines.extend(output::passed_over(&report.passed_over));
    if !report.failures.is_empty() {
        lines.push(String::new());
        lines.extend(output::failures(&report.failures, "failed, not in the scores"));
    }
    lines.join("\n")
}

/// The classes with objects, the most frequent first.
fn classes(scores: &Scores) -> String {
    let mut classes: Vec<_> = scores.classes.iter().filter(|class| class.objects > 0).collect();
    classes.sort_by(|a, b| b.objects.cmp(&a.objects).then(a.class_id.cmp(&b.class_id)));
    let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
    let rows: Vec<Vec<String>> = classes
        .iter()
        .take(CLASSES_SHOWN)
        .map(|c| {
            let numbers = [c.ap_50, c.ap, c.precision, c.recall].map(number);
            [c.name.clone(), c.objects.to_string()].into_iter().chain(numbers).collect()
        })
        .collect();
    let head = ["class", "objects", "AP@0.5", "AP@0.5:0.95", "precision", "recall"];
    let mut text = table(&head, &[false, true, true, true, true, true], &rows);
    if classes.len() > CLASSES_SHOWN {
        text += &format!("\n... {} more (--json has all)", counted(classes.len() - CLASSES_SHOWN, "class"));
    }
    text
}
