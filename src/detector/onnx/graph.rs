//! Questions to an ONNX graph, and the one edit made to it: other outputs, and nothing that does not lead to them.

use std::collections::{HashMap, HashSet};

use super::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_proto::DataType, tensor_shape_proto::dimension::Value as DimValue,
    type_proto::Value as TypeValue,
};

/// How many nodes a walk visits before it gives up; no real network has as many, and a malformed graph may have a cycle.
const MAX_STEPS: usize = 1 << 16;

/// A graph with its tensors' producers and constants looked up once.
pub(in crate::detector) struct GraphIndex<'g> {
    /// The graph itself.
    pub graph: &'g GraphProto,
    /// How the file that the graph comes from is quantized, for messages: `INT8, QDQ`.
    pub quantized: Option<String>,
    producer: HashMap<&'g str, &'g NodeProto>,
    initializer: HashMap<&'g str, &'g TensorProto>,
}

impl<'g> GraphIndex<'g> {
    pub fn new(graph: &'g GraphProto) -> Self {
        let outputs = |node: &'g NodeProto| {
            node.output.iter().filter(|name| !name.is_empty()).map(move |name| (name.as_str(), node))
        };
        Self {
            graph,
            quantized: None,
            producer: graph.node.iter().flat_map(outputs).collect(),
            initializer: graph.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect(),
        }
    }

    /// The node that computes `tensor`, if a node does.
    pub fn producer(&self, tensor: &str) -> Option<&'g NodeProto> {
        self.producer.get(tensor).copied()
    }

    /// The value of `tensor` where it is an initializer or the output of a `Constant` node, or is made of one by another
    /// number type. Of rounded weights it is the integers.
    pub fn constant(&self, tensor: &str) -> Option<&'g TensorProto> {
        let mut at = tensor;
        // No real graph has as many in a row; a malformed one may have a cycle.
        for _ in 0..8 {
            if let Some(value) = self.initializer.get(at) {
                return Some(value);
            }
            let node = self.producer(at)?;
            match node.op_type() {
                "Constant" => return attribute(node, "value")?.t.as_ref(),
                "Cast" | "DequantizeLinear" | "Identity" => at = node.input.first()?,
                _ => return None,
            }
        }
        None
    }

    /// The inputs of the graph that a caller must feed: those that are not initializers.
    pub fn inputs(&self) -> Vec<&'g ValueInfoProto> {
        self.graph.input.iter().filter(|input| !self.initializer.contains_key(input.name())).collect()
    }

    /// Whether a node of this type is anywhere in the graph (not in subgraphs).
    pub fn has_op(&self, op: &str) -> bool {
        self.graph.node.iter().any(|node| node.op_type() == op)
    }

    /// Values of the weights: of constants that layers take beside their input, each counted once.
    pub fn num_parameters(&self) -> u64 {
        let weights = |node: &'g NodeProto| {
            let at: &[usize] = match node.op_type() {
                "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => &[0, 1, 2],
                "ConvInteger" | "MatMulInteger" => &[0, 1],
                "BatchNormalization" => &[1, 2, 3, 4],
                // The scales and zero points between them are no weights.
                "QLinearConv" => &[3, 8],
                "QLinearMatMul" => &[0, 3],
                _ => &[],
            };
            at.iter().filter_map(|&i| self.constant(node.input.get(i)?))
        };
        let distinct: HashSet<*const TensorProto> =
            self.graph.node.iter().flat_map(weights).map(std::ptr::from_ref).collect();
        let values =
            |tensor: &TensorProto| tensor.dims.iter().fold(1u64, |size, dim| size.saturating_mul(dim.unsigned_abs()));
        let of_graph = tensors_of(self.graph).filter(|tensor| distinct.contains(&std::ptr::from_ref(*tensor)));
        of_graph.map(values).fold(0, u64::saturating_add)
    }

    /// Walks back from `tensor` while its producer is one of `ops`, along the first input; gives the tensor where it stops.
    pub fn skip_back(&self, tensor: &'g str, ops: &[&str]) -> &'g str {
        let mut at = tensor;
        for _ in 0..MAX_STEPS {
            match self.producer(at).filter(|node| ops.contains(&node.op_type())).and_then(|node| node.input.first()) {
                Some(input) => at = input,
                None => break,
            }
        }
        at
    }

    /// The nodes reached by walking back from `tensors` over all inputs, as far as `through` says yes. A node at which
    /// `through` says no is reported as well, but not walked past. Nearest first.
    pub fn walk_back(&self, tensors: &[&str], through: impl Fn(&NodeProto) -> bool) -> Vec<&'g NodeProto> {
        let mut reached: Vec<&NodeProto> = Vec::new();
        let mut seen: HashSet<*const NodeProto> = HashSet::new();
        let mut next: std::collections::VecDeque<&'g NodeProto> =
            tensors.iter().filter_map(|name| self.producer(name)).collect();
        while let Some(node) = next.pop_front() {
            if seen.len() >= MAX_STEPS || !seen.insert(std::ptr::from_ref(node)) {
                continue;
            }
            reached.push(node);
            if through(node) {
                next.extend(node.input.iter().filter_map(|name| self.producer(name)));
            }
        }
        reached
    }

    /// The number of channels (dimension 1) of `tensor` where the graph alone tells it.
    pub fn channels(&self, tensor: &'g str) -> Option<usize> {
        self.channels_within(tensor, &mut 256)
    }

    /// `steps`: nodes that may still be looked at; a malformed graph may have cycles, or join a tensor with itself many times over.
    fn channels_within(&self, tensor: &'g str, steps: &mut usize) -> Option<usize> {
        *steps = steps.checked_sub(1)?;
        let node = self.producer(tensor)?;
        let input = |i: usize| node.input.get(i).map(String::as_str);
        match node.op_type() {
            "Conv" => usize::try_from(*self.constant(input(1)?)?.dims.first()?).ok(),
            "Reshape" => match self.element(input(1)?, 1)? {
                0 => self.channels_within(input(0)?, steps),
                channels => usize::try_from(channels).ok(),
            },
            "Split" => {
                let sizes = match input(1) {
                    Some(sizes) => self.ints(sizes)?,
                    None => attribute(node, "split")?.ints.clone(),
                };
                let which = node.output.iter().position(|name| name == tensor)?;
                (attribute_int(node, "axis").unwrap_or(0) == 1).then_some(())?;
                usize::try_from(*sizes.get(which)?).ok()
            }
            "Concat" if attribute_int(node, "axis") == Some(1) => node
                .input
                .iter()
                .map(|name| self.channels_within(name, steps))
                .try_fold(0usize, |sum, channels| sum.checked_add(channels?)),
            "Concat" | "Cast" | "Identity" | "Sigmoid" | "Mul" | "Add" => self.channels_within(input(0)?, steps),
            _ => None,
        }
    }

    /// Numbers of a constant float32 tensor.
    pub fn floats(&self, tensor: &str) -> Option<Vec<f32>> {
        let tensor = self.constant(tensor).filter(|tensor| tensor.data_type == Some(DataType::Float as i32))?;
        match tensor.raw_data.as_ref().filter(|raw| !raw.is_empty()) {
            Some(raw) => Some(raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            None => Some(tensor.float_data.clone()),
        }
    }

    /// Integers of a constant tensor.
    pub fn ints(&self, tensor: &str) -> Option<Vec<i64>> {
        int_values(self.constant(tensor)?)
    }

    /// One element of a shape that is a constant, or a `Concat` of constants and computed numbers (dynamic exports).
    fn element(&self, tensor: &str, index: usize) -> Option<i64> {
        if let Some(values) = self.ints(tensor) {
            return values.get(index).copied();
        }
        let node = self.producer(tensor).filter(|node| node.op_type() == "Concat")?;
        self.ints(node.input.get(index)?)?.first().copied()
    }
}

/// The constants of a graph: initializers and values of nodes' attributes.
pub(in crate::detector) fn tensors_of(graph: &GraphProto) -> impl Iterator<Item = &TensorProto> {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    graph.initializer.iter().chain(attributes)
}

/// A node without attributes and with one output.
pub(in crate::detector) fn node_of(op: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        op_type: Some(op.to_owned()),
        ..Default::default()
    }
}

/// An integer attribute, to be given to a node.
pub(in crate::detector) fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    }
}

/// An attribute of a node by its name.
pub(in crate::detector) fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// An integer attribute of a node.
pub(in crate::detector) fn attribute_int(node: &NodeProto, name: &str) -> Option<i64> {
    attribute(node, name)?.i
}

fn int_values(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != Some(DataType::Int64 as i32) {
        return None;
    }
    match tensor.raw_data.as_ref().filter(|raw| !raw.is_empty()) {
        Some(raw) => Some(raw.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
        None => Some(tensor.int64_data.clone()),
    }
}

/// A dimension as declared: a number, or free (named or unknown).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detector) enum Dim {
    Fixed(i64),
    Free(String),
}

impl std::fmt::Display for Dim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Free(name) if name.is_empty() => f.write_str("?"),
            Self::Free(name) => f.write_str(name),
        }
    }
}

/// Declared element type (see [`DataType`]) and dimensions of a graph input or output; `None` where undeclared.
pub(in crate::detector) fn declared(value: &ValueInfoProto) -> Option<(i32, Vec<Dim>)> {
    let Some(TypeValue::TensorType(tensor)) = value.r#type.as_ref()?.value.as_ref() else { return None };
    let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match &dim.value {
        Some(DimValue::DimValue(size)) if *size >= 0 => Dim::Fixed(*size),
        Some(DimValue::DimParam(name)) => Dim::Free(name.clone()),
        _ => Dim::Free(String::new()),
    });
    Some((tensor.elem_type(), dims.collect()))
}

/// `[1, 84, 8400]`, for messages.
pub(in crate::detector) fn show_dims(dims: &[Dim]) -> String {
    format!("[{}]", dims.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "))
}

/// What an edited model takes and gives besides its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::detector) struct Ends {
    /// The graph's input.
    pub input: String,
    /// Height and width in pixels, fixed where the graph leaves them free.
    pub size: (i64, i64),
    /// The graph takes float16: let it take float32 and convert.
    pub input_is_float16: bool,
    /// The outputs may be float16: convert them to float32 (the runtime drops conversions from float32 to float32).
    pub inner_float16: bool,
}

/// A copy of `model` that computes only `outputs`, in this order, as float32, from a float32 input of one size.
///
/// Nodes and weights that lead to no output are left out, so the copy does less work than the original.
pub(in crate::detector) fn with_outputs(model: &ModelProto, outputs: &[&str], ends: &Ends) -> Option<ModelProto> {
    let graph = model.graph.as_ref()?;
    let input = ends.input.as_str();
    let keep = needed(graph, outputs);
    let kept = graph.node.iter().zip(&keep.nodes).filter(|(_, keep)| **keep);
    let mut nodes: Vec<NodeProto> = kept.map(|(node, _)| node.clone()).collect();
    let mut names: Vec<String> = outputs.iter().map(|name| (*name).to_owned()).collect();
    let wanted = |value: &&ValueInfoProto| value.name() == input || keep.tensors.contains(value.name());
    let mut inputs: Vec<ValueInfoProto> = graph.input.iter().filter(wanted).cloned().collect();
    for value in inputs.iter_mut().filter(|value| value.name() == input) {
        fix_input(value, ends.size, ends.input_is_float16);
    }
    if ends.input_is_float16 {
        let inner = fresh_name(graph, "input_as_float16");
        for node in &mut nodes {
            node.input.iter_mut().filter(|name| *name == input).for_each(|name| name.clone_from(&inner));
        }
        nodes.insert(0, cast_node(input, &inner, DataType::Float16));
    }
    if ends.inner_float16 {
        for (i, name) in names.iter_mut().enumerate() {
            let outer = fresh_name(graph, &format!("output_{i}_as_float32"));
            nodes.push(cast_node(name, &outer, DataType::Float));
            *name = outer;
        }
    }
    let edited = GraphProto {
        node: nodes,
        name: graph.name.clone(),
        initializer: graph.initializer.iter().filter(|tensor| keep.tensors.contains(tensor.name())).cloned().collect(),
        sparse_initializer: graph.sparse_initializer.clone(),
        input: inputs,
        output: names.into_iter().map(|name| ValueInfoProto { name: Some(name), ..Default::default() }).collect(),
        // Intermediate shapes may name the dimensions fixed above; the runtime infers them again.
        ..Default::default()
    };
    Some(ModelProto {
        ir_version: model.ir_version,
        opset_import: model.opset_import.clone(),
        producer_name: Some("logitcache".to_owned()),
        graph: Some(edited),
        functions: model.functions.clone(),
        ..Default::default()
    })
}

/// Removes nodes and weights that lead to no output of the graph.
pub(in crate::detector) fn drop_unused(graph: &mut GraphProto) {
    let outputs: Vec<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
    let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
    let Needed { nodes, tensors } = needed(graph, &outputs);
    let tensors: HashSet<String> = tensors.into_iter().map(str::to_owned).collect();
    let mut kept = nodes.into_iter();
    graph.node.retain(|_| kept.next().unwrap_or(true));
    let dropped = |tensor: &TensorProto| !tensors.contains(tensor.name());
    let weights: HashSet<String> =
        graph.initializer.iter().filter(|tensor| dropped(tensor)).map(|tensor| tensor.name().to_owned()).collect();
    graph.initializer.retain(|tensor| !weights.contains(tensor.name()));
    // Old files list weights among the inputs.
    graph.input.retain(|input| !weights.contains(input.name()));
}

struct Needed<'g> {
    nodes: Vec<bool>,
    tensors: HashSet<&'g str>,
}

/// Which nodes lead to `outputs`, and every tensor name they read.
fn needed<'g>(graph: &'g GraphProto, outputs: &[&'g str]) -> Needed<'g> {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        producers.extend(node.output.iter().filter(|name| !name.is_empty()).map(|name| (name.as_str(), index)));
    }
    let mut nodes = vec![false; graph.node.len()];
    let mut tensors: HashSet<&str> = HashSet::new();
    let mut next: Vec<&str> = outputs.to_vec();
    while let Some(name) = next.pop() {
        if !tensors.insert(name) {
            continue;
        }
        if let Some(&index) = producers.get(name)
            && let (Some(kept), Some(node)) = (nodes.get_mut(index), graph.node.get(index))
        {
            *kept = true;
            next.extend(reads(node));
        }
    }
    Needed { nodes, tensors }
}

/// The tensors a node reads, those read inside its subgraphs (`If`, `Loop`) included.
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let mut nodes = vec![node];
    while let Some(node) = nodes.pop() {
        names.extend(node.input.iter().filter(|name| !name.is_empty()).map(String::as_str));
        for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
            names.extend(graph.output.iter().map(ValueInfoProto::name));
            nodes.extend(&graph.node);
        }
    }
    names
}

/// Makes the declared input `[batch, 3, height, width]` with the height and width given, float32 where `cast`.
fn fix_input(value: &mut ValueInfoProto, (height, width): (i64, i64), cast: bool) {
    let Some(TypeProto { value: Some(TypeValue::TensorType(tensor)), .. }) = value.r#type.as_mut() else { return };
    if cast {
        tensor.elem_type = Some(DataType::Float as i32);
    }
    let dims = tensor.shape.iter_mut().flat_map(|shape| shape.dim.iter_mut().skip(2));
    for (dim, size) in dims.zip([height, width]) {
        dim.value = Some(DimValue::DimValue(size));
    }
}

pub(in crate::detector) fn cast_node(from: &str, to: &str, data_type: DataType) -> NodeProto {
    let mut node = node_of("Cast", &[from], to);
    node.attribute.push(int_attribute("to", data_type as i64));
    node
}

/// A tensor name that the graph does not use yet.
pub(in crate::detector) fn fresh_name(graph: &GraphProto, wanted: &str) -> String {
    let used: HashSet<&str> =
        graph.node.iter().flat_map(|node| node.input.iter().chain(&node.output)).map(String::as_str).collect();
    let mut name = wanted.to_owned();
    while used.contains(name.as_str()) {
        name.push('_');
    }
    name
}
