//! Graphs, inputs, names and sizes that are taken or refused.

use super::*;

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
