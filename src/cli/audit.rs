//! `logitcache audit`

use super::{
    Status,
    args::AuditArgs,
    output::{self, table},
    print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Result,
    audit::{Audit, AuditOptions, AuditReport},
    cache::Manifest,
    dataset::DataSource,
    words::counted,
};
use indicatif::HumanCount;
use std::{num::NonZeroUsize, thread};

/// Findings shown on the terminal; `--json` gives all.
const FINDINGS_SHOWN: usize = 20;

pub fn run(args: &AuditArgs, quiet: bool) -> Result<Status> {
    let audit = Audit::prepare(options(args)?)?;
    let stop = super::stop_on_ctrl_c();
    let mut progress = Progress::new(audit.num_images(), Unit::Images, quiet);
    let report = audit.run(stop, |failed| progress.advance(failed));
    progress.finish();
    let report = report?;
    if args.json {
        print_json(&report)?
    } else {
        print(&show(&report))?
    }
    Ok(if report.passed { Status::Done } else { Status::SomeFailed })
}

fn options(args: &AuditArgs) -> Result<AuditOptions> {
    let source = match &args.data {
        None => None,
        Some(data) => {
            let split = Manifest::load(&args.cache)?.dataset.split;
            Some(DataSource { data: data.clone(), images_dir: args.images.clone(), split })
        }
    };
    Ok(AuditOptions {
        cache: args.cache.clone(),
        teacher: args.teacher.clone(),
        student: args.student.clone(),
        sample: NonZeroUsize::new(args.sample),
        temperature: args.temperature,
        min_cosine: args.min_cosine,
        source,
        jobs: args.jobs.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        provider: args.provider.into(),
        ort_lib: args.ort_lib.clone(),
    })
}

fn show(report: &AuditReport) -> String {
    let mut lines = vec![
        format!(
            "{} of {} of {} against the live teacher {}; student: {}; T {}",
            HumanCount(report.images),
            counted(report.images_in_cache, "image"),
            report.cache,
            report.teacher,
            report.student,
            report.temperature
        ),
        String::new(),
        "cosine and relative error of the gradient with respect to the student's logits, cache against live teacher"
            .into(),
    ];
    let rows: Vec<Vec<String>> = report
        .terms
        .iter()
        .map(|t| {
            let cosines = [t.cosine_mean, t.cosine_p5, t.cosine_min, t.cosine_batch].map(|v| format!("{v:.6}"));
            let errors = [t.relative_error_mean, t.relative_error_p95, t.relative_error_max].map(|v| format!("{v:.5}"));
            [t.term.clone()].into_iter().chain(cosines).chain(errors).collect()
        })
        .collect();
    let head = ["loss", "cosine mean", "5th perc.", "worst", "as one batch", "error mean", "95th perc.", "worst"];
    let right = [false, true, true, true, true, true, true, true];
    lines.extend([table(&head, &right, &rows), String::new()]);
    lines.push(format!(
        "dropped   {:.3} % of the teacher's probability, {:.3} % of the weights",
        100.0 * report.dropped.probability,
        100.0 * report.dropped.weight
    ));
    if report.blank.images > 0 {
        lines.push(format!(
            "blank     {} of which nothing is kept, with {:.4} % of the weights: in \"as one batch\" only",
            counted(report.blank.images, "image"),
            100.0 * report.blank.weight
        ));
    }
    let drift = &report.drift;
    lines.push(format!("rounding  moves a logit by {:.4} at most", drift.max_rounding_error));
    lines.push(format!(
        "drift     {:.4} % of {} kept logits equal; at most {:.4} (logit), {:.5} (score), {:.3} px (box)",
        100.0 * drift.equal,
        HumanCount(drift.logits),
        drift.max_logit,
        drift.max_score,
        drift.max_box_px
    ));
    if !drift.same_programs {
        lines.push(format!("          cache made by {}; audited by {}", drift.cached_by, drift.audited_by));
    }
    lines.push("lowest cosines:".into());
    lines
        .extend(report.worst.iter().map(|w| format!("  {:.6} {} image {} ({})", w.cosine, w.term, w.image_id, w.path)));
    if !report.findings.is_empty() {
        lines.push(counted(report.findings.len(), "finding") + ":");
        lines.extend(report.findings.iter().take(FINDINGS_SHOWN).map(|finding| format!("  {finding}")));
        if report.findings.len() > FINDINGS_SHOWN {
            lines.push("  ... (--json has all)".into());
        }
    }
    lines.extend(output::failures(&report.failures, "could not be compared"));
    lines.push(verdict(report));
    lines.join("\n")
}

fn verdict(report: &AuditReport) -> String {
    if report.passed {
        return format!("passed: every mean cosine is at least {}", report.min_cosine);
    }
    let low: Vec<&str> =
        report.terms.iter().filter(|t| t.cosine_mean < report.min_cosine).map(|t| t.term.as_str()).collect();
    match low.as_slice() {
        [] if report.findings.is_empty() => {
            let images = counted(report.failures.len(), "image");
            format!(
                "failed: {images} could not be compared, see the reasons above; restore the pictures, or name their place with --data"
            )
        }
        [] => {
            "failed: see the findings above; build the cache again with --overwrite, or restore what has changed".into()
        }
        low => format!("failed: the mean cosine of {} is under {}", low.join(", "), report.min_cosine),
    }
}
