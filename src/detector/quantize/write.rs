//! The file with integers.

use super::{
    super::onnx::{
        graph::{GraphIndex, drop_unused, int_attribute, node_of},
        proto::{ModelProto, NodeProto, TensorProto, tensor_proto::DataType},
        quantized::fresh_prefix,
    },
    layers::{Layer, LayerKind},
    rounding::{ActivationRange, Placement, Range, Rounded},
    weights::{bias_correction, round},
};
use crate::outputs::ONNX_PRODUCER_QUANTIZE;
use std::collections::{HashMap, HashSet};

/// The largest bias as an integer of 32 bits; half of what it can hold, so that the sum of products fits beside it.
const MOST_BIAS_LEVELS: f32 = (1 << 30) as f32;

/// What decides how a file is written.
#[derive(Debug, Clone, Copy)]
pub struct QuantizePlan<'a> {
    /// Where activations are rounded.
    pub placement: Placement,
    /// The range of each tensor of [`super::Quantizable::to_observe`].
    pub ranges: &'a HashMap<String, ActivationRange>,
    /// The mean of each channel of the layers' inputs, by which biases are corrected; a layer whose input is missing keeps its bias.
    pub input_means: &'a HashMap<String, Vec<f64>>,
    /// Outputs of layers that stay float.
    pub float_layers: &'a HashSet<String>,
}

/// Rewrites the model.
pub(super) fn write(
    model: &mut ModelProto,
    layers: &[Layer],
    rounded: &Rounded,
    plan: &QuantizePlan<'_>,
) -> Result<(), String> {
    let graph = model.graph.as_mut().ok_or("the model has no graph")?;
    let original = graph.clone();
    let index = GraphIndex::new(&original);
    let by_output: HashMap<&str, &Layer> = layers
        .iter()
        .filter(|layer| rounded.integer.contains(&layer.output))
        .map(|layer| (layer.output.as_str(), layer))
        .collect();
    let mut writer =
        Writer { prefix: fresh_prefix(&original), nodes: Vec::new(), constants: Vec::new(), ranges: HashMap::new() };
    let mut waiting: HashMap<&str, ActivationRange> = HashMap::new();
    for (name, range) in rounded.tensors() {
        let range = match range {
            Range::Unit => ActivationRange::UNIT,
            Range::Of(of) => *plan.ranges.get(of).ok_or_else(|| format!("the range of tensor {of:?} is not known"))?,
        };
        if !(range.low <= 0.0 && range.high >= 0.0 && (range.high - range.low).is_finite()) {
            return Err(format!("tensor {name:?} has no usable range: {} to {}", range.low, range.high));
        }
        writer.ranges.insert(name.to_owned(), range);
        waiting.insert(name, range);
    }
    for input in &original.input {
        if let Some(range) = waiting.remove(input.name()) {
            writer.round(input.name(), range);
        }
    }
    for node in &original.node {
        let output = node.output.first().map_or("", String::as_str);
        let mut node = node.clone();
        for name in node.input.iter_mut().filter(|name| writer.ranges.contains_key(*name)) {
            if rounded.is_read_rounded(output, name) {
                *name = writer.restored(name);
            }
        }
        if let Some(layer) = node.output.first().and_then(|output| by_output.get(output.as_str())) {
            writer.layer(&index, &mut node, layer, plan)?;
        }
        let outputs = node.output.clone();
        writer.nodes.push(node);
        for output in outputs {
            if let Some(range) = waiting.remove(output.as_str()) {
                writer.round(&output, range);
            }
        }
    }
    graph.node = writer.nodes;
    graph.initializer.extend(writer.constants);
    drop_unused(graph);
    model.producer_name = Some(ONNX_PRODUCER_QUANTIZE.to_owned());
    model.producer_version = Some(env!("CARGO_PKG_VERSION").to_owned());
    Ok(())
}

struct Writer {
    /// Of names that the graph does not use.
    prefix: String,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    ranges: HashMap<String, ActivationRange>,
}

impl Writer {
    /// The name of a tensor after rounding.
    fn restored(&self, tensor: &str) -> String {
        format!("{}{tensor}/rounded", self.prefix)
    }

    /// Rounds a tensor and makes it float again.
    fn round(&mut self, tensor: &str, range: ActivationRange) {
        let (scale, zero_point) = range.scale_and_zero_point();
        let name = |what: &str| format!("{}{tensor}/{what}", self.prefix);
        let (scale_name, zero_name, levels) = (name("scale"), name("zero_point"), name("levels"));
        let restored = self.restored(tensor);
        self.constants.push(floats(&scale_name, &[], &[scale]));
        self.constants.push(TensorProto {
            name: Some(zero_name.clone()),
            data_type: Some(DataType::Uint8 as i32),
            raw_data: Some(vec![zero_point].into()),
            ..Default::default()
        });
        self.nodes.push(node_of("QuantizeLinear", &[tensor, &scale_name, &zero_name], &levels));
        self.nodes.push(node_of("DequantizeLinear", &[&levels, &scale_name, &zero_name], &restored));
    }

    /// Gives a layer integer weights and its bias.
    fn layer(
        &mut self,
        index: &GraphIndex<'_>,
        node: &mut NodeProto,
        layer: &Layer,
        plan: &QuantizePlan<'_>,
    ) -> Result<(), String> {
        let weights = index.floats(&layer.weights).unwrap_or_default();
        if weights.len() != layer.weight_shape.iter().product::<usize>() || !weights.iter().all(|w| w.is_finite()) {
            return Err(format!("the weights of layer {} are not complete or not finite", layer.name));
        }
        let channels = layer.weight_shape.get(layer.channel_axis).copied().unwrap_or_default();
        let bias_name = node.input.get(2).filter(|name| !name.is_empty()).cloned();
        let mut bias = match &bias_name {
            Some(name) => index.floats(name).filter(|bias| bias.len() == channels),
            None => Some(vec![0.0; channels]),
        };
        let input_range = self.ranges.get(&layer.input).copied();
        let (input_scale, _) = input_range.ok_or("a layer's input is not rounded")?.scale_and_zero_point();
        // In the form for ONNX Runtime the bias is an integer too, of the scale of the products.
        let integer_bias = plan.placement == Placement::Operators && bias.is_some();
        let least_scales: Vec<f32> = match &bias {
            Some(bias) if integer_bias => bias.iter().map(|bias| bias.abs() / input_scale / MOST_BIAS_LEVELS).collect(),
            _ => Vec::new(),
        };
        let rounded = round(layer, &weights, &least_scales);
        let mut has_bias = bias_name.is_some();
        if let (Some(bias), Some(means)) = (&mut bias, plan.input_means.get(&layer.input))
            && let Some(correction) = bias_correction(layer, &weights, &rounded, means)
        {
            bias.iter_mut().zip(correction).for_each(|(bias, lost)| *bias += lost);
            has_bias = true;
        }

        let name = |what: &str| format!("{}{}/{what}", self.prefix, layer.output);
        let [levels, scales, zeros, restored] =
            ["weights", "weight_scales", "weight_zeros", "weights_rounded"].map(name);
        let dims: Vec<i64> = layer.weight_shape.iter().map(|dim| *dim as i64).collect();
        self.constants.push(integers(&levels, &dims, rounded.levels.iter().map(|level| *level as u8).collect()));
        self.constants.push(floats(&scales, &[channels as i64], &rounded.scales));
        self.constants.push(integers(&zeros, &[channels as i64], vec![0; channels]));
        let mut dequantize = node_of("DequantizeLinear", &[&levels, &scales, &zeros], &restored);
        dequantize.attribute.push(int_attribute("axis", layer.channel_axis as i64));
        self.nodes.push(dequantize);
        if let Some(input) = node.input.get_mut(1) {
            *input = restored;
        }
        let Some(bias) = bias.filter(|_| has_bias && (layer.kind == LayerKind::Conv || bias_name.is_some())) else {
            return Ok(());
        };
        let [values, bias_scales, bias_zeros, restored] =
            ["bias", "bias_scales", "bias_zeros", "bias_rounded"].map(name);
        node.input.resize(3, String::new());
        if !integer_bias {
            self.constants.push(floats(&values, &[channels as i64], &bias));
            node.input[2] = values;
            return Ok(());
        }
        let scales: Vec<f32> = rounded.scales.iter().map(|scale| scale * input_scale).collect();
        let level = |(bias, scale): (&f32, &f32)| (f64::from(*bias) / f64::from(*scale)).round_ties_even() as i32;
        let levels = bias.iter().zip(&scales).map(level);
        self.constants.push(TensorProto {
            name: Some(values.clone()),
            dims: vec![channels as i64],
            data_type: Some(DataType::Int32 as i32),
            raw_data: Some(levels.flat_map(i32::to_le_bytes).collect::<Vec<u8>>().into()),
            ..Default::default()
        });
        self.constants.push(floats(&bias_scales, &[channels as i64], &scales));
        self.constants.push(TensorProto {
            name: Some(bias_zeros.clone()),
            dims: vec![channels as i64],
            data_type: Some(DataType::Int32 as i32),
            raw_data: Some(vec![0; 4 * channels].into()),
            ..Default::default()
        });
        let mut dequantize = node_of("DequantizeLinear", &[&values, &bias_scales, &bias_zeros], &restored);
        dequantize.attribute.push(int_attribute("axis", 0));
        self.nodes.push(dequantize);
        node.input[2] = restored;
        Ok(())
    }
}

fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()),
        ..Default::default()
    }
}

/// int8.
fn integers(name: &str, dims: &[i64], values: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Int8 as i32),
        raw_data: Some(values.into()),
        ..Default::default()
    }
}
