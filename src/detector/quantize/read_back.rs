//! The way back: how a file with integers rounds, so that training can round in the same way.

use super::{
    super::onnx::{
        graph::GraphIndex,
        proto::{GraphProto, ModelProto},
    },
    ActivationRange, Placement, Quantizable,
    rounding::{Range, Rounded},
    write::QuantizePlan,
};
use prost::Message;
use std::collections::{HashMap, HashSet};

/// How a file that [`Quantizable::write`] wrote rounds. The weights do not matter.
#[derive(Debug, Clone)]
pub struct RoundingPlan {
    /// Where activations are rounded.
    pub placement: Placement,
    /// The range of each rounded tensor.
    ranges: HashMap<String, ActivationRange>,
    /// Outputs of layers that could compute with integers and do not.
    pub float_layers: HashSet<String>,
}

/// Which tensors are rounded, and who reads them rounded. Tensors have the names of the float32 file.
#[derive(Debug, Clone, Default)]
pub struct RoundedTensors {
    scales: HashMap<String, (f32, u8)>,
    /// The first output of a node, and a tensor that it reads.
    reads: HashSet<(String, String)>,
    layers: HashSet<String>,
}

impl RoundedTensors {
    /// Scale and zero point of `tensor` where the node whose first output is `node` reads it rounded: value = scale * (level -
    /// zero point), level 0..=255. `None` as well for a tensor that only rearranges the values of a rounded one.
    pub fn read_by(&self, node: &str, tensor: &str) -> Option<(f32, u8)> {
        let scale = self.scales.get(tensor)?;
        self.reads.contains(&(node.to_owned(), tensor.to_owned())).then_some(*scale)
    }

    /// Whether the layer that computes `output` has integer weights.
    pub fn has_integer_weights(&self, output: &str) -> bool {
        self.layers.contains(output)
    }
}

impl Quantizable {
    /// Reads how a quantized file of a model of this structure rounds.
    ///
    /// # Errors
    /// In words, where the file is not one that was written from such a model.
    pub fn read_back(&self, file: &[u8]) -> Result<RoundingPlan, String> {
        let model = ModelProto::decode(file).map_err(|error| format!("its protobuf cannot be read ({error})"))?;
        let graph = model.graph.ok_or("it holds no graph")?;
        let index = GraphIndex::new(&graph);
        let ranges = ranges(&graph, &index)?;
        if ranges.is_empty() {
            return Err("it rounds nothing: it is a float32 file".to_owned());
        }
        let mut float_layers = HashSet::new();
        for layer in &self.layers {
            let other = |what: &str| format!("its layer {} {what}", layer.name);
            let weights = index.producer(&layer.output).and_then(|node| node.input.get(1));
            let weights = weights.ok_or_else(|| other("is missing"))?;
            let shape = index.constant(weights).map(|tensor| tensor.dims.as_slice()).unwrap_or_default();
            if !shape.iter().copied().eq(layer.weight_shape.iter().map(|dim| *dim as i64)) {
                return Err(other(&format!("has weights of the shape {shape:?}, not {:?}", layer.weight_shape)));
            }
            let is_rounded = index.producer(weights).is_some_and(|node| node.op_type() == "DequantizeLinear");
            if !is_rounded && !layer.is_last {
                float_layers.insert(layer.output.clone());
            }
        }
        let fits = |placement: &Placement| {
            let rounded = self.rounding(*placement, &float_layers);
            let names: HashSet<&str> = rounded.tensors().map(|(name, _)| name).collect();
            names.len() == ranges.len() && names.iter().all(|name| ranges.contains_key(*name))
        };
        let placement = [Placement::Operators, Placement::LayerInputs].into_iter().find(fits);
        let placement = placement.ok_or("it rounds other tensors than this program does")?;
        Ok(RoundingPlan { placement, ranges, float_layers })
    }

    /// What a model of this structure rounds.
    pub fn rounded_tensors(&self, rounding: &RoundingPlan) -> RoundedTensors {
        let Some(graph) = &self.model.graph else { return RoundedTensors::default() };
        let rounded = self.rounding(rounding.placement, &rounding.float_layers);
        let range = |name: &str, range: &Range| match range {
            Range::Unit => Some(ActivationRange::UNIT),
            // The others have values of a tensor that is rounded already.
            Range::Of(of) => rounding.ranges.get(of).copied().filter(|_| of == name),
        };
        let scale = |(name, of): (&str, &Range)| Some((name.to_owned(), range(name, of)?.scale_and_zero_point()));
        RoundedTensors {
            scales: rounded.tensors().filter_map(scale).collect(),
            reads: reads(graph, &rounded),
            layers: self
                .layers
                .iter()
                .map(|layer| &layer.output)
                .filter(|o| rounded.integer.contains(*o))
                .cloned()
                .collect(),
        }
    }

    /// The bytes of a file with this model's weights that rounds so.
    ///
    /// # Errors
    /// As [`Quantizable::write`].
    pub fn write_rounded(&self, rounding: &RoundingPlan) -> Result<Vec<u8>, String> {
        self.write(&QuantizePlan {
            placement: rounding.placement,
            ranges: &rounding.ranges,
            // What was trained with rounding needs no correction for it.
            input_means: &HashMap::new(),
            float_layers: &rounding.float_layers,
        })
    }
}

/// Who reads a rounded tensor as [`Quantizable::write`] writes it.
fn reads(graph: &GraphProto, rounded: &Rounded) -> HashSet<(String, String)> {
    let names: HashSet<&str> = rounded.tensors().map(|(name, _)| name).collect();
    let of_node = graph.node.iter().filter_map(|node| Some((node.output.first()?, &node.input)));
    let pairs = of_node.flat_map(|(output, inputs)| inputs.iter().map(move |input| (output, input)));
    let is_read =
        |(output, input): &(&String, &String)| names.contains(input.as_str()) && rounded.is_read_rounded(output, input);
    pairs.filter(is_read).map(|(output, input)| (output.clone(), input.clone())).collect()
}

/// The range of each tensor that the file makes integers of.
fn ranges(graph: &GraphProto, index: &GraphIndex<'_>) -> Result<HashMap<String, ActivationRange>, String> {
    let range = |node: &super::super::onnx::proto::NodeProto| {
        let [tensor, scale, zero_point] = node.input.as_slice() else { return None };
        let scale = *index.floats(scale)?.first()?;
        let zero_point = f32::from(*index.constant(zero_point)?.raw_data.as_ref()?.first()?);
        Some((tensor.clone(), ActivationRange { low: -zero_point * scale, high: (255.0 - zero_point) * scale }))
    };
    let quantize = graph.node.iter().filter(|node| node.op_type() == "QuantizeLinear");
    quantize.map(|node| range(node).ok_or("it was not written by `quantize`".to_owned())).collect()
}
