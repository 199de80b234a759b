//! Tests that change a model's graph, which the public interface does not allow.

use std::{fs, path::PathBuf};

use prost::Message;

use super::{
    BatchSize, Precision, Provider, SessionOptions, TeacherModel, TeacherOptions, TeacherSession, check,
    graph::attribute,
    onnx_proto::{
        GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto,
        tensor_proto::DataLocation,
        tensor_shape_proto::{Dimension, dimension::Value as DimValue},
        type_proto::{Tensor, Value as TypeValue},
    },
};
use crate::{Error, types::Store};

const OPTIONS: SessionOptions = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };

fn fixture(name: &str) -> ModelProto {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap()
}

fn options() -> TeacherOptions {
    TeacherOptions { imgsz: None, store: Store::All, names: None }
}

fn load_with(model: &ModelProto, options: &TeacherOptions) -> crate::Result<TeacherModel> {
    TeacherModel::from_bytes("changed.onnx", model.encode_to_vec(), options)
}

fn load(model: &ModelProto) -> crate::Result<TeacherModel> {
    load_with(model, &options())
}

#[track_caller]
fn refusal(model: &ModelProto, says: &[&str]) {
    let error = load(model).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    for part in says {
        assert!(error.to_string().contains(part), "{part:?} is missing in: {error}");
    }
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn set_metadata(model: &mut ModelProto, key: &str, value: &str) {
    model.metadata_props.retain(|entry| entry.key() != key);
    model.metadata_props.push(StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) });
}

fn logits(model: &TeacherModel) -> (Vec<f32>, Vec<f32>) {
    let mut session = TeacherSession::new(model, &OPTIONS).unwrap();
    let pixels = check::noise(3 * (model.input.height * model.input.width) as usize);
    let outputs = session.run(1, &pixels).unwrap();
    (outputs.class_logits(0).to_vec(), outputs.dfl_logits(0).unwrap().to_vec())
}

#[test]
fn names_of_nodes_and_tensors_do_not_matter() {
    for name in ["yolov8-static.onnx", "yolov9-opset12.onnx", "yolo12-dynamic.onnx"] {
        let plain = fixture(name);
        let mut renamed = plain.clone();
        let rename = |name: &mut String| {
            if !name.is_empty() && name != "images" && name != "output0" {
                // The same name gives the same hash; nothing of the old name is left.
                *name = name
                    .bytes()
                    .fold(14_695_981_039_346_656_037u64, |h, b| (h ^ u64::from(b)).wrapping_mul(1_099_511_628_211))
                    .to_string();
            }
        };
        for node in &mut graph(&mut renamed).node {
            node.name = None;
            node.input.iter_mut().chain(&mut node.output).for_each(rename);
        }
        graph(&mut renamed).initializer.iter_mut().for_each(|tensor| tensor.name.iter_mut().for_each(rename));
        let options = TeacherOptions { imgsz: load(&plain).unwrap().input.height.into(), ..options() };
        let (plain, renamed) = (load_with(&plain, &options).unwrap(), load_with(&renamed, &options).unwrap());
        assert_ne!(plain.taps.class_logits, renamed.taps.class_logits);
        assert_eq!(logits(&plain), logits(&renamed), "{name}");
    }
}

#[test]
fn the_edited_model_has_lost_the_decoding() {
    for name in ["yolov8-static.onnx", "yolov8-raw-export.onnx", "yolov8-dynamic.onnx", "yolov9-opset12.onnx"] {
        let original = fixture(name);
        let names = ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec();
        let model = load_with(&original, &TeacherOptions { names: Some(names), ..options() }).unwrap();
        let edited = ModelProto::decode(model.edited_bytes().as_slice()).unwrap().graph.unwrap();
        let original = original.graph.unwrap();
        assert!(edited.node.iter().all(|node| node.op_type() != "Softmax"), "{name}");
        assert!(
            edited.node.len() + 15 < original.node.len(),
            "{name}: {} of {} nodes",
            edited.node.len(),
            original.node.len()
        );
        let outputs: Vec<&str> = edited.output.iter().map(ValueInfoProto::name).collect();
        assert_eq!(outputs, [model.taps.class_logits.as_str(), model.taps.box_values.as_str()]);
        let read: Vec<&String> = edited
            .node
            .iter()
            .flat_map(|node| &node.input)
            .chain(edited.output.iter().filter_map(|output| output.name.as_ref()))
            .collect();
        for node in &edited.node {
            assert!(node.output.iter().any(|output| read.contains(&output)), "{name}: {} is dead", node.name());
        }
        for tensor in &edited.initializer {
            assert!(read.iter().any(|name| *name == tensor.name()), "{name}: {} is dead", tensor.name());
        }
    }
}

/// Changes a model so that its head looks right but computes something else; the self-check must notice.
#[track_caller]
fn check_refuses(change: impl FnOnce(&mut GraphProto), says: &str) {
    let mut model = fixture("yolov8-raw-export.onnx");
    set_metadata(&mut model, "names", "['a', 'b', 'c', 'd', 'e', 'f']");
    let right = load(&model).unwrap().self_check(&OPTIONS).unwrap();
    assert!(right.max_box_error_px < 0.01, "{right:?}");
    change(graph(&mut model));
    let error = load(&model).unwrap().self_check(&OPTIONS).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error:?}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn bins_in_another_order_are_refused() {
    check_refuses(
        |graph| {
            let weight = graph.initializer.iter_mut().find(|tensor| tensor.dims == [1, 8, 1, 1]).unwrap();
            let mut bins = weight.raw_data.as_ref().unwrap().to_vec();
            bins.as_chunks_mut::<4>().0.reverse();
            weight.raw_data = Some(bins.into());
        },
        "DFL logits give",
    );
}

#[test]
fn sides_and_bins_exchanged_are_refused() {
    check_refuses(
        |graph| {
            // [B, 4, 8, A] -> [B, 8, 4, A]: read as bins before sides, and transposed no more.
            let softmax = graph.node.iter().find(|node| node.op_type() == "Softmax").unwrap().input[0].clone();
            let transpose = graph.node.iter_mut().find(|node| node.output[0] == softmax).unwrap();
            transpose.attribute.iter_mut().find(|attribute| attribute.name() == "perm").unwrap().ints =
                vec![0, 1, 2, 3];
            let reshaped = transpose.input[0].clone();
            let shape = graph.node.iter().find(|node| node.output[0] == reshaped).unwrap().input[1].clone();
            let constant = graph.node.iter_mut().find(|node| node.output[0] == shape).unwrap();
            let value = constant.attribute[0].t.as_mut().unwrap();
            value.raw_data =
                Some([1i64, 8, 4, 84].iter().flat_map(|dim| dim.to_le_bytes()).collect::<Vec<u8>>().into());
        },
        "DFL logits give",
    );
}

#[test]
fn other_strides_and_other_anchor_centres_are_refused() {
    let scale = |wanted: &'static [i64], by: f32| {
        move |graph: &mut GraphProto| {
            let tensors =
                graph.node.iter_mut().flat_map(|node| &mut node.attribute).filter_map(|attribute| attribute.t.as_mut());
            let mut changed = 0;
            for tensor in tensors.filter(|tensor| tensor.dims == wanted) {
                let values = tensor.raw_data.as_ref().unwrap().to_vec();
                let scaled =
                    values.as_chunks::<4>().0.iter().flat_map(|bytes| (f32::from_le_bytes(*bytes) * by).to_le_bytes());
                tensor.raw_data = Some(scaled.collect::<Vec<u8>>().into());
                changed += 1;
            }
            assert!(changed > 0);
        }
    };
    check_refuses(scale(&[1, 84], 2.0), "the box of anchor 0");
    check_refuses(scale(&[1, 2, 84], 1.1), "the box of anchor");
}

#[test]
fn a_self_check_takes_every_supported_fixture() {
    for (name, store) in
        [("yolov10-one2many.onnx", Store::All), ("yolo26-no-dfl.onnx", Store::Cls), ("yolov8-p2.onnx", Store::Cls)]
    {
        let model = load_with(&fixture(name), &TeacherOptions { store, ..options() }).unwrap();
        let check = model.self_check(&OPTIONS).unwrap();
        assert_eq!(check.anchors, model.head.num_anchors);
    }
}

fn value(name: &str, elem_type: i32, dims: &[i64]) -> ValueInfoProto {
    let dim =
        dims.iter().map(|size| Dimension { value: Some(DimValue::DimValue(*size)), ..Default::default() }).collect();
    let tensor = Tensor { elem_type: Some(elem_type), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(TypeValue::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

/// A graph of the given operations in a row, from `images` to `output0` of the given shape.
fn chain(ops: &[&str], output: &[i64]) -> ModelProto {
    let names: Vec<String> = (0..=ops.len())
        .map(|i| {
            if i == 0 {
                "images".into()
            } else if i == ops.len() {
                "output0".into()
            } else {
                format!("t{i}")
            }
        })
        .collect();
    let node = ops.iter().zip(names.windows(2)).map(|(op, names)| NodeProto {
        op_type: Some((*op).to_owned()),
        input: vec![names[0].clone()],
        output: vec![names[1].clone()],
        ..Default::default()
    });
    let graph = GraphProto {
        node: node.collect(),
        input: vec![value("images", 1, &[1, 3, 640, 640])],
        output: vec![value("output0", 1, output)],
        ..Default::default()
    };
    ModelProto { ir_version: Some(8), graph: Some(graph), ..Default::default() }
}

#[test]
fn other_families_are_named() {
    refusal(&chain(&["Conv", "Concat"], &[1, 25200, 85]), &["YOLOv5", "[1, 25200, 85]"]);
    refusal(&chain(&["Conv", "TopK", "Concat"], &[1, 300, 84]), &["RT-DETR"]);
    refusal(&chain(&["GridSample", "Concat"], &[1, 300, 84]), &["RT-DETR"]);
    refusal(&chain(&["Conv", "Softmax"], &[1, 1000]), &["classification", "[1, 1000]"]);
    refusal(&chain(&["Conv", "TopK", "Concat"], &[1, 300, 6]), &["end-to-end", "end2end=False"]);
    refusal(&chain(&["Conv", "NonMaxSuppression"], &[1, 300, 6]), &["nms=True"]);
    refusal(
        &chain(&["Conv", "Relu"], &[1, 84, 8400]),
        &["not understood", "[1, 84, 8400]", "Supported are detection exports"],
    );
    for (task, says) in [
        ("pose", "pose estimation"),
        ("obb", "oriented-box"),
        ("classify", "classification"),
        ("segment", "segmentation"),
    ] {
        let mut model = fixture("yolov8-static.onnx");
        set_metadata(&mut model, "task", task);
        refusal(&model, &[says]);
    }
}

#[test]
fn inputs_that_are_not_rgb_pictures_are_refused() {
    let with_input = |elem_type: i32, dims: &[i64]| {
        let mut model = fixture("yolov8-static.onnx");
        graph(&mut model).input = vec![value("images", elem_type, dims)];
        model
    };
    refusal(&with_input(1, &[1, 64, 64, 3]), &["[1, 64, 64, 3]", "[batch, 3, height, width]"]);
    refusal(&with_input(1, &[1, 1, 64, 64]), &["[1, 1, 64, 64]"]);
    refusal(&with_input(2, &[1, 3, 64, 64]), &["takes uint8"]);
    refusal(&with_input(1, &[100_000, 3, 64, 64]), &["100000 images at once"]);
    refusal(&with_input(1, &[1, 3, 64, 1 << 40]), &["64 x "]);
    refusal(&with_input(1, &[1, 3, 64, 128]), &["84 anchors", "give 168"]);
    refusal(&with_input(1, &[1, 3, 64, 80]), &["64 x 80", "multiple of the coarsest stride, 32"]);
    let mut two = fixture("yolov8-static.onnx");
    graph(&mut two).input.push(value("other", 1, &[1]));
    refusal(&two, &["2 inputs"]);
}

#[test]
fn class_names_come_from_the_metadata_or_the_user() {
    let mut model = fixture("yolov8-static.onnx");
    let names = |names: &[&str]| TeacherOptions {
        names: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..options()
    };
    assert_eq!(
        load(&model).unwrap().class_names,
        ["driver's seat", "say \"cheese\"", "été 東", "back\\slash", "a, b: {c}", "x"]
    );
    assert_eq!(
        load_with(&model, &names(&["1", "2", "3", "4", "5", "6"])).unwrap().class_names,
        ["1", "2", "3", "4", "5", "6"]
    );
    let error = load_with(&model, &names(&["1", "2"])).unwrap_err().to_string();
    assert!(error.contains("6 classes, but --names gives 2"), "{error}");
    set_metadata(&mut model, "names", "{0: 'only'}");
    refusal(&model, &["6 classes, but its metadata names 1", "--names"]);
    set_metadata(&mut model, "names", "__import__('os')");
    refusal(&model, &["cannot be read", "--names"]);
    model.metadata_props.clear();
    refusal(&model, &["does not name them", "--names"]);
}

#[test]
fn weights_in_another_file_are_refused() {
    let mut model = fixture("yolov8-static.onnx");
    let tensor = &mut graph(&mut model).initializer[0];
    tensor.data_location = Some(DataLocation::External as i32);
    tensor
        .external_data
        .push(StringStringEntryProto { key: Some("location".to_owned()), value: Some("model.onnx.data".to_owned()) });
    refusal(&model, &["outside the file", "model.onnx.data", "onnx.save"]);
}

#[test]
fn a_dynamic_size_takes_imgsz_and_keeps_its_batch() {
    let model = fixture("yolov8-dynamic.onnx");
    let at = |imgsz| load_with(&model, &TeacherOptions { imgsz, ..options() });
    let default = at(None).unwrap();
    assert_eq!((default.input.height, default.input.width, default.head.num_anchors), (640, 640, 8400));
    assert_eq!((default.batch, default.precision), (BatchSize::Dynamic, Precision::Fp32));
    assert_eq!(at(Some(416)).unwrap().head.num_anchors, 3549);
    let error = at(Some(100)).unwrap_err().to_string();
    assert!(error.contains("multiple of the coarsest stride, 32"), "{error}");
    for impossible in [0, 8224, u32::MAX] {
        let error = at(Some(impossible)).unwrap_err().to_string();
        assert!(error.contains("not possible"), "{error}");
    }
    let edited = ModelProto::decode(at(Some(416)).unwrap().edited_bytes().as_slice()).unwrap().graph.unwrap();
    let Some(TypeValue::TensorType(input)) = edited.input[0].r#type.as_ref().unwrap().value.clone() else {
        panic!("no tensor")
    };
    let dims: Vec<_> = input.shape.unwrap().dim.into_iter().map(|dim| dim.value.unwrap()).collect();
    assert_eq!(
        dims,
        [DimValue::DimParam("batch".into()), DimValue::DimValue(3), DimValue::DimValue(416), DimValue::DimValue(416)]
    );
}

#[test]
fn a_cyclic_graph_ends() {
    let mut model = fixture("yolov8-static.onnx");
    let output = graph(&mut model).node.last().unwrap().output[0].clone();
    for node in &mut graph(&mut model).node {
        if node.op_type() == "Sigmoid" || attribute(node, "axis").is_some() {
            node.input.iter_mut().for_each(|name| name.clone_from(&output));
        }
    }
    assert!(load(&model).is_err());
}
