//! `logitcache data`

use super::{
    Status,
    args::{
        DataArgs, DataCheckArgs, DataCommand, DataConvertArgs, DataDedupArgs, DataDiffArgs, DataMergeArgs, DataOutArgs,
        DataSourceArgs, DataSplitArgs, DataStatsArgs, DataSubsetArgs,
    },
    output, print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Result,
    toolkit::{
        self, CheckOptions, CheckReport, ConvertOptions, DataOptions, DataSet, DedupOptions, DedupReport, DiffReport,
        Finding, Format, Manifest, MergeOptions, Run, Severity, SplitOptions, Stats, SubsetOptions, WriteOptions,
    },
    types::Failure,
    words::{SHOWN, counted},
};
use indicatif::HumanCount;
use serde::Serialize;
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Cases of a finding, groups and losses that are shown.
const CASES_SHOWN: usize = 3;

pub fn run(args: &DataArgs, quiet: bool) -> Result<Status> {
    match &args.command {
        DataCommand::Check(args) => check(args, quiet),
        DataCommand::Stats(args) => stats(args, quiet),
        DataCommand::Convert(args) => convert(args, quiet),
        DataCommand::Merge(args) => merge(args, quiet),
        DataCommand::Split(args) => split(args, quiet),
        DataCommand::Subset(args) => subset(args, quiet),
        DataCommand::Dedup(args) => dedup(args, quiet),
        DataCommand::Diff(args) => diff(args, quiet),
    }
}

fn check(args: &DataCheckArgs, quiet: bool) -> Result<Status> {
    let data = open(&args.source, quiet)?;
    let fix = args.fix.clone().map(|out| WriteOptions { out, to: None, link: args.link });
    let options = CheckOptions { data, distance: args.near.distance, fix };
    let report = with_progress(quiet, |run| toolkit::check(&options, run))?;
    show(args.json, &report, || findings(&report))?;
    Ok(if report.errors > 0 { Status::SomeFailed } else { Status::Done })
}

fn stats(args: &DataStatsArgs, quiet: bool) -> Result<Status> {
    let data = open(&args.source, quiet)?;
    let report = with_progress(quiet, |run| toolkit::stats(&data, run))?;
    show(args.json, &report, || counts(&report))?;
    Ok(some_failed(&report.failures))
}

fn convert(args: &DataConvertArgs, quiet: bool) -> Result<Status> {
    let options = ConvertOptions { data: open(&args.source, quiet)?, write: to(&args.out, Some(args.to)) };
    written(args.json, &with_progress(quiet, |run| toolkit::convert(&options, run))?)
}

fn merge(args: &DataMergeArgs, quiet: bool) -> Result<Status> {
    let data = args.data.iter().map(|data| open_whole(data.clone(), quiet)).collect::<Result<Vec<_>>>()?;
    let options = MergeOptions { data, map: args.map.clone(), write: to(&args.out, args.to) };
    written(args.json, &with_progress(quiet, |run| toolkit::merge(&options, run))?)
}

fn split(args: &DataSplitArgs, quiet: bool) -> Result<Status> {
    let options = SplitOptions {
        data: open(&args.source, quiet)?,
        parts: args.part.clone(),
        seed: args.seed,
        distance: args.near.distance,
        write: to(&args.out, args.to),
    };
    written(args.json, &with_progress(quiet, |run| toolkit::split(&options, run))?)
}

fn subset(args: &DataSubsetArgs, quiet: bool) -> Result<Status> {
    let options = SubsetOptions {
        data: open(&args.source, quiet)?,
        classes: args.class.clone(),
        list: args.list.clone(),
        write: to(&args.out, args.to),
    };
    written(args.json, &with_progress(quiet, |run| toolkit::subset(&options, run))?)
}

fn dedup(args: &DataDedupArgs, quiet: bool) -> Result<Status> {
    let data = open(&args.source, quiet)?;
    let write = args.out.clone().map(|out| WriteOptions { out, to: args.to, link: args.link });
    let options = DedupOptions { data, distance: args.near.distance, write };
    let report = with_progress(quiet, |run| toolkit::dedup(&options, run))?;
    show(args.json, &report, || groups(&report))?;
    Ok(some_failed(&report.failures))
}

fn diff(args: &DataDiffArgs, quiet: bool) -> Result<Status> {
    let (a, b) = (open_whole(args.a.clone(), quiet)?, open_whole(args.b.clone(), quiet)?);
    let report = with_progress(quiet, |run| toolkit::diff(&a, &b, run))?;
    show(args.json, &report, || differences(&report))?;
    Ok(some_failed(&report.failures))
}

fn open(source: &DataSourceArgs, quiet: bool) -> Result<DataSet> {
    let options =
        DataOptions { data: source.data.clone(), images_dir: source.images.clone(), splits: source.split.clone() };
    noted(DataSet::open(&options)?, quiet)
}

fn open_whole(data: PathBuf, quiet: bool) -> Result<DataSet> {
    noted(DataSet::open(&DataOptions { data, ..DataOptions::default() })?, quiet)
}

fn noted(data: DataSet, quiet: bool) -> Result<DataSet> {
    notes(quiet, &data.notes);
    Ok(data)
}

pub(super) fn to(args: &DataOutArgs, format: Option<Format>) -> WriteOptions {
    WriteOptions { out: args.out.clone(), to: format, link: args.link }
}

/// Runs with a progress bar that begins anew with each pass over the images.
pub(super) fn with_progress<T>(quiet: bool, work: impl FnOnce(&Run<'_>) -> Result<T>) -> Result<T> {
    let stop = super::stop_on_ctrl_c();
    let progress: Mutex<Option<Progress>> = Mutex::new(None);
    let locked = || -> MutexGuard<'_, Option<Progress>> { progress.lock().unwrap_or_else(PoisonError::into_inner) };
    let result = work(&Run {
        stop,
        total: &|images| {
            let before = locked().replace(Progress::new(images, Unit::Images, quiet));
            before.into_iter().for_each(Progress::finish);
        },
        done: &|failed| locked().iter_mut().for_each(|progress| progress.advance(failed)),
    });
    locked().take().into_iter().for_each(Progress::finish);
    result
}

/// Prints what a user should know of a report.
pub(super) fn notes(quiet: bool, notes: &[String]) {
    if !quiet {
        notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
}

pub(super) fn show(json: bool, report: &impl Serialize, text: impl FnOnce() -> Vec<String>) -> Result<()> {
    if json { print_json(report) } else { print(&text().join("\n")) }
}

pub(super) fn some_failed(failures: &[Failure]) -> Status {
    if failures.is_empty() { Status::Done } else { Status::SomeFailed }
}

fn written(json: bool, manifest: &Manifest) -> Result<Status> {
    show(json, manifest, || summary(manifest))?;
    Ok(some_failed(&manifest.failures))
}

pub(super) fn summary(manifest: &Manifest) -> Vec<String> {
    let split = |split: &toolkit::SplitCount| {
        let name = if manifest.splits.len() > 1 { format!("{}: ", split.name) } else { String::new() };
        let background = match split.background_images {
            0 => String::new(),
            some => format!(" ({} without objects)", HumanCount(some)),
        };
        let (images, boxes) = (counted(split.images, "image"), counted(split.boxes, "box"));
        format!("  {name}{images}{background}, {boxes}")
    };
    let mut lines = vec![format!(
        "{} ({}, {})",
        manifest.data.display(),
        manifest.format,
        counted(manifest.classes.len(), "class")
    )];
    lines.extend(manifest.splits.iter().map(split));
    let placed = manifest.image_files;
    lines.push(match (placed.linked, placed.copied) {
        (linked, 0) => format!("{} linked, not copied", counted(linked, "image file")),
        (0, copied) => format!("{} copied", counted(copied, "image file")),
        (linked, copied) => format!("{} linked, {} copied", counted(linked, "image file"), HumanCount(copied)),
    });
    if manifest.renamed > 0 {
        lines.push(format!("{} renamed (sources.csv)", counted(manifest.renamed, "image")));
    }
    for loss in &manifest.losses {
        let shown: Vec<&str> = loss.images.iter().take(CASES_SHOWN).map(String::as_str).collect();
        let more = if loss.images.len() > shown.len() { ", ..." } else { "" };
        lines.push(format!("{} {}: {}{more}", HumanCount(loss.count), loss.what, shown.join(", ")));
    }
    lines.extend(output::failures(&manifest.failures, "could not be read, not in the new data set"));
    lines
}

fn findings(report: &CheckReport) -> Vec<String> {
    let row = |finding: &Finding| {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let first = finding.cases.first().map_or_else(String::new, |case| {
            let split = case.split.as_ref().map_or_else(String::new, |split| format!("{split}: "));
            let path = if case.path.is_empty() { String::new() } else { format!("{}: ", case.path) };
            format!("{split}{path}{}", case.words)
        });
        vec![severity.to_owned(), finding.kind.words().to_owned(), HumanCount(finding.count).to_string(), first]
    };
    let mut lines = vec![format!("{}, {}", counted(report.images, "image"), counted(report.boxes, "box"))];
    if report.findings.is_empty() {
        lines.push("nothing found".into());
    } else {
        let rows: Vec<Vec<String>> = report.findings.iter().map(row).collect();
        lines.push(output::table(&["", "what", "count", "first"], &[false, false, true, false], &rows));
        lines.push(format!(
            "{}, {}; --json names every one",
            counted(report.errors, "error"),
            counted(report.warnings, "warning")
        ));
    }
    if let Some(fixed) = &report.fixed {
        lines.push("mended copy, with every change in changes.csv:".into());
        lines.extend(summary(fixed));
    }
    lines
}

fn counts(report: &Stats) -> Vec<String> {
    let mut lines =
        vec![format!("{}, {} ({})", counted(report.images, "image"), counted(report.boxes, "box"), report.format)];
    let head = ["split", "images", "without objects", "not annotated", "boxes", "crowd", "difficult"];
    let numbers = |numbers: &[u64]| numbers.iter().map(|&number| HumanCount(number).to_string()).collect::<Vec<_>>();
    let rows = report.splits.iter().map(|s| {
        let row = [s.images, s.background_images, s.unlabelled_images, s.boxes, s.crowd_regions, s.difficult_objects];
        [vec![s.name.clone()], numbers(&row)].concat()
    });
    let right = [false, true, true, true, true, true, true];
    lines.push(output::table(&head, &right, &rows.collect::<Vec<_>>()));
    if !report.classes.is_empty() {
        let by_split: Vec<&str> = report.splits.iter().map(|split| split.name.as_str()).collect();
        let by_split = if by_split.len() > 1 { by_split } else { Vec::new() };
        let head = [&["class", "boxes", "images"][..], &by_split, &["small", "medium", "large"]].concat();
        let rows = report.classes.iter().map(|class| {
            let in_splits = if by_split.is_empty() { &[][..] } else { &class.boxes_by_split };
            let sizes = [class.sizes.small, class.sizes.medium, class.sizes.large];
            let row = [&[class.boxes, class.images][..], in_splits, &sizes].concat();
            [vec![format!("{} {}", class.id, class.name)], numbers(&row)].concat()
        });
        let right: Vec<bool> = (0..head.len()).map(|at| at > 0).collect();
        lines.push(output::table(&head, &right, &rows.collect::<Vec<_>>()));
    }
    let listed = |what: &str, all: &mut dyn Iterator<Item = (String, u64)>| {
        let parts: Vec<String> = all.map(|(name, count)| format!("{name}: {}", HumanCount(count))).collect();
        (!parts.is_empty()).then(|| format!("{what}: {}", parts.join("; ")))
    };
    let buckets = |all: &[toolkit::Bucket]| all.iter().map(|b| (b.range.clone(), b.count)).collect::<Vec<_>>();
    if report.boxes > 0 {
        lines.extend(listed("width to height of boxes", &mut buckets(&report.aspects).into_iter()));
        lines.extend(listed("objects in an image", &mut buckets(&report.objects_per_image).into_iter()));
    }
    let together = report.together.iter().take(5).map(|pair| (format!("{} with {}", pair.a, pair.b), pair.images));
    lines.extend(listed("most often together", &mut { together }));
    let sizes =
        report.image_sizes.iter().take(5).map(|size| (format!("{} x {}", size.width, size.height), size.images));
    let different = counted(report.different_image_sizes, "image size");
    lines.extend(listed(&format!("{different}, most often"), &mut { sizes }));
    lines.extend(output::failures(&report.failures, "could not be read, not counted"));
    lines
}

fn groups(report: &DedupReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} in {}, {} of them exact; {} between splits",
        counted(report.images, "image"),
        counted(report.duplicates, "duplicate"),
        counted(report.groups.len(), "group"),
        HumanCount(report.exact_duplicates),
        counted(report.leaks.len(), "leak")
    )];
    let shown = |names: &[String]| {
        let more = if names.len() > CASES_SHOWN {
            format!(", ... ({})", HumanCount(names.len() as u64))
        } else {
            String::new()
        };
        format!("  {}{more}", names.iter().take(CASES_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "))
    };
    let mut largest: Vec<Vec<String>> =
        report.groups.iter().map(|group| group.members.iter().map(|member| member.path.clone()).collect()).collect();
    largest.sort_by_key(|names| std::cmp::Reverse(names.len()));
    if !largest.is_empty() {
        lines.push("groups, the largest first:".into());
        lines.extend(largest.iter().take(SHOWN).map(|names| shown(names)));
    }
    if !report.leaks.is_empty() {
        lines.push("between splits:".into());
        lines.extend(
            report.leaks.iter().take(SHOWN).map(|leak| format!("{} ({})", shown(&leak.images), leak.splits.join(", "))),
        );
    }
    if largest.len() > SHOWN || report.leaks.len() > SHOWN {
        lines.push("(--json has all)".into());
    }
    lines.extend(output::failures(&report.failures, "could not be read, not compared"));
    report.written.iter().for_each(|manifest| lines.extend(summary(manifest)));
    lines
}

fn differences(report: &DiffReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{} in both, {} the same",
        counted(report.images_in_both, "image"),
        counted(report.same_boxes, "box")
    )];
    if report.same {
        lines.push("nothing differs".into());
        return lines;
    }
    let mut list = |what: &str, names: &[String]| {
        if !names.is_empty() {
            let more = if names.len() > CASES_SHOWN { ", ..." } else { "" };
            let first: Vec<&str> = names.iter().take(CASES_SHOWN).map(String::as_str).collect();
            lines.push(format!("{what}: {} ({}{more})", HumanCount(names.len() as u64), first.join(", ")));
        }
    };
    list("classes only in the first", &report.classes_only_in_a);
    list("classes only in the second", &report.classes_only_in_b);
    list("images only in the first", &report.images_only_in_a);
    list("images only in the second", &report.images_only_in_b);
    let moved: Vec<String> =
        report.moved_images.iter().map(|m| format!("{} from {} to {}", m.path, m.from, m.to)).collect();
    list("images in another split", &moved);
    if report.class_order_differs {
        lines.push("the classes stand in another order".into());
    }
    if !report.classes.is_empty() {
        let row = |class: &toolkit::ClassDiff| {
            let numbers = [class.added, class.removed, class.moved, class.relabelled];
            [vec![class.name.clone()], numbers.iter().map(|&n| HumanCount(n).to_string()).collect()].concat()
        };
        let rows: Vec<Vec<String>> = report.classes.iter().map(row).collect();
        let head = ["class", "added", "removed", "moved", "other class"];
        lines.push(output::table(&head, &[false, true, true, true, true], &rows));
        let names: Vec<&str> = report.images.iter().take(CASES_SHOWN).map(|image| image.path.as_str()).collect();
        let more = if report.images.len() > names.len() { ", ... (--json has all)" } else { "" };
        lines.push(format!("{} with changes: {}{more}", counted(report.images.len(), "image"), names.join(", ")));
    }
    lines.extend(output::failures(&report.failures, "could not be compared"));
    lines
}
