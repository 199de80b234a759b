//! DETR, YOLOS and Table Transformer as models of Hugging Face `transformers` give them: `logits` `[B, Q, C + 1]` before a
//! softmax whose last slot is "no object", `pred_boxes` `[B, Q, 4]` centre and size as fractions.
//!
//! ```text
//! logits [B, Q, C + 1] ── ln(p / (1 - p)) of the softmax p ── without the last slot ── [B, C, Q]
//! ```
//!
//! Conditional DETR has the same outputs, but independent classes and no such slot, and nothing in a graph tells it apart:
//! a file is read in this way only where the user names the family.

use super::{
    Family, HeadTensors,
    queries::{self, QueryBoxes, QueryClasses},
    rt_detr_hf::named_pair,
};
use crate::{
    cache::Places,
    detector::{
        head::HeadSpec,
        onnx::{graph::GraphIndex, metadata::Metadata},
        own::OwnOutputs,
        refuse::Refusal,
    },
    preprocess::{Fit, InputRule, InputValues},
    types::ImageSize,
};

/// See the top of this file.
pub(super) struct Detr;

impl Family for Detr {
    fn name(&self) -> &'static str {
        "detr"
    }

    fn title(&self) -> &'static str {
        "DETR of Hugging Face transformers"
    }

    /// That of `DetrImageProcessor` with a fixed height and width.
    fn input_rule(&self) -> InputRule {
        InputRule { fit: Fit::Stretch, values: InputValues::ImageNet, ..InputRule::default() }
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, stated: bool) -> Result<Option<HeadTensors>, Refusal> {
        let pair = if stated { named_pair(index, "logits", "pred_boxes", stated)? } else { None };
        let Some(pair) = pair.filter(|pair| pair.num_classes > 1) else { return Ok(None) };
        let logits = index.graph.output.iter().position(|output| output.name() == pair.logits);
        let own = logits.map_or(OwnOutputs::Raw, |logits| OwnOutputs::Softmax { logits });
        let classes = (pair.logits, QueryClasses::SoftmaxAndNone(pair.num_classes - 1));
        Ok(Some(queries::tensors(index, classes, (pair.boxes, QueryBoxes::Fractions), pair.num_queries, own)))
    }

    fn places(&self, _: ImageSize, tensors: &HeadTensors, _: &Metadata) -> Result<Places, Refusal> {
        queries::places(tensors)
    }

    fn reference_boxes(&self, box_values: &[f32], _: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        queries::plausible_boxes(box_values, input)
    }
}
