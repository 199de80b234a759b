//! YOLOX as its own project exports it: `[B, N, 5 + C]` of box, objectness, classes, both after their sigmoids. The boxes are
//! offsets in cells and logarithms of sizes, or, exported with `--decode_in_inference`, centre and size in input pixels.
//! Images stand at the top left corner, blue, green, red, 0 to 255.
//!
//! ```text
//! of each level: box [B, 4, h, w], Sigmoid(objectness), Sigmoid(classes) ── Concat ── Reshape ─┐
//!                                                              all levels: Concat ── Transpose ┴─ (decode) ── output
//! ```

use super::{
    Family, HeadTensors, LogitSource,
    parts::{SHAPE_ONLY, behind_layers, dims, fixed, only_output, outputs},
    yolov8::{reference, strides},
};
use crate::{
    cache::{HeadKind, Places},
    detector::{
        head::{BoxRule, HeadSpec},
        onnx::{
            adapter::{Adapter, Late},
            graph::{GraphIndex, attribute_int},
            metadata::Metadata,
            proto::NodeProto,
        },
        own::OwnOutputs,
        refuse::Refusal,
    },
    preprocess::{Colours, Fit, InputRule, InputValues},
    types::ImageSize,
};

/// See the top of this file.
pub(super) struct YoloX;

/// Raw tensors of a level.
struct Level<'g> {
    boxes: &'g str,
    objectness: &'g str,
    classes: &'g str,
}

impl Family for YoloX {
    fn name(&self) -> &'static str {
        "yolox"
    }

    fn title(&self) -> &'static str {
        "YOLOX"
    }

    fn input_rule(&self) -> InputRule {
        InputRule { fit: Fit::TopLeft, colours: Colours::Bgr, values: InputValues::Levels }
    }

    fn find(&self, index: &GraphIndex<'_>, _: &Metadata, _: bool) -> Result<Option<HeadTensors>, Refusal> {
        let Some(output) = only_output(index) else { return Ok(None) };
        let behind = behind_layers(index, &[output]);
        let Some(levels) = behind.iter().find_map(|node| levels(index, node)) else { return Ok(None) };
        let of_output = dims(index, output);
        let own = |at: usize| fixed(of_output.get(at));
        let computed = levels.first().and_then(|level| index.channels(level.classes));
        let Some(num_classes) = computed.or_else(|| own(2)?.checked_sub(5)) else { return Ok(None) };
        let decoded = behind.iter().any(|node| node.op_type() == "Exp");

        let mut adapter = Adapter::new(index.graph);
        let mut join = |of_levels: Vec<&str>, channels: i64| {
            let flat = of_levels.into_iter().map(|tensor| {
                let raw = adapter.read(tensor);
                adapter.reshaped(&raw, &[0, channels, -1])
            });
            let flat: Vec<String> = flat.collect();
            adapter.joined(&flat, 2)
        };
        let objectness = join(levels.iter().map(|level| level.objectness).collect(), 1);
        let classes = join(levels.iter().map(|level| level.classes).collect(), num_classes as i64);
        let raw = join(levels.iter().map(|level| level.boxes).collect(), 4);
        let class_logits = adapter.logit_of_product(&objectness, &classes);
        let (corners, strides) = (adapter.late(Late::CellCorners), adapter.late(Late::Strides));
        let (offsets, logs) = (adapter.channels(&raw, 0, 2), adapter.channels(&raw, 2, 4));
        let centres = adapter.op("Add", &[&offsets, &corners]);
        let sizes = adapter.op("Exp", &[&logs]);
        let cells = adapter.joined(&[centres, sizes], 1);
        let box_values = adapter.op("Mul", &[&cells, &strides]);
        Ok(Some(HeadTensors {
            kind: HeadKind::Yolov8Direct,
            outputs: outputs(index),
            class_logits,
            box_values,
            boxes: BoxRule::CentreSizePx,
            num_classes,
            levels: Some(levels.len()),
            num_places: own(1).and_then(|places| i64::try_from(places).ok()),
            adapter,
            logits: LogitSource::Joint,
            one_to_one: false,
            own: OwnOutputs::Objectness { decoded },
            size_input: None,
        }))
    }

    fn places(&self, input: ImageSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<Places, Refusal> {
        strides::grid(input, tensors, metadata, 1).map(Places::Grid)
    }

    fn reference_boxes(&self, box_values: &[f32], head: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String> {
        reference::plausible_boxes(box_values, &head.strides(), input)?;
        Ok(box_values.to_vec())
    }
}

/// The levels that a node joins, if it joins levels of a YOLOX head.
fn levels<'g>(index: &GraphIndex<'g>, join: &'g NodeProto) -> Option<Vec<Level<'g>>> {
    if join.op_type() != "Concat" || join.input.len() < 2 {
        return None;
    }
    join.input.iter().map(|input| level(index, input)).collect()
}

fn level<'g>(index: &GraphIndex<'g>, tensor: &'g str) -> Option<Level<'g>> {
    let join = index.producer(index.skip_back(tensor, SHAPE_ONLY))?;
    let is_level = join.op_type() == "Concat" && attribute_int(join, "axis") == Some(1);
    let [boxes, objectness, classes] = join.input.as_slice() else { return None };
    let logits = |tensor: &'g String| {
        let sigmoid = index.producer(index.skip_back(tensor, &["Cast", "Identity"]))?;
        (sigmoid.op_type() == "Sigmoid").then(|| sigmoid.input.first())?.map(String::as_str)
    };
    let level = Level { boxes, objectness: logits(objectness)?, classes: logits(classes)? };
    (is_level && index.channels(level.objectness).is_none_or(|channels| channels == 1)).then_some(level)
}
