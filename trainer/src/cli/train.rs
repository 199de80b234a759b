//! `logitcache train`

use super::progress::TrainProgress;
use crate::{
    Error, Result,
    dataset::{DataSource, NameMap},
    student::{StudentModel, native},
    train::{
        ClsLoss, Distill, EpochRow, Event, Precision, Run, Settings, Start, TrainOptions, TrainReport,
        default_precision,
    },
    words::counted,
};
use logitcache::cli::{
    Status,
    args::TrainArgs,
    output, print, print_json,
    progress::{Progress, Unit},
    stop_on_ctrl_c_with,
};
use std::{
    cell::RefCell,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Mutex, PoisonError, atomic::Ordering},
};
use tch::Device;

/// As in the article that the project began with.
const DEFAULT_ALPHA: f64 = 0.7;
const DEFAULT_TEMPERATURE: f64 = 4.0;
/// Epochs.
const DEFAULT_PATIENCE: usize = 50;
/// `--val-split` of nothing.
const NO_VALIDATION: &str = "none";
const BYTES_PER_GIB: f64 = 1024.0 * 1024.0 * 1024.0;

pub fn run(args: &TrainArgs, quiet: bool) -> Result<Status> {
    let options = options(args)?;
    // Libtorch's threads do not survive the destructors that an ordinary exit runs beside them.
    let stop = stop_on_ctrl_c_with(native::exit_at_once);
    let decoding: Mutex<Option<Progress>> = Mutex::new(None);
    let lock = || decoding.lock().unwrap_or_else(PoisonError::into_inner);
    let run = Run::prepare(
        &options,
        &|images| *lock() = Some(Progress::new(images, Unit::Images, quiet)),
        &|count| {
            if let Some(progress) = lock().as_mut() {
                progress.advance_by(count);
            }
        },
        stop,
    );
    if let Some(progress) = lock().take() {
        progress.finish();
    }
    let run = run?;
    if !quiet {
        output::note(&run.plan().to_string());
    }
    let progress = RefCell::new(TrainProgress::new(
        run.plan().epochs,
        run.plan().epochs_done,
        run.plan().batches_per_epoch,
        quiet,
    ));
    let report = run.train(stop, |event| match event {
        Event::Step { epoch, batch, losses, lr } => progress.borrow_mut().step(epoch, batch, &losses, lr),
        Event::Epoch(row) => progress.borrow_mut().epoch(&show_epoch(row)),
        Event::Note(note) => progress.borrow_mut().epoch(&format!("note: {note}")),
    });
    progress.into_inner().finish();
    let report = report?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&summary(&report))?;
    }
    if stop.load(Ordering::Relaxed) && !report.complete {
        let done = counted(report.epochs, "epoch");
        let remedy = format!("{done} done; run the same command with --resume to go on");
        return Err(Error::Interrupted { remedy });
    }
    Ok(if report.failures.is_empty() { Status::Done } else { Status::SomeFailed })
}

fn options(args: &TrainArgs) -> Result<TrainOptions> {
    let device = device(&args.device)?;
    let distill = args.distill;
    if distill == Distill::None && args.cache.is_some() {
        return Err(Error::Mismatch {
            found: "a cache was given, but --distill none does not use it".into(),
            remedy: "Leave --cache out and name the labels with --data, or distil: --distill all.".into(),
        });
    }
    refuse_what_would_be_ignored(args)?;
    let settings = Settings {
        epochs: args.epochs.get(),
        batch: args.batch.get(),
        optimizer: args.optimizer,
        lr: args.lr,
        warmup_lr: args.warmup_lr,
        warmup_epochs: args.warmup_epochs,
        decay: args.decay,
        temperature: args.temperature.unwrap_or(DEFAULT_TEMPERATURE),
        alpha: args.alpha.unwrap_or(DEFAULT_ALPHA),
        cls_loss: args.cls_loss.unwrap_or(ClsLoss::SoftmaxKl),
        distill,
        precision: precision(args, device)?,
        seed: args.seed,
        augment: !args.no_augment,
        close_mosaic: args.close_mosaic,
        patience: args.patience.unwrap_or(DEFAULT_PATIENCE),
        val_every: args.val_every.map_or(1, NonZeroUsize::get),
        prune: args.prune,
    };
    let split = args.split.clone();
    let data = args.data.clone().map(|data| DataSource { data, images_dir: args.images.clone(), split });
    Ok(TrainOptions {
        cache: args.cache.clone(),
        start: start(&args.model)?,
        qat: args.qat.clone(),
        out: args.out.clone(),
        data,
        class_map: NameMap::new(args.map.iter().cloned())?,
        validate: args.val_split.as_deref() != Some(NO_VALIDATION),
        val_split: args.val_split.clone().filter(|split| split != NO_VALIDATION),
        imgsz: args.imgsz,
        device,
        threads: args.threads,
        pixel_cache_bytes: (args.pixel_cache_gib * BYTES_PER_GIB) as u64,
        resume: args.resume,
        overwrite: args.overwrite,
        settings,
    })
}

/// An option that has no effect beside the others was meant to have one.
fn refuse_what_would_be_ignored(args: &TrainArgs) -> Result<()> {
    let distills = args.distill != Distill::None;
    let hard = args.distill == Distill::PseudoLabels;
    let softens = args.distill == Distill::All || args.cls_loss.is_none_or(|loss| loss == ClsLoss::SoftmaxKl);
    let validates = args.val_split.as_deref() != Some(NO_VALIDATION);
    let cases = [
        (args.alpha.is_some() && !distills, "--alpha", "--distill none uses nothing of a teacher"),
        (args.cls_loss.is_some() && !distills, "--cls-loss", "--distill none uses nothing of a teacher"),
        (args.temperature.is_some() && !distills, "--temperature", "--distill none uses nothing of a teacher"),
        (args.cls_loss.is_some() && hard, "--cls-loss", "--distill pseudo-labels is trained as labels are"),
        (args.temperature.is_some() && hard, "--temperature", "--distill pseudo-labels is trained as labels are"),
        (
            args.temperature.is_some() && distills && !softens,
            "--temperature",
            "neither softmax-kl nor the DFL loss is used",
        ),
        (args.patience.is_some() && !validates, "--patience", "--val-split none validates nothing"),
        (args.val_every.is_some() && !validates, "--val-every", "--val-split none validates nothing"),
    ];
    match cases.into_iter().find(|(ignored, ..)| *ignored) {
        None => Ok(()),
        Some((_, option, why)) => Err(Error::Mismatch {
            found: format!("{option} was given, but {why}"),
            remedy: format!("Leave {option} out, or change the other option."),
        }),
    }
}

/// With rounding to 8 bits float32: bfloat16 does not hold 256 levels.
fn precision(args: &TrainArgs, device: Device) -> Result<Precision> {
    match (&args.qat, args.precision) {
        (Some(_), Some(Precision::Bf16)) => Err(Error::Mismatch {
            found: "--qat was given with --precision bf16, which cannot hold the 256 levels of an activation".into(),
            remedy: "Leave --precision out.".into(),
        }),
        (Some(_), None) => Ok(Precision::Fp32),
        (_, precision) => Ok(precision.unwrap_or_else(|| default_precision(device))),
    }
}

/// A scale by name, or a file.
fn start(model: &str) -> Result<Start> {
    if let Ok(model) = model.parse::<StudentModel>() {
        return Ok(Start::Random(model));
    }
    let path = PathBuf::from(model);
    if path.is_file() {
        return Ok(Start::File(path));
    }
    Err(Error::Mismatch {
        found: format!("--model {model} is neither a file nor one of {}", StudentModel::names()),
        remedy: "Name one of these (random weights), or a .pt or .safetensors file.".into(),
    })
}

fn device(text: &str) -> Result<Device> {
    let cuda = |number: &str| number.parse().ok().map(Device::Cuda);
    match text {
        "cpu" => Some(Device::Cpu),
        "cuda" => Some(Device::Cuda(0)),
        other => other.strip_prefix("cuda:").and_then(cuda),
    }
    .ok_or_else(|| Error::Mismatch {
        found: format!("--device {text} is not known"),
        remedy: "Give cpu, cuda or cuda:N.".into(),
    })
}

fn show_epoch(row: &EpochRow) -> String {
    let teacher = [row.distill_box_loss, row.distill_cls_loss, row.distill_dfl_loss];
    let distilled = if teacher == [0.0; 3] {
        String::new()
    } else {
        format!("  teacher box {:.3} cls {:.3} dfl {:.3}", teacher[0], teacher[1], teacher[2])
    };
    let scores = match (row.map50, row.map50_95) {
        (Some(map50), Some(map)) => format!("  mAP@0.5 {map50:.4}  mAP@0.5:0.95 {map:.4}"),
        _ => String::new(),
    };
    format!(
        "epoch {:3}  box {:.3} cls {:.3} dfl {:.3}{distilled}{scores}  {:.1} images/s, {:.1} % waiting for data",
        row.epoch,
        row.box_loss,
        row.cls_loss,
        row.dfl_loss,
        row.images_per_s,
        100.0 * row.data_wait
    )
}

fn summary(report: &TrainReport) -> String {
    let state = if report.complete { "complete" } else { "unfinished" };
    let mut lines = vec![format!("{}: {}, {state}", report.run.display(), counted(report.epochs, "epoch"))];
    if let (Some(epoch), Some(map)) = (report.best_epoch, report.best_map50_95) {
        lines.push(format!("best      epoch {epoch}, mAP@0.5:0.95 {map:.4}"));
    }
    if let Some(onnx) = &report.best_onnx {
        lines.push(format!("model     {}", onnx.display()));
    }
    lines.extend(output::failures(&report.failures, "not used"));
    lines.join("\n")
}
