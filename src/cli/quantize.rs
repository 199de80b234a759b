//! `logitcache quantize`

use super::{
    Status,
    args::QuantizeArgs,
    data::{notes, show, some_failed, with_progress},
    output,
};
use crate::{
    Result,
    dataset::DataSource,
    eval::NmsOptions,
    outputs,
    quantize::{self, Accuracy, LEAST_PAIRS, LayerChoice, QuantizeOptions, QuantizeReport, Speed, Verdict},
    words::counted,
};
use indicatif::HumanBytes;

/// Layers shown on the terminal; `--json` gives all.
const LAYERS_SHOWN: usize = 12;

pub fn run(args: &QuantizeArgs, quiet: bool) -> Result<Status> {
    outputs::refuse_input(&args.out, args.detector.names.as_deref())?;
    let options = options(args)?;
    let report = with_progress(quiet, |run| quantize::quantize(&options, run))?;
    notes(quiet, &report.notes);
    show(args.json, &report, || shown(&report))?;
    Ok(some_failed(&report.failures))
}

fn options(args: &QuantizeArgs) -> Result<QuantizeOptions> {
    let detector = args.detector.resolve(args.model.clone(), NmsOptions::SCORING)?;
    Ok(QuantizeOptions {
        model: args.model.clone(),
        names: detector.names,
        reading: detector.reading,
        imgsz: detector.imgsz,
        cache: args.cache.clone(),
        source: args.data.clone().map(|data| DataSource {
            data,
            images_dir: args.images.clone(),
            split: args.split.clone(),
        }),
        images: args.sample,
        calibration: args.calibration,
        keep_float: args.keep_float,
        placement: args.placement,
        latency_runs: args.latency_runs,
        jobs: detector.jobs,
        provider: detector.provider,
        ort_lib: detector.ort_lib,
        out: args.out.clone(),
        overwrite: args.overwrite,
    })
}

fn shown(report: &QuantizeReport) -> Vec<String> {
    let mut lines = vec![format!(
        "calibrated on {}, compared on {}; input: {}; ranges: {}; rounded: {}",
        counted(report.images, "image"),
        counted(report.compared_images, "image"),
        report.imgsz.in_words(),
        report.calibration.as_str(),
        report.placement.as_str()
    )];
    if !report.candidates.is_empty() {
        let one =
            |candidate: &quantize::Candidate| format!("{} {:.5}", candidate.calibration.as_str(), candidate.divergence);
        let all: Vec<String> = report.candidates.iter().map(one).collect();
        lines.push(format!("divergence with all layers quantized (nats per object): {}", all.join(", ")));
    }
    lines.extend([String::new(), layers(report), String::new()]);
    lines.push(format!("divergence {:.5} nats per object", report.divergence));
    lines.push(format!(
        "size       {} -> {}  ({:.2} times smaller)",
        HumanBytes(report.model_bytes),
        HumanBytes(report.out_bytes),
        report.model_bytes as f64 / report.out_bytes.max(1) as f64
    ));
    lines.extend(report.accuracy.as_ref().map(accuracy));
    lines.extend(report.speed.iter().map(speed));
    lines.push(format!("written to {}", report.out.display()));
    if !report.failures.is_empty() {
        lines.push(String::new());
        lines.extend(output::failures(&report.failures, "failed, not used"));
    }
    lines
}

/// The layers with the most divergence, and what stays float.
fn layers(report: &QuantizeReport) -> String {
    let total = report.layers.iter().map(|layer| layer.multiply_adds).sum::<u64>().max(1) as f64;
    let mut layers: Vec<&LayerChoice> = report.layers.iter().collect();
    layers.sort_by(|a, b| b.divergence.unwrap_or(-1.0).total_cmp(&a.divergence.unwrap_or(-1.0)));
    let row = |layer: &&LayerChoice| {
        vec![
            layer.name.clone(),
            format!("{:.2} %", 100.0 * layer.multiply_adds as f64 / total),
            layer.divergence.map_or_else(|| "-".to_owned(), |divergence| format!("{divergence:.6}")),
            layer.float_because.as_ref().map_or_else(|| "int8".to_owned(), |why| format!("float32: {why}")),
        ]
    };
    let rows: Vec<Vec<String>> = layers.iter().take(LAYERS_SHOWN).map(row).collect();
    let mut text = output::table(
        &["layer", "multiply-adds", "divergence alone", "computes with"],
        &[false, true, true, false],
        &rows,
    );
    if layers.len() > LAYERS_SHOWN {
        text += &format!("\n... {} more (--json has all)", counted(layers.len() - LAYERS_SHOWN, "layer"));
    }
    let float = report.layers.iter().filter(|layer| layer.float_because.is_some()).count();
    text + &format!(
        "\n{float} of {} stay float32, with {:.1} % of the multiply-adds",
        counted(layers.len(), "layer"),
        100.0 * report.float_share
    )
}

fn accuracy(accuracy: &Accuracy) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    let images = counted(accuracy.images, "image");
    match (&accuracy.data, &accuracy.difference) {
        (None, _) => format!(
            "accuracy   mAP@0.5:0.95 {}, mAP@0.5 {} with the float32 model's detections as labels ({images})",
            number(accuracy.out_map_50_95),
            number(accuracy.out_map_50)
        ),
        (Some(data), difference) => format!(
            "accuracy   mAP@0.5:0.95 {} -> {}{}; mAP@0.5 {} -> {} ({images} of {})",
            number(accuracy.model_map_50_95),
            number(accuracy.out_map_50_95),
            difference.map_or_else(String::new, |d| format!(
                " ({:+.4}, 95 % interval {:+.4} to {:+.4})",
                d.value, d.low, d.high
            )),
            number(accuracy.model_map_50),
            number(accuracy.out_map_50),
            data.display()
        ),
    }
}

fn speed(speed: &Speed) -> String {
    let verdict = match speed.verdict {
        Verdict::Faster => "faster".to_owned(),
        Verdict::Slower => "slower".to_owned(),
        Verdict::NotShown if speed.runs < LEAST_PAIRS => {
            format!("not shown to be faster (fewer than {LEAST_PAIRS} pairs of runs)")
        }
        Verdict::NotShown => {
            format!("not shown to be faster ({:.0} % of the pairs of runs)", 100.0 * speed.faster_share)
        }
    };
    format!(
        "latency    {:.2} -> {:.2} ms, median ratio of {} {:.2}, {}: {verdict} here",
        speed.model_p50_ms,
        speed.out_p50_ms,
        counted(speed.runs, "pair"),
        speed.speed_up,
        counted(speed.threads, "thread")
    )
}
