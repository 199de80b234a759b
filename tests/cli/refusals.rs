//! Wrong things are refused with a sentence that helps, before anything is written.

use crate::support::{args, build, build_args, command, finished, fixture, logitcache, shapes, teacher};
use sha2::{Digest, Sha256};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn with_teacher(teacher: &Path, data: &Path, out: &Path) -> crate::support::Run {
    logitcache(&args(["build"], &[("--teacher", teacher), ("--data", data), ("--out", out)], &[]))
}

#[test]
fn models_that_are_no_detector_of_the_family() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    let model = |name: &str| fixture("models").join(name);
    with_teacher(&model("yolov8-classify.onnx"), &data, &out).expect(2).says(&["yolov8-classify.onnx", "classif"]);
    with_teacher(&fixture("families/detr-hf.onnx"), &data, &out).expect(2).says(&["DETR", "softmax"]);
    with_teacher(&model("yolov8-nms.onnx"), &data, &out).expect(2).says(&["300, 6", "nms=True"]);
    let all = args(
        ["build", "--store", "all"],
        &[("--teacher", &model("yolo26-no-dfl.onnx")), ("--data", &data), ("--out", &out)],
        &[],
    );
    logitcache(&all).expect(2).says(&["--store cls"]);
    let corrupt = dir.path().join("corrupt.onnx");
    let mut bytes = fs::read(teacher()).unwrap();
    bytes.truncate(5000);
    fs::write(&corrupt, &bytes).unwrap();
    with_teacher(&corrupt, &data, &out).expect(2).says(&["corrupt.onnx"]);
    fs::write(&corrupt, "not a model").unwrap();
    with_teacher(&corrupt, &data, &out).expect(2).says(&["corrupt.onnx"]);
    with_teacher(&dir.path().join("none.onnx"), &data, &out).expect(2).says(&["none.onnx", "No such file"]);
    assert!(!out.exists(), "a refused build leaves nothing behind");
}

#[test]
fn a_missing_runtime_library() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    let missing = dir.path().join("libonnxruntime.so");
    build(&data, &out, &[("--ort-lib", missing.to_str().unwrap())]).expect(2).says(&["libonnxruntime.so"]);

    // Nowhere at all: run a copy of the program from a folder without any environment.
    let program = dir.path().join("logitcache");
    fs::copy(env!("CARGO_BIN_EXE_logitcache"), &program).unwrap();
    let output = std::process::Command::new(&program)
        .args(build_args(&data, &out, &[]))
        .current_dir(dir.path())
        .env_clear()
        .output()
        .unwrap();
    finished(output).expect(2).says(&["make setup", "--ort-lib"]);
    assert!(!out.exists());
}

#[test]
fn a_provider_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    for provider in ["cuda", "tensorrt", "openvino"] {
        let out = dir.path().join(provider);
        build(&data, &out, &[("--provider", provider)]).expect(2).says(&["onnxruntime-"]);
    }
}

#[test]
fn class_names_that_differ() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace("triangle", "Triangel")).unwrap();
    let out = dir.path().join("cache");
    build(&data, &out, &[]).expect(2).says(&["Triangel", "--ignore-labels"]);
    build(&data, &out, &[("--ignore-labels", "")]).expect(0);
}

#[test]
fn an_unwritable_folder() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).unwrap();
    // Root may write anywhere, so the second case is one that stops root as well: a file where a folder is needed.
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    build(&data, &file.join("cache"), &[]).expect(2).says(&["file"]);
    if fs::write(closed.join("probe"), "").is_err() {
        build(&data, &closed.join("cache"), &[]).expect(2).says(&["closed", "ermission"]);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_folder_that_holds_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("thesis");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("chapter1.tex"), "years of work").unwrap();
    build(&data, &out, &[]).expect(2).says(&["thesis", "chapter1.tex"]);
    build(&data, &out, &[("--overwrite", "")]).expect(2).says(&["chapter1.tex"]);
    assert_eq!(fs::read_to_string(out.join("chapter1.tex")).unwrap(), "years of work");
}

#[test]
fn a_cache_of_other_settings() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let out = dir.path().join("cache");
    build(&data, &out, &[]).expect(0);
    build(&data, &out, &[]).expect(0).says(&["0 of"]);
    build(&data, &out, &[("--min-score", "0.25")])
        .expect(2)
        .says(&["min_score: 0 in the cache, 0.25 now", "--overwrite"]);
    build(&data, &out, &[("--imgsz", "192")]).expect(2).says(&["160", "192", "--overwrite"]);
    build(&data, &out, &[("--store", "cls")]).expect(2).says(&["store"]);
    build(&data, &out, &[("--min-score", "0.25"), ("--overwrite", "")]).expect(0);

    // Another image in the data set shifts the ids: not the same cache any more.
    let images = dir.path().join("shapes/images/train");
    let one = fs::read_dir(&images).unwrap().next().unwrap().unwrap().path();
    fs::copy(&one, images.join(format!("another.{}", one.extension().unwrap().to_str().unwrap()))).unwrap();
    build(&data, &out, &[("--min-score", "0.25")]).expect(2).says(&["another", "--overwrite"]);
}

#[test]
fn a_newer_format() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    build(&data, &out, &[]).expect(0);
    let manifest = out.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("\"version\": 1"), "{text}");
    // As a newer program would write it: with the digest of what it wrote.
    let newer = text.replacen("\"version\": 1", "\"version\": 2", 1);
    let (head, tail) = newer.split_at(newer.rfind("  \"manifest_sha256\"").unwrap());
    let digest = logitcache::cache::to_hex(&Sha256::digest(head));
    let old = tail.split('"').nth(3).unwrap();
    fs::write(&manifest, format!("{head}{}", tail.replace(old, &digest))).unwrap();
    for words in ["inspect", "verify"] {
        let run = logitcache(&[words.as_ref(), out.as_os_str()]).expect(2);
        assert!(format!("{}{}", run.stdout, run.stderr).contains("version 2"), "{run:?}");
    }
    build(&data, &out, &[]).expect(2).says(&["version 2"]);
}

#[test]
fn arguments_that_are_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    build(&data, &out, &[("--min-score", "1.5")]).expect(2).says(&["--min-score", "0 to less than 1"]);
    build(&data, &out, &[("--min-score", "-5")]).expect(2).says(&["--min-score", "0 to less than 1"]);
    build(&data, &out, &[("--jobs", "0")]).expect(2).says(&["--jobs"]);
    build(&data, &out, &[("--imgsz", "100")]).expect(2).says(&["100", "32"]);
    build(&data, &out, &[("--split", "trian")]).expect(2).says(&["trian", "train", "val"]);
    build(&dir.path().join("none.yaml"), &out, &[]).expect(2).says(&["none.yaml"]);
    logitcache(&["inspect".as_ref(), dir.path().as_os_str()]).expect(2).says(&["manifest.json"]);
    finished(command(&["biuld"]).output().unwrap()).expect(2).says(&["biuld", "build"]);
    assert!(!out.exists());
}

/// A build that lacks one of its three arguments, or has one of them wrong in a way that people type.
#[test]
fn a_build_typed_wrongly() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    let paths = [("--teacher", &*teacher()), ("--data", &*data), ("--out", &*out)];
    for left_out in 0..paths.len() {
        let given: Vec<_> = paths.iter().copied().filter(|(flag, _)| *flag != paths[left_out].0).collect();
        logitcache(&args(["build"], &given, &[])).refused(&[paths[left_out].0, "--help"]);
    }

    let checkpoint = dir.path().join("yolov8s.pt");
    fs::write(&checkpoint, b"PK\x03\x04 and so on").unwrap();
    with_teacher(&checkpoint, &data, &out).refused(&["yolov8s.pt", "PyTorch", "yolo export", "format=onnx"]);
    with_teacher(&fixture("models"), &data, &out).refused(&["fixtures/models", "not a file", ".onnx"]);
    with_teacher(&data, &data, &out).refused(&["data.yaml", "not a complete ONNX model"]);

    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    build(&empty, &out, &[]).refused(&["empty", "no images", "jpg"]);
    build(&teacher(), &out, &[]).refused(&["yolov8-dynamic.onnx", "data.yaml", "folder of images"]);
    build(&data, &out, &[("--split", "tset")]).refused(&["tset", "it has: train, val", "--split"]);
    build(&data, &out, &[("--split", "test")]).refused(&["test", "it has: train, val", "--split"]);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace("train: images/train\n", "")).unwrap();
    build(&data, &out, &[]).refused(&["data.yaml", "\"train\"", "it has: val", "--split"]);
    assert!(!out.exists(), "a refused build leaves nothing behind");
}

#[test]
fn numbers_out_of_range() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    for flag in ["--imgsz", "--batch", "--jobs", "--min-score", "--top-k", "--images-per-part"] {
        let refused = |value: &str| {
            let mut all = build_args(&data, &out, &[]);
            all.retain(|arg| arg != "--imgsz" && arg != "160" && arg != "--jobs" && arg != "2");
            all.push(format!("{flag}={value}").into());
            logitcache(&all).refused(&[flag, value]);
        };
        refused("-5");
        refused("many");
        if flag != "--min-score" {
            refused("0");
            refused("1.5");
        }
    }
    for value in ["NaN", "1"] {
        build(&data, &out, &[("--min-score", value)]).refused(&["--min-score", "0 to less than 1"]);
    }
    for (option, value) in [
        ("--coverage", "0.9"),
        ("--class-coverage", "0.9"),
        ("--top-k", "5"),
        ("--min-score", "0.1"),
        ("--logits", "8bit"),
    ] {
        let words = [option, "--profile dense keeps every anchor"];
        build(&data, &out, &[("--profile", "dense"), (option, value)]).refused(&words);
    }
    for (imgsz, says) in [("16384", "32 to 8192"), ("161", "multiple of 32")] {
        build(&data, &out, &[("--imgsz", imgsz)]).refused(&[imgsz, says, "--imgsz"]);
    }
    assert!(!out.exists(), "a refused build leaves nothing behind");
}

/// What runs with one batch is not continued with another: the last bits of a result may depend on it.
#[test]
fn a_batch_that_does_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 4);
    let out = dir.path().join("cache");
    build(&data, &out, &[("--batch", "100000000")]).refused(&["--batch", "100000000", "1024"]);
    build(&data, &out, &[("--batch", "1024"), ("--imgsz", "8192")]).refused(&["memory", "--batch"]);
    build(&data, &out, &[("--batch", "1")]).expect(0);
    build(&data, &out, &[("--batch", "4")]).refused(&["batch", "1 in the cache", "4 now", "--overwrite"]);

    let fixed = fixture("models/yolov8-batch4.onnx");
    let fixed = [("--teacher", fixed.to_str().unwrap()), ("--imgsz", "64"), ("--batch", "2")];
    let other = dir.path().join("other");
    build(&data, &other, &fixed).refused(&["--batch 2", "yolov8-batch4.onnx", "exactly 4", "dynamic=True"]);
    assert!(!other.exists());

    // Its scales are measured over all images of a run.
    let measured = fixture("models/yolov8-int8-dynamic-batch.onnx");
    let measured = [("--teacher", measured.to_str().unwrap()), ("--imgsz", "64")];
    let words = ["yolov8-int8-dynamic-batch.onnx", "with 4 in a batch", "would depend on the others", "--batch"];
    build(&data, &other, &[&measured[..], &[("--batch", "4")]].concat()).refused(&words);
    assert!(!other.exists());
    build(&data, &other, &measured).expect(0);
}
