//! ONNX files as data: the message types, questions to a graph, metadata, quantized graphs.

pub(super) mod adapter;
pub(super) mod graph;
pub(super) mod metadata;
pub mod proto;
pub(super) mod quantized;
