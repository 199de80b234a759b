//! What is computed is what the file computes: names do not matter, another order does.

use super::*;

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
