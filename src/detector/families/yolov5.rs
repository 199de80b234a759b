//! YOLOv5 and YOLOv7 with their own heads: `[B, N, 5 + C]` of centre, size, objectness, classes, all after one sigmoid a
//! level. Each cell has several boxes (three), of different base sizes; the boxes of the first base size come first, then
//! those of the second. So each base size is a level of the grid of its own, and strides repeat.
//!
//! ```text
//! of each level: [B, 3, h, w, 5 + C] ── Sigmoid ── decode ── Concat ── Reshape ── all levels: Concat ── output [B, N, 5 + C]
//! ```

use super::{
    Family, HeadTensors, LogitSource,
    parts::{LAYERS, behind_layers, dims, fixed, outputs},
    yolov8::strides,
};
use crate::{
    cache::{HeadKind, Places},
    detector::{
        head::{BoxRule, HeadSpec},
        onnx::{
            adapter::Adapter,
            graph::{GraphIndex, attribute_int},
            metadata::Metadata,
            proto::ValueInfoProto,
        },
        own::OwnOutputs,
        refuse::{self, Refusal},
    },
    preprocess::InputRule,
    types::ImageSize,
};

/// Boxes of a cell, in every model of both projects.
const BOXES_OF_A_CELL: usize = 3;

/// See the top of this file.
pub(super) struct YoloV5;

impl Family for YoloV5 {
    fn name(&self) -> &'static str {
        "yolov5"
    }

    fn title(&self) -> &'static str {
        "YOLOv5 or YOLOv7"
    }

    fn input_rule(&self) -> InputRule {
        InputRule::default()
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, _: bool) -> Result<Option<HeadTensors>, Refusal> {
        let is_level = |output: &ValueInfoProto| dims(index, output.name()).len() == 5;
        if index.graph.output.len() > 1 && index.graph.output.iter().all(is_level) {
            return Err(refuse::raw_levels(index));
        }
        // Older exports give the raw levels beside the decoded output.
        let Some(output) = index.graph.output.first().map(|output| output.name()) else { return Ok(None) };
        let join = index.producer(index.skip_back(output, &["Cast", "Identity"]));
        let Some(join) =
            join.filter(|node| node.op_type() == "Concat" && matches!(attribute_int(node, "axis"), Some(1 | -2)))
        else {
            return Ok(None);
        };
        let masks = index.graph.output.iter().skip(1).any(|output| dims(index, output.name()).len() == 4);
        if masks && behind_layers(index, &[output]).iter().any(|node| node.op_type() == "Sigmoid") {
            return Err(refuse::outputs(index, "beside boxes it gives masks, as a segmentation model does"));
        }
        let sigmoids =
            |level: &String| behind_layers(index, &[level]).iter().filter(|node| node.op_type() == "Sigmoid").count();
        if join.input.iter().all(|level| sigmoids(level) == 2) {
            let why = "each level has a second sigmoid, as those of keypoints in a pose estimation model";
            return Err(refuse::outputs(index, why));
        }
        let Some(levels) = join.input.iter().map(|level| sigmoid_input(index, level)).collect::<Option<Vec<_>>>()
        else {
            return Ok(None);
        };
        let of_output = dims(index, output);
        let (Some(num_places), Some(width @ 6..)) = (fixed(of_output.get(1)), fixed(of_output.get(2))) else {
            return Ok(None);
        };
        let num_classes = width - 5;

        let mut adapter = Adapter::new(index.graph);
        let flat: Vec<String> = levels
            .iter()
            .map(|level| {
                let raw = adapter.read(level);
                adapter.reshaped(&raw, &[0, -1, width as i64])
            })
            .collect();
        let raw = adapter.joined(&flat, 1);
        let raw = adapter.transposed(&raw);
        let (objectness, classes) = (adapter.channels(&raw, 4, 5), adapter.channels(&raw, 5, width as i64));
        let class_logits = adapter.logit_of_product(&objectness, &classes);
        let decoded = adapter.read(output);
        let decoded = adapter.transposed(&decoded);
        let box_values = adapter.channels(&decoded, 0, 4);
        Ok(Some(HeadTensors {
            kind: HeadKind::Yolov8Direct,
            outputs: outputs(index),
            class_logits,
            box_values,
            boxes: BoxRule::CentreSizePx,
            num_classes,
            levels: Some(levels.len()),
            num_places: i64::try_from(num_places).ok(),
            adapter,
            logits: LogitSource::Joint,
            one_to_one: false,
            own: OwnOutputs::Objectness { decoded: true },
            size_input: None,
        }))
    }

    fn places(&self, input: ImageSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<Places, Refusal> {
        strides::grid(input, tensors, metadata, BOXES_OF_A_CELL).map(Places::Grid)
    }

    fn reference_boxes(&self, box_values: &[f32], head: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        super::yolov8::reference::plausible_boxes(box_values, &head.strides(), input)?;
        Ok(box_values.to_vec())
    }
}

/// What the only Sigmoid behind a tensor takes, where nothing else of the network is behind it.
fn sigmoid_input<'g>(index: &GraphIndex<'g>, tensor: &'g str) -> Option<&'g str> {
    let behind = behind_layers(index, &[tensor]);
    let mut sigmoids = behind.iter().filter(|node| node.op_type() == "Sigmoid");
    let (sigmoid, more) = (sigmoids.next()?, sigmoids.next());
    let others = behind.iter().any(|node| node.op_type() == "Softmax" || LAYERS.contains(&node.op_type()));
    (more.is_none() && !others).then(|| sigmoid.input.first())?.map(String::as_str)
}
