//! Where activations are rounded.

use super::{
    super::onnx::{
        graph::{GraphIndex, attribute},
        proto::{GraphProto, NodeProto},
    },
    layers::Layer,
};
use std::collections::{HashMap, HashSet};

/// Which tensors are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Outputs of all operators that have a form for integers. ONNX Runtime's CPU provider needs it: it computes a layer with
    /// integers only between rounded tensors.
    Operators,
    /// Inputs of layers alone, as OpenVINO and TensorRT want it: they fuse what follows a layer into it.
    LayerInputs,
}

impl Placement {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operators => "operators",
            Self::LayerInputs => "layer-inputs",
        }
    }
}

/// The values that the 256 levels of a tensor cover; 0 lies within.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct ActivationRange {
    /// The lowest, at most 0.
    pub low: f32,
    /// The highest, at least 0.
    pub high: f32,
}

/// Levels of uint8, less one.
const LEVELS: f32 = 255.0;

impl ActivationRange {
    /// Sigmoid's.
    pub(super) const UNIT: Self = Self { low: 0.0, high: 1.0 };

    /// With 0 in it: padding and ReLU need it exact.
    pub fn around(low: f32, high: f32) -> Self {
        Self { low: low.min(0.0), high: high.max(0.0) }
    }

    /// Scale and zero point: value = scale * (level - zero point). The zero point is a whole level, so the range may move by
    /// up to half a step.
    pub fn scale_and_zero_point(self) -> (f32, u8) {
        let width = self.high - self.low;
        if !(width > 0.0 && width.is_finite()) {
            return (1.0, 0);
        }
        // Not below the smallest normal number, whose inverse is still finite.
        let scale = (width / LEVELS).max(f32::MIN_POSITIVE);
        // In 0..=255 since 0 lies within the range.
        (scale, (-self.low / scale).round().clamp(0.0, LEVELS) as u8)
    }
}

/// The rounded tensors of a graph.
#[derive(Debug, Default)]
pub(super) struct Rounded {
    /// Each with the tensor whose range it has (itself, or the one that it only rearranges), in the order of the graph.
    tensors: Vec<(String, Range)>,
    /// Outputs of the nodes that compute with integers.
    pub integer: HashSet<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Range {
    /// That of the tensor of this name.
    Of(String),
    /// 0 to 1.
    Unit,
}

impl Rounded {
    /// The tensors whose ranges must be known.
    pub fn measured(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().filter_map(|(name, range)| match range {
            Range::Of(of) if of == name => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether the node whose first output is `node` reads the rounded `tensor` as rounded. A layer that stays float reads what
    /// its producer gave, unless that was made of integers.
    pub fn is_read_rounded(&self, node: &str, tensor: &str) -> bool {
        self.integer.contains(node) || self.integer.contains(tensor)
    }

    /// All of them.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Range)> {
        self.tensors.iter().map(|(name, range)| (name.as_str(), range))
    }
}

/// What becomes rounded where every layer but the last ones and `float_layers` (by their outputs) computes with integers.
/// `inner`: outputs of the nodes that may.
pub(super) fn rounded(
    index: &GraphIndex<'_>,
    graph: &GraphProto,
    layers: &[Layer],
    inner: &HashSet<String>,
    placement: Placement,
    float_layers: &HashSet<String>,
) -> Rounded {
    let chosen = |layer: &&Layer| !layer.is_last && !float_layers.contains(&layer.output);
    let integer: HashSet<&str> = layers.iter().filter(chosen).map(|layer| layer.output.as_str()).collect();
    let mut rounded = Rounded::default();
    let mut ranges: HashMap<&str, Range> = HashMap::new();
    let readers = readers(graph);
    for node in &graph.node {
        let Some(output) = node.output.first() else { continue };
        if integer.contains(output.as_str()) {
            let Some(input) = node.input.first() else { continue };
            ranges.entry(input).or_insert_with(|| {
                rounded.tensors.push((input.clone(), Range::Of(input.clone())));
                Range::Of(input.clone())
            });
            rounded.integer.insert(output.clone());
        }
        if placement == Placement::LayerInputs || !inner.contains(output) {
            continue;
        }
        let computed = |input: &&String| !input.is_empty() && index.constant(input).is_none();
        let range = match node.op_type() {
            _ if integer.contains(output.as_str()) => Range::Of(output.clone()),
            "Relu" | "Clip" if node.input.first().is_some_and(|input| rounded.integer.contains(input)) => {
                Range::Of(output.clone())
            }
            "Sigmoid" if node.input.iter().all(|input| ranges.contains_key(input.as_str())) => Range::Unit,
            "Add" | "Mul" | "Concat" | "AveragePool" | "GlobalAveragePool" | "LeakyRelu"
                if node.input.iter().all(|input| computed(&input) && ranges.contains_key(input.as_str())) =>
            {
                Range::Of(output.clone())
            }
            op if rearranges(node, op) => match node.input.first().and_then(|input| ranges.get(input.as_str())) {
                Some(range) => range.clone(),
                None => continue,
            },
            _ => continue,
        };
        rounded.integer.extend(node.output.iter().cloned());
        // A ReLU is part of the layer before it: the runtime drops it where the levels begin at 0.
        let fused = matches!(readers.get(output.as_str()).map(Vec::as_slice), Some([reader]) if matches!(reader.op_type(), "Relu" | "Clip"));
        if fused && integer.contains(output.as_str()) {
            continue;
        }
        for output in &node.output {
            if ranges.insert(output, range.clone()).is_none() {
                rounded.tensors.push((output.clone(), range.clone()));
            }
        }
    }
    rounded
}

/// The tensors that are read by a sigmoid and by the product with it, and by nothing else.
pub(super) fn before_silu(graph: &GraphProto) -> HashSet<String> {
    let readers = readers(graph);
    let is_silu = |tensor: &str, readers: &[&NodeProto]| {
        let sigmoid = readers.iter().find(|node| node.op_type() == "Sigmoid").and_then(|node| node.output.first());
        let times = |node: &&&NodeProto| {
            node.op_type() == "Mul"
                && node.input.iter().any(|input| input == tensor)
                && node.input.iter().any(|input| Some(input) == sigmoid)
        };
        readers.len() == 2 && readers.iter().filter(times).count() == 1
    };
    readers
        .iter()
        .filter(|(tensor, readers)| is_silu(tensor, readers))
        .map(|(tensor, _)| (*tensor).to_owned())
        .collect()
}

fn readers(graph: &GraphProto) -> HashMap<&str, Vec<&NodeProto>> {
    let mut readers: HashMap<&str, Vec<&NodeProto>> = HashMap::new();
    for node in &graph.node {
        node.input.iter().for_each(|input| readers.entry(input).or_default().push(node));
    }
    readers
}

/// Operators that give values of their input, and no others: their output has its levels.
fn rearranges(node: &NodeProto, op: &str) -> bool {
    match op {
        "MaxPool" => node.output.len() == 1,
        "Flatten" | "Reshape" | "Slice" | "Split" | "Squeeze" | "Transpose" | "Unsqueeze" => true,
        "Resize" => attribute(node, "mode").and_then(|mode| mode.s.as_deref()).is_none_or(|mode| mode == b"nearest"),
        _ => false,
    }
}
