//! Finds the raw tensors of a YOLOv8-family head by the structure of the graph; no node or tensor name is looked at.
//!
//! What Ultralytics exports for v8, v9, 10 (one-to-many), 11 and 12 ends like this (`nn/modules/head.py`, `Detect`):
//!
//! ```text
//! class logits [B, C, A] ── Sigmoid ───────────────────────────────────────────────┐
//! DFL logits [B, 4R, A] ── Reshape ── Transpose ── Softmax ── Conv 1x1 ── decode ── Concat ── output [B, 4 + C, A]
//! ```
//!
//! `decode` is arithmetic with constants (anchor centres, strides). A head without DFL has no such Softmax.

use super::{
    graph::{Dim, GraphIndex, attribute_int, declared, show_dims},
    metadata::Metadata,
    onnx_proto::NodeProto,
    refuse::{self, Refusal},
};

/// Operations that change a tensor's type at most.
const TYPE_ONLY: &[&str] = &["Cast", "Identity"];

/// Arithmetic between the DFL's expectation and the decoded boxes.
const DECODE: &[&str] = &[
    "Add",
    "Cast",
    "Concat",
    "Div",
    "Expand",
    "Gather",
    "Identity",
    "MatMul",
    "Mul",
    "ReduceSum",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// The tensors of a head, by their names in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeadTensors {
    /// The graph's own output, `[B, 4 + C, A]`.
    pub output: String,
    /// Decoded boxes, `[B, 4, A]`.
    pub boxes: String,
    /// `[B, C, A]` before the sigmoid.
    pub class_logits: String,
    /// `[B, 4 * reg_max, A]` before the softmax; `None` for a head without DFL.
    pub dfl_logits: Option<String>,
    /// C.
    pub num_classes: usize,
    /// Bins per side of the DFL.
    pub reg_max: Option<usize>,
    /// Feature levels joined into A, where the graph tells.
    pub levels: Option<usize>,
    /// A, where the graph declares it.
    pub num_anchors: Option<i64>,
}

/// Finds the head's tensors.
pub(super) fn find(index: &GraphIndex<'_>, metadata: &Metadata) -> Result<HeadTensors, Refusal> {
    refuse::other_tasks(index, metadata)?;
    let [output] = index.graph.output.as_slice() else {
        return Err(refuse::outputs(index, "it has not exactly one output"));
    };
    let dims = declared(output).map(|(_, dims)| dims).unwrap_or_default();
    let unknown = |why: &str| refuse::outputs(index, why);

    let concat = index
        .producer(index.skip_back(output.name(), TYPE_ONLY))
        .filter(|node| node.op_type() == "Concat" && matches!(attribute_int(node, "axis"), Some(1 | -2)))
        .ok_or_else(|| unknown("the output does not join boxes and class probabilities along dimension 1"))?;
    let [boxes, scores] = concat.input.as_slice() else {
        return Err(unknown(&format!(
            "the output joins {} tensors, not boxes and class probabilities",
            concat.input.len()
        )));
    };
    let sigmoid = index
        .producer(index.skip_back(scores, TYPE_ONLY))
        .filter(|node| node.op_type() == "Sigmoid")
        .ok_or_else(|| unknown("the class probabilities do not come from a Sigmoid"))?;
    let class_logits = sigmoid.input.first().ok_or_else(|| unknown("its Sigmoid has no input"))?;

    let num_classes = num_classes(index, &dims, class_logits)?;
    let (dfl_logits, reg_max) = match dfl(index, boxes)? {
        Some((logits, reg_max)) => (Some(logits.to_owned()), Some(reg_max)),
        None => (None, None),
    };
    Ok(HeadTensors {
        output: output.name().to_owned(),
        boxes: boxes.clone(),
        class_logits: class_logits.clone(),
        dfl_logits,
        num_classes,
        reg_max,
        levels: levels(index, class_logits),
        num_anchors: match dims.as_slice() {
            [_, _, Dim::Fixed(anchors)] => Some(*anchors),
            _ => None,
        },
    })
}

/// C, as the output declares it and as the last convolutions have it; they must agree where both are known.
fn num_classes<'g>(index: &GraphIndex<'g>, dims: &[Dim], class_logits: &'g str) -> Result<usize, Refusal> {
    let declared = match dims {
        [_, Dim::Fixed(channels), _] => usize::try_from(*channels).ok().and_then(|channels| channels.checked_sub(4)),
        _ => None,
    };
    let computed = index.channels(class_logits);
    match (declared, computed) {
        (Some(a), Some(b)) if a != b => Err(refuse::outputs(
            index,
            &format!(
                "it declares {} for the output, that is {a} classes, but the tensor before the Sigmoid has {b} channels",
                show_dims(dims)
            ),
        )),
        (Some(classes @ 1..), _) | (None, Some(classes @ 1..)) => Ok(classes),
        _ => Err(refuse::outputs(index, "the number of classes cannot be told")),
    }
}

/// The DFL logits and `reg_max`, or `None` where no Softmax lies between boxes and the last convolutions.
fn dfl<'g>(index: &GraphIndex<'g>, boxes: &'g str) -> Result<Option<(&'g str, usize)>, Refusal> {
    let reached =
        index.walk_back(boxes, |node| DECODE.contains(&node.op_type()) || expectation_bins(index, node).is_some());
    let mut softmaxes = reached.iter().filter(|node| node.op_type() == "Softmax");
    let (softmax, more) = (softmaxes.next(), softmaxes.next());
    let Some(softmax) = softmax else { return Ok(None) };
    let unknown = |why: &str| refuse::outputs(index, why);
    if more.is_some() {
        return Err(unknown("more than one Softmax leads to the boxes"));
    }
    // Softmax <- Transpose <- Reshape(batch, 4, reg_max, anchors) <- logits. Only one Reshape belongs to the DFL: one
    // before it would belong to a feature level.
    let input = softmax.input.first().ok_or_else(|| unknown("its Softmax has no input"))?;
    let reshape = index
        .producer(index.skip_back(input, &["Cast", "Identity", "Transpose"]))
        .filter(|node| node.op_type() == "Reshape")
        .ok_or_else(|| unknown("the Softmax before the boxes is not fed by a Reshape"))?;
    let logits = reshape.input.first().ok_or_else(|| unknown("its Reshape has no input"))?;

    let from_weights = reached.iter().find_map(|node| expectation_bins(index, node));
    let from_channels = index.channels(logits).filter(|channels| channels % 4 == 0).map(|channels| channels / 4);
    match (from_weights, from_channels) {
        (Some(a), Some(b)) if a != b => {
            Err(unknown(&format!("the box branch has 4 x {b} channels, but its DFL weighs {a} bins")))
        }
        (Some(bins), _) | (None, Some(bins)) if bins > 1 => Ok(Some((logits, bins))),
        _ => Err(unknown("the number of DFL bins cannot be told")),
    }
}

/// The number of bins where a node is the DFL's expectation: a 1 x 1 convolution with one output channel.
fn expectation_bins(index: &GraphIndex<'_>, node: &NodeProto) -> Option<usize> {
    let weight = (node.op_type() == "Conv").then(|| node.input.get(1))?.and_then(|name| index.constant(name))?;
    match weight.dims.as_slice() {
        [1, bins, 1, 1] => usize::try_from(*bins).ok(),
        _ => None,
    }
}

/// How many feature levels were joined: the inputs of the `Concat` along the anchors.
fn levels(index: &GraphIndex<'_>, class_logits: &str) -> Option<usize> {
    let mut node = index.producer(class_logits)?;
    if matches!(node.op_type(), "Split" | "Slice") {
        node = index.producer(node.input.first()?)?;
    }
    (node.op_type() == "Concat" && matches!(attribute_int(node, "axis"), Some(2 | -1))).then_some(node.input.len())
}
