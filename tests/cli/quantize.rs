//! `logitcache quantize`: what it writes is a smaller detector that sees the same, whatever the family and the number of
//! threads; what cannot be quantized is refused, and then nothing is written.

use crate::support::{Run, args, build, command, finished, logitcache, shapes};
use serde_json::Value;
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/teacher.onnx");
const FAMILIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/families");

/// As little work as there can be: no sensitivity of layers, no latency.
const QUICK: [&str; 6] = ["--sample", "4", "--latency-runs", "0", "--keep-float", "0"];

fn words(model: &str, cache: &Path, out: &Path, more: &[&str]) -> Vec<OsString> {
    let mut words = args(["quantize", model], &[("--cache", cache), ("--out", out)], &[]);
    words.extend(more.iter().map(Into::into));
    words
}

fn quantize(model: &str, cache: &Path, out: &Path, more: &[&str]) -> Run {
    logitcache(&words(model, cache, out, more))
}

/// Drawn shapes and the cache of a teacher.
fn cached(dir: &Path, images: u32, more: &[(&str, &str)]) -> (PathBuf, PathBuf) {
    let (data, cache) = (shapes(dir, images), dir.join("cache"));
    build(&data, &cache, more).expect(0);
    (data, cache)
}

#[test]
fn the_new_file_is_smaller_and_sees_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = cached(dir.path(), 60, &[("--teacher", TEACHER)]);
    let out = dir.path().join("int8.onnx");
    let more = ["--data", data.to_str().unwrap(), "--sample", "16", "--latency-runs", "2", "--json"];
    let report: Value = quantize(TEACHER, &cache, &out, &more).expect(0).json();
    let number = |value: &Value| value.as_f64().unwrap();
    assert!(number(&report["out_bytes"]) < 0.45 * number(&report["model_bytes"]), "{report}");
    assert_eq!(report["out_bytes"], fs::metadata(&out).unwrap().len());
    assert!((0.0..0.2).contains(&number(&report["divergence"])), "{}", report["divergence"]);
    assert_eq!(
        (&report["images"], &report["compared_images"], &report["placement"]),
        (&16.into(), &16.into(), &"operators".into())
    );

    // The choice is the candidate with the least divergence.
    let candidates = report["candidates"].as_array().unwrap();
    let best = candidates.iter().min_by(|a, b| number(&a["divergence"]).total_cmp(&number(&b["divergence"]))).unwrap();
    assert_eq!((candidates.len(), &best["calibration"]), (4, &report["calibration"]));

    // Layers are kept float32 in the order of what they cost for each multiply-add, within the share.
    let layers = report["layers"].as_array().unwrap();
    let of = |reason: &str| -> Vec<&Value> {
        layers.iter().filter(|layer| layer["float_because"].as_str().is_some_and(|why| why.contains(reason))).collect()
    };
    let adds = |layers: &[&Value]| layers.iter().map(|layer| layer["multiply_adds"].as_u64().unwrap()).sum::<u64>();
    let all: Vec<&Value> = layers.iter().collect();
    let (last, sensitive) = (of("head's"), of("sensitive"));
    // The DFL is a product that comes after the outputs of the head.
    assert_eq!((layers.len(), last.len()), (63, 6));
    assert!(!sensitive.is_empty() && adds(&sensitive) as f64 <= 0.05 * adds(&all) as f64);
    assert_eq!(number(&report["float_share"]), (adds(&last) + adds(&sensitive)) as f64 / adds(&all) as f64);
    assert!(layers.iter().all(|layer| layer["divergence"].is_null() == last.contains(&layer)));

    let accuracy = &report["accuracy"];
    assert!(number(&accuracy["model_map_50_95"]) > 0.3, "{accuracy}");
    assert!(number(&accuracy["difference"]["value"]).abs() < 0.05, "{accuracy}");
    assert_eq!(report["speed"][0]["runs"], 2);

    // It is a detector like any other, and is known as what it is.
    let shown = logitcache(&["inspect", out.to_str().unwrap()]).expect(0).stdout;
    assert!(shown.contains("int8"), "{shown}");
    let twice = dir.path().join("twice.onnx");
    quantize(out.to_str().unwrap(), &cache, &twice, &[]).expect(2).says(&[
        "int8.onnx",
        "is quantized already (INT8, QDQ)",
        "Give the float32 file",
    ]);
    assert!(!twice.exists());
}

#[test]
fn the_bytes_do_not_depend_on_threads_and_a_file_of_another_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache) = cached(dir.path(), 40, &[("--teacher", TEACHER)]);
    let run = |jobs: &str, out: &Path| {
        quantize(TEACHER, &cache, out, &[&QUICK[..], &["--calibration", "mse", "--jobs", jobs]].concat())
    };
    let [one, two] = ["one.onnx", "two.onnx"].map(|name| dir.path().join(name));
    // Nothing is chosen by the outputs, so nothing is scored.
    let shown = run("1", &one).expect(0).says(&["no accuracy was measured", "--data"]).stdout;
    assert!(shown.contains("calibrated on 4 images, compared on 4 images; input: 160 x 160"), "{shown}");
    assert!(!shown.contains("mAP"), "{shown}");
    run("2", &two).expect(0);
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    // Where the calibration is chosen, the model's own detections stand for labels; the bytes are as stable.
    let chosen = |jobs: &str, out: &Path| quantize(TEACHER, &cache, out, &[&QUICK[..], &["--jobs", jobs]].concat());
    let [three, four] = ["three.onnx", "four.onnx"].map(|name| dir.path().join(name));
    let shown = chosen("1", &three).expect(0).stdout;
    assert!(shown.contains("calibrated on 4 images, compared on 16 images"), "{shown}");
    assert!(shown.contains("with the float32 model's detections as labels"), "{shown}");
    assert_eq!(shown.replace("three", "four"), chosen("2", &four).expect(0).stdout);
    assert_eq!(fs::read(&three).unwrap(), fs::read(&four).unwrap());
    // Its own file is replaced, another one is not.
    run("2", &two).expect(0);
    fs::write(&two, "mine").unwrap();
    run("2", &two).expect(2).says(&["two.onnx already exists", "--overwrite"]);
    assert_eq!(fs::read(&two).unwrap(), b"mine");
}

#[test]
fn every_family_can_be_quantized_in_both_placements() {
    let dir = tempfile::tempdir().unwrap();
    let teacher = format!("{FAMILIES}/yolov5.onnx");
    let (_, cache) = cached(dir.path(), 10, &[("--teacher", &teacher), ("--imgsz", "64")]);
    let names = dir.path().join("names.txt");
    fs::write(&names, "circle\nsquare\ntriangle\nstar\ncross\nring\n").unwrap();
    let mut failed = Vec::new();
    for family in
        ["yolov5", "yolov7", "yolox", "yolo-nas", "rtdetr-ultralytics", "rtdetr-hf", "dfine", "yolo26-end2end"]
    {
        let model = format!("{FAMILIES}/{family}.onnx");
        for placement in ["operators", "layer-inputs"] {
            let out = dir.path().join(format!("{family}-{placement}.onnx"));
            let names = names.to_str().unwrap();
            let more =
                ["--calibration", "min-max", "--imgsz", "64", "--placement", placement, "--names", names, "--json"];
            let run = quantize(&model, &cache, &out, &[&QUICK[..], &more].concat());
            if run.code != 0 {
                failed.push(format!("{family}, {placement}: {}", run.stderr));
                continue;
            }
            let divergence = run.json()["divergence"].as_f64().unwrap();
            // Which queries a network of random weights prefers changes with every rounding.
            let most = if ["rtdetr-ultralytics", "rtdetr-hf", "dfine"].contains(&family) { f64::MAX } else { 0.5 };
            if divergence.is_nan() || divergence >= most {
                failed.push(format!("{family}, {placement}: divergence {divergence}"));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = cached(dir.path(), 10, &[("--teacher", TEACHER)]);
    let out = dir.path().join("out.onnx");
    let refused = |model: &str, cache: &Path, says: &[&str]| {
        quantize(model, cache, &out, &["--imgsz", "160"]).expect(2).says(says);
        assert!(!out.exists());
    };
    let own = dir.path().join("own.onnx");
    fs::copy(TEACHER, &own).unwrap();
    quantize(own.to_str().unwrap(), &cache, &own, &["--overwrite"])
        .expect(2)
        .says(&["own.onnx itself, which this command reads"]);
    assert_eq!(fs::read(&own).unwrap(), fs::read(TEACHER).unwrap());
    let nowhere = dir.path().join("no/folder/out.onnx");
    quantize(TEACHER, &cache, &nowhere, &[]).expect(2).says(&["out.onnx", "cannot create"]);
    refused("absent.onnx", &cache, &["absent.onnx", "cannot open"]);
    refused(TEACHER, &dir.path().join("absent"), &["absent"]);
    // The images are gone.
    let images = data.with_file_name("images");
    let moved = data.with_file_name("moved");
    fs::rename(&images, &moved).unwrap();
    refused(TEACHER, &cache, &["has moved or was removed", "--data"]);
    fs::rename(&moved, &images).unwrap();
    // A cache of other classes.
    let names = dir.path().join("names.txt");
    fs::write(&names, "a\nb\nc\nd\ne\nf\n").unwrap();
    quantize(TEACHER, &cache, &out, &["--names", names.to_str().unwrap()])
        .expect(2)
        .says(&["none of its classes", "Give a cache of images that the model is for"]);
    // No layer's input can be measured on an image that cannot be read.
    for image in fs::read_dir(images.join("train")).unwrap() {
        fs::write(image.unwrap().path(), "no picture").unwrap();
    }
    refused(TEACHER, &cache, &["there is no image to calibrate with", "000"]);
    let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(left.into_iter().all(|name| !name.starts_with(".tmp-")), "temporary files are left");
}

#[test]
fn notes_say_what_the_figures_are_worth() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = cached(dir.path(), 10, &[("--teacher", TEACHER)]);
    let out = dir.path().join("out.onnx");
    // Eight images are all that there are: they serve for everything.
    let quick = ["--latency-runs", "2", "--keep-float", "0", "--json"];
    let run = quantize(TEACHER, &cache, &out, &quick).expect(0);
    let run = run.says(&["the cache has only 8 images", "8 of the 8 images that accuracy was measured on"]);
    let report = run.json();
    assert_eq!((&report["images"], &report["compared_images"], &report["imgsz"]), (&8.into(), &8.into(), &160.into()));
    assert_eq!(report["accuracy"]["calibration_images"], 8);
    // Two pairs of runs say nothing of the speed.
    assert!(report["speed"].as_array().unwrap().iter().all(|speed| speed["verdict"] == "not-shown"), "{report}");

    // The split that is scored on is the one of the cache, or is not.
    let scored = |split: &str| {
        let more = ["--calibration", "min-max", "--data", data.to_str().unwrap(), "--split", split, "--json"];
        quantize(TEACHER, &cache, &out, &[&QUICK[..], &more].concat()).expect(0)
    };
    scored("train").says(&["8 of the 8 images that accuracy was measured on served to calibrate"]);
    let other = scored("val");
    assert!(!other.stderr.contains("served to calibrate"), "{other:?}");
    assert_eq!(other.json()["accuracy"]["calibration_images"], 0);

    // Other classes: there is no way to map them here, so none is recommended.
    let text = fs::read_to_string(&data).unwrap();
    let renamed = data.with_file_name("renamed.yaml");
    fs::write(&renamed, text.replace("star", "sun")).unwrap();
    let more = ["--calibration", "min-max", "--data", renamed.to_str().unwrap(), "--split", "val", "--overwrite"];
    let run = quantize(TEACHER, &cache, &out, &[&QUICK[..], &more].concat()).refused(&["\"sun\"", "--names", "--data"]);
    assert!(!run.stderr.contains("--map"), "{run:?}");
    // An OpenVINO file is no ONNX file.
    let xml = dir.path().join("model.xml");
    fs::write(&xml, "<?xml version=\"1.0\"?>\n<net name=\"model\" version=\"11\">\n").unwrap();
    quantize(xml.to_str().unwrap(), &cache, &out, &[]).refused(&["this is an OpenVINO file", "Give the ONNX export"]);
}

#[test]
fn a_cache_without_objects_is_no_cache_to_calibrate_with() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    for image in fs::read_dir(data.with_file_name("images/train")).unwrap() {
        image::RgbImage::from_pixel(160, 160, image::Rgb([128; 3])).save(image.unwrap().path()).unwrap();
    }
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--teacher", TEACHER), ("--ignore-labels", "")]).expect(0);
    let run = quantize(TEACHER, &cache, &dir.path().join("out.onnx"), &QUICK).expect(0);
    run.says(&["on no image of the cache does the teacher see an object", "the model detects nothing"]);
}

#[test]
fn an_interrupted_run_ends_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache) = cached(dir.path(), 40, &[("--teacher", TEACHER)]);
    let words = |out: &Path| words(TEACHER, &cache, out, &[&QUICK[..], &["--jobs", "2"]].concat());
    let started = Instant::now();
    finished(command(&words(&dir.path().join("whole.onnx"))).output().unwrap()).expect(0);
    let duration = started.elapsed();
    let mut interrupted = 0;
    for moment in 1..8u32 {
        let out = dir.path().join("out.onnx");
        let child = command(&words(&out)).spawn().unwrap();
        thread::sleep(duration * moment / 8);
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let run = finished(child.wait_with_output().unwrap());
        // A signal that comes before or after the work finds the program without its own way to end.
        if run.code == 130 {
            interrupted += 1;
            assert!(!out.exists() && run.stderr.contains("interrupted"), "{run:?}");
            let left = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
            assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with(".tmp-")), "moment {moment}");
        }
        let _ = fs::remove_file(&out);
    }
    assert!(interrupted > 0, "no signal came during the work");
}
