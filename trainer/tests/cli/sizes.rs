//! An input that is no square, from the cache to the student's scores.

use crate::support::{Run, args, build, command, content, finished, logitcache, shapes, teacher, verify};
use logitcache::{
    detector::{Detector, DetectorOptions, DetectorSession, Provider, SessionOptions, runtime},
    types::{InputSize, Store},
};
use logitcache_train::student::{Network, weights};
use serde_json::{Value, json};
use std::{ffi::OsString, fs, path::Path, thread, time::Duration};
use tch::{Device, Tensor};

const SIZE: InputSize = InputSize { height: 96, width: 160 };
const TEXT: &str = "96x160";

fn train_args(cache: &Path, out: &Path, more: &[(&str, &str)]) -> Vec<OsString> {
    let values = [("--model", "yolov8n"), ("--epochs", "2"), ("--batch", "4"), ("--threads", "2")];
    let values: Vec<_> = values.iter().chain(&[("--precision", "fp32")]).chain(more).copied().collect();
    let mut all = args(["train"], &[("--cache", cache), ("--out", out)], &values);
    all.retain(|word| !word.is_empty());
    all
}

fn json_of(words: Vec<OsString>) -> Value {
    logitcache(&words).expect(0).json()
}

/// Of the trainer's network, for one image of noise, `[3, H, W]`: class and DFL logits.
fn forward(file: &Path, pixels: &[f32]) -> [Vec<f32>; 2] {
    let start = weights::load(file, None, 0).unwrap();
    assert_eq!(start.description.unwrap().imgsz, SIZE);
    let images = Tensor::from_slice(pixels).view([1, 3, i64::from(SIZE.height), i64::from(SIZE.width)]);
    let output = Network::from_state(&start.state, Device::Cpu).forward(&images, false);
    [output.class_logits, output.box_values].map(|logits| {
        let logits = logits.contiguous();
        let mut values = vec![0f32; logits.numel()];
        logits.copy_data(&mut values, logits.numel());
        values
    })
}

#[test]
fn a_student_of_a_rectangle_from_the_cache_to_its_scores() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let data = shapes(dir.path(), 15);
    let cache = path("cache");
    let settings = [("--imgsz", TEXT), ("--min-score", "0"), ("--views", "1")];
    build(&data, &cache, &settings).expect(0).says(&["96 x 160 (height x width)", "315 anchors"]);
    build(&data, &path("again"), &settings).expect(0);
    assert_eq!(content(&cache), content(&path("again")), "the same build, the same content");
    verify(&cache).expect(0);
    let words = |name: &str, file: &Path| vec![name.into(), "--json".into(), file.into()];
    let teacher_of = json_of(words("inspect", &cache))["teacher"].clone();
    assert_eq!((&teacher_of["input_height"], &teacher_of["input_width"]), (&json!(96), &json!(160)));
    // Another size is another cache.
    build(&data, &cache, &[("--imgsz", "160x96"), ("--min-score", "0")])
        .refused(&["input_height: 96 in the cache, 160 now", "--overwrite"]);

    // The same run twice, once killed and resumed, gives the same weights.
    let run = path("run");
    logitcache(&train_args(&cache, &run, &[])).expect(0).says(&["yolov8n", "96 x 160 (height x width)"]);
    let config: Value = serde_json::from_slice(&fs::read(run.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["imgsz"], json!([96, 160]));
    let killed = path("killed");
    let mut child = command(&train_args(&cache, &killed, &[])).spawn().unwrap();
    let an_epoch = || fs::read_to_string(killed.join("results.csv")).is_ok_and(|text| text.lines().count() > 1);
    while !an_epoch() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    finished(child.wait_with_output().unwrap());
    logitcache(&train_args(&cache, &killed, &[("--resume", "")])).expect(0);
    let weights_of = |run: &Path| fs::read(run.join("weights/last.safetensors")).unwrap();
    assert!(weights_of(&run) == weights_of(&killed), "the same run has other weights");
    logitcache(&train_args(&cache, &path("square"), &[("--imgsz", "96")]))
        .refused(&["--imgsz 96 was asked for", "built at 96x160"]);

    // What is exported is what was trained, and takes no other size.
    let (best, exported) = (run.join("best.onnx"), path("exported.onnx"));
    let export = |more: &[&str]| -> Run {
        let words = args(["export"], &[("--out", &exported)], &[]).into_iter().chain([run.clone().into()]);
        logitcache(&words.chain(more.iter().map(Into::into)).collect::<Vec<_>>())
    };
    export(&[]).expect(0);
    assert!(fs::read(&exported).unwrap() == fs::read(&best).unwrap());
    runtime::init(None).unwrap();
    let options = DetectorOptions { store: Store::All, ..DetectorOptions::default() };
    let student = Detector::load(&best, &options).unwrap();
    assert_eq!((InputSize::from(student.input), student.head.num_places()), (SIZE, 315));
    let session = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
    let pixels: Vec<f32> =
        (0..3 * 96 * 160u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0).collect();
    let mut session = DetectorSession::new(&student, &session).unwrap();
    let heads = session.run(1, &pixels).unwrap();
    let head = heads.view(0).unwrap();
    let expected = forward(&run.join("weights/best.safetensors"), &pixels);
    for (found, expected) in [head.class_logits(), head.dfl_logits().unwrap()].into_iter().zip(&expected) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-3 * (1.0 + b.abs())));
    }
    export(&["--imgsz", "160x96"]).expect(0);
    let turned = Detector::load(&exported, &options).unwrap();
    assert_eq!((turned.input.height, turned.input.width), (160, 96));
    export(&["--imgsz", "96x100"]).refused(&["--imgsz", "480x640"]);

    // Both are scored, the student audited, and a page shows all.
    let models = [("--model", best.as_path()), ("--model", &teacher()), ("--data", &data)];
    let mut both = args(["eval", "--json", "--quiet", "--latency-runs", "1", "--imgsz"], &[], &[]);
    both.push(TEXT.into());
    both.extend(args([], &models, &[]));
    let scores = json_of(both.clone());
    for model in scores["models"].as_array().unwrap() {
        assert_eq!((&model["input_height"], &model["input_width"]), (&json!(96), &json!(160)), "{model}");
    }
    both.retain(|word| word != TEXT && word != "--imgsz");
    both.extend(["--imgsz".into(), "96".into()]);
    logitcache(&both).refused(&["96 x 160 pixels (height x width) and no others", "imgsz=96 or dynamic=True"]);
    let mut audit = args(["audit", "--min-cosine", "0"], &[("--teacher", &teacher()), ("--student", &best)], &[]);
    audit.push(cache.clone().into());
    assert!(logitcache(&audit).expect(0).stdout.contains("softmax-kl"));
    let images = data.parent().unwrap().join("images/val");
    let mut predict = args(["predict", "--json", "--conf", "0.0001"], &[("--model", &best)], &[]);
    predict.push(images.into());
    assert!(!json_of(predict)["images"].as_array().unwrap().is_empty());
    let page = path("report.html");
    let mut report = args(["report", "--max-pictures", "2"], &[("--out", &page)], &[]);
    report.extend([run.into(), cache.into()]);
    logitcache(&report).expect(0);
    assert!(fs::read_to_string(page).unwrap().contains("96 x 160 (height x width) pixels"));
}

#[test]
fn labels_alone_and_the_objects_of_a_cache_train_at_any_size() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[("--imgsz", TEXT), ("--min-score", "0")]).expect(0);
    let fixed =
        ["train", "--model", "yolov8f", "--epochs", "1", "--batch", "4", "--threads", "1", "--val-split", "none"];
    let size_of = |name: &str, from: &[(&str, &Path)], more: &[(&str, &str)]| {
        let out = dir.path().join(name);
        let words = args(fixed, &[("--out", &out)], more).into_iter().chain(args([], from, &[]));
        logitcache(&words.collect::<Vec<_>>()).expect(0);
        let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
        config["imgsz"].clone()
    };
    let alone = [("--distill", "none"), ("--imgsz", "64x96")];
    assert_eq!(size_of("alone", &[("--data", &data)], &alone), json!([64, 96]));
    let hard = ("--distill", "pseudo-labels");
    assert_eq!(size_of("objects", &[("--cache", &cache)], &[hard]), json!([96, 160]), "the cache's own size");
    assert_eq!(size_of("others", &[("--cache", &cache)], &[hard, ("--imgsz", "64")]), json!(64));
}
