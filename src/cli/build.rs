//! `logitcache build`

use super::{
    Status,
    args::BuildArgs,
    output, print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Error, Result,
    augment::{Views, with_views},
    dataset::{DataSource, NameMap},
    eval::TeacherSight,
    teach::{Build, BuildOptions, BuildReport, ShardReport},
    text,
    types::{LogitType, Profile},
    words::counted,
};
use indicatif::{HumanBytes, HumanCount};
use std::{fs, num::NonZeroUsize, path::Path, sync::atomic::Ordering};

pub fn run(args: &BuildArgs, quiet: bool) -> Result<Status> {
    // First of all: a signal that comes while the build is prepared is no other than one that comes later.
    let stop = super::stop_on_ctrl_c();
    let build = Build::prepare(options(args)?).map_err(|error| with_other_ways(error, args))?;
    if !quiet {
        output::note(&build.plan().to_string());
    }
    build.plan().warning.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let per_image = u64::from(build.plan().views) + 1;
    let unit = if per_image == 1 { Unit::Images } else { Unit::Views };
    let mut progress = Progress::new(build.plan().pending * per_image, unit, quiet);
    let report = build.run(stop, |failed| progress.advance(failed));
    progress.finish();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&summary(&report))?;
    }
    let finished = report.shard.as_ref().map_or(report.complete, |shard| shard.recorded);
    if stop.load(Ordering::Relaxed) && !finished {
        let (done, of) = match &report.shard {
            None => ("in the cache", report.samples),
            Some(shard) => ("done", (shard.end_image_id - shard.first_image_id) as u64),
        };
        let remedy = format!("{} of {} are {done}; run the same command to go on", report.images, counted(of, "image"));
        return Err(Error::Interrupted { remedy });
    }
    // A shard may be without images; all shards together may not.
    let is_empty = match &report.shard {
        None => report.images == 0,
        Some(shard) => shard.published && !report.complete,
    };
    if is_empty {
        return Err(no_image(&args.data, report.samples));
    }
    Ok(if report.failures.is_empty() { Status::Done } else { Status::SomeFailed })
}

/// That every image failed.
pub(super) fn no_image(path: &Path, images: u64) -> Error {
    Error::Dataset {
        path: path.to_owned(),
        found: format!("none of {images} images could be used; the cache holds no images and is not complete"),
        remedy: "The reason for each image is shown above (with --json: among the failures). Fix the images or their \
                 labels, then run the same command again."
            .into(),
    }
}

/// What can be done where the teacher lacks classes, beside naming them: docs/classes.md.
fn with_other_ways(error: Error, args: &BuildArgs) -> Error {
    let Error::Classes { found, remedy } = error else { return error };
    let mut source = format!("--data {}", args.data.display());
    if let Some(dir) = &args.images {
        source += &format!(" --images {}", dir.display());
    }
    if args.split != "train" {
        source += &format!(" --split {}", args.split);
    }
    Error::Classes {
        found,
        remedy: format!(
            "{remedy} Where the model's own names are wrong: --names FILE.\n  \
             Or train a teacher on your labels first, and build with it:\n    \
             logitcache train --distill none {source} --model yolov8s.pt --out teacher\n    \
             logitcache build --teacher teacher/best.onnx {source} --out {out}\n  \
             Or build without labels (--ignore-labels); a student learns from such a cache with --cls-loss bckd.\n  \
             See docs/classes.md.",
            out = args.out.display()
        ),
    }
}

/// What is kept where the user says nothing (`docs/benchmarks.md`, "Size against fidelity").
const DEFAULT_COVERAGE: f64 = 0.9998;
const DEFAULT_TOP_K: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2999);

fn options(args: &BuildArgs) -> Result<BuildOptions> {
    refuse_selection_of_every_anchor(args)?;
    Ok(BuildOptions {
        teacher: args.teacher.clone(),
        source: DataSource { data: args.data.clone(), images_dir: args.images.clone(), split: args.split.clone() },
        out: args.out.clone(),
        reading: args.reading.reading(),
        imgsz: args.imgsz,
        batch: args.batch,
        jobs: args.runtime.jobs(),
        provider: args.runtime.provider,
        ort_lib: args.runtime.ort_lib.clone(),
        min_score: args.min_score.unwrap_or(0.0),
        coverage: args.coverage.unwrap_or(DEFAULT_COVERAGE),
        class_coverage: args.class_coverage,
        logits: args.logits.unwrap_or(LogitType::Bits8Dfl),
        top_k: args.top_k.unwrap_or(DEFAULT_TOP_K),
        store: args.store,
        profile: args.profile,
        images_per_part: args.images_per_part,
        views: Views { count: args.views, seed: args.seed },
        names: args.names.as_deref().map(read_names).transpose()?,
        class_map: NameMap::new(args.map.iter().cloned())?,
        ignore_labels: args.ignore_labels,
        missing_labels: args.missing_labels,
        overwrite: args.overwrite,
        shard: args.shard,
    })
}

/// A dense cache holds every anchor as it is: an option that says otherwise would be ignored.
fn refuse_selection_of_every_anchor(args: &BuildArgs) -> Result<()> {
    let given = [
        ("--coverage", args.coverage.is_some_and(|share| share < 1.0)),
        ("--class-coverage", args.class_coverage.is_some_and(|share| share < 1.0)),
        ("--top-k", args.top_k.is_some()),
        ("--min-score", args.min_score.is_some_and(|score| score > 0.0)),
        ("--logits", args.logits.is_some_and(|logits| logits != LogitType::Float16)),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((option, _)) if args.profile == Profile::Dense => Err(Error::Mismatch {
            found: format!("{option} was given, but --profile dense keeps every anchor, its logits as float16"),
            remedy: format!("Leave out {option}, or --profile dense."),
        }),
        _ => Ok(()),
    }
}

/// Class names, one a line; empty lines at the end do not count.
pub fn read_names(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read class names from", e))?;
    let refuse = |found: String, remedy: &str| Error::Dataset { path: path.to_owned(), found, remedy: remedy.into() };
    let text =
        text::decode(&bytes).map_err(|found| refuse(format!("this is not text: {found}"), "Save it as UTF-8."))?;
    let names: Vec<String> = text::rows(text.trim_end()).map(|line| line.trim().to_owned()).collect();
    match names.iter().position(String::is_empty) {
        None if !names.is_empty() => Ok(names),
        found => Err(refuse(
            found.map_or_else(|| "no class names".into(), |i| format!("line {} is empty", i + 1)),
            "Write one class name a line, in the order of the model's classes.",
        )),
    }
}

fn summary(report: &BuildReport) -> String {
    let mut lines = vec![format!(
        "{}{}, {}, {} in {} ({})",
        counted(report.images, "image"),
        with_views(report.views),
        counted(report.rows, "prediction"),
        HumanBytes(report.bytes),
        report.cache.display(),
        match report.images_this_run {
            0 => "nothing was left to do".to_owned(),
            _ => format!("{:.1} images/s", report.images_per_s),
        }
    )];
    lines.extend(report.shard.as_ref().map(shard_in_words));
    if let Some(digest) = &report.content_sha256 {
        lines.push(format!("content sha256 {digest}"));
    }
    lines.extend(output::failures(&report.failures, "failed, not in the cache"));
    lines.extend(output::passed_over(&report.passed_over));
    lines.extend(report.labels_left_out.iter().map(|note| format!("note: {note}")));
    lines.extend(report.teacher.iter().flat_map(seen));
    lines.join("\n")
}

fn shard_in_words(shard: &ShardReport) -> String {
    let state = match shard {
        ShardReport { published: true, .. } => "finished; all shards are there, and the cache is published".to_owned(),
        ShardReport { recorded: true, damaged: Some(damaged), .. } => format!(
            "finished; the cache is not published yet, because shard {} is damaged ({}: {}): build it again with --shard {}/{}",
            HumanCount(damaged.number.into()),
            damaged.path.display(),
            damaged.found,
            damaged.number,
            shard.count
        ),
        ShardReport { recorded: true, missing_shards, .. } => format!(
            "finished; {} {} missing, the last one publishes the cache",
            counted(*missing_shards, "other shard"),
            if *missing_shards == 1 { "is" } else { "are" }
        ),
        _ => "not finished".to_owned(),
    };
    format!("shard {} of {}: {state}", HumanCount(shard.number.into()), HumanCount(shard.count.into()))
}

/// What the teacher sees, a line or two, and that it is next to nothing, where it is.
fn seen(teacher: &TeacherSight) -> Vec<String> {
    let (images, best) = (counted(teacher.images, "image"), &teacher.best_scores);
    let mut lines = vec![format!(
        "teacher   best score of each image: lowest {:.3}, median {:.3}, highest {:.3}; over 0.25 on {} of {images}, \
         over 0.5 on {}",
        best.min,
        best.median,
        best.max,
        HumanCount(teacher.images_over_25),
        HumanCount(teacher.images_over_50),
    )];
    lines.extend(teacher.map_50.map(|map_50| {
        let labelled = counted(teacher.labelled_images, "labelled image");
        format!(
            "          mAP@0.5 of the cached predictions, against the labels of {labelled}: {map_50:.3} (an upper \
             bound if the teacher was trained on them)"
        )
    }));
    lines.extend(teacher.warning.iter().map(|warning| format!("warning: {warning}")));
    lines
}
