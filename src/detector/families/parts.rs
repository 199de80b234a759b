//! Questions that several families ask of a graph.

use crate::detector::onnx::{
    graph::{Dim, GraphIndex, declared},
    proto::NodeProto,
};

/// Operations at which the search ends: the layers of the network. A head has none behind its last convolutions.
pub(super) const LAYERS: &[&str] =
    &["BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MaxPool", "QGemm", "QLinearConv", "Resize"];

/// Operations that change a tensor's shape or type at most.
pub(super) const SHAPE_ONLY: &[&str] = &["Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// The nodes between the last layers and some tensors, the nearest to the tensors first. Sigmoids, Softmaxes and layers are among them,
/// but nothing before them.
pub(super) fn behind_layers<'g>(index: &GraphIndex<'g>, tensors: &[&'g str]) -> Vec<&'g NodeProto> {
    index.walk_back(tensors, |node| {
        let ends = matches!(node.op_type(), "Shape" | "Sigmoid" | "Softmax") || LAYERS.contains(&node.op_type());
        !ends || expectation_bins(index, node).is_some()
    })
}

/// Whether class probabilities are part of what `tensor` holds.
pub(super) fn holds_scores(index: &GraphIndex<'_>, tensor: &str) -> bool {
    behind_layers(index, &[tensor]).iter().any(|node| node.op_type() == "Sigmoid")
}

/// The number of bins where a node is the DFL's expectation: a 1 x 1 convolution with one output channel.
pub(super) fn expectation_bins(index: &GraphIndex<'_>, node: &NodeProto) -> Option<usize> {
    let weight = (node.op_type() == "Conv").then(|| node.input.get(1))?.and_then(|name| index.constant(name))?;
    match weight.dims.as_slice() {
        [1, bins, 1, 1] => usize::try_from(*bins).ok(),
        _ => None,
    }
}

/// The graph's outputs.
pub(super) fn outputs(index: &GraphIndex<'_>) -> Vec<String> {
    index.graph.output.iter().map(|output| output.name().to_owned()).collect()
}

/// The declared dimensions of an output, by its name.
pub(super) fn dims(index: &GraphIndex<'_>, name: &str) -> Vec<Dim> {
    let output = index.graph.output.iter().find(|output| output.name() == name);
    output.and_then(declared).map(|(_, dims)| dims).unwrap_or_default()
}

/// A dimension as a number, where it is one.
pub(super) fn fixed(dim: Option<&Dim>) -> Option<usize> {
    match dim {
        Some(Dim::Fixed(size)) => usize::try_from(*size).ok().filter(|size| *size > 0),
        _ => None,
    }
}

/// The only output; `None` where there are several.
pub(super) fn only_output<'g>(index: &GraphIndex<'g>) -> Option<&'g str> {
    match index.graph.output.as_slice() {
        [output] => Some(output.name()),
        _ => None,
    }
}

/// The node behind a tensor, past nodes that change shape or type alone.
pub(super) fn source<'g>(index: &GraphIndex<'g>, tensor: &'g str) -> Option<&'g NodeProto> {
    index.producer(index.skip_back(tensor, SHAPE_ONLY))
}
