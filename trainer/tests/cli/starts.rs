//! How a training starts, or does not: every reason told, every number checked, nothing left behind.

use crate::{
    common,
    support::{Run, args, build, command, fixture, logitcache, shapes},
};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::Duration,
};

/// `train` from the labels alone: the smallest student, one epoch.
fn plain_args(data: &Path, out: &Path, more: &[(&str, &str)]) -> Vec<OsString> {
    let mut values =
        vec![("--model", "yolov8f"), ("--imgsz", "64"), ("--epochs", "1"), ("--threads", "1"), ("--val-split", "none")];
    for (flag, value) in more {
        match values.iter_mut().find(|(f, _)| f == flag) {
            Some(found) => found.1 = value,
            None => values.push((flag, value)),
        }
    }
    let mut all = args(["train", "--distill", "none"], &[("--data", data), ("--out", out)], &values);
    all.retain(|word| !word.is_empty());
    all
}

fn plain(data: &Path, out: &Path, more: &[(&str, &str)]) -> Run {
    logitcache(&plain_args(data, out, more))
}

/// Files of `images/train` or `labels/train`, by name.
fn files(data: &Path, folder: &str) -> Vec<PathBuf> {
    let folder = data.with_file_name(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn empty(files: &[PathBuf]) {
    files.iter().for_each(|file| fs::write(file, "").unwrap());
}

#[test]
fn every_image_that_is_left_out_is_named_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 30);
    let (images, labels) = (files(&data, "images/train"), files(&data, "labels/train"));
    assert_eq!(images.len(), 24);
    let out = dir.path().join("run");

    // One label file and one picture at fault: the others are trained on, and both are told of.
    let (whole_labels, whole_picture) = (fs::read(&labels[2]).unwrap(), fs::read(&images[5]).unwrap());
    fs::write(&labels[2], "17 0.5 0.5 0.2 0.2\n").unwrap();
    fs::write(&images[5], &whole_picture[..whole_picture.len() / 2]).unwrap();
    let run = plain(&data, &out, &[("--quiet", "")]).expect(1);
    for words in ["2 images not used", name(&images[2]), "line 1", "\"17\" does not exist", name(&images[5])] {
        assert!(run.stdout.contains(words), "{words}: {run:?}");
    }
    let report = plain(&data, &out, &[("--overwrite", ""), ("--json", "")]).expect(1).json();
    assert_eq!(report["failures"].as_array().unwrap().len(), 2, "{report}");
    fs::remove_dir_all(&out).unwrap();

    // All of them: the first twenty with their reasons, in order, then how many more; quiet or not.
    for label in &labels {
        fs::write(label, "17 0.5 0.5 0.2 0.2\n").unwrap();
    }
    fs::write(&labels[5], &whole_labels).unwrap();
    for quiet in ["", "--quiet"] {
        let run = plain(&data, &out, &[(quiet, "")]).refused(&["24 images cannot be used", "... and 4 more"]);
        let at = |image: &PathBuf| run.stderr.find(name(image)).unwrap_or_else(|| panic!("{image:?}: {run:?}"));
        let places: Vec<usize> = images[..20].iter().map(at).collect();
        assert!(places.is_sorted(), "{run:?}");
        assert_eq!(run.stderr.matches("does not exist").count(), 19, "the twentieth is the damaged picture: {run:?}");
        assert!(!out.exists(), "a start that fails leaves nothing behind");
    }

    // The same of the validation split, which must not be left out in silence.
    fs::write(&images[5], &whole_picture).unwrap();
    labels.iter().for_each(|label| fs::write(label, "1 0.5 0.5 0.2 0.2\n").unwrap());
    for label in files(&data, "labels/val") {
        fs::write(label, "17 0.5 0.5 0.2 0.2\n").unwrap();
    }
    plain(&data, &out, &[("--val-split", "val")]).refused(&[
        "no image to validate on: 6 images cannot be used",
        "does not exist",
        "--val-split none",
    ]);
    assert!(!out.exists());
    plain(&data, &out, &[("--val-split", "tset")]).refused(&["tset", "train, val", "--val-split"]);

    // Mended, the very same command works.
    plain(&data, &out, &[]).expect(0);
}

#[test]
fn field_case_of_hidden_reasons() {
    let Some(case) = common::shared().map(|shared| shared.join("field/03-train-hides-reasons")) else { return };
    let dir = tempfile::tempdir().unwrap();
    let sets: [(&str, &[&str]); 4] = [
        ("scores", &["cam0_04.jpg", "cam1_05.jpg", "cam2_06.jpg", "labels/cam0_04.txt line 1: 6 columns"]),
        (
            "classes",
            &[
                "images/part-00.png",
                "labels/part-00.txt line 2: class \"2\" does not exist: the data set's classes are 0 to 1",
                "images/part-01.png",
                "images/part-02.png",
                "class \"16\"",
            ],
        ),
        ("cut", &["scan_0.jpg", "scan_1.png", "unexpected end of file", "scan_2.webp", "damaged"]),
        ("each", &["cam0_04.jpg", "6 columns", "part-02.png", "class \"16\"", "scan_0.jpg", "damaged"]),
    ];
    for (set, says) in sets {
        let out = dir.path().join(set);
        for quiet in ["", "--quiet"] {
            plain(&case.join(set).join("data.yaml"), &out, &[(quiet, "")]).refused(says).says(&["3 images"]);
        }
        assert!(!out.exists());
    }
}

#[test]
fn numbers_out_of_bounds_are_refused_before_a_folder_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let out = dir.path().join("run");
    let cases = [
        ("--imgsz", "0", "a multiple of 32 from 32 to 8192"),
        ("--imgsz", "100", "a multiple of 32 from 32 to 8192"),
        ("--imgsz", "100000", "a multiple of 32 from 32 to 8192"),
        ("--threads", "0", "for each processor"),
        ("--threads", "100000", "for each processor"),
        ("--batch", "0", "from 1 to 1024"),
        ("--batch", "1025", "from 1 to 1024"),
        ("--epochs", "0", "from 1 to 100000"),
        ("--epochs", "1e3", "from 1 to 100000"),
        ("--val-every", "0", "from 1 to 100000"),
        ("--patience", "-1", "from 0 to 100000"),
        ("--close-mosaic", "18446744073709551615", "from 0 to 100000"),
        ("--lr", "0", "above 0"),
        ("--lr", "1e30", "up to 1000000000"),
        ("--warmup-lr", "inf", "above 0"),
        ("--warmup-epochs", "1e9", "from 0 to 100000"),
        ("--temperature", "-4", "above 0"),
        ("--alpha", "2", "from 0 to 1"),
        ("--pixel-cache-gib", "nan", "from 0 to 1000000000"),
    ];
    for (flag, value, expected) in cases {
        let mut words = plain_args(&data, &out, &[]);
        if let Some(at) = words.iter().position(|word| word == flag) {
            words.drain(at..at + 2);
        }
        words.push(format!("{flag}={value}").into());
        logitcache(&words).refused(&[flag, value, "expected", expected]);
    }
    // Each within its bounds, together more than any machine has.
    plain(&data, &out, &[("--imgsz", "8192"), ("--batch", "1024")]).refused(&["needs at least", "memory", "--batch"]);
    plain(&data, &out, &[("--device", "gpu")]).refused(&["gpu", "cuda"]);
    assert!(!out.exists(), "a refused start leaves nothing behind");
}

#[test]
fn what_an_earlier_start_left_does_not_block() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let out = dir.path().join("run");
    // As a start leaves it that was killed while pictures were decoded: settings, half a picture file, a lock that nobody holds.
    fs::create_dir_all(out.join("pixels/train")).unwrap();
    fs::create_dir(out.join("weights")).unwrap();
    fs::write(out.join("config.json"), "{").unwrap();
    fs::write(out.join("pixels/train/.tmp-pixels-1-1"), "half").unwrap();
    fs::write(out.join(".lock"), "999999\n").unwrap();
    plain(&data, &out, &[]).expect(0);
    assert!(!out.join(".lock").exists() && out.join("best.onnx").is_file());
    // A run that has results does.
    plain(&data, &out, &[]).refused(&["already holds a run", "--resume", "--overwrite"]);
    fs::remove_file(out.join("config.json")).unwrap();
    plain(&data, &out, &[("--resume", "")]).refused(&["not the settings", "--overwrite"]);
    // A folder that was there and empty stays, and stays empty.
    let there = dir.path().join("there");
    fs::create_dir(&there).unwrap();
    empty(&files(&data, "images/train"));
    plain(&data, &there, &[]).refused(&["no image to train on"]);
    assert!(!there.exists() || fs::read_dir(&there).unwrap().next().is_none());
}

#[test]
fn of_equal_scores_the_later_epoch_is_kept_and_what_helps_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let out = dir.path().join("run");
    let more = [("--val-split", "val"), ("--epochs", "7"), ("--lr", "1e-9"), ("--warmup-lr", "1e-9")];
    let run = plain(&data, &out, &more).expect(0);
    assert!(run.stdout.contains("best      epoch 7, mAP@0.5:0.95 0.0000"), "{run:?}");
    assert_eq!(run.stderr.matches("What usually helps").count(), 1, "{run:?}");
    run.says(&["mAP@0.5 is 0 after 5 validations", "--lr", "--batch", "--no-augment"]);
    assert!(
        fs::read(out.join("weights/best.safetensors")).unwrap()
            == fs::read(out.join("weights/last.safetensors")).unwrap()
    );

    // Equal is not better: the patience runs out. A shorter run says it at its end.
    let patient = dir.path().join("patient");
    let more = [&more[..], &[("--patience", "2"), ("--json", "")]].concat();
    let run = plain(&data, &patient, &more).expect(0).says(&["after 3 validations"]);
    let report = run.json();
    assert_eq!((report["epochs"].as_u64(), report["best_epoch"].as_u64()), (Some(3), Some(3)), "{report}");
    assert!(
        report["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains("What usually helps"))
    );
}

#[test]
fn background_alone_is_no_score() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    empty(&files(&data, "labels/val"));
    let out = dir.path().join("run");
    let report = plain(&data, &out, &[("--val-split", "val"), ("--json", "")])
        .expect(0)
        .says(&["no validation", "show no object"]);
    let report = report.json();
    for field in ["best_epoch", "best_map50_95"] {
        assert!(report[field].is_null(), "{report}");
    }
    for field in ["map50", "map50_95", "precision", "recall"] {
        assert!(report["last"][field].is_null(), "{report}");
    }
    assert!(out.join("best.onnx").is_file());
    let table = fs::read_to_string(out.join("results.csv")).unwrap();
    assert!(table.lines().nth(1).unwrap().contains(",,,,"), "{table}");

    empty(&files(&data, "labels/train"));
    plain(&data, &dir.path().join("nothing"), &[]).expect(0).says(&["warning: the labels of 8 images show no object"]);
}

#[test]
fn objects_that_are_too_small_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let run = plain(&data, &dir.path().join("small"), &[("--imgsz", "32")]).expect(0);
    run.says(&["warning: ", "are under 8 x 8 pixels at 32 x 32", "--imgsz"]);
    let run = plain(&data, &dir.path().join("large"), &[("--imgsz", "160")]).expect(0);
    assert!(!run.stderr.contains("8 x 8 pixels"), "{run:?}");
}

#[test]
fn a_cache_whose_data_set_has_moved() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--imgsz", "64"), ("--min-score", "0")]).expect(0);
    let moved = dir.path().join("elsewhere");
    fs::rename(data.parent().unwrap(), &moved).unwrap();
    let out = dir.path().join("run");
    let words = |more: &[(&str, &str)]| {
        let fixed = [("--model", "yolov8f"), ("--epochs", "1"), ("--threads", "1"), ("--val-split", "none")];
        args(["train"], &[("--cache", &cache), ("--out", &out)], &[&fixed, more].concat())
    };
    logitcache(&words(&[])).refused(&["has moved or was removed", "4 images", "--data"]);
    assert!(!out.exists());
    logitcache(&words(&[("--data", moved.join("data.yaml").to_str().unwrap())])).expect(0);
    let manifest = cache.join("manifest.json");
    let words = args(["train", "--model", "yolov8f"], &[("--cache", &manifest), ("--out", &out)], &[]);
    logitcache(&words).refused(&["a cache is a folder", cache.to_str().unwrap()]);
}

#[test]
fn what_is_exported_and_what_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let (run, model) = (dir.path().join("run"), dir.path().join("model.onnx"));
    let export = |source: &Path, more: &[&str]| {
        let words = args(["export"], &[("--out", &model)], &[]).into_iter().chain([source.into()]);
        logitcache(&words.chain(more.iter().map(Into::into)).collect::<Vec<OsString>>())
    };
    plain(&data, &run, &[]).expect(0);
    export(&run, &[]).expect(0);
    // Its own file is replaced, somebody else's is not.
    export(&run, &[]).expect(0);
    fs::copy(fixture("models/yolov8-dynamic.onnx"), &model).unwrap();
    export(&run, &[]).refused(&["model.onnx", "did not write it", "--overwrite"]);
    assert!(fs::read(&model).unwrap() == fs::read(fixture("models/yolov8-dynamic.onnx")).unwrap());
    export(&run, &["--overwrite"]).expect(0);

    // Before the first validation there are last weights alone.
    fs::remove_file(run.join("weights/best.safetensors")).unwrap();
    let early = export(&run, &[]).expect(0).says(&["no epoch", "validated", "last weights"]);
    assert!(early.stdout.contains("weights/last.safetensors"), "{early:?}");
    fs::remove_file(run.join("weights/last.safetensors")).unwrap();
    export(&run, &[]).refused(&["no epoch of this run is finished", "--resume"]);

    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--imgsz", "64")]).expect(0);
    export(&cache, &[]).refused(&["this is a cache", "logitcache train"]);
    export(&fixture("models/yolov8-dynamic.onnx"), &[]).refused(&["an ONNX file already"]);
    export(data.parent().unwrap(), &[]).refused(&["not a run of `logitcache train`"]);
    export(&run, &["--imgsz", "100"]).refused(&["--imgsz", "multiple of 32"]);
}

#[test]
fn options_that_would_be_ignored_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 5);
    let (out, cache) = (dir.path().join("run"), dir.path().join("cache"));
    for (option, value) in
        [("--alpha", "0.5"), ("--temperature", "3"), ("--cls-loss", "bce"), ("--patience", "3"), ("--val-every", "2")]
    {
        plain(&data, &out, &[(option, value)]).refused(&[option, "was given, but", "Leave"]);
    }
    let mut words = plain_args(&data, &out, &[("--close-mosaic", "3")]);
    words.push("--no-augment".into());
    logitcache(&words).refused(&["--close-mosaic", "--no-augment"]);
    build(&data, &cache, &[("--imgsz", "64")]).expect(0);
    let of_cache = |more: &[(&str, &str)]| {
        let values = [&[("--model", "yolov8f"), ("--epochs", "1"), ("--threads", "1")], more].concat();
        logitcache(&args(["train"], &[("--cache", &cache), ("--out", &out)], &values))
    };
    of_cache(&[("--split", "val")]).refused(&["--data"]);
    of_cache(&[("--images", "x")]).refused(&["--data"]);
    let bckd = [("--cls-loss", "bckd"), ("--distill", "cls"), ("--temperature", "3")];
    of_cache(&bckd).refused(&["--temperature", "neither softmax-kl nor the DFL loss"]);
    assert!(!out.exists());
}

/// Two signals end a training at once, whatever libtorch's threads are doing.
#[test]
fn a_second_signal_ends_it_with_130() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 40);
    let out = dir.path().join("run");
    let words = plain_args(&data, &out, &[("--epochs", "1000"), ("--threads", "2"), ("--batch", "4")]);
    let mut child = command(&words).stderr(Stdio::null()).spawn().unwrap();
    // The first epoch's file is there: it trains.
    crate::wait_for_file(&mut child, &out.join("results.csv"));
    for _ in 0..2 {
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
        thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
