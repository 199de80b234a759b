//! RT-DETR as Ultralytics exports it: one output, `[B, Q, 4 + C]` in older versions, `[B, K, 6]` of the best queries since.
//! Boxes are centre and size as fractions of the input's sides.
//!
//! ```text
//! logits [B, Q, C] ── Sigmoid ─┬─ Concat with the boxes ── output [B, Q, 4 + C]
//!                              └─ Flatten ── TopK ── Concat: box, score, class ── output [B, K, 6]
//! ```

use super::{
    Family, HeadTensors,
    parts::{dims, fixed, only_output, source},
    queries::{self, QueryBoxes, QueryClasses},
};
use crate::{
    cache::Places,
    detector::{
        head::HeadSpec,
        onnx::{
            graph::{GraphIndex, attribute_int},
            metadata::Metadata,
        },
        own::OwnOutputs,
        refuse::Refusal,
    },
    preprocess::{Fit, InputRule},
    types::ImageSize,
};

/// See the top of this file.
pub(super) struct RtDetrUltralytics;

impl Family for RtDetrUltralytics {
    fn name(&self) -> &'static str {
        "rt-detr-ultralytics"
    }

    fn title(&self) -> &'static str {
        "RT-DETR of Ultralytics"
    }

    fn input_rule(&self) -> InputRule {
        InputRule { fit: Fit::Stretch, ..InputRule::default() }
    }

    fn find(&self, index: &GraphIndex<'_>, metadata: &Metadata, stated: bool) -> Result<Option<HeadTensors>, Refusal> {
        if !stated && metadata.head.as_deref() != Some("RTDETRDecoder") && !queries::is_deformable(index) {
            return Ok(None);
        }
        let Some(output) = only_output(index) else { return Ok(None) };
        let join = index.producer(index.skip_back(output, &["Cast", "Identity"]));
        let Some(join) =
            join.filter(|node| node.op_type() == "Concat" && matches!(attribute_int(node, "axis"), Some(2 | -1)))
        else {
            return Ok(None);
        };
        let found = match join.input.as_slice() {
            [boxes, scores] => {
                let sigmoid = index.producer(index.skip_back(scores, &["Cast", "Identity"]));
                let logits = sigmoid.filter(|node| node.op_type() == "Sigmoid").and_then(|node| node.input.first());
                logits.map(|logits| (logits.as_str(), boxes.as_str(), OwnOutputs::Dense))
            }
            [boxes, scores, _] => {
                queries::behind_ranking(index, scores, boxes).map(|(logits, boxes)| (logits, boxes, OwnOutputs::Ranked))
            }
            _ => None,
        };
        let Some((logits, boxes, own)) = found else {
            // A dynamic export computes how many of the best it gives.
            let ranked = join.input.get(1).and_then(|scores| source(index, scores));
            return if ranked.is_some() { Err(queries::dynamic_queries()) } else { Ok(None) };
        };
        let of_output = dims(index, output);
        let declared = |at: usize| fixed(of_output.get(at)).filter(|_| own == OwnOutputs::Dense);
        let num_queries = declared(1).or_else(|| queries::picked_queries(index, logits));
        let num_queries = num_queries.ok_or_else(queries::dynamic_queries)?;
        let num_classes = declared(2).and_then(|width| width.checked_sub(4));
        let Some(num_classes) = num_classes.or_else(|| queries::linear_width(index, logits)) else { return Ok(None) };
        let classes = (logits, QueryClasses::Sigmoid(num_classes));
        Ok(Some(queries::tensors(index, classes, (boxes, QueryBoxes::Fractions), num_queries, own)))
    }

    fn places(&self, _: ImageSize, tensors: &HeadTensors, _: &Metadata) -> Result<Places, Refusal> {
        queries::places(tensors)
    }

    fn reference_boxes(&self, box_values: &[f32], _: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        queries::plausible_boxes(box_values, input)
    }
}
