//! Quantized graphs, read as the float graphs that they stand for.
//!
//! Quantizing a file puts rounding between its operators (QDQ: `QuantizeLinear`, `DequantizeLinear`) or replaces them by
//! operators on integers (`QLinearConv`, `ConvInteger`, `com.microsoft.QLinearSigmoid`, ...). [`float_view`] takes the
//! rounding away and puts the float operators back, so that one search finds the head of every form. The weights stay
//! rounded: they are what the file holds. Tensors keep their names, so what is found in the view can be named in the file.

use crate::{cache::Places, types::ImageSize};
use std::collections::HashMap;

use super::{
    super::{
        families::{Family, HeadTensors},
        head::MAX_BINS,
        model::Precision,
    },
    adapter::constant,
    graph::{GraphIndex, cast_node, declared, int_attribute, node_of, tensors_of},
    proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType},
};

/// How a file is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::detector) enum Form {
    /// Float operators between `QuantizeLinear` and `DequantizeLinear`.
    Qdq,
    /// Operators that take and give integers.
    QOperator,
    /// Scales are measured while the model runs.
    Dynamic,
    /// Only weights are integers; the arithmetic is in floating point.
    WeightsOnly,
}

impl Form {
    /// The word for messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Qdq => "QDQ",
            Self::QOperator => "QOperator",
            Self::Dynamic => "dynamic",
            Self::WeightsOnly => "weights only",
        }
    }
}

/// How the graph is quantized; `None` where nothing in it is.
pub(in crate::detector) fn form(graph: &GraphProto) -> Option<Form> {
    let has = |is: fn(&str) -> bool| graph.node.iter().any(|node| is(node.op_type()));
    if has(|op| op.starts_with("QLinear") || matches!(op, "QGemm" | "QAttention")) {
        Some(Form::QOperator)
    } else if has(|op| op == "QuantizeLinear") {
        Some(Form::Qdq)
    } else if has(|op| {
        op.starts_with("DynamicQuantize") || op.starts_with("MatMulInteger") || matches!(op, "ConvInteger")
    }) {
        Some(Form::Dynamic)
    } else if has(|op| matches!(op, "DequantizeLinear" | "MatMulNBits")) {
        Some(Form::WeightsOnly)
    } else {
        None
    }
}

/// Whether a scale is measured over all images of a run: an image's result then depends on those beside it.
pub(in crate::detector) fn measures_batch(graph: &GraphProto) -> bool {
    graph.node.iter().any(|node| node.op_type().starts_with("DynamicQuantize"))
}

/// The narrowest number type that a quantized graph computes or keeps weights in.
pub(in crate::detector) fn precision(graph: &GraphProto) -> Precision {
    let types: Vec<DataType> =
        tensors_of(graph).filter_map(|tensor| DataType::try_from(tensor.data_type.unwrap_or_default()).ok()).collect();
    let has = |any: &[DataType]| types.iter().any(|data_type| any.contains(data_type));
    if has(&[DataType::Int4, DataType::Uint4]) || graph.node.iter().any(|node| node.op_type() == "MatMulNBits") {
        Precision::Int4
    } else if has(&[DataType::Float8e4m3fn, DataType::Float8e4m3fnuz, DataType::Float8e5m2, DataType::Float8e5m2fnuz]) {
        Precision::Fp8
    } else if has(&[DataType::Int16, DataType::Uint16]) && !has(&[DataType::Int8, DataType::Uint8]) {
        Precision::Int16
    } else {
        Precision::Int8
    }
}

/// Names of the tensors that say what the integers of `tensor` mean: its scale, and its zero point where it has one.
/// `None` where `tensor` is of floating point.
fn scale_of<'g>(index: &GraphIndex<'g>, tensor: &'g str) -> Option<(&'g str, Option<&'g str>)> {
    let mut at = tensor;
    // A path longer than this is a cycle.
    for _ in 0..64 {
        let node = index.producer(at)?;
        let input = |i: usize| node.input.get(i).map(String::as_str).filter(|name| !name.is_empty());
        let scale = match node.op_type() {
            "QuantizeLinear" => 1,
            "QLinearConcat" => 0,
            "QLinearSigmoid"
            | "QLinearSoftmax"
            | "QLinearLeakyRelu"
            | "QLinearAveragePool"
            | "QLinearGlobalAveragePool"
            | "QLinearReduceMean" => 3,
            "QLinearConv" | "QLinearMatMul" | "QLinearAdd" | "QLinearMul" => 6,
            "Flatten" | "Gather" | "Identity" | "MaxPool" | "Reshape" | "Resize" | "Slice" | "Split" | "Squeeze"
            | "Transpose" | "Unsqueeze" => {
                at = input(0)?;
                continue;
            }
            _ => return None,
        };
        return Some((input(scale)?, input(scale + 1)));
    }
    None
}

/// The step between neighbouring values of a tensor that is rounded, or was rounded last, where the file states one.
fn step_of<'g>(index: &GraphIndex<'g>, tensor: &'g str) -> Option<f32> {
    let rounded = index.skip_back(tensor, &["Cast", "DequantizeLinear", "Identity"]);
    let (scale, _) = scale_of(index, rounded)?;
    index.floats(scale)?.into_iter().reduce(f32::max)
}

/// The graph without its rounding, every operator on integers replaced by the float operator that it stands for. Operators that no head
/// has behind its last convolutions stay as they are.
pub(in crate::detector) fn float_view(graph: &GraphProto) -> GraphProto {
    let mut view = View { index: GraphIndex::new(graph), nodes: Vec::with_capacity(graph.node.len()), one: None };
    graph.node.iter().for_each(|node| view.add(node));
    GraphProto {
        node: view.nodes,
        name: graph.name.clone(),
        initializer: graph.initializer.clone(),
        input: graph.input.clone(),
        output: graph.output.clone(),
        ..Default::default()
    }
}

struct View<'g> {
    index: GraphIndex<'g>,
    nodes: Vec<NodeProto>,
    /// A constant 1, where one was needed.
    one: Option<String>,
}

impl View<'_> {
    fn add(&mut self, node: &NodeProto) {
        let input = |i: usize| node.input.get(i).map_or("", String::as_str);
        let output = |i: usize| node.output.get(i).map_or("", String::as_str);
        match node.op_type() {
            "QuantizeLinear" => self.put(node, "Identity", [input(0).to_owned()]),
            "DequantizeLinear" if self.index.constant(input(0)).is_none() => {
                self.put(node, "Identity", [input(0).to_owned()]);
            }
            // Gives the integers, their scale and their zero point: here the floats, 1, and nothing that anybody reads.
            "DynamicQuantizeLinear" => {
                self.nodes.push(node_of("Identity", &[input(0)], output(0)));
                self.nodes.push(constant(output(1), one()));
            }
            // What follows multiplies by both scales: the input's is 1 in this view, the weights' is the file's.
            "ConvInteger" | "MatMulInteger" => {
                let one = self.one();
                let weights = self.dequantized(node, 1, &one, input(3), None);
                let op = node.op_type().trim_end_matches("Integer").to_owned();
                self.put(node, &op, [input(0).to_owned(), weights]);
            }
            "QLinearConv" => {
                let weights = self.dequantized(node, 3, input(4), input(5), Some(0));
                let mut inputs = vec![self.float(node, 0), weights];
                if !input(8).is_empty() {
                    let scale = format!("{}_scale_of_bias", output(0));
                    self.nodes.push(node_of("Mul", &[input(1), input(4)], &scale));
                    inputs.push(self.dequantized(node, 8, &scale, "", Some(0)));
                }
                self.put(node, "Conv", inputs);
            }
            op @ ("QLinearMatMul" | "QLinearAdd" | "QLinearMul") => {
                let inputs = [self.float(node, 0), self.float(node, 3)];
                self.put(node, op.trim_start_matches("QLinear"), inputs);
            }
            op @ ("QLinearSigmoid" | "QLinearSoftmax" | "QLinearLeakyRelu") => {
                let inputs = [self.float(node, 0)];
                self.put(node, op.trim_start_matches("QLinear"), inputs);
            }
            "QLinearConcat" => {
                let inputs: Vec<String> = (2..node.input.len()).step_by(3).map(|i| self.float(node, i)).collect();
                self.put(node, "Concat", inputs);
            }
            _ => self.nodes.push(node.clone()),
        }
    }

    /// Another operator in the place of `node`, with its attributes.
    fn put(&mut self, node: &NodeProto, op: &str, inputs: impl Into<Vec<String>>) {
        // `opset` tells QLinearSoftmax which Softmax is meant; Softmax itself has the model's.
        let attributes = node.attribute.iter().filter(|attribute| attribute.name() != "opset");
        self.nodes.push(NodeProto {
            input: inputs.into(),
            output: node.output.clone(),
            op_type: Some(op.to_owned()),
            attribute: if op == "Identity" { Vec::new() } else { attributes.cloned().collect() },
            ..Default::default()
        });
    }

    /// An input of an operator on integers that is followed by its scale and its zero point.
    fn float(&mut self, node: &NodeProto, at: usize) -> String {
        let input = |i: usize| node.input.get(i).map_or("", String::as_str);
        self.dequantized(node, at, input(at + 1), input(at + 2), None)
    }

    /// An input as float: in this view a computed tensor is that already, a constant still holds integers.
    fn dequantized(&mut self, node: &NodeProto, at: usize, scale: &str, zero_point: &str, axis: Option<i64>) -> String {
        let name = node.input.get(at).map_or("", String::as_str);
        if self.index.constant(name).is_none() {
            return name.to_owned();
        }
        let float = format!("{}_input_{at}_as_float", node.output.first().map_or("", String::as_str));
        let inputs = [name, scale, zero_point];
        let given = if zero_point.is_empty() { &inputs[..2] } else { &inputs[..] };
        let mut dequantize = node_of("DequantizeLinear", given, &float);
        dequantize.attribute.extend(axis.map(|axis| int_attribute("axis", axis)));
        self.nodes.push(dequantize);
        float
    }

    /// The name of a constant 1.
    fn one(&mut self) -> String {
        const NAME: &str = "logitcache_one";
        if self.one.is_none() {
            self.nodes.push(constant(NAME, one()));
        }
        self.one.get_or_insert_with(|| NAME.to_owned()).clone()
    }
}

fn one() -> TensorProto {
    TensorProto { data_type: Some(DataType::Float as i32), float_data: vec![1.0], ..Default::default() }
}

/// The tensors of a model that are read, by their names in the graph with the nodes of [`taps`] beside its own.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::detector) struct Taps {
    /// `[B, C, A]`, float.
    pub class_logits: String,
    /// `[B, 4 * reg_max, A]`, or `[B, 4, A]` boxes of a head without DFL; float.
    pub box_values: String,
    /// The file's own outputs, float.
    pub own: Vec<String>,
    /// The outputs computed from the raw tensors without rounding in between; empty where nothing is quantized.
    pub float: Vec<String>,
    /// How far rounded constants can move the boxes of `float`.
    pub steps: Steps,
    /// The step of the outputs that hold probabilities, where the file rounds them.
    pub score_step: Option<f32>,
}

/// What makes the head's tensors and the file's outputs float, as nodes to stand beside the file's own.
pub(in crate::detector) fn taps(
    graph: &GraphProto,
    view: Option<&GraphProto>,
    head: &HeadTensors,
    family: &dyn Family,
    input: ImageSize,
    places: &Places,
) -> (Vec<NodeProto>, Taps) {
    let index = GraphIndex::new(graph);
    let prefix = fresh_prefix(graph);
    let dequantize = |name: &str, new: &str| {
        let (scale, zero_point) = scale_of(&index, name)?;
        let inputs: Vec<&str> = [name, scale].into_iter().chain(zero_point).collect();
        Some(node_of("DequantizeLinear", &inputs, new))
    };
    let mut nodes = Vec::new();
    let mut tap = |name: &str, new: String, node: Option<NodeProto>| match node {
        Some(node) => {
            nodes.push(node);
            new
        }
        None => name.to_owned(),
    };
    let mut raw_tap = |(i, name): (usize, &str)| {
        let new = format!("{prefix}raw_{i}");
        let node = dequantize(name, &new);
        (name.to_owned(), tap(name, new, node))
    };
    let raw: Vec<(String, String)> = head.raw().into_iter().enumerate().map(&mut raw_tap).collect();
    let renamed = |name: &str| raw.iter().find(|(tensor, _)| tensor == name).map(|(_, tap)| tap.clone());
    let class_logits = renamed(&head.class_logits).unwrap_or_else(|| head.class_logits.clone());
    let box_values = renamed(&head.box_values).unwrap_or_else(|| head.box_values.clone());
    let is_float = |output: &ValueInfoProto| {
        let elem_type = declared(output).and_then(|(elem_type, _)| DataType::try_from(elem_type).ok());
        matches!(elem_type, Some(DataType::Float | DataType::Float16))
    };
    let own_tap = |(i, output): (usize, &ValueInfoProto)| {
        let (name, new) = (output.name(), format!("{prefix}output_{i}"));
        let to_float = || dequantize(name, &new).unwrap_or_else(|| cast_node(name, &new, DataType::Float));
        let node = (!is_float(output)).then(to_float);
        tap(name, new, node)
    };
    let own = graph.output.iter().enumerate().map(own_tap).collect();
    nodes.extend(head.adapter.nodes(input, places, renamed));
    let mut taps = Taps { class_logits, box_values, own, float: Vec::new(), steps: Steps::default(), score_step: None };
    if let Some(view) = view {
        let raw: Vec<(&str, &str)> = raw.iter().map(|(tensor, tap)| (tensor.as_str(), tap.as_str())).collect();
        let outputs: Vec<&str> = head.outputs.iter().map(String::as_str).collect();
        let tail = tail(view, &raw, &outputs, &prefix);
        nodes.extend(tail.nodes);
        taps.steps = tail.steps;
        for (i, (name, output)) in tail.outputs.into_iter().zip(&graph.output).enumerate() {
            let new = format!("{prefix}float_output_{i}");
            let node = (!is_float(output)).then(|| cast_node(&name, &new, DataType::Float));
            taps.float.push(if node.is_some() { new } else { name });
            nodes.extend(node);
        }
        let in_view = GraphIndex::new(view);
        let with_scores = outputs.iter().filter(|output| family.holds_scores(&in_view, output));
        taps.score_step = with_scores.filter_map(|output| step_of(&index, output)).reduce(f32::max);
    }
    (nodes, taps)
}

/// The beginning of names that the graph does not use.
pub(in crate::detector) fn fresh_prefix(graph: &GraphProto) -> String {
    let mut prefix = "logitcache_".to_owned();
    while graph.node.iter().flat_map(|node| &node.output).any(|name| name.starts_with(&prefix)) {
        prefix.push('_');
    }
    prefix
}

/// The part of a float view between the raw tensors and the outputs, to stand beside the file's own nodes: under new names, reading the
/// raw tensors under the names given for them.
struct Tail {
    /// The nodes, in the view's order.
    nodes: Vec<NodeProto>,
    /// The outputs under their new names, in order.
    outputs: Vec<String>,
    /// How far rounded constants among the nodes can move a box.
    steps: Steps,
}

/// Steps of rounded constants behind the raw tensors; 0 where they are exact.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::detector) struct Steps {
    /// The weights of the DFL, in bins.
    pub dfl: f32,
    /// All others together (centres, strides), in their own units.
    pub others: f32,
}

/// Cuts the tail out of `view`. `raw` pairs tensors of the view with the names that the copies read instead.
fn tail(view: &GraphProto, raw: &[(&str, &str)], outputs: &[&str], prefix: &str) -> Tail {
    let index = GraphIndex::new(view);
    let is_raw = |name: &str| raw.iter().any(|(tensor, _)| *tensor == name);
    let mut renamed: HashMap<&str, String> = raw.iter().map(|(tensor, name)| (*tensor, (*name).to_owned())).collect();
    let mut wanted: Vec<&str> = outputs.to_vec();
    while let Some(name) = wanted.pop() {
        if is_raw(name) || renamed.contains_key(name) {
            continue;
        }
        let Some(node) = index.producer(name) else { continue };
        let named = node.output.iter().filter(|output| !output.is_empty());
        renamed.extend(named.map(|output| (output.as_str(), format!("{prefix}{output}"))));
        // A shape is the same whatever the numbers are.
        if node.op_type() != "Shape" {
            wanted.extend(node.input.iter().map(String::as_str));
        }
    }
    let rename = |name: &String| renamed.get(name.as_str()).unwrap_or(name).clone();
    let (mut nodes, mut steps) = (Vec::new(), Steps::default());
    for node in &view.node {
        let copied = |name: &String| renamed.contains_key(name.as_str()) && !is_raw(name);
        if !node.output.iter().any(copied) {
            continue;
        }
        if node.op_type() == "DequantizeLinear" {
            steps.add(&index, node);
        }
        let mut copy = node.clone();
        copy.name = None;
        if node.op_type() != "Shape" {
            copy.input.iter_mut().for_each(|name| *name = rename(name));
        }
        copy.output.iter_mut().filter(|name| !name.is_empty()).for_each(|name| *name = rename(name));
        nodes.push(copy);
    }
    Tail { nodes, outputs: outputs.iter().map(|name| rename(&(*name).to_owned())).collect(), steps }
}

impl Steps {
    fn add(&mut self, index: &GraphIndex<'_>, dequantize: &NodeProto) {
        let input = |i: usize| dequantize.input.get(i).map_or("", String::as_str);
        match index.constant(input(0)).map(|constant| constant.dims.as_slice()) {
            // 0 to bins - 1 in as few as 7 bits, which some processors ask for.
            Some([1, bins, 1, 1]) => self.dfl += bins.saturating_sub(1).clamp(0, MAX_BINS as i64) as f32 / 63.0,
            _ => self.others += index.floats(input(1)).unwrap_or_default().into_iter().fold(0.0, f32::max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_ops(ops: &[&str], types: &[DataType]) -> GraphProto {
        GraphProto {
            node: ops.iter().map(|op| node_of(op, &["x"], "y")).collect(),
            initializer: types
                .iter()
                .map(|data_type| TensorProto { data_type: Some(*data_type as i32), ..Default::default() })
                .collect(),
            ..Default::default()
        }
    }

    #[test]
    fn forms_are_told_apart() {
        let form = |ops: &[&str]| form(&with_ops(ops, &[])).map(Form::as_str);
        assert_eq!(form(&["Conv", "Cast", "Sigmoid"]), None);
        assert_eq!(form(&["QuantizeLinear", "DequantizeLinear", "Conv"]), Some("QDQ"));
        assert_eq!(form(&["QuantizeLinear", "QLinearConv", "DequantizeLinear"]), Some("QOperator"));
        assert_eq!(form(&["DynamicQuantizeLinear", "ConvInteger", "Cast", "Mul"]), Some("dynamic"));
        assert_eq!(form(&["DequantizeLinear", "Conv"]), Some("weights only"));
    }

    #[test]
    fn the_narrowest_type_is_named() {
        use DataType::{Float, Float8e4m3fn, Int4, Int8, Int16, Int32, Uint8, Uint16};
        let named = |types: &[DataType]| precision(&with_ops(&["DequantizeLinear"], types)).as_str();
        assert_eq!(named(&[Float, Int8, Int32]), "int8");
        assert_eq!(named(&[Uint8, Uint16]), "int8");
        assert_eq!(named(&[Uint16, Int16]), "int16");
        assert_eq!(named(&[Int8, Int4]), "int4");
        assert_eq!(named(&[Float, Float8e4m3fn]), "fp8");
        // Scales that are measured while the model runs: no constant need be there.
        assert_eq!(named(&[Float]), "int8");
    }

    #[test]
    fn a_cycle_ends() {
        let mut graph = with_ops(&["Identity", "Identity"], &[]);
        graph.node[0] = node_of("Reshape", &["b"], "a");
        graph.node[1] = node_of("Identity", &["a"], "b");
        let index = GraphIndex::new(&graph);
        assert_eq!((scale_of(&index, "a"), step_of(&index, "b")), (None, None));
        assert_eq!(tail(&graph, &[], &["a"], "new_").outputs, ["new_a"]);
    }
}
