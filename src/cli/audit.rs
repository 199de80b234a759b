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
    audit::{Audit, AuditOptions, AuditReport, TermFidelity},
    augment::with_views,
    cache::{Manifest, Settings},
    dataset::DataSource,
    types::LogitType,
    words::counted,
};
use indicatif::HumanCount;
use std::num::NonZeroUsize;

/// Findings shown on the terminal; `--json` gives all.
const FINDINGS_SHOWN: usize = 20;

pub fn run(args: &AuditArgs, quiet: bool) -> Result<Status> {
    let audit = Audit::prepare(options(args)?)?;
    let settings = Manifest::load(&args.cache)?.settings;
    let stop = super::stop_on_ctrl_c();
    let unit = if audit.num_views() == audit.num_images() { Unit::Images } else { Unit::Views };
    let mut progress = Progress::new(audit.num_views(), unit, quiet);
    let report = audit.run(stop, |failed| progress.advance(failed));
    progress.finish();
    let report = report?;
    if args.json {
        print_json(&report)?
    } else {
        print(&show(&report, &settings))?
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
        substitute: args.substitute,
        family: args.family.clone(),
        student: args.student.clone(),
        sample: NonZeroUsize::new(args.sample),
        temperature: args.temperature,
        min_cosine: args.min_cosine,
        source,
        jobs: args.runtime.jobs(),
        provider: args.runtime.provider,
        ort_lib: args.runtime.ort_lib.clone(),
    })
}

fn show(report: &AuditReport, settings: &Settings) -> String {
    let mut lines = vec![
        format!(
            "{} of {} of {}{} against the live teacher {}{}; student: {}; T {}",
            HumanCount(report.images),
            counted(report.images_in_cache, "image"),
            report.cache,
            with_views(report.views),
            report.teacher,
            report.substitute.as_ref().map_or_else(String::new, |file| format!(", built with {file} in its place")),
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
            "blank     {} without any kept anchor, with {:.4} % of the weights: counted in \"as one batch\" only",
            counted(report.blank.images, "image"),
            100.0 * report.blank.weight
        ));
    }
    let drift = &report.drift;
    lines.push(format!("rounding  changes a logit by {:.4} at most", drift.max_rounding_error));
    lines.push(format!(
        "drift     {:.4} % of {} kept logits unchanged; largest difference {:.4} (logit), {:.5} (score), {:.3} px (box)",
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
    lines.extend(report.worst.iter().map(|w| format!("  {:.6} {} {}", w.cosine, w.term, w.name())));
    if !report.findings.is_empty() {
        lines.push(counted(report.findings.len(), "finding") + ":");
        lines.extend(report.findings.iter().take(FINDINGS_SHOWN).map(|finding| format!("  {finding}")));
        if report.findings.len() > FINDINGS_SHOWN {
            lines.push("  ... (--json has all)".into());
        }
    }
    lines.extend(output::failures(&report.failures, "could not be compared"));
    lines.push(verdict(report));
    // Of another teacher's values, or of damaged ones, no option makes more.
    if report.findings.is_empty() {
        lines.extend(report.terms.iter().flat_map(|term| advice(term, report, settings)));
    }
    lines.join("\n")
}

/// Of a loss that failed: what it means, where its cosine is lost, and which option of `build` mends it.
fn advice(term: &TermFidelity, report: &AuditReport, settings: &Settings) -> Vec<String> {
    if term.cosine_mean >= report.min_cosine {
        return Vec::new();
    }
    let meaning = match term.term.as_str() {
        "dfl" => "the DFL part of `train --distill all`".to_owned(),
        "box" => "the box part of `train --distill all`".to_owned(),
        loss => format!("the class part of `train --cls-loss {loss}`"),
    };
    let lost = &term.lost;
    let causes = [
        (lost.dropped_anchors, "anchors that were dropped", more_anchors(report, settings, lost.dropped_anchors)),
        (lost.missing_class_logits, "class logits missing in kept anchors", "build with --class-coverage 1".to_owned()),
        match &report.substitute {
            None => (lost.rounding, "rounding", finer_logits(&term.term, settings)),
            Some(file) => (
                lost.rounding,
                "the substitute's own outputs, and rounding",
                format!("quantize with a higher --keep-float than {file}, or build with the teacher itself"),
            ),
        },
    ];
    // What would fail by itself or nearly so, and in any case the largest.
    let largest = causes.iter().map(|(lost, ..)| *lost).fold(f64::NEG_INFINITY, f64::max);
    let counts = |lost: f64| lost >= largest || lost > 0.5 * (1.0 - report.min_cosine);
    let mut lines = vec![format!("  {} ({meaning}):", term.term)];
    lines.extend(
        causes
            .iter()
            .filter(|(lost, ..)| counts(*lost))
            .map(|(lost, cause, remedy)| format!("    {:.4} is lost with {cause}: {remedy}", lost.max(0.0))),
    );
    if term.term == "box" && report.student == "untrained" && counts(lost.dropped_anchors) {
        lines.push(
            "    the boxes of an untrained student are nearly the same everywhere, and so are those of a barely\n    \
             trained teacher where it finds nothing; together these many anchors weigh as much as the objects\n    \
             until the student predicts its first boxes. Give a student that was trained for some epochs with \
             --student"
                .to_owned(),
        );
    }
    lines
}

/// What keeps more anchors: the setting that ended the list on most images.
fn more_anchors(report: &AuditReport, settings: &Settings, lost: f64) -> String {
    let limits = report.dropped.limits;
    let option = if limits.top_k > limits.coverage.max(limits.min_score) {
        format!("build with --top-k above {}", settings.top_k)
    } else if limits.min_score > limits.coverage {
        format!("build with --min-score below {}", settings.min_score)
    } else {
        // What is lost falls about as the share that is missing does: half of what may be lost.
        let less = (0.5 * (1.0 - report.min_cosine) / lost.max(1e-9)).min(0.2);
        format!("build with --coverage {}", closer_to_1(settings.coverage, less))
    };
    format!("{option}, or keep every anchor with --profile dense")
}

/// A share of which `less` times as much is missing, at most 1.
fn closer_to_1(share: f64, less: f64) -> String {
    let missing = (1.0 - share) * less;
    let digits = (-missing.max(1e-9).log10()).ceil() as usize + 1;
    let shown = format!("{:.digits$}", 1.0 - missing);
    shown.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn finer_logits(term: &str, settings: &Settings) -> String {
    let of_classes = !matches!(term, "dfl" | "box");
    match settings.logits {
        LogitType::Bits8 if of_classes => "build with --logits 8bit-dfl".to_owned(),
        LogitType::Bits8 | LogitType::Bits8Dfl if !of_classes => "build with --logits float16".to_owned(),
        _ => "the student predicts almost the same as the teacher, and float16 is the finest type that can be stored"
            .to_owned(),
    }
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
                "failed: {images} could not be compared, see the reasons above; restore the images, or give their \
                 location with --data"
            )
        }
        [] => {
            "failed: see the findings above; build the cache again with --overwrite, or restore what has changed".into()
        }
        low => format!("failed: the mean cosine of {} is under {}", low.join(", "), report.min_cosine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_share_leaves_a_fifth_of_the_rest() {
        assert_eq!(
            [0.9998, 0.99, 0.5, 0.0, 1.0].map(|share| closer_to_1(share, 0.2)),
            ["0.99996", "0.998", "0.9", "0.8", "1"].map(str::to_owned)
        );
    }
}
