//! The variants of an export: float16, free sizes, suppression inside, other opsets.

use crate::{
    common,
    support::{filled, filled_model, flat, images_of},
};
use logitcache::{
    Error,
    detector::{Detector, DetectorOptions, DetectorSession, Precision, Provider, SessionOptions, runtime},
    eval::{NmsOptions, kept_rows},
    types::{BoxXyxyPx, Detection, InputSize, Store},
};
use logitcache_train::student::{
    Network, Scale, State, StudentModel, Values,
    onnx::{ExportOptions, NmsInside, OPSETS, export},
    weights::Description,
};
use std::{path::Path, process::Command};
use tch::Device;

const SIZE: InputSize = InputSize { height: 96, width: 160 };

fn write(path: &Path, state: &State, imgsz: InputSize, options: &ExportOptions) {
    let class_names = (0..state.net().num_classes).map(|id| format!("class {id}")).collect();
    export(path, state, &Description { class_names, imgsz }, options).unwrap();
}

fn load(path: &Path) -> logitcache::Result<Detector> {
    Detector::load(path, &DetectorOptions { store: Store::Cls, ..DetectorOptions::default() })
}

/// The file's own output for these images, and its shape.
fn run(path: &Path, batch: usize, size: InputSize, pixels: &[f32]) -> (Vec<i64>, Vec<f32>) {
    let environment = &runtime::init(None).unwrap().environment;
    let mut session = ort::session::Session::builder(environment).unwrap().commit_from_file(path).unwrap();
    let shape = [batch, 3, size.height as usize, size.width as usize];
    let input = ort::value::TensorRef::from_array_view((shape, pixels)).unwrap();
    let outputs = session.run(ort::inputs![input]).unwrap();
    let (shape, values) = outputs[0].try_extract_tensor::<f32>().unwrap();
    (shape.to_vec(), values.to_vec())
}

fn pixels(batch: usize, size: InputSize) -> Vec<f32> {
    flat(&images_of(batch, size.height as usize, size.width as usize))
}

#[track_caller]
fn close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance * (1.0 + expected.abs()), "{i}: {found}, expected {expected}");
    }
}

#[test]
fn float16_is_half_the_size_and_read_as_a_detector() {
    let folder = tempfile::tempdir().unwrap();
    let (float, half) = (folder.path().join("float.onnx"), folder.path().join("half.onnx"));
    for model in ["yolov8n", "yolo11n", "yolo26n"] {
        let state = State::random(model.parse::<StudentModel>().unwrap().net(3), 3);
        write(&float, &state, SIZE, &ExportOptions::default());
        write(&half, &state, SIZE, &ExportOptions { half: true, ..ExportOptions::default() });
        let bytes = |path: &Path| path.metadata().unwrap().len() as f64;
        assert!(bytes(&half) < 0.53 * bytes(&float), "{model}: {} of {}", bytes(&half), bytes(&float));
        let detector = load(&half).unwrap();
        assert_eq!((detector.precision, load(&float).unwrap().precision), (Precision::Fp16, Precision::Fp32));
        let options = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };
        detector.self_check(&options).unwrap();

        let images = images_of(1, 96, 160);
        let expected = Network::from_state(&state, Device::Cpu).forward(&images, false);
        let mut session = DetectorSession::new(&detector, &options).unwrap();
        let found = session.run(1, &flat(&images)).unwrap();
        close(found.view(0).unwrap().class_logits(), &flat(&expected.class_logits), 5e-3);
        // Rounded somewhere, or nothing was in float16.
        assert!(found.view(0).unwrap().class_logits() != flat(&expected.class_logits));
        let ((_, a), (_, b)) = (run(&float, 1, SIZE, &flat(&images)), run(&half, 1, SIZE, &flat(&images)));
        close(&b, &a, 5e-3);
    }
}

#[test]
fn a_weight_that_float16_does_not_hold_is_refused() {
    let state = filled(Scale::F, 2);
    let mut values: Vec<Values> = state.iter().map(|(_, values)| values.clone()).collect();
    values[0] = Values::F32(vec![1e6; values[0].as_f32().len()]);
    let state = State::new(state.net().clone(), values);
    let description = Description { class_names: vec!["a".into(), "b".into()], imgsz: 64.into() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.onnx");
    let half = ExportOptions { half: true, ..ExportOptions::default() };
    let error = export(&path, &state, &description, &half).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("model.0.conv.weight"), "{error}");
    assert!(!path.exists());
}

#[test]
fn free_sizes_give_what_fixed_ones_give() {
    let folder = tempfile::tempdir().unwrap();
    let (free, fixed) = (folder.path().join("free.onnx"), folder.path().join("fixed.onnx"));
    for model in ["yolov8n", "yolo11n", "yolo26n"] {
        let state = State::random(model.parse::<StudentModel>().unwrap().net(3), 3);
        write(&free, &state, SIZE, &ExportOptions { dynamic: true, ..ExportOptions::default() });
        for size in [SIZE, InputSize { height: 64, width: 32 }] {
            write(&fixed, &state, size, &ExportOptions::default());
            let pixels = pixels(3, size);
            let each: Vec<f32> =
                pixels.chunks(pixels.len() / 3).flat_map(|image| run(&fixed, 1, size, image).1).collect();
            let (shape, found) = run(&free, 3, size, &pixels);
            assert_eq!(shape[..2], [3, 7]);
            close(&found, &each, 1e-4);
        }
        let detector = Detector::load(
            &free,
            &DetectorOptions { imgsz: Some(64.into()), store: Store::Cls, ..DetectorOptions::default() },
        );
        let detector = detector.unwrap();
        assert_eq!(InputSize::from(detector.input), 64.into());
        detector.self_check(&SessionOptions { provider: Provider::Cpu, intra_threads: 1 }).unwrap();
    }
}

/// The suppression in the file is that of `predict`.
#[test]
fn suppression_inside_gives_the_detections_of_predict() {
    const CLASSES: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let (path, plain) = (folder.path().join("nms.onnx"), folder.path().join("plain.onnx"));
    let mut compared = 0;
    for (model, size, max_det, conf) in [
        ("yolov8n", SIZE, 300, 0.3),
        ("yolov8n", SIZE, 7, 0.3),
        // Fewer places than rows.
        ("yolov8n", InputSize { height: 32, width: 32 }, 300, 0.01),
        ("yolo26n", SIZE, 50, 1e-5),
    ] {
        let net = model.parse::<StudentModel>().unwrap().net(CLASSES);
        // Distances that are noise give boxes whose left side is right of their right one.
        let state = if model == "yolo26n" { State::random(net, 3) } else { filled_model(net.model, CLASSES) };
        let nms = NmsInside { conf, iou: 0.45, max_det };
        write(&path, &state, size, &ExportOptions { dynamic: true, nms: Some(nms), ..ExportOptions::default() });
        let refused = load(&path).unwrap_err().to_string();
        assert!(refused.contains("non-maximum suppression") && refused.contains("`export()`"), "{refused}");

        let pixels = pixels(3, size);
        let (shape, rows) = run(&path, 3, size, &pixels);
        assert_eq!(shape, [3, max_det as i64, 6]);
        // The rows that `predict` keeps of the same boxes; a threshold decides alike only where nothing is rounded otherwise.
        write(&plain, &state, size, &ExportOptions { dynamic: true, ..ExportOptions::default() });
        let (shape, dense) = run(&plain, 3, size, &pixels);
        let places = shape[2] as usize;
        for (dense, rows) in dense.chunks((4 + CLASSES) * places).zip(rows.chunks(max_det * 6)) {
            let candidates: Vec<Detection> = (0..places)
                .map(|place| {
                    let at = |row: usize| dense[row * places + place];
                    let class = (0..CLASSES).rev().max_by(|&a, &b| at(4 + a).total_cmp(&at(4 + b))).unwrap();
                    let (width, height) = (at(2) * 0.5, at(3) * 0.5);
                    let (x1, y1, x2, y2) = (at(0) - width, at(1) - height, at(0) + width, at(1) + height);
                    let box_xyxy_px = BoxXyxyPx { x1, y1, x2, y2 };
                    Detection { class_id: class as u32, score: at(4 + class), box_xyxy_px }
                })
                .collect();
            let options = NmsOptions { conf, iou: f64::from(nms.iou), max_detections: max_det, multi_label: false };
            let expected: Vec<Detection> =
                kept_rows(&candidates, &options).into_iter().map(|row| candidates[row]).collect();
            let rows = rows.as_chunks::<6>().0;
            assert_eq!(rows.iter().filter(|row| row[4] > 0.0).count(), expected.len(), "{model} {size:?}");
            for (row, detection) in rows.iter().zip(&expected) {
                let b = detection.box_xyxy_px;
                close(row, &[b.x1, b.y1, b.x2, b.y2, detection.score, detection.class_id as f32], 1e-5);
                compared += 1;
            }
            assert!(rows[expected.len()..].iter().all(|row| *row == [0.0; 6]));
        }
    }
    assert!(compared > 100, "{compared} detections");
}

/// Every opset, as the packages onnx and onnxruntime see it.
#[test]
fn python_checks_every_opset_and_variant() {
    let Some(python) = common::python("onnx, onnxruntime, numpy") else { return };
    let folder = tempfile::tempdir().unwrap();
    let state = State::random("yolo11n".parse::<StudentModel>().unwrap().net(3), 5);
    let nms = NmsInside { conf: 1e-5, iou: 0.7, max_det: 20 };
    for opset in OPSETS {
        for (name, options) in [
            ("plain", ExportOptions { opset, ..ExportOptions::default() }),
            ("nms", ExportOptions { opset, half: true, dynamic: true, nms: Some(nms) }),
        ] {
            write(&folder.path().join(format!("{name}-{opset}.onnx")), &state, SIZE, &options);
        }
    }
    let script = common::root().join("tests/python/check_export_variants.py");
    let output = Command::new(&python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let description = Description { class_names: (0..3).map(|id| id.to_string()).collect(), imgsz: SIZE };
    let other = ExportOptions { opset: 14, ..ExportOptions::default() };
    let error = export(folder.path().join("other.onnx"), &state, &description, &other).unwrap_err().to_string();
    assert!(error.contains("opset 14") && error.contains("15 to 22"), "{error}");
}
