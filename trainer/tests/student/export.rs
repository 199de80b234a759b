//! The ONNX export: against the forward pass, against Ultralytics' decoded output, as a teacher, and in Python.

use crate::{
    common,
    support::{compare, filled, fixture, flat, golden, images, images_of},
};
use logitcache::{
    Error,
    detector::{
        BatchSize, Detector, DetectorOptions, DetectorSession, HeadView, Precision, Provider, SessionOptions, runtime,
    },
    types::{InputSize, Store},
};
use logitcache_train::student::{
    Network, Scale, State, StudentModel,
    onnx::{ExportOptions, export, export_file},
    weights::{Description, save},
    yolov8,
};
use std::{path::Path, process::Command};
use tch::Device;

const OPTIONS: SessionOptions = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };

const PLAIN: ExportOptions = ExportOptions { half: false, dynamic: false, nms: None, opset: 17 };

fn description(names: &[&str], imgsz: u32) -> Description {
    Description { class_names: names.iter().map(|name| (*name).to_owned()).collect(), imgsz: imgsz.into() }
}

fn numbered(classes: usize, imgsz: impl Into<InputSize>) -> Description {
    Description { class_names: (0..classes).map(|id| format!("class {id}")).collect(), imgsz: imgsz.into() }
}

fn as_teacher(path: &Path) -> Detector {
    Detector::load(path, &DetectorOptions { imgsz: None, store: Store::Cls, names: None, ..DetectorOptions::default() })
        .unwrap()
}

#[track_caller]
fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= 1e-3 * (1.0 + expected.abs()),
            "{what} {i}: {found}, torch says {expected}"
        );
    }
}

/// An export is a teacher again, and gives what the network gives in torch.
pub fn round_trip(state: &State, size: impl Into<InputSize>) {
    let size = size.into();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("student.onnx");
    let classes = state.net().num_classes;
    export(&path, state, &numbered(classes, size), &PLAIN).unwrap();
    let teacher = as_teacher(&path);
    assert_eq!(InputSize::from(teacher.input), size);
    assert_eq!((teacher.batch, teacher.precision), (BatchSize::Fixed(1), Precision::Fp32));
    assert_eq!((teacher.head.num_classes, teacher.head.reg_max()), (classes, state.net().head.reg_max()));
    assert_eq!(teacher.head.strides(), [8, 16, 32]);
    assert_eq!(teacher.class_names, numbered(classes, size).class_names);
    let check = teacher.self_check(&OPTIONS).unwrap();
    assert_eq!(check.anchors, teacher.head.num_places());

    let pixels = images_of(1, size.height as usize, size.width as usize);
    let output = Network::from_state(state, Device::Cpu).forward(&pixels, false);
    let mut session = DetectorSession::new(&teacher, &OPTIONS).unwrap();
    let found = session.run(1, &flat(&pixels)).unwrap();
    let found = found.view(0).unwrap();
    close(found.class_logits(), &flat(&output.class_logits), "class logit");
    match found.dfl_logits() {
        Some(logits) => close(logits, &flat(&output.box_values), "DFL logit"),
        // The file's boxes are decoded; those that training validates are read from the distances.
        None => {
            let (spec, values) = (state.net().head_spec(teacher.input), flat(&output.box_values));
            let logits = flat(&output.class_logits);
            let trained = HeadView::new(&spec, &logits, &values).unwrap();
            let boxes = |view: HeadView<'_>| -> Vec<f32> {
                let of = |place| view.box_xyxy_input_px(place);
                (0..spec.num_places()).map(of).flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect()
            };
            close(&boxes(found), &boxes(trained), "box");
        }
    }
}

#[test]
fn exports_are_teachers_that_give_the_networks_logits() {
    round_trip(&State::random(yolov8(Scale::N, 80), 3), 160);
    for scale in [Scale::F, Scale::P, Scale::N] {
        round_trip(&filled(scale, 3), 64);
    }
    round_trip(&filled(Scale::S, 80), 96);
    round_trip(&filled(Scale::M, 1), 64);
    for (model, size) in [("yolo11n", 96), ("yolo11l", 64), ("yolo26n", 96), ("yolo26s", 64)] {
        round_trip(&State::random(model.parse::<StudentModel>().unwrap().net(3), 3), size);
    }
    for (height, width) in [(96, 160), (160, 64)] {
        round_trip(&filled(Scale::N, 3), InputSize { height, width });
        round_trip(&State::random("yolo11n".parse::<StudentModel>().unwrap().net(3), 3), InputSize { height, width });
    }
}

#[test]
fn the_export_gives_ultralytics_decoded_output() {
    let environment = &runtime::init(None).unwrap().environment;
    let folder = tempfile::tempdir().unwrap();
    for case in golden().cases {
        let path = folder.path().join("student.onnx");
        export(&path, &case.state(), &numbered(case.num_classes, case.size as u32), &PLAIN).unwrap();
        let mut session = ort::session::Session::builder(environment).unwrap().commit_from_file(&path).unwrap();
        assert_eq!((session.inputs()[0].name(), session.outputs()[0].name()), ("images", "output0"));
        let (pixels, per_image) = (flat(&images(case.batch, case.size)), 3 * case.size * case.size);
        let mut found = Vec::new();
        for image in pixels.chunks(per_image) {
            let input = ort::value::TensorRef::from_array_view(([1, 3, case.size, case.size], image)).unwrap();
            let outputs = session.run(ort::inputs![input]).unwrap();
            let (shape, values) = outputs[0].try_extract_tensor::<f32>().unwrap();
            assert_eq!(shape[..2], [1, 4 + case.num_classes as i64]);
            found.extend_from_slice(values);
        }
        compare(&found, &case.eval["decoded"], 1e-3, &format!("{}, {} classes", case.model, case.num_classes));
    }
}

#[test]
fn an_export_repeats_byte_for_byte_and_quotes_names_as_python_does() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.onnx"), folder.path().join("b.onnx"));
    let names = ["driver's seat", "say \"cheese\"", "both ' and \"", "été 東", "back\\slash", "tab\tnew\nline\u{7f}"];
    let state = filled(Scale::N, names.len());
    export(&a, &state, &description(&names, 64), &PLAIN).unwrap();
    export(&b, &state, &description(&names, 64), &PLAIN).unwrap();
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    assert_eq!(as_teacher(&a).class_names, names);
}

#[test]
fn a_weights_file_is_exported_with_its_own_names_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let (weights, out) = (folder.path().join("best.safetensors"), folder.path().join("best.onnx"));
    save(&weights, &filled(Scale::N, 2), &description(&["cat", "dog"], 96)).unwrap();
    export_file(&weights, None, None, &out, &PLAIN).unwrap();
    let teacher = as_teacher(&out);
    assert_eq!(
        (teacher.class_names.as_slice(), teacher.input.width),
        (["cat".to_owned(), "dog".to_owned()].as_slice(), 96)
    );
    export_file(&weights, Some(vec!["a".into(), "b".into()]), Some(64.into()), &out, &PLAIN).unwrap();
    assert_eq!((as_teacher(&out).class_names[1].as_str(), as_teacher(&out).input.width), ("b", 64));

    let wide = InputSize { height: 96, width: 160 };
    save(&weights, &filled(Scale::N, 2), &Description { imgsz: wide, ..description(&["cat", "dog"], 96) }).unwrap();
    export_file(&weights, None, None, &out, &PLAIN).unwrap();
    assert_eq!(InputSize::from(as_teacher(&out).input), wide);
    export_file(&weights, None, Some(64.into()), &out, &PLAIN).unwrap();

    let says = |error: Error, part: &str| {
        assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
    };
    says(
        export_file(&weights, Some(vec!["a".into()]), None, &out, &PLAIN).unwrap_err(),
        "has 2 classes, 1 names are given",
    );
    says(export_file(&weights, None, Some(100.into()), &out, &PLAIN).unwrap_err(), "multiple of 32");
    let thin = InputSize { height: 96, width: 100 };
    says(
        export_file(&weights, None, Some(thin), &out, &PLAIN).unwrap_err(),
        "96 x 100 (height x width) pixels is not possible",
    );
    says(export_file(&weights, None, Some(0.into()), &out, &PLAIN).unwrap_err(), "multiple of 32");
    says(export_file(fixture("yolov8n.pt"), None, None, &out, &PLAIN).unwrap_err(), "does not name its classes");
    assert_eq!(as_teacher(&out).input.width, 64, "the earlier export is as it was");
}

#[test]
fn python_checks_and_runs_the_export() {
    let Some(python) = common::python("onnx, onnxruntime, numpy") else { return };
    for model in ["yolov8n", "yolo26n"] {
        let folder = tempfile::tempdir().unwrap();
        let state = State::random(model.parse::<StudentModel>().unwrap().net(5), 11);
        export(folder.path().join("student.onnx"), &state, &numbered(5, InputSize { height: 96, width: 160 }), &PLAIN)
            .unwrap();
        let pixels = images_of(1, 96, 160);
        let output = Network::from_state(&state, Device::Cpu).forward(&pixels, false);
        for (name, values) in [
            ("pixels", flat(&pixels)),
            ("box_values", flat(&output.box_values)),
            ("class_logits", flat(&output.class_logits)),
        ] {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(folder.path().join(format!("{name}.f32")), bytes).unwrap();
        }
        let script = common::root().join("tests/python/check_export.py");
        let output = Command::new(&python).arg(script).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{model}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
