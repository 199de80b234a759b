//! Every family of detectors against the detections of its own project (`tests/fixtures/generate_families.py`): the same
//! classes, scores and boxes on pictures drawn from a formula.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use logitcache::{
    cache::MissingLabels,
    dataset::Dataset,
    detector::{Detector, DetectorOptions, Provider, Reading, SessionOptions, family_names},
    eval::{Inference, InferenceOptions, NmsOptions},
    inspect,
    types::{BoxXyxyPx, Detection, Store},
};
use serde::Deserialize;
use std::{
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

const NAMES: [&str; 6] = ["circle", "square", "triangle", "star", "cross", "ring"];
/// Width and height of the pictures.
const SIZES: [(u32, u32); 4] = [(100, 60), (60, 100), (64, 64), (150, 131)];
/// Lowest score of the goldens.
const CONF: f32 = 0.05;

#[derive(Deserialize)]
struct Golden {
    family: String,
    rule: String,
    classes: usize,
    places: usize,
    bins: usize,
    nms: bool,
    /// Class, score, x1, y1, x2, y2, best first.
    images: Vec<Vec<[f32; 6]>>,
}

fn model(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families").join(format!("{name}.onnx"))
}

fn golden(name: &str) -> Golden {
    serde_json::from_str(&fs::read_to_string(model(name).with_extension("json")).unwrap()).unwrap()
}

/// The generator's pictures.
fn draw(folder: &Path) {
    for (number, (width, height)) in (0u32..).zip(SIZES) {
        let pixel = |x: u32, y: u32| {
            let levels = [x * x * 7 + y * 13 + number * 40, y * y * 5 + x * 11, x * y * 3 + number * 70];
            image::Rgb(levels.map(|level| level as u8))
        };
        image::RgbImage::from_fn(width, height, pixel).save(folder.join(format!("{number}.png"))).unwrap();
    }
}

fn detections(name: &str, folder: &Path, max_detections: usize) -> Vec<Vec<Detection>> {
    let detector = Inference::open(InferenceOptions {
        model: model(name),
        names: Some(NAMES.map(str::to_owned).to_vec()),
        reading: Reading::default(),
        imgsz: None,
        jobs: NonZeroUsize::MIN,
        provider: Provider::Cpu,
        ort_lib: None,
        nms: NmsOptions { conf: CONF, max_detections, ..NmsOptions::SCORING },
    })
    .unwrap();
    let dataset = Dataset::of_paths(&[folder.to_owned()]).unwrap();
    let mut found = Vec::new();
    let stop = AtomicBool::new(false);
    detector
        .run(&dataset.samples, None, MissingLabels::Unlabelled, &stop, |image| {
            found.push(image.unwrap().detections);
            Ok(())
        })
        .unwrap();
    found
}

fn far(a: &BoxXyxyPx, b: &[f32]) -> f32 {
    [a.x1, a.y1, a.x2, a.y2].iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Detections are the project's, and `inspect` says what the file is.
#[track_caller]
fn agrees(name: &str) {
    let (golden, folder) = (golden(name), tempfile::tempdir().unwrap());
    draw(folder.path());
    let summary = inspect::model(&model(name), Reading::default(), None).unwrap();
    assert_eq!(
        (summary.family.as_str(), summary.input_rule.to_string()),
        (golden.family.as_str(), golden.rule),
        "{name}"
    );
    assert_eq!(
        (summary.num_classes, summary.predictions, summary.bins, summary.needs_nms),
        (golden.classes, golden.places, golden.bins, golden.nms),
        "{name}"
    );
    assert!(summary.max_box_error_px < 0.02 && summary.max_score_error < 1e-5, "{name}: {summary:?}");
    // Projects of queries give as many detections as queries; here every class over the threshold is one.
    let most = if golden.nms { 300 } else { golden.images.iter().map(Vec::len).max().unwrap() };
    let (mut score_error, mut box_error) = (0.0f32, 0.0f32);
    for (number, (found, mut rows)) in detections(name, folder.path(), most).into_iter().zip(golden.images).enumerate()
    {
        assert_eq!(found.len(), rows.len(), "{name}, image {number}");
        for detection in found {
            let at = rows.iter().position(|row| {
                let score = (row[1] - detection.score).abs();
                row[0] == detection.class_id as f32 && score <= 1e-4 && far(&detection.box_xyxy_px, &row[2..]) <= 0.5
            });
            let row =
                rows.swap_remove(at.unwrap_or_else(|| panic!("{name}, image {number}: {detection:?} is not theirs")));
            score_error = score_error.max((row[1] - detection.score).abs());
            box_error = box_error.max(far(&detection.box_xyxy_px, &row[2..]));
        }
    }
    println!("{name}: largest differences {score_error:.1e} of a score, {box_error:.4} px of a box");
}

#[test]
fn rt_detr_of_three_projects() {
    agrees("rtdetr-ultralytics");
    agrees("rtdetr-ultralytics-dense");
    agrees("rtdetr-hf");
    agrees("rtdetr");
}

#[test]
fn d_fine_of_two_projects() {
    agrees("dfine-hf");
    agrees("dfine");
}

#[test]
fn rf_detr() {
    agrees("rfdetr");
}

#[test]
fn yolox_with_and_without_decoding() {
    agrees("yolox");
    agrees("yolox-decoded");
}

#[test]
fn yolo_nas() {
    agrees("yolo-nas");
}

#[test]
fn yolov5() {
    agrees("yolov5");
}

#[test]
fn yolo26_end_to_end() {
    agrees("yolo26-end2end");
}

#[track_caller]
fn refused(name: &str, options: &DetectorOptions, says: &[&str]) {
    let error = Detector::load(model(name), options).unwrap_err().to_string();
    for part in says {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

fn options() -> DetectorOptions {
    DetectorOptions { names: Some(NAMES.map(str::to_owned).to_vec()), ..DetectorOptions::default() }
}

#[test]
fn other_tasks_and_unclear_heads_are_refused_by_name() {
    refused("detr-hf", &options(), &["DETR", "softmax", "`family=rt-detr-hf`"]);
    refused("yolov5-segment", &options(), &["masks", "segmentation"]);
    let few = DetectorOptions { names: Some(vec!["a".into(), "b".into()]), ..options() };
    refused("rfdetr", &few, &["6 class slots", "`names=` gives 2", "no object"]);
    refused("rtdetr", &DetectorOptions { store: Store::All, ..options() }, &["no DFL", "`store=cls`"]);
    let unnamed = DetectorOptions { names: None, ..options() };
    refused("yolox", &unnamed, &["6 classes", "does not name them"]);
}

#[test]
fn the_user_may_name_family_and_rule() {
    let of = |family: &str, rule: &str| DetectorOptions {
        reading: Reading { family: Some(family.to_owned()), input_rule: rule.parse().unwrap() },
        ..options()
    };
    let model_of = |name: &str, family: &str, rule: &str| Detector::load(model(name), &of(family, rule)).unwrap();
    assert_eq!(model_of("yolox", "yolox", "rgb,0-1").input_rule.to_string(), "top-left,rgb,0-1");
    // The user vouches for a DETR whose classes are independent.
    let detr = DetectorOptions {
        names: Some((0..7).map(|class| class.to_string()).collect()),
        ..of("rt-detr-hf", "stretch,rgb,imagenet")
    };
    let detr = Detector::load(model("detr-hf"), &detr).unwrap();
    assert_eq!((detr.head.num_places(), detr.input_rule.to_string().as_str()), (20, "stretch,rgb,imagenet"));
    refused("yolox", &of("rt-detr", "rgb"), &["not that of RT-DETR", "Leave `family=` out"]);
    refused("yolox", &of("yolo", "rgb"), &["\"yolo\" is no family", "rt-detr-hf", "yolov8"]);
    assert_eq!(family_names().count(), 8);
}

#[test]
fn self_checks_pass_with_any_rule() {
    for name in ["yolox", "rfdetr", "yolov5"] {
        let reading = Reading { input_rule: "stretch,bgr,imagenet".parse().unwrap(), ..Reading::default() };
        let model = Detector::load(model(name), &DetectorOptions { reading, ..options() }).unwrap();
        model.self_check(&SessionOptions { provider: Provider::Cpu, intra_threads: 1 }).unwrap();
    }
}
