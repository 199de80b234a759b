//! YOLO-NAS as SuperGradients exports it without NMS: boxes `[B, N, 4]` x1, y1, x2, y2 in input pixels and scores
//! `[B, N, C]`, as two outputs. Its head has bins, 17 a side where `reg_max` is 16.
//!
//! ```text
//! class logits [B, N, C] ── Sigmoid ── scores
//! of each level: bins [B, 4 * 17, h, w] ── Reshape ── Transpose ── Softmax ── Conv 1x1 ── Concat of all ── decode ── boxes
//! ```

use super::{
    Family, HeadTensors, LogitSource,
    parts::{SHAPE_ONLY, behind_layers, dims, expectation_bins, fixed, outputs},
    yolov8::{reference, strides},
};
use crate::{
    cache::{HeadKind, Places},
    detector::{
        head::{BoxRule, HeadSpec, MAX_BINS},
        onnx::{adapter::Adapter, graph::GraphIndex, metadata::Metadata, proto::NodeProto},
        own::OwnOutputs,
        refuse::Refusal,
    },
    preprocess::InputRule,
    types::ImageSize,
};

/// See the top of this file.
pub(super) struct YoloNas;

impl Family for YoloNas {
    fn name(&self) -> &'static str {
        "yolo-nas"
    }

    fn title(&self) -> &'static str {
        "YOLO-NAS"
    }

    fn input_rule(&self) -> InputRule {
        InputRule::default()
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, _: bool) -> Result<Option<HeadTensors>, Refusal> {
        let [first, second] = index.graph.output.as_slice() else { return Ok(None) };
        let behind = behind_layers(index, &[first.name(), second.name()]);
        let Some((bins, levels)) = behind.iter().find_map(|node| levels(index, node)) else { return Ok(None) };
        let mut sigmoids = behind.iter().filter(|node| node.op_type() == "Sigmoid");
        let (Some(sigmoid), None) = (sigmoids.next(), sigmoids.next()) else { return Ok(None) };
        let Some(logits) = sigmoid.input.first() else { return Ok(None) };
        let scores = [first, second].into_iter().find(|output| {
            index.skip_back(output.name(), SHAPE_ONLY) == sigmoid.output.first().map_or("", String::as_str)
        });
        let Some(scores) = scores else { return Ok(None) };
        let of_scores = dims(index, scores.name());
        let (Some(num_places), Some(num_classes)) = (fixed(of_scores.get(1)), fixed(of_scores.get(2))) else {
            return Ok(None);
        };

        let mut adapter = Adapter::new(index.graph);
        let logits = adapter.read(logits);
        let class_logits = adapter.transposed(&logits);
        let flat: Vec<String> = levels
            .iter()
            .map(|level| {
                let raw = adapter.read(level);
                adapter.reshaped(&raw, &[0, 4 * bins as i64, -1])
            })
            .collect();
        let box_values = adapter.joined(&flat, 2);
        Ok(Some(HeadTensors {
            kind: HeadKind::Yolov8Dfl,
            outputs: outputs(index),
            class_logits,
            box_values,
            boxes: BoxRule::Bins { reg_max: bins },
            num_classes,
            levels: Some(levels.len()),
            num_places: i64::try_from(num_places).ok(),
            adapter,
            logits: LogitSource::Raw,
            one_to_one: false,
            own: OwnOutputs::Dense,
            size_input: None,
        }))
    }

    fn places(&self, input: ImageSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<Places, Refusal> {
        strides::grid(input, tensors, metadata, 1).map(Places::Grid)
    }

    fn reference_boxes(&self, box_values: &[f32], head: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        Ok(reference::decode(box_values, head.reg_max(), &head.strides(), input))
    }
}

/// The bins of each level that a node joins, and their number, if it joins expected distances of several levels.
fn levels<'g>(index: &GraphIndex<'g>, join: &'g NodeProto) -> Option<(usize, Vec<&'g str>)> {
    if join.op_type() != "Concat" || join.input.len() < 2 {
        return None;
    }
    let mut bins = None;
    let level = |tensor: &'g String| {
        let expectation = index.producer(index.skip_back(tensor, SHAPE_ONLY))?;
        let count = expectation_bins(index, expectation).filter(|count| (2..=MAX_BINS).contains(count))?;
        if bins.replace(count).is_some_and(|before| before != count) {
            return None;
        }
        let softmax = index.producer(index.skip_back(expectation.input.first()?, &["Cast", "Identity"]))?;
        let input = (softmax.op_type() == "Softmax").then(|| softmax.input.first())??;
        // Softmax <- Transpose <- Reshape(B, 4, bins, h * w) <- bins of the level.
        let reshape = index.producer(index.skip_back(input, &["Cast", "Identity", "Transpose"]))?;
        (reshape.op_type() == "Reshape").then(|| reshape.input.first())?.map(String::as_str)
    };
    let levels = join.input.iter().map(level).collect::<Option<Vec<_>>>()?;
    Some((bins?, levels))
}
