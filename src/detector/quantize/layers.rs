//! The layers of a detector's graph that can compute with integers.

use super::super::onnx::{
    graph::{GraphIndex, attribute, attribute_int},
    proto::{GraphProto, NodeProto, tensor_proto::DataType},
};
use std::collections::HashSet;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A convolution.
    Conv,
    /// A product with constant weights (`MatMul`, `Gemm`).
    Product,
}

/// A layer with constant weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The tensor that it computes; layers are told apart by it.
    pub output: String,
    /// What people call it: the node's name, without the parts that an exporter adds.
    pub name: String,
    /// What it computes.
    pub kind: LayerKind,
    /// The activations that it reads.
    pub input: String,
    /// The tensor of its weights.
    pub weights: String,
    /// `[out, in / groups, kernel height, kernel width]` of a convolution, the two sides of a matrix.
    pub weight_shape: Vec<usize>,
    /// Which dimension of the weights is that of output channels.
    pub channel_axis: usize,
    /// Whether a raw tensor of the head comes out of it without another layer in between. Such layers stay float.
    pub is_last: bool,
    /// Rows, columns moved at each step; `None` of a product.
    window: Option<Window>,
}

/// How a convolution moves over its input: `(height, width)` each.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Window {
    strides: (usize, usize),
    /// Both sides together; `None`: as many as make the output `ceil(input / stride)`.
    padding: Option<(usize, usize)>,
    dilations: (usize, usize),
}

impl Layer {
    /// Multiplications (each with an addition) for an input of this shape.
    pub fn multiply_adds(&self, input_shape: &[usize]) -> u64 {
        let weights: usize = self.weight_shape.iter().product();
        let steps: usize = match (self.window, input_shape, self.weight_shape.as_slice()) {
            (Some(window), [batch, _, height, width], [_, _, kernel_height, kernel_width]) => {
                let (tall, wide) = (window.strides, window.dilations);
                let along = |size: usize, kernel: usize, stride: usize, dilation: usize, padding: Option<usize>| {
                    let covered = dilation * (kernel.max(1) - 1) + 1;
                    padding.map_or(size.div_ceil(stride), |padding| {
                        (size + padding).checked_sub(covered).map_or(0, |left| left / stride + 1)
                    })
                };
                let rows = along(*height, *kernel_height, tall.0, wide.0, window.padding.map(|(rows, _)| rows));
                let columns = along(*width, *kernel_width, tall.1, wide.1, window.padding.map(|(_, columns)| columns));
                batch * rows * columns
            }
            (_, shape, _) => {
                let read = self.weight_shape.get(1 - self.channel_axis.min(1)).copied().unwrap_or(1);
                shape.iter().product::<usize>() / read.max(1)
            }
        };
        steps as u64 * weights as u64
    }
}

/// What [`find`] found.
pub(super) struct Found {
    pub layers: Vec<Layer>,
    pub left_float: Vec<(String, &'static str)>,
    pub inner: HashSet<String>,
}

/// The layers of `graph` that the tensors `head` of `edited`, a graph with the same nodes and more, come out of.
pub(super) fn find(edited: &GraphIndex<'_>, graph: &GraphProto, head: &[&str]) -> Found {
    let outputs = |nodes: &[&NodeProto]| -> HashSet<String> {
        nodes.iter().filter_map(|node| node.output.first().cloned()).collect()
    };
    let before_head = outputs(&edited.walk_back(head, |_| true));
    let has_layer = |node: &NodeProto| matches!(node.op_type(), "Conv" | "MatMul" | "Gemm");
    let is_layer = |node: &NodeProto| has_layer(node) && weights_of(edited, node).is_some();
    // Behind the last layers, those included.
    let behind = outputs(&edited.walk_back(head, |node| !is_layer(node)));
    let index = GraphIndex::new(graph);
    let mut found = Found { layers: Vec::new(), left_float: Vec::new(), inner: HashSet::new() };
    for node in &graph.node {
        let Some(output) = node.output.first().filter(|output| before_head.contains(*output)) else { continue };
        let is_last = behind.contains(output);
        if !is_last {
            found.inner.insert(output.clone());
        }
        if !has_layer(node) {
            continue;
        }
        match layer(&index, node, output, is_last) {
            Ok(layer) => found.layers.push(layer),
            Err(Some(reason)) => found.left_float.push((name_of(node), reason)),
            Err(None) => {}
        }
    }
    found
}

fn weights_of<'g>(index: &GraphIndex<'g>, node: &'g NodeProto) -> Option<&'g str> {
    let name = node.input.get(1)?;
    index.constant(name).map(|_| name.as_str())
}

/// The layer of a node; `Err` is why it stays float, `Err(None)` where it is none at all (a product of two activations).
fn layer(index: &GraphIndex<'_>, node: &NodeProto, output: &str, is_last: bool) -> Result<Layer, Option<&'static str>> {
    let computed_weights = match node.op_type() {
        "Conv" => Some("its weights are computed, not constant"),
        _ => None,
    };
    let weights = weights_of(index, node).ok_or(computed_weights)?;
    let input = node.input.first().filter(|input| index.constant(input).is_none()).ok_or(None)?;
    let tensor = index.constant(weights).ok_or(None)?;
    if tensor.data_type != Some(DataType::Float as i32) {
        return Err(Some("its weights are not float32"));
    }
    let shape: Vec<usize> = tensor.dims.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect();
    let (kind, channel_axis, window) = match node.op_type() {
        "Conv" if shape.len() == 4 => (LayerKind::Conv, 0, Some(window(node))),
        "Conv" => return Err(Some("it is not a convolution of two dimensions")),
        "MatMul" if shape.len() == 2 => (LayerKind::Product, 1, None),
        "Gemm" if shape.len() == 2 && is_plain(node) => {
            (LayerKind::Product, usize::from(attribute_int(node, "transB").unwrap_or(0) == 0), None)
        }
        _ => return Err(Some("it is not a product with one matrix")),
    };
    if shape.contains(&0) {
        return Err(Some("it has no weights"));
    }
    Ok(Layer {
        output: output.to_owned(),
        name: name_of(node),
        kind,
        input: input.clone(),
        weights: weights.to_owned(),
        weight_shape: shape,
        channel_axis,
        is_last,
        window,
    })
}

/// A `Gemm` that is `input * weights + bias` and nothing more.
fn is_plain(node: &NodeProto) -> bool {
    let one = |name: &str| attribute(node, name).and_then(|attribute| attribute.f).unwrap_or(1.0) == 1.0;
    one("alpha") && one("beta") && attribute_int(node, "transA").unwrap_or(0) == 0
}

fn window(node: &NodeProto) -> Window {
    let ints = |name: &str| -> Option<Vec<usize>> {
        let values = &attribute(node, name)?.ints;
        Some(values.iter().map(|value| usize::try_from(*value).unwrap_or_default()).collect())
    };
    let pair = |name: &str| match ints(name).as_deref() {
        Some(&[a, b]) => (a.max(1), b.max(1)),
        _ => (1, 1),
    };
    let same = attribute(node, "auto_pad").and_then(|attribute| attribute.s.as_deref());
    let padding = match (same, ints("pads").as_deref()) {
        (Some(b"SAME_UPPER" | b"SAME_LOWER"), _) => None,
        (_, Some(&[top, left, bottom, right])) => Some((top + bottom, left + right)),
        _ => Some((0, 0)),
    };
    Window { strides: pair("strides"), padding, dilations: pair("dilations") }
}

/// `model.2.cv1` of `/model.2/cv1/conv/Conv`; the output's name of a node without one.
fn name_of(node: &NodeProto) -> String {
    let name = Some(node.name()).filter(|name| !name.is_empty());
    let name = name.or_else(|| node.output.first().map(String::as_str)).unwrap_or_default();
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [inner @ .., "conv", last] | [inner @ .., last] if !inner.is_empty() && is_operator(last) => inner.join("."),
        parts => parts.join("."),
    }
}

/// `Conv`, `Conv_1`, `MatMul`.
fn is_operator(part: &str) -> bool {
    ["Conv", "MatMul", "Gemm"]
        .iter()
        .any(|op| part.strip_prefix(op).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}
