//! `logitcache cache`

use super::{
    Status,
    args::{CacheArgs, CacheCommand, CacheDiffArgs},
    data::with_progress,
    output, print, print_json,
};
use crate::{
    Result,
    caches::{self, CacheDiff, CacheDiffOptions, CacheMergeOptions, CacheSubsetOptions, CacheWritten, ClassAgreement},
    teach,
    words::{SHOWN, counted},
};
use indicatif::{HumanBytes, HumanCount};
use std::path::Path;

pub fn run(args: &CacheArgs, quiet: bool) -> Result<Status> {
    match &args.command {
        CacheCommand::Merge(args) => {
            if let Some(cache) = &args.shards {
                return merge_shards(args.json, cache);
            }
            let (caches, out) = (args.caches.clone(), args.out.clone().unwrap_or_default());
            let options = CacheMergeOptions { caches, ensemble: args.ensemble, out };
            written(args.json, quiet, &with_progress(quiet, |run| caches::merge(&options, run))?)
        }
        CacheCommand::Subset(args) => {
            let (cache, out) = (args.cache.clone(), args.out.clone());
            let options = CacheSubsetOptions { cache, classes: args.class.clone(), list: args.list.clone(), out };
            written(args.json, quiet, &with_progress(quiet, |run| caches::subset(&options, run))?)
        }
        CacheCommand::Diff(args) => diff(args, quiet),
    }
}

fn merge_shards(json: bool, cache: &Path) -> Result<Status> {
    let report = teach::merge_shards(cache)?;
    if json {
        print_json(&report)?;
    } else {
        let mut lines = vec![format!(
            "{}, {} in {} ({}, {})",
            counted(report.images, "image"),
            counted(report.rows, "prediction"),
            HumanBytes(report.bytes),
            report.cache.display(),
            counted(report.shards, "shard")
        )];
        lines.extend(report.content_sha256.iter().map(|digest| format!("content sha256 {digest}")));
        lines.extend(output::failures(&report.failures, "failed, not in the cache"));
        print(&lines.join("\n"))?;
    }
    if !report.complete {
        return Err(super::build::no_image(cache, report.failures.len() as u64));
    }
    Ok(if report.failures.is_empty() { Status::Done } else { Status::SomeFailed })
}

fn written(json: bool, quiet: bool, report: &CacheWritten) -> Result<Status> {
    if !quiet {
        report.notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    if json {
        print_json(report)?;
    } else {
        print(&format!(
            "{} ({} labelled), {}, {} in {}\ncontent sha256 {}",
            counted(report.images, "image"),
            HumanCount(report.labelled_images),
            counted(report.rows, "prediction"),
            HumanBytes(report.bytes),
            report.cache.display(),
            report.content_sha256
        ))?;
    }
    Ok(Status::Done)
}

fn diff(args: &CacheDiffArgs, quiet: bool) -> Result<Status> {
    let options = CacheDiffOptions { a: args.a.clone(), b: args.b.clone(), top: args.top };
    let report = with_progress(quiet, |run| caches::diff(&options, run))?;
    if args.json {
        print_json(&report)?
    } else {
        print(&shown(&report).join("\n"))?
    }
    Ok(Status::Done)
}

fn shown(report: &CacheDiff) -> Vec<String> {
    let mut lines = vec![format!(
        "{} in both, {} only in the first, {} only in the second, {} with other labels",
        counted(report.images_in_both, "image"),
        HumanCount(report.images_only_in_a),
        HumanCount(report.images_only_in_b),
        HumanCount(report.images_with_other_labels)
    )];
    if report.same_content {
        lines.push("the content is the same to the last bit".into());
    }
    lines.push(format!(
        "mean disagreement {:.3} ({} against {}; boxes over 0.25)",
        report.mean_disagreement, report.teacher_a, report.teacher_b
    ));
    let mean = |value: Option<f64>, sign: bool| match value {
        Some(value) if sign => format!("{value:+.3}"),
        Some(value) => format!("{value:.3}"),
        None => String::new(),
    };
    let row = |class: &ClassAgreement| {
        let numbers = [class.both, class.only_a, class.only_b, class.other_class_in_b, class.other_class_in_a];
        let numbers = numbers.map(|number| HumanCount(number).to_string());
        let means = [mean(class.mean_iou, false), mean(class.mean_score_difference, true)];
        [vec![class.class.clone()], numbers.to_vec(), means.to_vec()].concat()
    };
    let head = ["class", "both", "only first", "only second", "other in second", "other in first", "IoU", "score"];
    let right = [false, true, true, true, true, true, true, true];
    lines.push(output::table(&head, &right, &report.classes.iter().take(SHOWN).map(row).collect::<Vec<_>>()));
    if !report.images.is_empty() {
        let rows = report.images.iter().take(SHOWN).map(|image| {
            let numbers = [image.both, image.only_a, image.only_b].map(|number| HumanCount(number).to_string());
            [vec![image.path.clone(), format!("{:.3}", image.disagreement)], numbers.to_vec()].concat()
        });
        let head = ["image", "disagreement", "both", "only first", "only second"];
        lines.push(output::table(&head, &[false, true, true, true, true], &rows.collect::<Vec<_>>()));
    }
    if report.classes.len() > SHOWN || report.images.len() > SHOWN {
        lines.push("(--json has all)".into());
    }
    lines
}
