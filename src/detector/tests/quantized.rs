//! Files of 8-bit integers.

use super::*;

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
