//! YOLOv8, 9, 10, 11 and 12 as Ultralytics exports them, and YOLO26, whose head has no bins. Of YOLOv10 and 26 either
//! branch: one-to-many, or one-to-one with the best predictions picked (end to end).
//!
//! The raw tensors are found by the structure of the graph; no node or tensor name is looked at. Such an export ends like
//! this (`nn/modules/head.py`, `Detect`):
//!
//! ```text
//! class logits [B, C, A] ── Sigmoid ───────────────────────────────────────────────┐
//! DFL logits [B, 4R, A] ── Reshape ── Transpose ── Softmax ── Conv 1x1 ── decode ── Concat ── output [B, 4 + C, A]
//! ```
//!
//! `decode` is arithmetic with constants (anchor centres, strides). A head without DFL has no such Softmax. Other tools
//! put more behind it (transposed, corners, best class, several outputs), so the search starts at all outputs and looks
//! for the one Sigmoid and the one Softmax between them and the last convolutions; what the outputs hold is judged by
//! their values (`ending.rs`).

pub(super) mod reference;
pub(super) mod strides;

use super::{
    Family, HeadTensors, LogitSource,
    parts::{LAYERS, behind_layers, expectation_bins, holds_scores},
};
use crate::{
    cache::{HeadKind, Places},
    detector::{
        head::{BoxRule, HeadSpec, MAX_BINS},
        onnx::{
            adapter::Adapter,
            graph::{Dim, GraphIndex, attribute_int, declared, show_dims},
            metadata::Metadata,
            proto::NodeProto,
        },
        own::OwnOutputs,
        refuse::{self, Refusal},
    },
    preprocess::InputRule,
    types::ImageSize,
};

/// Operations that change a tensor's type at most.
const TYPE_ONLY: &[&str] = &["Cast", "Identity"];

/// See the top of this file.
pub(super) struct YoloV8;

impl Family for YoloV8 {
    fn name(&self) -> &'static str {
        "yolov8"
    }

    fn title(&self) -> &'static str {
        "YOLOv8, 9, 10, 11, 12 or 26"
    }

    fn input_rule(&self) -> InputRule {
        InputRule::default()
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, _: bool) -> Result<Option<HeadTensors>, Refusal> {
        let unknown = |why: &str| refuse::outputs(index, why);
        let outputs: Vec<&str> = index.graph.output.iter().map(|output| output.name()).collect();
        let behind = behind_layers(index, &outputs);
        let sigmoids: Vec<&NodeProto> = behind.iter().copied().filter(|node| node.op_type() == "Sigmoid").collect();
        if has_objectness(index, &behind, &sigmoids) {
            return Err(refuse::objectness(index));
        }
        let sigmoid = match sigmoids.as_slice() {
            [sigmoid] => *sigmoid,
            [] => return Err(unknown("no Sigmoid leads to its outputs, so they hold no class probabilities")),
            more => {
                return Err(unknown(&format!(
                    "{} Sigmoids lead to its outputs, where a head has one, over all classes and anchors",
                    more.len()
                )));
            }
        };
        let class_logits = sigmoid.input.first().ok_or_else(|| unknown("its Sigmoid has no input"))?;
        let class_logits = index.skip_back(class_logits, &["Identity"]);

        let join = join(index, &behind, sigmoid);
        let num_classes = num_classes(index, class_logits, join)?;
        let (kind, box_values, boxes) = match dfl(index, &behind)? {
            Some((logits, reg_max)) => (HeadKind::Yolov8Dfl, logits, BoxRule::Bins { reg_max }),
            None => (HeadKind::Yolov8Direct, decoded_boxes(index, &behind, join)?, BoxRule::CentreSizePx),
        };
        let end_to_end = refuse::is_end_to_end(index);
        let (mut class_logits_out, mut box_values) = (class_logits.to_owned(), box_values.to_owned());
        let mut adapter = Adapter::default();
        if end_to_end && boxes == BoxRule::CentreSizePx {
            // The end-to-end branch decodes to corners.
            adapter = Adapter::new(index.graph);
            class_logits_out = adapter.read(class_logits);
            let corners = adapter.read(&box_values);
            box_values = adapter.centre_size(&corners);
        }
        Ok(Some(HeadTensors {
            kind,
            num_places: if end_to_end { None } else { num_anchors(index, num_classes) },
            levels: levels(index, class_logits),
            class_logits: class_logits_out,
            box_values,
            boxes,
            outputs: outputs.into_iter().map(str::to_owned).collect(),
            num_classes,
            adapter,
            logits: LogitSource::Raw,
            one_to_one: end_to_end,
            own: if end_to_end { OwnOutputs::Ranked } else { OwnOutputs::Dense },
            size_input: None,
        }))
    }

    fn places(&self, input: ImageSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<Places, Refusal> {
        strides::grid(input, tensors, metadata, 1).map(Places::Grid)
    }

    fn reference_boxes(&self, box_values: &[f32], head: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        match head.boxes {
            BoxRule::Bins { reg_max } => Ok(reference::decode(box_values, reg_max, &head.strides(), input)),
            BoxRule::Distances | BoxRule::CentreSizePx => {
                reference::plausible_boxes(box_values, &head.strides(), input)?;
                Ok(box_values.to_vec())
            }
        }
    }
}

/// Whether the outputs hold an objectness: everything comes from Sigmoids, boxes as well (YOLOv5, YOLOv7), or there are Sigmoids of one
/// channel beside those of the classes (YOLOX).
fn has_objectness(index: &GraphIndex<'_>, behind: &[&NodeProto], sigmoids: &[&NodeProto]) -> bool {
    let boxes = behind.iter().any(|node| node.op_type() == "Softmax" || LAYERS.contains(&node.op_type()));
    let channels = |node: &&NodeProto| node.input.first().and_then(|input| index.channels(input));
    let of_one = sigmoids.iter().filter(|node| channels(node) == Some(1)).count();
    (!sigmoids.is_empty() && !boxes) || (of_one > 0 && of_one < sigmoids.len())
}

/// The node that joins boxes and class probabilities along the channels, as Ultralytics exports end.
fn join<'g>(index: &GraphIndex<'g>, behind: &[&'g NodeProto], sigmoid: &NodeProto) -> Option<&'g NodeProto> {
    behind.iter().copied().find(|node| {
        let second = node.input.get(1).and_then(|scores| index.producer(index.skip_back(scores, TYPE_ONLY)));
        node.op_type() == "Concat"
            && node.input.len() == 2
            && matches!(attribute_int(node, "axis"), Some(1 | -2))
            && second.is_some_and(|node| std::ptr::eq(node, sigmoid))
    })
}

/// C, as the last convolutions have it and as a plain output declares it; they must agree where both are known.
fn num_classes<'g>(index: &GraphIndex<'g>, class_logits: &'g str, join: Option<&NodeProto>) -> Result<usize, Refusal> {
    let computed = index.channels(class_logits);
    let plain = index.graph.output.first().filter(|output| {
        let last = index.producer(index.skip_back(output.name(), TYPE_ONLY));
        last.zip(join).is_some_and(|(last, join)| std::ptr::eq(last, join))
    });
    let dims = plain.and_then(declared).map(|(_, dims)| dims).unwrap_or_default();
    let declared = match dims.as_slice() {
        [_, Dim::Fixed(channels), _] => usize::try_from(*channels).ok().and_then(|channels| channels.checked_sub(4)),
        _ => None,
    };
    match (declared, computed) {
        (Some(a), Some(b)) if a != b => Err(refuse::outputs(
            index,
            &format!(
                "it declares {} for the output, that is {a} classes, but the tensor before the Sigmoid has {b} channels",
                show_dims(&dims)
            ),
        )),
        (Some(classes @ 1..), _) | (None, Some(classes @ 1..)) => Ok(classes),
        _ => Err(refuse::outputs(index, "the number of classes cannot be determined")),
    }
}

/// The DFL logits and `reg_max`, or `None` where no Softmax lies between the outputs and the last convolutions.
fn dfl<'g>(index: &GraphIndex<'g>, behind: &[&'g NodeProto]) -> Result<Option<(&'g str, usize)>, Refusal> {
    let mut softmaxes = behind.iter().filter(|node| node.op_type() == "Softmax");
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
    let logits = index.skip_back(logits, &["Identity"]);

    let from_weights = behind.iter().find_map(|node| expectation_bins(index, node));
    let from_channels = index.channels(logits).filter(|channels| channels % 4 == 0).map(|channels| channels / 4);
    match (from_weights, from_channels) {
        (Some(a), Some(b)) if a != b => {
            Err(unknown(&format!("the box branch has 4 x {b} channels, but its DFL weighs {a} bins")))
        }
        (Some(bins @ 2..=MAX_BINS), _) | (None, Some(bins @ 2..=MAX_BINS)) => Ok(Some((logits, bins))),
        _ => Err(unknown("the number of DFL bins cannot be determined")),
    }
}

/// The decoded boxes of a head without DFL, which has convolutions of four channels: what is joined with the class probabilities, or the
/// one output `[B, 4, A]` that holds none.
fn decoded_boxes<'g>(
    index: &GraphIndex<'g>,
    behind: &[&'g NodeProto],
    join: Option<&'g NodeProto>,
) -> Result<&'g str, Refusal> {
    let of_four = |node: &&NodeProto| {
        node.op_type() == "Conv" && node.output.first().and_then(|output| index.channels(output)) == Some(4)
    };
    if !behind.iter().any(of_four) {
        return Err(refuse::outputs(
            index,
            "neither a Softmax over bins nor a convolution of four channels leads to its boxes",
        ));
    }
    if let Some(boxes) = join.and_then(|join| join.input.first()) {
        return Ok(boxes);
    }
    let boxes = index.graph.output.iter().filter(|output| {
        let four = declared(output).is_some_and(|(_, dims)| matches!(dims.as_slice(), [_, Dim::Fixed(4), _]));
        four && !holds_scores(index, output.name())
    });
    match boxes.collect::<Vec<_>>().as_slice() {
        [boxes] => Ok(boxes.name()),
        _ => Err(refuse::outputs(index, "its head has no DFL, and no tensor holds its boxes [batch, 4, anchors]")),
    }
}

/// A, where an output declares it beside the number of values that each anchor has there.
fn num_anchors(index: &GraphIndex<'_>, num_classes: usize) -> Option<i64> {
    let classes = i64::try_from(num_classes).ok()?;
    // Boxes, scores, both; corners, best score and best class; best score or class alone.
    let values = [4, classes, classes.saturating_add(4), 6, 1];
    index.graph.output.iter().find_map(|output| match declared(output)?.1.as_slice() {
        [_, Dim::Fixed(a), Dim::Fixed(b)] => match (values.contains(a), values.contains(b)) {
            (true, false) => Some(*b),
            (false, true) => Some(*a),
            _ => None,
        },
        [_, Dim::Free(_), Dim::Fixed(anchors)] => Some(*anchors).filter(|anchors| !values.contains(anchors)),
        _ => None,
    })
}

/// How many feature levels were joined: the inputs of the `Concat` along the anchors.
fn levels(index: &GraphIndex<'_>, class_logits: &str) -> Option<usize> {
    let mut node = index.producer(class_logits)?;
    if matches!(node.op_type(), "Split" | "Slice") {
        node = index.producer(node.input.first()?)?;
    }
    (node.op_type() == "Concat" && matches!(attribute_int(node, "axis"), Some(2 | -1))).then_some(node.input.len())
}
