//! `logitcache predict`

use super::{
    Status,
    args::PredictArgs,
    output, print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Error, Result,
    eval::NmsOptions,
    predict::{ClassCount, DETECTIONS_FILE, LABELS_FOLDER, Predict, PredictOptions, PredictReport},
    words::counted,
};
use indicatif::HumanCount;
use std::sync::atomic::Ordering;

pub fn run(args: &PredictArgs, quiet: bool) -> Result<Status> {
    let predict = Predict::prepare(options(args)?)?;
    if !quiet {
        predict.notes().iter().for_each(|note| output::note(&format!("note: {note}")));
    }
    predict.warning().iter().for_each(|warning| output::note(&format!("warning: {warning}")));
    let stop = super::stop_on_ctrl_c();
    // A bar below the lines of results would only disturb them.
    let lines_are_shown = !args.json && output::stdout_is_terminal();
    let mut progress = Progress::new(predict.num_images(), Unit::Images, quiet || lines_are_shown);
    let report = predict.run(stop, |image| {
        progress.advance(image.is_err());
        match image {
            _ if args.json => Ok(()),
            Ok(image) => print(&format!("{}: {}", image.path, show(&image.counts))),
            Err(failure) => print(&format!("{}: failed, {}", failure.path, failure.reason)),
        }
    });
    progress.finish();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&totals(&report))?;
    }
    if stop.load(Ordering::Relaxed) && !report.complete {
        let seen = report.images.len() + report.failures.len();
        let remedy = format!("{seen} of {} images were processed", report.samples);
        return Err(Error::Interrupted { remedy });
    }
    if report.images.is_empty() && !report.failures.is_empty() {
        return Err(Error::Dataset {
            path: args.pictures.first().cloned().unwrap_or_default(),
            found: format!("none of {} images could be processed", report.samples),
            remedy: "The reason for each image is shown above (with --json: among the failures). Fix the images, or \
                give others."
                .into(),
        });
    }
    Ok(if report.failures.is_empty() { Status::Done } else { Status::SomeFailed })
}

fn options(args: &PredictArgs) -> Result<PredictOptions> {
    let nms = NmsOptions { conf: args.conf, iou: args.iou, ..NmsOptions::PREDICTING };
    let detector = args.detector.resolve(args.model.clone(), nms)?;
    Ok(PredictOptions {
        detector,
        pictures: args.pictures.clone(),
        out: args.out.clone(),
        save_conf: args.save_conf,
        overwrite: args.overwrite,
    })
}

/// "person 5, car 3, bicycle 2, traffic light 1"
fn show(counts: &[ClassCount]) -> String {
    if counts.is_empty() {
        return "nothing".into();
    }
    counts.iter().map(|c| format!("{} {}", c.class, c.count)).collect::<Vec<_>>().join(", ")
}

fn totals(report: &PredictReport) -> String {
    let images = counted(report.images.len(), "image");
    let mut lines = vec![format!("total ({images}): {}", show(&report.totals))];
    if !report.failures.is_empty() {
        let failed = HumanCount(report.failures.len() as u64);
        lines.push(format!("failed: {failed} of {}", counted(report.samples, "image")));
    }
    lines.extend(output::passed_over(&report.passed_over));
    if let Some(out) = &report.out {
        lines.push(format!("written to {out}: pictures, {LABELS_FOLDER}, {DETECTIONS_FILE}"));
    }
    lines.join("\n")
}
