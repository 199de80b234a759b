//! Nodes that stand behind the tensors of a head of another layout, so that what runs gives class logits `[B, C, N]` and
//! boxes in any case.

use super::{
    graph::{cast_node, int_attribute, node_of},
    proto::{
        AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType, tensor_proto::DataType,
    },
    quantized::fresh_prefix,
};
use crate::{cache::Places, types::ImageSize};

/// Nodes between tensors of a graph and those that the program reads. Every tensor in it is float32.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::detector) struct Adapter {
    prefix: String,
    nodes: Vec<NodeProto>,
    raw: Vec<String>,
    late: Vec<(String, Late)>,
}

/// A constant that is known with the size of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::detector) enum Late {
    /// `[1, 4, 1]`: width, height, width, height of the input in pixels.
    Size,
    /// `[1, 2, N]`: the left and top edge of each place's cell, in cells.
    CellCorners,
    /// `[1, 1, N]`: input pixels per cell of each place.
    Strides,
}

impl Adapter {
    pub fn new(graph: &GraphProto) -> Self {
        Self { prefix: format!("{}adapted/", fresh_prefix(graph)), ..Self::default() }
    }

    /// The tensors of the graph that it reads.
    pub fn raw(&self) -> &[String] {
        &self.raw
    }

    /// A tensor of the graph, as float32.
    pub fn read(&mut self, tensor: &str) -> String {
        if !self.raw.iter().any(|raw| raw == tensor) {
            self.raw.push(tensor.to_owned());
        }
        let name = self.fresh();
        self.nodes.push(cast_node(tensor, &name, DataType::Float));
        name
    }

    /// The result of an operator without attributes.
    pub fn op(&mut self, op: &str, inputs: &[&str]) -> String {
        self.push(op, inputs, None)
    }

    /// The last two of three dimensions exchanged.
    pub fn transposed(&mut self, tensor: &str) -> String {
        let perm = AttributeProto {
            name: Some("perm".to_owned()),
            r#type: Some(AttributeType::Ints as i32),
            ints: vec![0, 2, 1],
            ..Default::default()
        };
        self.push("Transpose", &[tensor], Some(perm))
    }

    /// Another shape; 0 keeps a dimension, -1 takes the rest.
    pub fn reshaped(&mut self, tensor: &str, dims: &[i64]) -> String {
        let dims = self.ints(dims);
        self.op("Reshape", &[tensor, &dims])
    }

    /// Tensors joined along an axis.
    pub fn joined(&mut self, tensors: &[String], axis: i64) -> String {
        let tensors: Vec<&str> = tensors.iter().map(String::as_str).collect();
        self.push("Concat", &tensors, Some(int_attribute("axis", axis)))
    }

    /// Channels `from..to` of `[B, K, N]`.
    pub fn channels(&mut self, tensor: &str, from: i64, to: i64) -> String {
        let [from, to, axis] = [from, to, 1].map(|value| self.ints(&[value]));
        self.op("Slice", &[tensor, &from, &to, &axis])
    }

    /// A constant number.
    pub fn number(&mut self, value: f32) -> String {
        self.floats(&[], vec![value])
    }

    /// A constant that is known later.
    pub fn late(&mut self, late: Late) -> String {
        let name = self.fresh();
        self.late.push((name.clone(), late));
        name
    }

    /// Corners x1, y1, x2, y2 `[B, 4, N]` as centre x, centre y, width, height.
    pub fn centre_size(&mut self, corners: &str) -> String {
        let (low, high) = (self.channels(corners, 0, 2), self.channels(corners, 2, 4));
        let (sum, half) = (self.op("Add", &[&low, &high]), self.number(0.5));
        let centre = self.op("Mul", &[&sum, &half]);
        let size = self.op("Sub", &[&high, &low]);
        self.joined(&[centre, size], 1)
    }

    /// The logit of the product of two probabilities, of whose logits the first has one channel:
    /// `-ln(exp(-a) + exp(-b) + exp(-a - b))`, exact for large and small ones.
    pub fn logit_of_product(&mut self, a: &str, b: &str) -> String {
        // exp(80) is finite in float32; a product of it is not needed, since only one exponent grows at a time there.
        let (lowest, highest) = (self.number(-40.0), self.number(40.0));
        let mut odds_against = |logit: &str| {
            let raised = self.op("Max", &[logit, &lowest]);
            let clamped = self.op("Min", &[&raised, &highest]);
            let negative = self.op("Neg", &[&clamped]);
            self.op("Exp", &[&negative])
        };
        let (a, b) = (odds_against(a), odds_against(b));
        let both = self.op("Mul", &[&a, &b]);
        let either = self.op("Add", &[&a, &b]);
        let odds = self.op("Add", &[&either, &both]);
        let log = self.op("Log", &[&odds]);
        self.op("Neg", &[&log])
    }

    /// `ln(p / (1 - p))` of the first `classes` probabilities of a softmax over the last dimension of `[B, places, classes + 1]`;
    /// exact for probabilities near 1 too, since the others are added up.
    pub fn logits_of_softmax(&mut self, logits: &str, places: usize, classes: usize) -> String {
        let (places, slots) = (places as i64, classes as i64 + 1);
        // One row of two dimensions: before opset 13 a softmax took all dimensions from its axis on together.
        let rows = self.reshaped(logits, &[-1, slots]);
        let logs = self.push("LogSoftmax", &[&rows], Some(int_attribute("axis", 1)));
        let probabilities = self.op("Exp", &[&logs]);
        let others = (0..=classes).flat_map(|slot| (0..classes).map(move |class| f32::from(slot != class))).collect();
        let others = self.floats(&[slots, slots - 1], others);
        let others = self.op("MatMul", &[&probabilities, &others]);
        // The smallest number of full precision: of nothing there is no logarithm.
        let least = self.number(f32::MIN_POSITIVE);
        let others = self.op("Max", &[&others, &least]);
        let others = self.op("Log", &[&others]);
        let own = self.channels(&logs, 0, slots - 1);
        let odds = self.op("Sub", &[&own, &others]);
        self.reshaped(&odds, &[-1, places, slots - 1])
    }

    /// The nodes for an input of this size; `renamed` gives the names under which the graph's tensors are read.
    pub fn nodes(&self, input: ImageSize, places: &Places, renamed: impl Fn(&str) -> Option<String>) -> Vec<NodeProto> {
        let late = self.late.iter().map(|(name, late)| {
            let (dims, values) = late.value(input, places);
            constant(name, floats(&dims, values))
        });
        let mut nodes: Vec<NodeProto> = late.chain(self.nodes.iter().cloned()).collect();
        for input in nodes.iter_mut().flat_map(|node| &mut node.input) {
            if let Some(name) = renamed(input) {
                *input = name;
            }
        }
        nodes
    }

    fn push(&mut self, op: &str, inputs: &[&str], attribute: Option<AttributeProto>) -> String {
        let name = self.fresh();
        let mut node = node_of(op, inputs, &name);
        node.attribute.extend(attribute);
        self.nodes.push(node);
        name
    }

    fn floats(&mut self, dims: &[i64], values: Vec<f32>) -> String {
        let name = self.fresh();
        self.nodes.push(constant(&name, floats(dims, values)));
        name
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.fresh();
        let value = TensorProto {
            data_type: Some(DataType::Int64 as i32),
            dims: vec![values.len() as i64],
            int64_data: values.to_vec(),
            ..Default::default()
        };
        self.nodes.push(constant(&name, value));
        name
    }

    fn fresh(&self) -> String {
        format!("{}{}", self.prefix, self.nodes.len() + self.late.len())
    }
}

impl Late {
    fn value(self, input: ImageSize, places: &Places) -> (Vec<i64>, Vec<f32>) {
        let count = places.count() as i64;
        // A head of queries has no cells, and no family asks for them.
        let cells = || places.grid().into_iter().flat_map(|grid| (0..grid.num_anchors()).map(|place| grid.cell(place)));
        match self {
            Self::Size => {
                let (width, height) = (input.width as f32, input.height as f32);
                (vec![1, 4, 1], vec![width, height, width, height])
            }
            Self::CellCorners => {
                let lefts = cells().map(|cell| cell.centre_x - 0.5);
                (vec![1, 2, count], lefts.chain(cells().map(|cell| cell.centre_y - 0.5)).collect())
            }
            Self::Strides => (vec![1, 1, count], cells().map(|cell| cell.stride as f32).collect()),
        }
    }
}

fn floats(dims: &[i64], values: Vec<f32>) -> TensorProto {
    TensorProto {
        data_type: Some(DataType::Float as i32),
        dims: dims.to_vec(),
        float_data: values,
        ..Default::default()
    }
}

/// A node that gives a constant.
pub(in crate::detector) fn constant(name: &str, value: TensorProto) -> NodeProto {
    let mut node = node_of("Constant", &[], name);
    node.attribute.push(AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(value),
        ..Default::default()
    });
    node
}
