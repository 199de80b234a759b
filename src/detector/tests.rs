//! Tests that change a model's graph, which the public interface does not allow.

use std::{fs, path::PathBuf};

use prost::Message;

use super::{
    BatchSize, Detector, DetectorOptions, DetectorSession, Precision, Provider, SessionOptions, check,
    onnx::{
        graph::{attribute, cast_node, node_of},
        proto::{
            AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto,
            TypeProto, ValueInfoProto,
            attribute_proto::AttributeType,
            tensor_proto::{DataLocation, DataType},
            tensor_shape_proto::{Dimension, dimension::Value as DimValue},
            type_proto::{Tensor, Value as TypeValue},
        },
    },
};
use crate::{
    Error,
    types::{InputSize, Store},
};

const OPTIONS: SessionOptions = SessionOptions { provider: Provider::Cpu, intra_threads: 1 };

fn fixture(name: &str) -> ModelProto {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    ModelProto::decode(fs::read(&path).unwrap().as_slice()).unwrap()
}

fn options() -> DetectorOptions {
    DetectorOptions { imgsz: None, store: Store::All, names: None, ..DetectorOptions::default() }
}

fn load_with(model: &ModelProto, options: &DetectorOptions) -> crate::Result<Detector> {
    Detector::from_bytes("changed.onnx", model.encode_to_vec(), options)
}

fn load(model: &ModelProto) -> crate::Result<Detector> {
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

fn logits(model: &Detector) -> (Vec<f32>, Vec<f32>) {
    let mut session = DetectorSession::new(model, &OPTIONS).unwrap();
    let pixels = check::noise(3 * (model.input.height * model.input.width) as usize);
    let outputs = session.run(1, &pixels).unwrap();
    {
        let head = outputs.view(0).unwrap();
        (head.class_logits().to_vec(), head.dfl_logits().unwrap().to_vec())
    }
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
        let options = DetectorOptions { imgsz: Some(load(&plain).unwrap().input.into()), ..options() };
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
        let model = load_with(&original, &DetectorOptions { names: Some(names), ..options() }).unwrap();
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
        let model = load_with(&fixture(name), &DetectorOptions { store, ..options() }).unwrap();
        let check = model.self_check(&OPTIONS).unwrap();
        assert_eq!(check.anchors, model.head.num_places());
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
    refusal(
        &chain(&["Conv", "Sigmoid", "Mul", "Concat"], &[1, 25200, 85]),
        &["YOLOv5", "objectness", "[1, 25200, 85]"],
    );
    // Neither is an RT-DETR whose raw tensors can be found.
    refusal(&chain(&["Conv", "TopK", "Concat"], &[1, 300, 84]), &["not recognised", "[1, 300, 84]"]);
    refusal(&chain(&["GridSample", "Concat"], &[1, 300, 84]), &["not recognised", "[1, 300, 84]"]);
    refusal(&chain(&["Conv", "Softmax"], &[1, 1000]), &["classification", "[1, 1000]"]);
    refusal(&chain(&["Conv", "TopK", "Concat"], &[1, 300, 6]), &["end-to-end", "end2end=False"]);
    refusal(&chain(&["Conv", "NonMaxSuppression"], &[1, 300, 6]), &["nms=True"]);
    refusal(
        &chain(&["Conv", "Relu"], &[1, 84, 8400]),
        &["not recognised", "[1, 84, 8400]", "Supported are detection exports"],
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
    let names = |names: &[&str]| DetectorOptions {
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
    assert!(error.contains("6 classes, but `names=` gives 2"), "{error}");
    set_metadata(&mut model, "names", "{0: 'only'}");
    refusal(&model, &["6 classes, but its metadata names 1", "`names=FILE`"]);
    set_metadata(&mut model, "names", "__import__('os')");
    refusal(&model, &["cannot be read", "`names=FILE`"]);
    model.metadata_props.clear();
    refusal(&model, &["does not name them", "`names=FILE`"]);
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
    let load = |imgsz| load_with(&model, &DetectorOptions { imgsz, ..options() });
    let at = |side: Option<u32>| load(side.map(InputSize::square));
    let default = at(None).unwrap();
    assert_eq!((default.input.height, default.input.width, default.head.num_places()), (640, 640, 8400));
    assert_eq!((default.batch, default.precision), (BatchSize::Dynamic, Precision::Fp32));
    assert_eq!(at(Some(416)).unwrap().head.num_places(), 3549);
    let wide = load(Some(InputSize { height: 480, width: 640 })).unwrap();
    assert_eq!((wide.input.height, wide.input.width, wide.head.num_places()), (480, 640, 6300));
    let narrow = load(Some(InputSize { height: 100, width: 640 })).unwrap_err().to_string();
    assert!(narrow.contains("100 x 640 pixels (height x width) is not a multiple"), "{narrow}");
    let error = at(Some(100)).unwrap_err().to_string();
    assert!(error.contains("multiple of the coarsest stride, 32"), "{error}");
    for impossible in [0, 8224, u32::MAX] {
        let error = at(Some(impossible)).unwrap_err().to_string();
        assert!(error.contains("not possible"), "{error}");
    }
    for (model, height, width) in [(at(Some(416)).unwrap(), 416, 416), (wide, 480, 640)] {
        let edited = ModelProto::decode(model.edited_bytes().as_slice()).unwrap().graph.unwrap();
        let Some(TypeValue::TensorType(input)) = edited.input[0].r#type.as_ref().unwrap().value.clone() else {
            panic!("no tensor")
        };
        let dims: Vec<_> = input.shape.unwrap().dim.into_iter().map(|dim| dim.value.unwrap()).collect();
        let expected = [3, height, width].map(DimValue::DimValue);
        assert_eq!(dims[0], DimValue::DimParam("batch".into()));
        assert_eq!(dims[1..], expected);
    }
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

/// An integer attribute, or a list of them.
fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let list = values.len() > 1;
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(if list { AttributeType::Ints } else { AttributeType::Int } as i32),
        i: values.first().copied().filter(|_| !list),
        ints: if list { values.to_vec() } else { Vec::new() },
        ..Default::default()
    }
}

/// Adds nodes behind `output0` of a fixture of six classes.
struct Ending<'g>(&'g mut GraphProto);

impl Ending<'_> {
    fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) {
        self.0.node.push(NodeProto { attribute: attributes.to_vec(), ..node_of(op, inputs, output) });
    }

    fn int_constant(&mut self, name: &str, values: &[i64]) {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, DataType::Int64, &[values.len() as i64], raw);
    }

    fn float_constant(&mut self, name: &str, dims: &[i64], values: &[f32]) {
        self.constant(name, DataType::Float, dims, values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }

    fn constant(&mut self, name: &str, data_type: DataType, dims: &[i64], raw: Vec<u8>) {
        self.0.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            data_type: Some(data_type as i32),
            dims: dims.to_vec(),
            raw_data: Some(raw.into()),
            ..Default::default()
        });
    }

    /// Boxes and probabilities of `from`, cut apart along `axis`.
    fn split(&mut self, from: &str, axis: i64) {
        for (name, values) in [("zero", &[0][..]), ("four", &[4]), ("many", &[1 << 30]), ("along", &[axis])] {
            self.int_constant(name, values);
        }
        self.node("Slice", &[from, "zero", "four", "along"], "cxcywh", &[]);
        self.node("Slice", &[from, "four", "many", "along"], "probabilities", &[]);
    }

    fn transposed(&mut self, to: &str) {
        self.node("Transpose", &["output0"], to, &[ints("perm", &[0, 2, 1])]);
    }

    /// `[1, A, 4]` corners, `[1, A, 1]` best scores, `[1, A, 1]` best classes as int64.
    fn deepstream(&mut self) {
        self.transposed("rows");
        self.split("rows", 2);
        let corners = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [-0.5, 0.0, 0.5, 0.0], [0.0, -0.5, 0.0, 0.5]];
        self.float_constant("to_corners", &[4, 4], &corners.concat());
        self.node("MatMul", &["cxcywh", "to_corners"], "corners", &[]);
        self.node("ReduceMax", &["probabilities", "along"], "best", &[ints("keepdims", &[1])]);
        self.node("ArgMax", &["probabilities"], "class_id", &[ints("axis", &[2]), ints("keepdims", &[1])]);
    }

    fn outputs(&mut self, outputs: Vec<ValueInfoProto>) {
        self.0.output = outputs;
    }
}

fn undeclared(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.to_owned()), ..Default::default() }
}

/// Other endings of yolov8-static, 84 anchors and 6 classes at 64 pixels: whatever is added, the raw tensors are those of the fixture.
#[test]
fn other_endings_have_the_same_raw_tensors() {
    const FLOAT: i32 = DataType::Float as i32;
    type Change = fn(&mut Ending<'_>);
    let endings: [(&str, Change); 16] = [
        ("transposed", |e| {
            e.transposed("t");
            e.outputs(vec![value("t", FLOAT, &[1, 84, 10])]);
        }),
        ("transposed, undeclared", |e| {
            e.transposed("t");
            e.outputs(vec![undeclared("t")]);
        }),
        ("squeezed", |e| {
            e.int_constant("axes", &[0]);
            e.node("Squeeze", &["output0", "axes"], "t", &[]);
            e.outputs(vec![value("t", FLOAT, &[10, 84])]);
        }),
        ("flat", |e| {
            e.int_constant("shape", &[1, -1]);
            e.node("Reshape", &["output0", "shape"], "t", &[]);
            e.outputs(vec![value("t", FLOAT, &[1, 840])]);
        }),
        ("the same, twice", |e| {
            e.node("Identity", &["output0"], "same", &[]);
            e.0.node.push(cast_node("same", "t", DataType::Float));
            e.outputs(vec![value("t", FLOAT, &[1, 10, 84])]);
        }),
        ("boxes and scores", |e| {
            e.split("output0", 1);
            e.outputs(vec![value("cxcywh", FLOAT, &[1, 4, 84]), value("probabilities", FLOAT, &[1, 6, 84])]);
        }),
        ("scores and boxes, anchors first", |e| {
            e.transposed("rows");
            e.split("rows", 2);
            e.outputs(vec![value("probabilities", FLOAT, &[1, 84, 6]), value("cxcywh", FLOAT, &[1, 84, 4])]);
        }),
        ("never joined", |e| {
            let join = e.0.node.iter().position(|node| node.output[0] == "output0").unwrap();
            let join = e.0.node.remove(join);
            e.outputs(vec![undeclared(&join.input[0]), undeclared(&join.input[1])]);
        }),
        ("fractions", |e| {
            e.float_constant("scale", &[1, 10, 1], &[[1.0 / 64.0; 4].as_slice(), &[1.0; 6]].concat());
            e.node("Mul", &["output0", "scale"], "t", &[]);
            e.outputs(vec![value("t", FLOAT, &[1, 10, 84])]);
        }),
        ("DeepStream, three outputs", |e| {
            e.deepstream();
            let int64 = DataType::Int64 as i32;
            let [boxes, best] = [("corners", 4), ("best", 1)].map(|(name, n)| value(name, FLOAT, &[1, 84, n]));
            e.outputs(vec![boxes, best, value("class_id", int64, &[1, 84, 1])]);
        }),
        ("DeepStream, one output", |e| {
            e.deepstream();
            e.0.node.push(cast_node("class_id", "class", DataType::Float));
            e.node("Concat", &["corners", "best", "class"], "t", &[ints("axis", &[2])]);
            e.outputs(vec![value("t", FLOAT, &[1, 84, 6])]);
        }),
        ("DeepStream, the best by TopK", |e| {
            e.deepstream();
            e.int_constant("one", &[1]);
            e.node("TopK", &["probabilities", "one"], "top", &[ints("axis", &[2])]);
            e.0.node.last_mut().unwrap().output.push("top_class".to_owned());
            e.0.node.push(cast_node("top_class", "class", DataType::Float));
            e.node("Concat", &["corners", "top", "class"], "t", &[ints("axis", &[2])]);
            e.outputs(vec![value("t", FLOAT, &[1, 84, 6])]);
        }),
        ("best score beside all", |e| {
            e.deepstream();
            let output = e.0.output[0].clone();
            e.outputs(vec![output, value("best", FLOAT, &[1, 84, 1])]);
        }),
        ("raw logits beside all", |e| {
            let sigmoid = e.0.node.iter().rfind(|node| node.op_type() == "Sigmoid").unwrap().input[0].clone();
            let output = e.0.output[0].clone();
            e.outputs(vec![undeclared(&sigmoid), output]);
        }),
        ("clipped boxes", |e| {
            // Wide enough to clip nothing: the nodes are what is tested.
            e.float_constant("low", &[], &[-1e4]);
            e.float_constant("high", &[], &[1e4]);
            e.node("Clip", &["output0", "low", "high"], "t", &[]);
            e.outputs(vec![value("t", FLOAT, &[1, 10, 84])]);
        }),
        ("gathered in another order", |e| {
            e.int_constant("order", &[4, 5, 6, 7, 8, 9, 0, 1, 2, 3]);
            e.node("Gather", &["output0", "order"], "t", &[ints("axis", &[1])]);
            e.outputs(vec![value("t", FLOAT, &[1, 10, 84])]);
        }),
    ];
    let plain = load(&fixture("yolov8-static.onnx")).unwrap();
    let edited = plain.edited_bytes();
    for (what, change) in endings {
        let mut model = fixture("yolov8-static.onnx");
        change(&mut Ending(graph(&mut model)));
        let found = load(&model).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((&found.head, found.precision), (&plain.head, plain.precision), "{what}");
        assert!(found.edited_bytes() == edited, "{what}: what is run is another model");
        let check = found.self_check(&OPTIONS).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(check.max_box_error_px < 0.01 && check.rounding.is_none(), "{what}: {check:?}");
    }
}

#[test]
fn endings_that_do_not_follow_from_the_raw_tensors_are_refused() {
    let refused = |change: fn(&mut Ending<'_>), says: &[&str]| {
        let mut model = fixture("yolov8-static.onnx");
        change(&mut Ending(graph(&mut model)));
        let error = load(&model).and_then(|model| model.self_check(&OPTIONS)).unwrap_err().to_string();
        for part in says {
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
        for part in ["YOLOv5", "objectness", "corners", "no DFL"] {
            assert!(!error.contains(part), "{part:?} is said without reason in: {error}");
        }
    };
    refused(
        |e| {
            e.float_constant("scale", &[1, 10, 1], &[[2.0; 4].as_slice(), &[1.0; 6]].concat());
            e.node("Mul", &["output0", "scale"], "t", &[]);
            e.outputs(vec![value("t", 1, &[1, 10, 84])]);
        },
        &["the box of anchor 0", "without changes to its head"],
    );
    refused(
        |e| {
            e.float_constant("scale", &[1, 10, 1], &[[1.0; 4].as_slice(), &[0.5; 6]].concat());
            e.node("Mul", &["output0", "scale"], "t", &[]);
            e.outputs(vec![value("t", 1, &[1, 10, 84])]);
        },
        &["has the probability"],
    );
    refused(
        |e| {
            e.split("output0", 1);
            e.outputs(vec![value("probabilities", 1, &[1, 6, 84])]);
        },
        &["its outputs do not hold both boxes and scores"],
    );
    // Two heads in one file: which is meant cannot be told.
    refused(
        |e| {
            e.split("output0", 1);
            e.node("Sigmoid", &["probabilities"], "more", &[]);
            let logits = e.0.node.iter().rfind(|node| node.op_type() == "Sigmoid" && node.output[0] != "more").unwrap();
            let logits = logits.input[0].clone();
            e.node("Sigmoid", &[&logits], "again", &[]);
            let output = e.0.output[0].clone();
            e.outputs(vec![output, undeclared("again")]);
        },
        &["2 Sigmoids lead to its outputs"],
    );
    // A Softmax that is written out is none that the search knows; that is no proof of a head without DFL.
    refused(
        |e| {
            e.0.node
                .iter_mut()
                .filter(|node| node.op_type() == "Softmax")
                .for_each(|node| node.op_type = Some("Exp".into()))
        },
        &["not recognised", "neither a Softmax over bins"],
    );
}

#[test]
fn what_is_said_of_an_unknown_ending_is_true() {
    let says = |output: &[i64]| load(&chain(&["Conv", "Relu"], output)).unwrap_err().to_string();
    for (output, part) in [(&[1, 8400, 84], "transposed"), (&[1, 8400, 6], "DeepStream")] {
        let error = says(output);
        assert!(error.contains(part) && error.contains("no Sigmoid"), "{error}");
        assert!(!error.contains("YOLOv5") && !error.contains("objectness"), "{error}");
    }
    let yolox = chain(&["Conv", "Relu"], &[1, 8400, 85]);
    assert!(!load(&yolox).unwrap_err().to_string().contains("objectness"));
}

/// The quantized fixtures are taken, and every message about them says what they are.
#[test]
fn quantized_heads_are_seen_through() {
    let mut sources: Vec<(String, u64)> = Vec::new();
    for (name, form, coarse) in [
        ("yolov8-int8-convs", "QDQ", false),
        ("yolov8-int8-full", "QDQ", true),
        ("yolov8-int8-qoperator", "QOperator", true),
        ("yolov8-int8-dynamic", "dynamic", false),
        ("yolov8-int8-weights", "weights only", false),
        ("yolov8-int8-dynamic-shape", "QDQ", true),
        ("yolo26-int8-no-dfl", "QDQ", false),
    ] {
        let no_dfl = name.contains("no-dfl");
        let store = if no_dfl { Store::Cls } else { Store::All };
        let options = DetectorOptions { imgsz: Some(64.into()), store, names: None, ..DetectorOptions::default() };
        let model = load_with(&fixture(&format!("{name}.onnx")), &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((model.precision, model.precision.as_str()), (Precision::Int8, "int8"), "{name}");
        assert_eq!(model.quantized.as_deref(), Some(format!("INT8, {form}").as_str()), "{name}");
        let reg_max = if no_dfl { 0 } else { 16 };
        assert_eq!((model.head.num_classes, model.head.reg_max(), model.head.num_places()), (6, reg_max, 84), "{name}");
        let check = model.self_check(&OPTIONS).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(check.max_score_error < 1e-6 && check.rounding.is_some(), "{name}: {check:?}");
        assert_eq!(model.warning().is_some(), coarse, "{name}");
        if let Some(warning) = model.warning() {
            assert!(
                warning.contains("rounded too coarsely") && warning.contains(&format!("INT8, {form}")),
                "{warning}"
            );
        }
        let note = model.quantization_note(&check);
        assert!(note.is_none_or(|note| note.contains(&format!("INT8, {form}"))), "{name}");
        sources.push((name.to_owned(), model.num_parameters()));

        // What is run ends in the raw tensors, as float, and nothing of the self-check is left in it.
        let edited = ModelProto::decode(model.edited_bytes().as_slice()).unwrap().graph.unwrap();
        // YOLO26 has Softmaxes in its attention, before the head.
        assert!(no_dfl || edited.node.iter().all(|node| !node.op_type().contains("Softmax")), "{name}");
        let mut session = DetectorSession::new(&model, &OPTIONS).unwrap();
        let outputs = session.run(1, &check::noise(3 * 64 * 64)).unwrap();
        assert!(outputs.view(0).unwrap().class_logits().iter().all(|logit| logit.is_finite()), "{name}");
    }
    // The same weights, whatever they are kept in. Dynamic quantization takes the biases out of the layers.
    let float = load(&fixture("yolov8-static.onnx")).unwrap().num_parameters();
    for (name, parameters) in sources.iter().filter(|(name, _)| name.starts_with("yolov8") && !name.contains("dynamic"))
    {
        assert_eq!(*parameters, float, "{name}");
    }
}

/// Rounding behind the raw tensors moves nothing that is cached: the probabilities of convolutions alone are the file's own.
#[test]
fn where_only_convolutions_are_quantized_the_probabilities_are_the_files_own() {
    for name in ["yolov8-int8-convs.onnx", "yolov8-int8-dynamic.onnx", "yolov8-int8-weights.onnx"] {
        let check = load(&fixture(name)).unwrap().self_check(&OPTIONS).unwrap();
        let rounding = check.rounding.unwrap();
        assert!(rounding.max_score < 1e-6, "{name}: {check:?}");
    }
}

#[test]
fn a_quantized_head_that_is_not_understood_is_called_quantized() {
    for (name, form) in [("yolov8-int8-full.onnx", "INT8, QDQ"), ("yolov8-int8-qoperator.onnx", "INT8, QOperator")] {
        for (op, other) in [("Sigmoid", "Tanh"), ("Softmax", "Exp")] {
            let mut model = fixture(name);
            for node in &mut graph(&mut model).node {
                if node.op_type().trim_start_matches("QLinear") == op {
                    node.op_type = Some(other.to_owned());
                }
            }
            let error = load(&model).unwrap_err().to_string();
            for part in [&format!("quantized ({form})"), "was not recognised", "float export", "['Conv']"] {
                assert!(error.contains(part), "{part:?} is missing in: {error}");
            }
            for part in ["no DFL", "fp32", "corners", "YOLO26"] {
                assert!(!error.contains(part), "{part:?} is said without reason in: {error}");
            }
        }
    }
    // The order of the bins is proven for a quantized file as for any other.
    let mut model = fixture("yolov8-int8-convs.onnx");
    let weight = graph(&mut model).initializer.iter_mut().find(|tensor| tensor.dims == [1, 16, 1, 1]).unwrap();
    let mut bins = weight.raw_data.as_ref().unwrap().to_vec();
    bins.reverse();
    weight.raw_data = Some(bins.into());
    let error = load(&model).unwrap().self_check(&OPTIONS).unwrap_err().to_string();
    assert!(error.contains("quantized (INT8, QDQ)") && error.contains("DFL logits give"), "{error}");
}

#[test]
fn a_tensor_joined_with_itself_many_times_over_ends() {
    let mut model = fixture("yolov8-static.onnx");
    let sigmoid = graph(&mut model).node.iter().rposition(|node| node.op_type() == "Sigmoid").unwrap();
    let nodes = &mut graph(&mut model).node;
    let mut last = nodes[sigmoid].input[0].clone();
    for i in 0..60 {
        let next = format!("joined{i}");
        let mut join = node_of("Concat", &[&last, &last], &next);
        join.attribute.push(ints("axis", &[1]));
        nodes.push(join);
        last = next;
    }
    nodes[sigmoid].input[0] = last;
    // Whatever the answer is, it comes: the paths are 2 to the power of 60.
    let _ = load(&model);
}
