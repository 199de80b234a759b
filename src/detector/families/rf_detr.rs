//! RF-DETR as its own project exports it: `dets` `[B, Q, 4]` centre and size as fractions, `labels` `[B, Q, C]` logits
//! before the sigmoid. Input values are those of ImageNet. Of the pretrained models the classes are COCO's 91 sparse ids: each
//! slot needs a name.

use super::{Family, HeadTensors, queries, rt_detr_hf::named_pair};
use crate::{
    cache::Places,
    detector::{
        head::HeadSpec,
        onnx::{graph::GraphIndex, metadata::Metadata},
        refuse::Refusal,
    },
    preprocess::{Fit, InputRule, InputValues},
    types::ImageSize,
};

/// See the top of this file.
pub(super) struct RfDetr;

impl Family for RfDetr {
    fn name(&self) -> &'static str {
        "rf-detr"
    }

    fn title(&self) -> &'static str {
        "RF-DETR"
    }

    fn input_rule(&self) -> InputRule {
        InputRule { fit: Fit::Stretch, values: InputValues::ImageNet, ..InputRule::default() }
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, stated: bool) -> Result<Option<HeadTensors>, Refusal> {
        Ok(named_pair(index, "labels", "dets", stated)?.map(|pair| pair.tensors(index)))
    }

    fn places(&self, _: ImageSize, tensors: &HeadTensors, _: &Metadata) -> Result<Places, Refusal> {
        queries::places(tensors)
    }

    fn reference_boxes(&self, box_values: &[f32], _: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        queries::plausible_boxes(box_values, input)
    }
}
