//! The tensors found in the fixtures' graphs against the raw head outputs of the torch modules they were exported from
//! (`tests/fixtures/generate_models.py`).

use std::path::PathBuf;

use logitcache::{
    Error,
    detector::{BatchSize, Detector, DetectorOptions, DetectorSession, Precision, Provider, SessionOptions, runtime},
    types::{InputSize, Store},
};
use serde::Deserialize;

const OPTIONS: SessionOptions = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
const SHAPES: [&str; 6] = ["circle", "square", "triangle", "star", "cross", "ring"];

#[derive(Deserialize)]
struct Golden {
    num_classes: usize,
    reg_max: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    batch: usize,
    height: u32,
    width: u32,
    anchors: usize,
    samples: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    image: usize,
    anchor: usize,
    class_logits: Vec<f32>,
    box_channels: Vec<f32>,
    box_xywh_px: Vec<f32>,
}

fn models() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

/// The generator's picture: the same formula, so that no generator of random numbers must be repeated.
fn picture(len: usize) -> Vec<f32> {
    let value = |i: u64| {
        let mut h = (i * 2_654_435_761 + 12_345) & 0xFFFF_FFFF;
        h ^= h >> 16;
        h = (h * 2_246_822_519) & 0xFFFF_FFFF;
        h ^= h >> 13;
        (h >> 8) as f32 / 16_777_216.0
    };
    (0..len as u64).map(value).collect()
}

fn options(imgsz: Option<u32>, store: Store) -> DetectorOptions {
    DetectorOptions { imgsz: imgsz.map(InputSize::square), store, names: None, ..DetectorOptions::default() }
}

/// Compares every case of the fixture's golden file, at its own sizes, and self-checks at each.
fn compare(name: &str, names_given: bool, tolerance: f32) {
    let golden: Golden =
        serde_json::from_str(&std::fs::read_to_string(models().join(format!("{name}.json"))).unwrap()).unwrap();
    assert!(!golden.cases.is_empty());
    let mut checked = 0;
    for case in golden.cases {
        let store = if golden.reg_max == 1 { Store::Cls } else { Store::All };
        let imgsz = (name.contains("dynamic") || name.contains("fp16-io")).then_some(case.height);
        let names = names_given.then(|| SHAPES.map(str::to_owned).to_vec());
        let model =
            Detector::load(models().join(format!("{name}.onnx")), &DetectorOptions { names, ..options(imgsz, store) })
                .unwrap();
        assert_eq!((model.input.height, model.input.width), (case.height, case.width), "{name}");
        assert_eq!((model.head.num_classes, model.head.num_places()), (golden.num_classes, case.anchors), "{name}");
        assert_eq!(model.head.reg_max(), if golden.reg_max > 1 { golden.reg_max } else { 0 }, "{name}");

        let check = model.self_check(&OPTIONS).unwrap();
        assert_eq!(check.anchors, case.anchors);

        let mut session = DetectorSession::new(&model, &OPTIONS).unwrap();
        let pixels = picture(case.batch * 3 * (case.height * case.width) as usize);
        let outputs = session.run(case.batch, &pixels).unwrap();
        assert_eq!(outputs.batch(), case.batch);
        for sample in &case.samples {
            let head = outputs.view(sample.image).unwrap();
            let expected = if golden.reg_max > 1 { &sample.box_channels } else { &sample.box_xywh_px };
            assert_eq!(head.dfl_logits().is_some(), golden.reg_max > 1);
            for (what, found, expected) in [
                ("class logit", head.class_logits(), &sample.class_logits),
                ("box channel", head.box_values(), expected),
            ] {
                assert_eq!(found.len(), expected.len() * case.anchors);
                for (channel, expected) in expected.iter().enumerate() {
                    let found = found[channel * case.anchors + sample.anchor];
                    assert!(
                        (found - expected).abs() <= tolerance * (1.0 + expected.abs()),
                        "{name}, image {}, anchor {}, {what} {channel}: {found}, torch says {expected}",
                        sample.image,
                        sample.anchor
                    );
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 0, "{name}: nothing was compared");
}

#[test]
fn static_exports() {
    compare("yolov8-static", false, 1e-3);
    compare("yolov8-raw-export", true, 1e-3);
    compare("yolov8-p2", false, 1e-3);
}

#[test]
fn other_versions_and_other_shapes() {
    compare("yolov9-opset12", false, 1e-3);
    compare("yolov10-one2many", false, 1e-3);
    compare("yolo11-wide", false, 1e-3);
}

#[test]
fn dynamic_and_fixed_batches() {
    compare("yolov8-dynamic", false, 1e-3);
    // Attention over random weights enlarges rounding; ONNX Runtime differs as much from itself without optimisation.
    compare("yolo12-dynamic", false, 5e-3);
    compare("yolov8-batch4", false, 1e-3);
}

#[test]
fn float16() {
    compare("yolov8-fp16", false, 5e-2);
    compare("yolov8-fp16-io", false, 5e-2);
    for name in ["yolov8-fp16.onnx", "yolov8-fp16-io.onnx"] {
        let model = Detector::load(models().join(name), &options(None, Store::All)).unwrap();
        assert_eq!(model.precision, Precision::Fp16, "{name}");
    }
}

#[test]
fn a_head_without_dfl_gives_boxes() {
    compare("yolo26-no-dfl", false, 1e-3);
    let error =
        Detector::load(models().join("yolo26-no-dfl.onnx"), &options(None, Store::All)).unwrap_err().to_string();
    assert!(error.contains("no DFL") && error.contains("`store=cls`"), "{error}");
}

/// The one-to-one branch lies behind the best predictions of an end-to-end export, whole.
#[test]
fn an_end_to_end_export_has_the_logits_of_every_anchor() {
    let path = models().join("yolov10-end2end.onnx");
    let model = Detector::load(&path, &options(None, Store::All)).unwrap();
    assert_eq!((model.head.num_places(), model.head.reg_max(), model.head.one_to_one), (525, 16, true));
    model.self_check(&OPTIONS).unwrap();
}

#[test]
fn a_fixed_batch_is_filled_up_and_the_filling_dropped() {
    let model = Detector::load(models().join("yolov8-batch4.onnx"), &options(None, Store::All)).unwrap();
    assert_eq!(model.batch, BatchSize::Fixed(4));
    let mut session = DetectorSession::new(&model, &OPTIONS).unwrap();
    let pixels = picture(4 * 3 * 64 * 64);
    let all: Vec<Vec<f32>> = {
        let outputs = session.run(4, &pixels).unwrap();
        (0..4).map(|i| outputs.view(i).unwrap().class_logits().to_vec()).collect()
    };
    let outputs = session.run(2, &pixels[..2 * 3 * 64 * 64]).unwrap();
    assert_eq!(outputs.batch(), 2);
    assert_eq!(outputs.view(0).unwrap().class_logits(), all[0]);
    assert_eq!(outputs.view(1).unwrap().class_logits(), all[1]);
    drop(outputs);
    let error = session.run(5, &picture(5 * 3 * 64 * 64)).err().unwrap().to_string();
    assert!(error.contains("takes 4 images at once"), "{error}");
}

#[test]
fn runs_repeat_bit_for_bit_and_batches_do_not_matter_much() {
    let model = Detector::load(models().join("yolov8-dynamic.onnx"), &options(Some(64), Store::All)).unwrap();
    let pixels = picture(3 * 3 * 64 * 64);
    let run = |threads| {
        let mut session = DetectorSession::new(&model, &SessionOptions { intra_threads: threads, ..OPTIONS }).unwrap();
        let outputs = session.run(3, &pixels).unwrap();
        (0..3)
            .map(|i| {
                (
                    outputs.view(i).unwrap().class_logits().to_vec(),
                    outputs.view(i).unwrap().dfl_logits().unwrap().to_vec(),
                )
            })
            .collect::<Vec<_>>()
    };
    let first = run(1);
    assert_eq!(first, run(1));
    let mut session = DetectorSession::new(&model, &OPTIONS).unwrap();
    for (i, (logits, _)) in first.iter().enumerate() {
        let alone = session.run(1, &pixels[i * 3 * 64 * 64..(i + 1) * 3 * 64 * 64]).unwrap();
        let difference =
            alone.view(0).unwrap().class_logits().iter().zip(logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(difference < 1e-4, "image {i} differs by {difference} in a batch");
    }
}

#[test]
fn wrong_amounts_of_pixels_are_errors_of_the_run() {
    let model = Detector::load(models().join("yolov8-static.onnx"), &options(None, Store::All)).unwrap();
    let mut session = DetectorSession::new(&model, &OPTIONS).unwrap();
    for (batch, len) in [(0, 0), (1, 5), (1, 0), (usize::MAX, 3 * 64 * 64)] {
        assert!(session.run(batch, &picture(len)).is_err());
    }
    assert!(session.run(1, &picture(3 * 64 * 64)).is_ok());
}

#[test]
fn sessions_may_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<DetectorSession>();
    is_send::<Detector>();
}

#[test]
fn a_provider_that_is_not_there_is_an_error() {
    let library = runtime::init(None).unwrap();
    let model = Detector::load(models().join("yolov8-static.onnx"), &options(None, Store::All)).unwrap();
    let mut absent = 0;
    for (provider, wheel) in [
        (Provider::Openvino, "onnxruntime-openvino"),
        (Provider::Cuda, "onnxruntime-gpu"),
        (Provider::Tensorrt, "onnxruntime-gpu"),
    ] {
        // Where the environment holds one of those wheels, its provider may work; another one's may not.
        if let Err(error) = DetectorSession::new(&model, &SessionOptions { provider, ..OPTIONS }) {
            let text = error.to_string();
            assert!(matches!(error, Error::Runtime { .. }), "{text}");
            assert!(
                text.contains(provider.as_str())
                    && text.contains(wheel)
                    && text.contains(&library.path.display().to_string()),
                "{text}"
            );
            absent += 1;
        }
    }
    assert!(absent > 0, "no library has all three providers");
}

#[test]
fn the_library_is_named_once() {
    let library = runtime::init(None).unwrap();
    assert!(library.version.starts_with("1."), "{}", library.version);
    assert_eq!(runtime::init(Some(&library.path)).unwrap().path, library.path);
    let other = tempfile::NamedTempFile::new().unwrap();
    let error = runtime::init(Some(other.path())).unwrap_err().to_string();
    assert!(error.contains("already uses"), "{error}");
}

/// The real detector beside the project: found, checked, and cheaper than the export.
#[test]
fn a_real_yolo12_export() {
    let shared = std::env::var_os("LOGITCACHE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = shared.join("models/yolov12n.onnx");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return;
    }
    let model = Detector::load(&path, &options(None, Store::All)).unwrap();
    assert_eq!((model.head.num_classes, model.head.reg_max(), model.head.num_places()), (80, 16, 8400));
    assert_eq!((model.class_names[0].as_str(), model.class_names[79].as_str()), ("person", "toothbrush"));
    assert_eq!(model.batch, BatchSize::Fixed(1));
    let digest: String = model.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "e548ab3a406227202334bf5a6623c9814ac6286ff04e68aeb4dc2357732d1a4f");
    let check = model.self_check(&SessionOptions { intra_threads: 2, ..OPTIONS }).unwrap();
    println!("self-check: {check:?}");
    assert!(check.max_box_error_px < 0.02 && check.max_score_error < 1e-5, "{check:?}");
    let error = Detector::load(&path, &options(Some(320), Store::All)).unwrap_err().to_string();
    assert!(error.contains("640 x 640") && error.contains("Leave `imgsz=` out"), "{error}");
}
