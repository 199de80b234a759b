//! `train --prune`, as a user meets it.

use crate::support::{Run, args, build, command, finished, logitcache, shapes};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

fn train_args(cache: &Path, model: &str, out: &Path, more: &[(&str, &str)]) -> Vec<OsString> {
    let fixed = [
        ("--model", model),
        ("--epochs", "3"),
        ("--batch", "4"),
        ("--precision", "fp32"),
        ("--threads", "2"),
        ("--lr", "1e-3"),
    ];
    let mut all = args(["train"], &[("--cache", cache), ("--out", out)], &[&fixed, more].concat());
    all.retain(|a| !a.is_empty());
    all
}

/// Pruned, distilled back from the cache, killed and resumed, exported and used.
#[test]
fn a_pruned_student_is_trained_resumed_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let data = shapes(dir.path(), 15);
    let cache = path("cache");
    build(&data, &cache, &[("--imgsz", "64"), ("--min-score", "0")]).expect(0);
    let train =
        |model: &str, out: &Path, more: &[(&str, &str)]| -> Run { logitcache(&train_args(&cache, model, out, more)) };
    let (whole, pruned, killed) = (path("whole"), path("pruned"), path("killed"));
    train("yolov8p", &whole, &[]).expect(0);
    let weights = whole.join("weights/last.safetensors");
    let weights = weights.to_str().unwrap();
    let prune = [("--prune", "0.4")];
    train(weights, &pruned, &prune).expect(0).says(&["note: pruned: 4", "% of the multiply-adds are gone"]);

    // The same to the last bit after a kill.
    let mut child = command(&train_args(&cache, weights, &killed, &prune)).spawn().unwrap();
    crate::wait_for_file(&mut child, &killed.join("results.csv"));
    child.kill().unwrap();
    child.wait().unwrap();
    train(weights, &killed, &[("--prune", "0.3"), ("--resume", "")])
        .refused(&["settings.prune: 0.4 in the run, 0.3 now"]);
    train(weights, &killed, &[("--resume", "")]).refused(&["settings.prune: 0.4 in the run"]);
    train(weights, &killed, &[prune[0], ("--resume", "")]).expect(0);
    for file in ["weights/last.safetensors", "best.onnx"] {
        assert!(fs::read(pruned.join(file)).unwrap() == fs::read(killed.join(file)).unwrap(), "{file}");
    }

    // Smaller, and used like any other.
    let size = |run: &Path| fs::metadata(run.join("best.onnx")).unwrap().len() as f64;
    assert!(size(&pruned) < 0.85 * size(&whole));
    let images = data.with_file_name("images");
    let model = pruned.join("best.onnx");
    let eval = args(["eval", "--latency-runs", "0"], &[("--model", &model), ("--data", &data)], &[]);
    logitcache(&eval).expect(0);
    let out = path("half.onnx");
    let mut words = args(["export", "--half"], &[("--out", &out), ("--check", &images)], &[]);
    words.push(pruned.clone().into());
    logitcache(&words).expect(0);

    // Its weights are a start like any other, and stay as narrow.
    let again = path("again");
    let weights = pruned.join("weights/best.safetensors");
    train(weights.to_str().unwrap(), &again, &[]).expect(0);
    assert_eq!(size(&again), size(&pruned));
}

#[test]
fn what_cannot_be_pruned_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let out = dir.path().join("run");
    let train = |model: &str, share: &str| {
        let values = [("--model", model), ("--prune", share), ("--imgsz", "64"), ("--epochs", "1"), ("--threads", "1")];
        let words = args(["train", "--distill", "none"], &[("--data", &data), ("--out", &out)], &values);
        finished(command(&words).output().unwrap())
    };
    train("yolov8f", "0.3").refused(&["random weights cannot be pruned", "--model"]);
    for share in ["0", "1", "-0.5", "NaN"] {
        train("yolov8f", share).expect(2).says(&["--prune", "a number between 0 and 1"]);
    }
    assert!(!out.exists());
}
