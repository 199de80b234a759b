//! `logitcache eval` as a user meets it: numbers, files, refusals.

use crate::{
    common,
    support::{Run, args, fixture, logitcache, shapes, teacher},
};
use serde_json::Value;
use std::{ffi::OsString, fs, path::Path};

/// `eval` at 160 pixels without latency.
fn eval_args(models: &[&Path], data: &Path, more: &[(&str, &str)]) -> Vec<OsString> {
    let models: Vec<(&str, &Path)> = models.iter().map(|model| ("--model", *model)).collect();
    let mut all = args(["eval", "--quiet", "--latency-runs", "0"], &models, &[("--jobs", "2")]);
    all.extend(args([], &[("--data", data)], more));
    all
}

fn eval(models: &[&Path], data: &Path, more: &[(&str, &str)]) -> Run {
    let size = if more.iter().any(|(flag, _)| *flag == "--imgsz") { &[][..] } else { &[("--imgsz", "160")][..] };
    logitcache(&eval_args(models, data, &[size, more].concat()))
}

#[test]
fn one_model_in_three_forms_and_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let out = dir.path().join("scores");
    let out_text = out.to_str().unwrap();
    let shown = eval(&[&teacher()], &data, &[("--out", out_text)]).expect(0);
    assert!(shown.stderr.is_empty(), "{}", shown.stderr);
    for word in ["mAP@0.5:0.95", "small-object recall", "parameters", "yolov8-dynamic.onnx", "triangle"] {
        assert!(shown.stdout.contains(word), "{word}: {}", shown.stdout);
    }
    let saved: Value = serde_json::from_str(&fs::read_to_string(out.join("eval.json")).unwrap()).unwrap();
    let csv = fs::read_to_string(out.join("eval.csv")).unwrap();
    let markdown = fs::read_to_string(out.join("eval.md")).unwrap();
    let ap = saved["models"][0]["scores"]["coco"]["ap_50"].as_f64().unwrap();
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let (head, row) = (rows.next().unwrap(), rows.next().unwrap());
    assert_eq!((head.len(), rows.next()), (row.len(), None));
    let column = head.iter().position(|name| *name == "map_50").unwrap();
    assert_eq!(row[column].parse::<f64>().unwrap(), ap);
    assert!(markdown.contains(&format!("| mAP@0.5 | {ap:.3} |")), "{markdown}");

    let with_json = |jobs: &str| {
        let mut all = eval_args(&[&teacher()], &data, &[("--imgsz", "160")]);
        let at = all.iter().position(|a| a == "--jobs").unwrap();
        all[at + 1] = jobs.into();
        all.push("--json".into());
        logitcache(&all).expect(0).json()
    };
    let (one, three) = (with_json("1"), with_json("3"));
    assert_eq!(one["models"][0]["scores"], three["models"][0]["scores"]);
    assert_eq!(one["models"][0]["scores"], saved["models"][0]["scores"]);
    assert_eq!(one["models"][0]["latency"], serde_json::json!([]));
}

#[test]
fn a_model_against_itself_differs_by_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let copy = dir.path().join("copy.onnx");
    fs::copy(teacher(), &copy).unwrap();
    let mut all = eval_args(&[&teacher(), &copy, &teacher()], &data, &[("--imgsz", "160")]);
    all.push("--json".into());
    let report = logitcache(&all).expect(0).json();
    let models = report["models"].as_array().unwrap();
    assert_eq!(models[1]["scores"], models[0]["scores"]);
    assert_eq!(models[0]["against_first"], Value::Null);
    assert_eq!(models[1]["against_first"]["ap"]["value"], 0.0);
    assert_eq!(models[1]["against_first"]["ap"]["more_than_chance"], false);
    assert_eq!(models[1]["name"], "copy.onnx");
    assert_eq!(models[0]["name"], models[0]["path"], "two files of one name are told apart by their paths");
}

#[test]
fn latency_with_one_thread_and_with_all() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let mut all = eval_args(&[&fixture("models/yolov8-batch4.onnx")], &data, &[]);
    let at = all.iter().position(|a| a == "--latency-runs").unwrap();
    all[at + 1] = "2".into();
    all.push("--json".into());
    let report = logitcache(&all).expect(0).json();
    let latency = report["models"][0]["latency"].as_array().unwrap();
    assert_eq!(latency.iter().map(|l| l["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for l in latency {
        assert!(l["runs"] == 2 && 0.0 < l["p50_ms"].as_f64().unwrap());
        assert!(l["p50_ms"].as_f64().unwrap() <= l["p90_ms"].as_f64().unwrap());
    }
}

#[test]
fn an_image_that_cannot_be_read_is_named_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let images = data.parent().unwrap().join("images/val");
    let broken = fs::read_dir(&images).unwrap().next().unwrap().unwrap().path();
    fs::write(&broken, "no picture").unwrap();
    let name = broken.file_name().unwrap().to_str().unwrap();
    let run = eval(&[&teacher()], &data, &[]).expect(1);
    assert!(run.stdout.contains("1 image failed") && run.stdout.contains(name), "{}", run.stdout);
    for entry in fs::read_dir(&images).unwrap() {
        fs::write(entry.unwrap().path(), "no picture").unwrap();
    }
    eval(&[&teacher()], &data, &[]).refused(&["4 of 4 images failed:", name, "There is no image left to score"]);
}

#[test]
fn data_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let root = data.parent().unwrap();
    eval(&[&teacher()], &root.join("images/val"), &[]).refused(&["has no labels", "data.yaml"]);
    fs::remove_dir_all(root.join("labels/val")).unwrap();
    eval(&[&teacher()], &data, &[]).refused(&["show no object"]);
    eval(&[&teacher()], &data, &[("--missing-labels", "unlabelled")]).refused(&["none of", "has labels"]);
    eval(&[&teacher()], &data, &[("--split", "test")]).refused(&["test"]);
}

#[test]
fn unlabelled_images_do_not_count_and_empty_ones_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let labels = data.parent().unwrap().join("labels/val");
    let files: Vec<_> = fs::read_dir(&labels).unwrap().map(|entry| entry.unwrap().path()).collect();
    fs::remove_file(&files[0]).unwrap();
    fs::write(&files[1], "").unwrap();
    let report = |missing: &str| {
        let mut all = eval_args(&[&teacher()], &data, &[("--imgsz", "160"), ("--missing-labels", missing)]);
        all.push("--json".into());
        logitcache(&all).expect(0).json()
    };
    let (background, unlabelled) = (report("background"), report("unlabelled"));
    assert_eq!(background["images"], files.len());
    assert_eq!((&unlabelled["images"], &unlabelled["unlabelled_images"]), (&(files.len() - 1).into(), &1.into()));
    assert_eq!(background["models"][0]["scores"]["objects"], unlabelled["models"][0]["scores"]["objects"]);
}

#[test]
fn classes_that_do_not_fit() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let text = fs::read_to_string(&data).unwrap();
    let names = dir.path().join("names.txt");
    fs::write(&names, "a\nb\n").unwrap();
    eval(&[&teacher()], &data, &[("--names", names.to_str().unwrap())]).refused(&["6 classes", "--names gives 2"]);
    fs::write(&data, text.replace("triangle", "Triangel")).unwrap();
    let run = eval(&[&teacher()], &data, &[]);
    assert!(!run.stderr.contains("--ignore-labels"), "eval has no such option: {}", run.stderr);
    run.refused(&["yolov8-dynamic.onnx: 1 of the data set's 6 classes", "Triangel", "--names"]);
}

#[test]
fn other_things_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let model = |name: &str| fixture("models").join(name);
    eval(&[&model("yolov8-classify.onnx")], &data, &[]).refused(&["yolov8-classify.onnx", "classif"]);
    eval(&[&teacher(), &model("yolov8-nms.onnx")], &data, &[]).refused(&["yolov8-nms.onnx", "nms=True"]);
    eval(&[&teacher()], &data, &[("--imgsz", "100")]).refused(&["--imgsz", "multiple of 32"]);
    eval(&[&teacher()], &data, &[("--conf", "1.5")]).expect(2).says(&["--conf", "0 to 1"]);
    eval(&[&teacher()], &data, &[("--iou", "nan")]).expect(2).says(&["--iou", "0 to 1"]);
    eval(&[], &data, &[]).expect(2).says(&["--model"]);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    eval(&[&teacher()], &data, &[("--out", file.join("out").to_str().unwrap())]).refused(&["file"]);
}

#[test]
fn coco128_under_the_real_teacher() {
    let Some(shared) = common::shared() else { return };
    let data = shared.join("data/coco128/data.yaml");
    let mut all = eval_args(&[&shared.join("models/yolov12n.onnx")], &data, &[("--split", "train")]);
    all.push("--json".into());
    let report = logitcache(&all).expect(0).json();
    let scores = &report["models"][0]["scores"];
    assert_eq!((&scores["images"], &scores["objects"]), (&128.into(), &929.into()));
    assert!(scores["coco"]["ap_50"].as_f64().unwrap() > 0.6, "{}", scores["coco"]);
}
