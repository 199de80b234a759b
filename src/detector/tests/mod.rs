//! Tests that change a model's graph, which the public interface does not allow.

mod checks;
mod endings;
mod graphs;
mod quantized;

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
