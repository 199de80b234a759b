//! `logitcache label`

use super::{
    Status,
    args::LabelArgs,
    data::{notes, show, some_failed, summary, to, with_progress},
    output,
};
use crate::{
    Result,
    label::{self, ClassLabelled, LabelOptions, LabelReport, Labelled, Threshold},
    words::counted,
};
use indicatif::HumanCount;

pub fn run(args: &LabelArgs, quiet: bool) -> Result<Status> {
    let options = LabelOptions {
        cache: args.cache.clone(),
        data: args.data.clone(),
        images_dir: args.images.clone(),
        labelled: args.labelled.clone(),
        list: args.list.clone(),
        threshold: args.conf.map_or(Threshold::Precision(args.precision), Threshold::Score),
        uncertain: if args.uncertain < 1.0 { args.uncertain } else { f64::INFINITY },
        add_missing: args.add_missing,
        write: to(&args.out, Some(args.to)),
    };
    let report = with_progress(quiet, |run| label::label(&options, run))?;
    notes(quiet, &report.notes);
    show(args.json, &report, || shown(&report))?;
    Ok(some_failed(&report.data_set.failures))
}

fn shown(report: &LabelReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{} labelled by the teacher ({} without objects), {} as people labelled them",
        counted(report.pseudo_labelled_images, "image"),
        HumanCount(report.empty_images),
        HumanCount(report.labelled_images)
    )];
    if report.calibration_images > 0 {
        lines.push(format!(
            "calibrated by {}; measured there, each part by thresholds of the others",
            counted(report.calibration_images, "labelled image")
        ));
    }
    let head = ["class", "lowest score", "labels", "uncertain", "expected precision", "measured", "95 %", "recall"];
    let right = [false, true, true, true, true, true, true, true];
    // A class of which nothing is known would only make the table long.
    let known = |class: &&ClassLabelled| {
        let own = &class.labelled;
        own.labels + own.uncertain > 0 || own.measured.is_some_and(|measured| measured.boxes + measured.labels > 0)
    };
    let rows = report.classes.iter().filter(known).map(|class| row(&class.name, class.conf, &class.labelled));
    let rows: Vec<Vec<String>> = rows.chain([row("all", None, &report.total)]).collect();
    lines.push(output::table(&head, &right, &rows));
    if report.other_classes > 0 {
        lines.push(format!(
            "{} left out: of classes that the data set does not have",
            counted(report.other_classes, "box")
        ));
    }
    lines.extend(summary(&report.data_set));
    lines.push(format!("every box of the teacher: {}", report.data_set.out.join(label::TABLE).display()));
    lines
}

fn row(name: &str, conf: Option<f64>, own: &Labelled) -> Vec<String> {
    let share = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    let measured = own.measured.as_ref();
    let interval = measured.and_then(|measured| measured.precision_95);
    vec![
        name.to_owned(),
        share(conf),
        HumanCount(own.labels).to_string(),
        HumanCount(own.uncertain).to_string(),
        share(own.expected_precision),
        share(measured.and_then(|measured| measured.precision)),
        interval.map_or_else(String::new, |[low, high]| format!("{low:.3} to {high:.3}")),
        share(measured.and_then(|measured| measured.recall)),
    ]
}
