//! RT-DETR, RT-DETRv2 and D-FINE as models of Hugging Face `transformers` give them: `logits` `[B, Q, C]` before the
//! sigmoid, `pred_boxes` `[B, Q, 4]` centre and size as fractions. Other outputs beside them are left alone.
//!
//! DETR itself has the same outputs, but a softmax and a slot for "no object" (`detr.rs`); Conditional DETR has neither.
//! Both are told by their attention, which samples nowhere, and read only where the user names the
//! family. A model that picks no queries from its encoder (Deformable DETR) takes other input
//! values; it too is read only where the user names the family.

use super::{
    Family, HeadTensors,
    parts::{dims, fixed},
    queries::{self, QueryBoxes, QueryClasses},
};
use crate::{
    cache::Places,
    detector::{
        head::HeadSpec,
        onnx::{graph::GraphIndex, metadata::Metadata},
        own::OwnOutputs,
        refuse::Refusal,
    },
    preprocess::{Fit, InputRule},
    types::ImageSize,
};

/// See the top of this file.
pub(super) struct RtDetrHf;

impl Family for RtDetrHf {
    fn name(&self) -> &'static str {
        "rt-detr-hf"
    }

    fn title(&self) -> &'static str {
        "RT-DETR or D-FINE of Hugging Face transformers"
    }

    fn input_rule(&self) -> InputRule {
        InputRule { fit: Fit::Stretch, ..InputRule::default() }
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, stated: bool) -> Result<Option<HeadTensors>, Refusal> {
        let Some(pair) = named_pair(index, "logits", "pred_boxes", stated)? else { return Ok(None) };
        if !stated && !queries::is_deformable(index) {
            return Err(Refusal::new(
                "this model has the outputs logits and pred_boxes of DETR: whether its classes are a softmax with a last \
                 slot for \"no object\", as those of DETR and YOLOS, or independent, as those of Conditional DETR, \
                 cannot be told from its graph.",
                "Say it with `family=detr` (softmax) or `family=rt-detr-hf` (independent classes), and how it takes images \
                 with `input_rule=`, if not stretched with the mean and deviation of ImageNet.",
            ));
        }
        if !stated && queries::picked_queries(index, pair.logits).is_none() {
            return Err(Refusal::new(
                "this model has the outputs logits and pred_boxes, but picks no queries from its encoder as RT-DETR and \
                 D-FINE do: how it takes images is not known.",
                "Say it with `family=rt-detr-hf` and `input_rule=` (Deformable DETR: stretch,rgb,imagenet).",
            ));
        }
        Ok(Some(pair.tensors(index)))
    }

    fn places(&self, _: ImageSize, tensors: &HeadTensors, _: &Metadata) -> Result<Places, Refusal> {
        queries::places(tensors)
    }

    fn reference_boxes(&self, box_values: &[f32], _: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        queries::plausible_boxes(box_values, input)
    }
}

/// Raw outputs of all queries.
pub(super) struct Pair<'g> {
    pub logits: &'g str,
    pub boxes: &'g str,
    pub num_queries: usize,
    pub num_classes: usize,
}

impl Pair<'_> {
    /// The tensors of the head.
    pub fn tensors(&self, index: &GraphIndex<'_>) -> HeadTensors {
        let logits = (self.logits, QueryClasses::Sigmoid(self.num_classes));
        let boxes = (self.boxes, QueryBoxes::Fractions);
        queries::tensors(index, logits, boxes, self.num_queries, OwnOutputs::Raw)
    }
}

/// The two outputs of these names. Where the user states the family, names may be others: the boxes are then the output of
/// four values a query.
///
/// # Errors
/// Masks or keypoints beside them, an unclear number of queries, or two outputs that could both be the boxes.
pub(super) fn named_pair<'g>(
    index: &GraphIndex<'g>,
    logits: &str,
    boxes: &str,
    stated: bool,
) -> Result<Option<Pair<'g>>, Refusal> {
    let names: Vec<&'g str> = index.graph.output.iter().map(|output| output.name()).collect();
    let named = |wanted: &str| names.iter().copied().find(|name| *name == wanted);
    let (logits, boxes) = match (named(logits), named(boxes), names.as_slice()) {
        (Some(logits), Some(boxes), _) => (logits, boxes),
        (.., [a, b]) if stated => match [*a, *b].map(|name| fixed(dims(index, name).get(2)) == Some(4)) {
            [true, false] => (*b, *a),
            [false, true] => (*a, *b),
            _ => {
                return Err(Refusal::new(
                    format!(
                        "which of the outputs {a} and {b} holds the boxes cannot be told: both have or lack four \
                             values a query."
                    ),
                    format!("Export it with the output names {logits} and {boxes}."),
                ));
            }
        },
        _ => return Ok(None),
    };
    let (of_logits, of_boxes) = (dims(index, logits), dims(index, boxes));
    if fixed(of_boxes.get(2)).is_some_and(|values| values != 4) {
        return Ok(None);
    }
    let num_queries = fixed(of_logits.get(1)).or_else(|| fixed(of_boxes.get(1)));
    let num_queries = num_queries.or_else(|| queries::picked_queries(index, logits));
    let num_classes = fixed(of_logits.get(2)).or_else(|| queries::linear_width(index, logits));
    match (num_queries, num_classes) {
        (Some(num_queries), Some(num_classes)) => Ok(Some(Pair { logits, boxes, num_queries, num_classes })),
        (None, _) => Err(queries::dynamic_queries()),
        _ => Ok(None),
    }
}
