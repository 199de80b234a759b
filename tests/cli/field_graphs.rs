//! Teachers as other tools leave them: quantized, transposed, in DeepStream's forms.

use std::{
    fs,
    path::{Path, PathBuf},
};

use logitcache::detector::onnx::proto::{AttributeProto, ModelProto, NodeProto, attribute_proto::AttributeType};
use prost::Message;

use crate::{
    common,
    support::{Run, args, content, fixture, logitcache, shapes},
};

fn build(teacher: &Path, data: &Path, out: &Path, more: &[(&str, &str)]) -> Run {
    let paths = [("--teacher", teacher), ("--data", data), ("--out", out)];
    let more = [&[("--jobs", "1")], more].concat();
    logitcache(&args(["build", "--ignore-labels"], &paths, &more))
}

/// The teacher that `inspect` shows.
fn shown_teacher(cache: &Path) -> String {
    let run = logitcache(&["inspect".as_ref(), cache.as_os_str()]).expect(0);
    run.stdout.lines().find(|line| line.starts_with("teacher")).unwrap_or_default().to_owned()
}

/// A fixture with its output transposed.
fn transposed(dir: &Path, name: &str) -> PathBuf {
    let bytes = fs::read(fixture("models").join(format!("{name}.onnx"))).unwrap();
    let mut model = ModelProto::decode(bytes.as_slice()).unwrap();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(NodeProto {
        op_type: Some("Transpose".to_owned()),
        input: vec![graph.output[0].name().to_owned()],
        output: vec!["detections".to_owned()],
        attribute: vec![AttributeProto {
            name: Some("perm".to_owned()),
            r#type: Some(AttributeType::Ints as i32),
            ints: vec![0, 2, 1],
            ..Default::default()
        }],
        ..Default::default()
    });
    graph.output[0].name = Some("detections".to_owned());
    graph.output[0].r#type = None;
    let path = dir.join(format!("{name}-transposed.onnx"));
    fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

#[test]
fn a_transposed_output_gives_the_same_cache() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    for name in ["yolov8-static", "yolov8-int8-qoperator"] {
        let caches = [fixture("models").join(format!("{name}.onnx")), transposed(dir.path(), name)].map(|teacher| {
            let out = dir.path().join(teacher.file_stem().unwrap());
            build(&teacher, &data, &out, &[]).expect(0);
            out
        });
        assert_eq!(content(&caches[0]), content(&caches[1]), "{name}");
    }
}

#[test]
fn a_quantized_teacher_is_called_int8_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let model = |name: &str| fixture("models").join(format!("yolov8-int8-{name}.onnx"));

    let out = dir.path().join("convs");
    let run = build(&model("convs"), &data, &out, &[]).expect(0).says(&[
        "anchors, int8",
        "quantized (INT8, QDQ)",
        " px and ",
    ]);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let teacher = shown_teacher(&out);
    assert!(teacher.contains("yolov8-dfl, 6 classes, 16 DFL bins, 64 x 64, int8"), "{teacher}");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["teacher"]["precision"], "int8");
    logitcache(&["verify".as_ref(), out.as_os_str()]).expect(0);
    let audit = [("--teacher", &*model("convs"))];
    let values = [("--data", data.to_str().unwrap()), ("--min-cosine", "0.5")];
    logitcache(&args(["audit", out.to_str().unwrap()], &audit, &values)).expect(0);

    // One scale for boxes and probabilities: it is told whether notes are wanted or not.
    let pictures = dir.path().join("shapes/images/train");
    for name in ["full", "qoperator"] {
        let form = if name == "full" { "INT8, QDQ" } else { "INT8, QOperator" };
        let says = [form, "rounded too coarsely", "every probability is 0", "logits"];
        let out = dir.path().join(name);
        build(&model(name), &data, &out, &[]).expect(0).says(&says);
        let words = ["predict", "--quiet", "--json", pictures.to_str().unwrap()];
        let run =
            logitcache(&args(words, &[("--model", &*model(name))], &[("--conf", "0.0001")])).expect(0).says(&says);
        let objects: usize = run.json()["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["detections"].as_array().unwrap().len())
            .sum();
        assert!(objects > 0, "{name}: nothing is seen, though the logits are there");
    }
}

#[test]
fn an_int8_student_is_scored() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let models =
        ["yolov8-int8-dynamic-shape", "yolov8-dynamic"].map(|name| fixture("models").join(format!("{name}.onnx")));
    let paths = [("--model", &*models[0]), ("--model", &*models[1]), ("--data", &*data)];
    let values = [("--latency-runs", "0"), ("--split", "train"), ("--imgsz", "64")];
    let run =
        logitcache(&args(["eval", "--quiet", "--json"], &paths, &values)).expect(0).says(&["rounded too coarsely"]);
    let report = run.json();
    let of = |i: usize, what: &str| report["models"][i][what].clone();
    assert_eq!((of(0, "precision"), of(1, "precision")), ("int8".into(), "fp32".into()));
    assert_eq!(of(0, "parameters"), of(1, "parameters"));
}

/// The field's INT8 exports. What onnxruntime says of the same tensors is compared in `tests/python/test_quantized.py`.
#[test]
fn int8_exports_of_the_field() {
    let Some(folder) = common::shared().map(|shared| shared.join("field/02-int8-teacher")).filter(|f| f.is_dir())
    else {
        return common::skip("field/02-int8-teacher is not there");
    };
    let dir = tempfile::tempdir().unwrap();
    let pictures = folder.join("pics");
    for (name, input, anchors) in [
        ("wide_convs_per_channel", "64 x 128 (height x width)", "168"),
        ("wide_head_left_out", "64 x 128 (height x width)", "168"),
        ("p2_full", "64 x 64", "340"),
    ] {
        let model = folder.join(format!("{name}.onnx"));
        for store in ["all", "cls"] {
            let out = dir.path().join(format!("{name}-{store}"));
            let run = build(&model, &pictures, &out, &[("--store", store)]).expect(0);
            let run = run.says(&["yolov8-dfl, 6 classes", input, &format!("{anchors} anchors, int8")]);
            for word in ["fp32", "without DFL", "corners", "no DFL"] {
                assert!(!run.stderr.contains(word), "{word:?} is said in: {}", run.stderr);
            }
            let teacher = shown_teacher(&out);
            assert!(teacher.contains(&format!("yolov8-dfl, 6 classes, 8 DFL bins, {input}, int8")), "{teacher}");
        }
        let words = ["predict", "--quiet", "--jobs", "1", pictures.to_str().unwrap()];
        let run = logitcache(&args(words, &[("--model", &*model)], &[("--conf", "0.001")])).expect(0);
        assert!(!run.stdout.contains("birds.jpg: nothing"), "{name}: {}", run.stdout);
        assert_eq!(run.stderr.contains("rounded too coarsely"), name == "p2_full", "{}", run.stderr);
    }
}

#[test]
fn other_endings_of_the_field() {
    let Some(folder) = common::shared().map(|shared| shared.join("field/11-transposed-output")).filter(|f| f.is_dir())
    else {
        return common::skip("field/11-transposed-output is not there");
    };
    let dir = tempfile::tempdir().unwrap();
    let pictures = folder.join("pics");
    let size = [("--imgsz", "64")];
    for (name, same_as, rows, counts) in [
        ("p2_transposed", "yolov8-p2", 307, &[("cross", 2), ("ring", 1)][..]),
        ("dynamic_transposed", "yolov8-dynamic", 83, &[]),
        ("deepstream_one_output", "yolov8-static", 83, &[]),
        ("deepstream_three_outputs", "yolov8-static", 83, &[]),
    ] {
        let model = folder.join(format!("{name}.onnx"));
        let (out, plain) = (dir.path().join(name), dir.path().join(format!("{name}-plain")));
        let said = build(&model, &pictures, &out, &size).expect(0).stdout;
        assert!(said.contains(&format!("{rows} predictions")), "{name}: {said}");
        build(&fixture("models").join(format!("{same_as}.onnx")), &pictures, &plain, &size).expect(0);
        assert_eq!(content(&out), content(&plain), "{name}");

        let words = ["predict", "--quiet", "--json", "--jobs", "1", pictures.to_str().unwrap()];
        let values = [("--conf", "0.01"), ("--imgsz", "64")];
        let report = logitcache(&args(words, &[("--model", &*model)], &values)).expect(0).json();
        let image = &report["images"][0];
        let found: Vec<(&str, u64)> = image["counts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|count| (count["class"].as_str().unwrap(), count["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(found, counts, "{name}");
        if name == "p2_transposed" {
            let best = &image["detections"][0];
            assert_eq!(best["class_id"], 4);
            assert!((best["score"].as_f64().unwrap() - 0.0245).abs() < 1e-4, "{best}");
            for (side, expected) in [("x1", 148.3), ("y1", 111.1), ("x2", 200.8), ("y2", 148.0)] {
                assert!((best["box_xyxy_px"][side].as_f64().unwrap() - expected).abs() < 0.1, "{best}");
            }
        }
    }
}
