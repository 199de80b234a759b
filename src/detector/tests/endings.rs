//! What exporters put behind the raw tensors.

use super::*;

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
