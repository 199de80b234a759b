//! An ONNX graph under construction; carries out the network's structure by writing it down.

use prost::bytes::Bytes;

use crate::{
    detector::onnx::proto::{
        AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
        attribute_proto::AttributeType,
        tensor_proto::DataType,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
    student::{
        names::{self, Unnamed},
        net::{ConvId, ConvSpec, NORM_EPS, Ops, Then},
        state::State,
    },
};

use super::options::ExportOptions;

/// A tensor of the graph.
#[derive(Debug)]
pub(super) struct Operand {
    pub(super) name: String,
    /// Its dimension 1, as far as it matters.
    pub(super) channels: usize,
}

/// A dimension of an input or output.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dim {
    Fixed(usize),
    /// Any, under this name.
    Free(&'static str),
}

/// The nodes and constants so far.
pub(super) struct Graph<'s> {
    state: &'s State,
    first_param: Vec<usize>,
    options: &'s ExportOptions,
    proto: GraphProto,
    unnamed: Unnamed,
    /// The first constant with a value that float16 does not hold.
    too_large: Option<String>,
}

impl<'s> Graph<'s> {
    pub fn new(state: &'s State, options: &'s ExportOptions) -> Self {
        let proto = GraphProto { name: Some("main_graph".to_owned()), ..Default::default() };
        Self {
            state,
            first_param: state.net().first_param(),
            options,
            proto,
            unnamed: Unnamed::default(),
            too_large: None,
        }
    }

    /// The images, `[batch, 3, height, width]`, as the convolutions take them.
    pub fn images(&mut self, shape: &[Dim]) -> Operand {
        self.proto.input.push(declaration(names::IMAGES, shape));
        let images = Operand { name: names::IMAGES.to_owned(), channels: 3 };
        match self.options.half {
            true => self.cast("images_half", &images, DataType::Float16),
            false => images,
        }
    }

    /// The first dimension of a reshaped tensor; 0: as it was.
    pub fn batch_dim(&self) -> i64 {
        i64::from(!self.options.dynamic)
    }

    /// The first constant with a value that float16 does not hold, where that is asked of it.
    pub fn too_large(&self) -> Option<&str> {
        self.too_large.as_deref()
    }

    pub fn finish(mut self, output: &Operand, shape: &[Dim]) -> GraphProto {
        self.proto.output.push(declaration(&output.name, shape));
        self.proto
    }

    /// Adds a node; its outputs are `outputs`.
    pub(super) fn node(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.proto.node.push(NodeProto {
            name: Some(name.to_owned()),
            op_type: Some(op.to_owned()),
            input: owned(inputs),
            output: owned(outputs),
            attribute,
            ..Default::default()
        });
    }

    /// A node with one output, named as it is.
    pub(super) fn one(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        attribute: Vec<AttributeProto>,
        channels: usize,
    ) -> Operand {
        self.node(op, name, inputs, &[name], attribute);
        Operand { name: name.to_owned(), channels }
    }

    pub(super) fn constant(&mut self, name: &str, shape: &[usize], data_type: DataType, raw: Vec<u8>) {
        // The constants of shapes are shared; the others have names of their own.
        if self.proto.initializer.iter().any(|tensor| tensor.name() == name) {
            return;
        }
        self.proto.initializer.push(TensorProto {
            name: Some(name.to_owned()),
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: Some(data_type as i32),
            raw_data: Some(Bytes::from(raw)),
            ..Default::default()
        });
    }

    pub fn floats(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Operand {
        self.constant(name, shape, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect());
        Operand { name: name.to_owned(), channels: 0 }
    }

    /// Values that feature maps are computed with.
    fn weights(&mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Operand {
        if !self.options.half {
            return self.floats(name, shape, values);
        }
        let halves: Vec<half::f16> = values.iter().map(|value| half::f16::from_f32(*value)).collect();
        if self.too_large.is_none() && !halves.iter().all(|value| value.is_finite()) {
            self.too_large = Some(name.to_owned());
        }
        let raw = halves.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, shape, DataType::Float16, raw);
        Operand { name: name.to_owned(), channels: 0 }
    }

    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let text: Vec<String> = values.iter().map(i64::to_string).collect();
        let name = format!("shape_{}", text.join("_"));
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&name, &[values.len()], DataType::Int64, raw);
        name
    }

    pub fn unary(&mut self, op: &str, name: &str, x: &Operand) -> Operand {
        self.one(op, name, &[&x.name], vec![], x.channels)
    }

    pub fn binary(&mut self, op: &str, name: &str, a: &Operand, b: &Operand) -> Operand {
        self.one(op, name, &[&a.name, &b.name], vec![], a.channels.max(b.channels))
    }

    pub fn reshape(&mut self, name: &str, x: &Operand, shape: &[i64]) -> Operand {
        let to = self.ints(shape);
        let channels = shape.get(1).map_or(0, |&dim| dim as usize);
        self.one("Reshape", name, &[&x.name, &to], vec![], channels)
    }

    pub fn transpose(&mut self, name: &str, x: &Operand, order: &[i64]) -> Operand {
        self.one("Transpose", name, &[&x.name], vec![ints_attribute("perm", order)], x.channels)
    }

    /// Softmax over the last dimension.
    pub fn softmax(&mut self, name: &str, x: &Operand) -> Operand {
        self.one("Softmax", name, &[&x.name], vec![int_attribute("axis", -1)], x.channels)
    }

    pub fn join(&mut self, name: &str, parts: &[&Operand], axis: i64) -> Operand {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let channels = parts.iter().map(|part| part.channels);
        let channels = if axis == 1 { channels.sum() } else { channels.max().unwrap_or(0) };
        self.one("Concat", name, &names, vec![int_attribute("axis", axis)], channels)
    }

    /// `[B, channels, rows, columns]` of each level as `[B, channels, A]`, float32.
    pub fn join_levels<'o>(&mut self, name: &str, levels: impl Iterator<Item = &'o Operand>) -> Operand {
        let flat = levels.map(|level| {
            let (flat, batch) = (format!("{}_in_a_row", level.name), self.batch_dim());
            let row = self.reshape(&flat, level, &[batch, level.channels as i64, -1]);
            match self.options.half {
                true => self.cast(&format!("{flat}_float"), &row, DataType::Float),
                false => row,
            }
        });
        let flat: Vec<Operand> = flat.collect();
        self.join(name, &flat.iter().collect::<Vec<_>>(), 2)
    }

    /// The first `first` channels, and the others.
    pub fn split_at(&mut self, name: &str, x: &Operand, first: usize) -> [Operand; 2] {
        let parts = [first, x.channels - first];
        let sizes = self.ints(&parts.map(|part| part as i64));
        let names = names::halves(name);
        let outputs = names.each_ref().map(String::as_str);
        self.node("Split", &format!("{name}_split"), &[&x.name, &sizes], &outputs, vec![int_attribute("axis", 1)]);
        let [a, b] = names;
        [Operand { name: a, channels: parts[0] }, Operand { name: b, channels: parts[1] }]
    }

    /// Weight and bias of a convolution with its batch normalisation, if it has one, fused into them.
    fn fused(&self, id: ConvId, spec: &ConvSpec) -> (Vec<f32>, Vec<f32>) {
        let values = |offset: usize| self.state.values(self.first_param[id] + offset);
        match spec.then {
            Then::Bias => (values(0).to_vec(), values(1).to_vec()),
            Then::NormSilu | Then::Norm => {
                let [scale, shift, mean, var] = [1, 2, 3, 4].map(values);
                let factor: Vec<f64> = scale
                    .iter()
                    .zip(var)
                    .map(|(scale, var)| f64::from(*scale) / (f64::from(*var) + NORM_EPS).sqrt())
                    .collect();
                let per_channel = spec.c_in / spec.groups * spec.kernel * spec.kernel;
                let weight = values(0)
                    .chunks(per_channel)
                    .zip(&factor)
                    .flat_map(|(weights, factor)| {
                        weights.iter().map(move |weight| (f64::from(*weight) * factor) as f32)
                    })
                    .collect();
                let bias = shift
                    .iter()
                    .zip(mean)
                    .zip(&factor)
                    .map(|((shift, mean), factor)| (f64::from(*shift) - f64::from(*mean) * factor) as f32)
                    .collect();
                (weight, bias)
            }
        }
    }
}

impl Ops for Graph<'_> {
    type Map = Operand;

    fn conv(&mut self, id: ConvId, x: &Operand) -> Operand {
        let spec = self.state.net().conv(id).clone();
        let (weight, bias) = self.fused(id, &spec);
        let inner = spec.output_name();
        let (kernel, stride, pad) = (spec.kernel, spec.stride as i64, spec.kernel as i64 / 2);
        let shape = [spec.c_out, spec.c_in / spec.groups, kernel, kernel];
        let weight = self.weights(&format!("{inner}.weight"), &shape, weight);
        let bias = self.weights(&format!("{inner}.bias"), &[spec.c_out], bias);
        let attributes = vec![
            ints_attribute("dilations", &[1, 1]),
            int_attribute("group", spec.groups as i64),
            ints_attribute("kernel_shape", &[kernel as i64; 2]),
            ints_attribute("pads", &[pad; 4]),
            ints_attribute("strides", &[stride; 2]),
        ];
        let y = self.one("Conv", &inner, &[&x.name, &weight.name, &bias.name], attributes, spec.c_out);
        match spec.then {
            Then::Bias | Then::Norm => y,
            Then::NormSilu => {
                let sigmoid = self.unary("Sigmoid", &spec.sigmoid_name(), &y);
                self.binary("Mul", &spec.silu_name(), &y, &sigmoid)
            }
        }
    }

    fn split(&mut self, x: &Operand, first: usize) -> [Operand; 2] {
        let name = self.unnamed.next("split");
        self.split_at(&name, x, first)
    }

    fn concat(&mut self, maps: &[&Operand]) -> Operand {
        let name = self.unnamed.next("concat");
        self.join(&name, maps, 1)
    }

    fn add(&mut self, a: &Operand, b: &Operand) -> Operand {
        let name = self.unnamed.next("add");
        self.binary("Add", &name, a, b)
    }

    fn attention(&mut self, qkv: &Operand, heads: usize) -> [Operand; 2] {
        let name = self.unnamed.next("attention");
        let part = |part: &str| format!("{name}_{part}");
        let [by_head, attended_as_map, values_as_map] = names::attention(&name);
        let (values, keys) = (qkv.channels / 2, qkv.channels / (4 * heads));
        // For the way back.
        let size = self.map_size(&part("size"), qkv);
        let first = self.ints(&[self.batch_dim(), values as i64]);
        let back = self.one("Concat", &part("back"), &[&first, &size.name], vec![int_attribute("axis", 0)], 0);

        let by_head = self.reshape(&by_head, qkv, &[self.batch_dim(), heads as i64, 4 * keys as i64, -1]);
        let sizes = self.ints(&[keys as i64, keys as i64, 2 * keys as i64]);
        let names = ["queries", "keys", "values"].map(part);
        let outputs = names.each_ref().map(String::as_str);
        self.node("Split", &part("split"), &[&by_head.name, &sizes], &outputs, vec![int_attribute("axis", 2)]);
        let [q, k, v] = names.map(|name| Operand { name, channels: heads });
        let q = self.transpose(&part("queries_last"), &q, &[0, 1, 3, 2]);
        let weights = self.binary("MatMul", &part("products"), &q, &k);
        let scale = self.weights(&format!("attention_scale_{keys}"), &[], vec![(keys as f32).powf(-0.5)]);
        let weights = self.binary("Mul", &part("scaled"), &weights, &scale);
        let weights = self.softmax(&part("weights"), &weights);
        let weights = self.transpose(&part("weights_last"), &weights, &[0, 1, 3, 2]);
        let attended = self.binary("MatMul", &part("attended_by_head"), &v, &weights);
        [(attended_as_map, attended), (values_as_map, v)]
            .map(|(name, x)| self.one("Reshape", &name, &[&x.name, &back.name], vec![], values))
    }

    fn max_pool_5(&mut self, x: &Operand) -> Operand {
        let name = self.unnamed.next("max_pool");
        let attributes = vec![
            ints_attribute("kernel_shape", &[5, 5]),
            ints_attribute("pads", &[2; 4]),
            ints_attribute("strides", &[1, 1]),
        ];
        self.one("MaxPool", &name, &[&x.name], attributes, x.channels)
    }

    fn upsample_2(&mut self, x: &Operand) -> Operand {
        let name = self.unnamed.next("upsample");
        let scales = self.floats("upsample_scales", &[4], vec![1.0, 1.0, 2.0, 2.0]);
        let attributes = vec![
            text_attribute("coordinate_transformation_mode", "asymmetric"),
            text_attribute("mode", "nearest"),
            text_attribute("nearest_mode", "floor"),
        ];
        self.one("Resize", &name, &[&x.name, "", &scales.name], attributes, x.channels)
    }

    fn detach(&mut self, x: &Operand) -> Operand {
        Operand { name: x.name.clone(), channels: x.channels }
    }
}

pub(super) fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

pub(super) fn ints_attribute(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Ints as i32),
        ints: values.to_vec(),
        ..Default::default()
    }
}

pub(super) fn text_attribute(name: &str, value: &str) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::String as i32),
        s: Some(value.as_bytes().to_vec()),
        ..Default::default()
    }
}

/// A float32 input or output of the graph.
fn declaration(name: &str, shape: &[Dim]) -> ValueInfoProto {
    let dim = |dim: &Dim| {
        let value = match *dim {
            Dim::Fixed(size) => dimension::Value::DimValue(size as i64),
            Dim::Free(name) => dimension::Value::DimParam(name.to_owned()),
        };
        Dimension { value: Some(value), ..Default::default() }
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}
