//! `logitcache demo`: the whole way on drawn pictures. Each step is a command of this program, shown before it runs.

use super::embedded::EMBEDDED;
use super::{Status, args::DemoArgs, handover, output, print, stop_on_ctrl_c};
use crate::{Error, Result, dataset::synth::SynthConfig, fsio, install, outputs};
use rustix::process::{Pid, Signal};
use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitStatus},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// Time between two looks at whether a step has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const TEACHER: &str = "teacher.onnx";
const REPORT: &str = "report.html";

/// What the demonstration puts into its folder.
const FILES: [&str; 2] = [TEACHER, REPORT];
const FOLDERS: [&str; 4] = ["shapes", "cache", "labels-only", "distilled"];

/// One training image in so many has labels.
const LABELLED_OF: u32 = 40;
/// Images of a step, as `--batch` in [`STEPS`].
const BATCH: u32 = 8;

/// The steps: what for, and the command. `DIR`, `IMAGES`, `LABELLED`, `EPOCHS`, `MORE` and `SEED` stand for what follows from the
/// arguments.
///
/// Both students start from the same random weights (the seed decides them) and are trained for the same number of steps of the same
/// number of images, with the usual augmentation of their kind (docs/training-data.md). One thread each: sums of several threads
/// round differently, and so small a network gains little from them.
const STEPS: [(&str, &str); 6] = [
    (
        "A data set of drawn shapes; few of the images have labels",
        "synth --out DIR/shapes --images IMAGES --imgsz 128 --labelled LABELLED --seed SEED",
    ),
    (
        "The teacher's predictions on every training image and on one augmented view of it, computed once",
        "build --teacher DIR/teacher.onnx --data DIR/shapes/data.yaml --missing-labels unlabelled --views 1 --seed SEED \
         --out DIR/cache",
    ),
    (
        "A student from the labels alone",
        "train --distill none --data DIR/shapes/labelled.yaml --out DIR/labels-only --model yolov8f --imgsz 160 \
         --epochs MORE --batch 8 --lr 0.008 --val-split none --precision fp32 --threads 1 --seed SEED",
    ),
    (
        "The same student for the same number of steps with the cache; the teacher is not loaded",
        "train --cache DIR/cache --cls-loss bce --alpha 0.2 --out DIR/distilled --model yolov8f --epochs EPOCHS \
         --warmup-epochs 0.1 --close-mosaic 0 --batch 8 --lr 0.008 --val-split none --precision fp32 --threads 1 --seed SEED",
    ),
    (
        "A report of all results on one page",
        "report DIR/labels-only DIR/distilled DIR/cache --data DIR/shapes/data.yaml --out DIR/report.html",
    ),
    (
        "Both students and the teacher on images that none of them was trained on",
        "eval --model DIR/labels-only/best.onnx --model DIR/distilled/best.onnx --model DIR/teacher.onnx \
         --data DIR/shapes/data.yaml --latency-runs 0",
    ),
];

pub fn run(args: &DemoArgs, quiet: bool) -> Result<Status> {
    // Before the first step, so that a missing trainer is not found out at the third.
    handover::trainer()?;
    prepare(args)?;
    let stop = stop_on_ctrl_c();
    for (number, (what, template)) in (1..).zip(STEPS) {
        let words = words(template, args);
        print(&format!("\n{number}. {what}\n$ logitcache {}", shown(&words)))?;
        let mut command = install::program().map_err(|e| Error::io("logitcache", "find", e))?;
        command.args(quiet.then_some("--quiet")).args(&words);
        let run = run_until(stop, &mut command);
        let status = run.map_err(|e| Error::io(command.get_program(), "run", e))?;
        if stop.load(Ordering::Relaxed) || status.code() == Some(Status::Interrupted as i32) {
            return Err(Error::Interrupted { remedy: "run the same command with --overwrite to start again".into() });
        }
        if !status.success() {
            output::note(&format!("note: the demonstration ended at step {number}, {status}; the reason is above"));
            return Ok(Status::Failed);
        }
    }
    print(&format!("\nThe report is {}: open it in a browser.", args.dir.join(REPORT).display()))?;
    Ok(Status::Done)
}

/// Runs a step to its end. It is in a process group of its own, so that of Ctrl-C and of a signal to this program alone it gets the
/// same: one SIGTERM, after which it finishes what is in flight.
fn run_until(stop: &AtomicBool, command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.process_group(0).spawn()?;
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.load(Ordering::Relaxed) && !told {
            rustix::process::kill_process(Pid::from_child(&child), Signal::TERM)?;
            told = true;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Makes the folder ready and puts the teacher into it.
fn prepare(args: &DemoArgs) -> Result<()> {
    refuse_what_is_there(&args.dir, args.overwrite)?;
    for name in FILES {
        fsio::remove_file(&args.dir.join(name))?;
    }
    for name in FOLDERS {
        fsio::remove_folder(&args.dir.join(name))?;
    }
    fsio::create_folder(&args.dir)?;
    let teacher = args.dir.join(TEACHER);
    fsio::write_atomic(&teacher, EMBEDDED)?;
    print(&format!("{}: a small detector that comes with the program and detects drawn shapes", teacher.display()))
}

/// Nothing is removed that no demonstration made, and an earlier one only where the user says so.
fn refuse_what_is_there(dir: &Path, overwrite: bool) -> Result<()> {
    let own = |name: &str| FILES.contains(&name) || FOLDERS.contains(&name);
    outputs::refuse_foreign_entries(dir, "demonstration", own)?;
    match outputs::foreign_entry(dir, |_| false)? {
        Some(name) if !overwrite => Err(Error::Mismatch {
            found: format!("{} holds {name} of an earlier demonstration", dir.display()),
            remedy: "Choose another --dir, or give --overwrite to remove it and start again.".into(),
        }),
        _ => Ok(()),
    }
}

/// The arguments of a step.
fn words(template: &str, args: &DemoArgs) -> Vec<OsString> {
    let train_images = SynthConfig::train_images(args.images.get());
    let labelled = (train_images / LABELLED_OF).max(1);
    let steps = |images: u32| images.div_ceil(BATCH).max(1) as usize;
    let word = |word: &str| match (word, word.strip_prefix("DIR/")) {
        (_, Some(name)) => args.dir.join(name).into(),
        ("IMAGES", _) => args.images.to_string().into(),
        ("LABELLED", _) => labelled.to_string().into(),
        ("EPOCHS", _) => args.epochs.to_string().into(),
        ("MORE", _) => (args.epochs.get() * steps(train_images) / steps(labelled)).to_string().into(),
        ("SEED", _) => args.seed.to_string().into(),
        (word, _) => word.into(),
    };
    template.split_whitespace().map(word).collect()
}

/// As one would type them into a shell.
fn shown(words: &[OsString]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:,=@%".contains(c);
    let quoted = |word: &OsString| {
        let text = OsStr::to_string_lossy(word);
        if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    words.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::Cli;
    use clap::Parser;

    fn demo(words: &[&str]) -> DemoArgs {
        match Cli::parse_from(["logitcache", "demo"].iter().chain(words)).command {
            crate::cli::args::Command::Demo(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_step_is_a_command_of_this_program() {
        let args = demo(&["--dir", "a b/it's", "--images", "7", "--epochs", "3", "--seed", "11"]);
        for (_, template) in STEPS {
            let words = words(template, &args);
            Cli::try_parse_from(["logitcache".into()].into_iter().chain(words.clone())).unwrap();
            assert!(
                words.iter().all(|word| !["DIR", "IMAGES", "LABELLED", "EPOCHS", "MORE", "SEED"]
                    .iter()
                    .any(|left| word == left))
            );
        }
        let [first, ..] = STEPS;
        let expected = r"synth --out 'a b/it'\''s/shapes' --images 7 --imgsz 128 --labelled 1 --seed 11";
        assert_eq!(shown(&words(first.1, &args)), expected);
    }

    #[test]
    fn both_students_are_trained_alike() {
        let args = demo(&["--images", "2000", "--epochs", "4"]);
        let trained: Vec<_> = STEPS
            .iter()
            .filter_map(|(_, template)| {
                let all = [OsString::from("logitcache")].into_iter().chain(words(template, &args));
                match Cli::parse_from(all).command {
                    crate::cli::args::Command::Train(train) => Some(train),
                    _ => None,
                }
            })
            .collect();
        let settings = |i: usize| {
            let t = &trained[i];
            (&t.model, t.batch, t.lr, t.seed, t.threads, t.precision)
        };
        assert_eq!((trained.len(), settings(0)), (2, settings(1)));
        // Steps of 40 images with labels, and of all 1,600; of the warm-up as well, about.
        let [alone, cached] = [(&trained[0], 40), (&trained[1], 1600)].map(|(t, images)| {
            let per_epoch = (images as f64 / f64::from(BATCH)).ceil();
            (t.batch.get(), t.epochs.get() as f64 * per_epoch, (t.warmup_epochs * per_epoch).round() as u32)
        });
        assert_eq!((alone.0, alone.1, cached.1), (BATCH as usize, 800.0, 800.0));
        assert!(alone.2.abs_diff(cached.2) <= 5, "{} {}", alone.2, cached.2);
    }
}
