//! `train --qat`, as a user meets it.

use crate::support::{Run, args, build, command, finished, logitcache, shapes};
use std::{
    fs,
    path::{Path, PathBuf},
};

struct Setup {
    dir: tempfile::TempDir,
    data: PathBuf,
    cache: PathBuf,
    weights: String,
    quantized: PathBuf,
}

impl Setup {
    /// A student of three epochs, exported and quantized.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let data = shapes(dir.path(), 15);
        let (cache, run, quantized) = (path("cache"), path("run"), path("quantized.onnx"));
        build(&data, &cache, &[("--imgsz", "64"), ("--min-score", "0")]).expect(0);
        let values =
            [("--model", "yolov8p"), ("--epochs", "3"), ("--batch", "4"), ("--threads", "2"), ("--lr", "1e-3")];
        logitcache(&args(["train"], &[("--cache", &cache), ("--out", &run)], &values)).expect(0);
        let float = run.join("best.onnx");
        let values = [("--calibration", "min-max"), ("--latency-runs", "0"), ("--jobs", "2")];
        let mut words = args(["quantize"], &[("--cache", &cache), ("--out", &quantized)], &values);
        words.push(float.into());
        logitcache(&words).expect(0);
        let weights = run.join("weights/best.safetensors").to_str().unwrap().to_owned();
        Self { data, cache, weights, quantized, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn words(&self, out: &Path, more: &[(&str, &str)]) -> Vec<std::ffi::OsString> {
        let paths = [("--cache", self.cache.as_path()), ("--out", out), ("--qat", &self.quantized)];
        let fixed = [("--epochs", "3"), ("--batch", "4"), ("--threads", "2"), ("--lr", "1e-4")];
        let mut all = args(["train"], &paths, &[&fixed, more].concat());
        all.retain(|word| !word.is_empty());
        all
    }

    fn train(&self, out: &Path, more: &[(&str, &str)]) -> Run {
        logitcache(&self.words(out, &[&[("--model", self.weights.as_str())], more].concat()))
    }
}

/// Trained with rounding, killed and resumed, and used.
#[test]
fn a_student_is_trained_with_the_rounding_of_its_file() {
    let setup = Setup::new();
    let (whole, killed) = (setup.path("whole"), setup.path("killed"));
    setup.train(&whole, &[]).expect(0).says(&["note: 8-bit rounding of weights and activations (operators", "fp32"]);

    let words = setup.words(&killed, &[("--model", &setup.weights)]);
    let mut child = command(&words).spawn().unwrap();
    crate::wait_for_file(&mut child, &killed.join("results.csv"));
    child.kill().unwrap();
    child.wait().unwrap();
    setup.train(&killed, &[("--resume", "")]).expect(0);
    for file in ["weights/last.safetensors", "best.onnx"] {
        assert!(fs::read(whole.join(file)).unwrap() == fs::read(killed.join(file)).unwrap(), "{file}");
    }
    let mut other = fs::read(&setup.quantized).unwrap();
    other.extend([0x32, 0x00]);
    fs::write(&setup.quantized, other).unwrap();
    setup.train(&killed, &[("--resume", "")]).refused(&["qat_sha256"]);

    // The run's file computes with integers and is a detector like any other; its weights are a float student's.
    let model = whole.join("best.onnx");
    let inspected = logitcache(&["inspect".into(), model.clone().into_os_string()]).expect(0);
    assert!(inspected.stdout.contains("parameters, int8"), "{}", inspected.stdout);
    let eval = args(["eval", "--latency-runs", "0"], &[("--model", &model), ("--data", &setup.data)], &[]);
    logitcache(&eval).expect(0);
    let float = setup.path("float.onnx");
    let export = |source: PathBuf| {
        let words = args(["export", "--overwrite"], &[("--out", &float)], &[]);
        logitcache(&words.into_iter().chain([source.into()]).collect::<Vec<_>>())
    };
    export(whole.clone()).refused(&["trained for 8-bit integers", "best.onnx"]);
    assert!(!float.exists());
    export(whole.join("weights/best.safetensors")).expect(0);
    assert!(fs::metadata(&float).unwrap().len() > 2 * fs::metadata(&model).unwrap().len());
}

#[test]
fn what_cannot_be_trained_so_is_refused_and_leaves_nothing() {
    let setup = Setup::new();
    let out = setup.path("out");
    let of_model = |model: &str, more: &[(&str, &str)]| {
        finished(command(&setup.words(&out, &[&[("--model", model)], more].concat())).output().unwrap())
    };
    of_model("yolov8p", &[]).refused(&["random weights cannot be trained with the rounding of a file", "--model"]);
    of_model(&setup.weights, &[("--precision", "bf16")]).refused(&["--precision bf16", "256 levels"]);
    of_model(&setup.weights, &[("--prune", "0.3")]).expect(2).says(&["--prune", "--qat"]);
    fs::copy(setup.dir.path().join("run/best.onnx"), &setup.quantized).unwrap();
    of_model(&setup.weights, &[]).refused(&["it rounds nothing: it is a float32 file", "logitcache quantize"]);
    assert!(!out.exists());
}
