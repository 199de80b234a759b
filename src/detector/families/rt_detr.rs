//! RT-DETR, RT-DETRv2, D-FINE, DEIM and DEIMv2 as their own projects export them: inputs `images` and `orig_target_sizes`
//! (width and height of the picture), outputs `labels`, `boxes`, `scores` of the best queries.
//!
//! ```text
//! logits [B, Q, C] ── Sigmoid ── Flatten ── TopK ── scores [B, K], labels [B, K]
//! boxes x1 y1 x2 y2 of all queries, in pixels of the picture [B, Q, 4] ── GatherElements ── boxes [B, K, 4]
//! ```
//!
//! The second input becomes a constant, the size of the first: boxes are then in input pixels.

use super::{
    Family, HeadTensors,
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
pub(super) struct RtDetr;

impl Family for RtDetr {
    fn name(&self) -> &'static str {
        "rt-detr"
    }

    fn title(&self) -> &'static str {
        "RT-DETR, D-FINE or DEIM of the projects' own export"
    }

    fn input_rule(&self) -> InputRule {
        InputRule { fit: Fit::Stretch, ..InputRule::default() }
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, _: bool) -> Result<Option<HeadTensors>, Refusal> {
        let at = |name: &str| index.graph.output.iter().position(|output| output.name() == name);
        let (Some(labels), Some(boxes), Some(scores)) = (at("labels"), at("boxes"), at("scores")) else {
            return Ok(None);
        };
        let Some((logits, all_boxes)) = queries::behind_ranking(index, "scores", "boxes") else { return Ok(None) };
        let size_input = index.inputs().into_iter().map(|input| input.name()).find(|name| *name == "orig_target_sizes");
        let Some(size_input) = size_input else {
            return Err(Refusal::new(
                "this model has the outputs labels, boxes and scores of RT-DETR, but no input `orig_target_sizes`: of \
                 which size its boxes are is not known.",
                "Export it with the project's own export, with `images` and `orig_target_sizes` as inputs.",
            ));
        };
        let num_queries = queries::picked_queries(index, logits).ok_or_else(queries::dynamic_queries)?;
        let Some(num_classes) = queries::linear_width(index, logits) else { return Ok(None) };
        let own = OwnOutputs::RankedApart { labels, boxes, scores };
        let head = ((logits, QueryClasses::Sigmoid(num_classes)), (all_boxes, QueryBoxes::CornersPx));
        let tensors = queries::tensors(index, head.0, head.1, num_queries, own);
        Ok(Some(HeadTensors { size_input: Some(size_input.to_owned()), ..tensors }))
    }

    fn places(&self, _: ImageSize, tensors: &HeadTensors, _: &Metadata) -> Result<Places, Refusal> {
        queries::places(tensors)
    }

    fn reference_boxes(&self, box_values: &[f32], _: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        queries::plausible_boxes(box_values, input)
    }
}
