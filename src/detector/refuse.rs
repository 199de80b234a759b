//! What is said of a model that cannot be a teacher: what was found, what is supported, what to change.

use super::onnx::{
    graph::{Dim, GraphIndex, declared, show_dims},
    metadata::Metadata,
};

/// Why a model is refused. The path is added where the error leaves the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What is in the file, as a full sentence.
    pub found: String,
    /// What the user can do, as a full sentence.
    pub remedy: String,
}

impl Refusal {
    pub fn new(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: remedy.into() }
    }
}

/// What every refusal of a head says is supported.
const SUPPORTED: &str =
    "Supported are detection exports of the YOLO families (v5 to v12, 26, X, NAS), DETR, RT-DETR, D-FINE and RF-DETR.";

/// What helps where a quantized head cannot be seen through.
pub(super) const USE_FLOAT: &str = "Use the float export as the teacher (yolo export model=... format=onnx), or quantize the convolutions only: onnxruntime.quantization.quantize_static(..., op_types_to_quantize=['Conv']).";

/// What helps where something was added behind the head, or changed in it.
pub(super) const EXPORT_AGAIN: &str = "Export the detector with its own project's export, without changes to its head (Ultralytics: yolo export model=... format=onnx).";

/// What helps where boxes were suppressed in the file, by project.
const WITHOUT_NMS: &str = "Export again without NMS: Ultralytics without nms=True; YOLOv7 with --grid, without --end2end; YOLO-NAS with postprocessing=False; `export()` without `nms=`.";

/// Refuses models that are known not to be plain detectors, each by its name.
pub(super) fn other_tasks(index: &GraphIndex<'_>, metadata: &Metadata) -> Result<(), Refusal> {
    let outputs = show_outputs(index);
    if let Some(task) = metadata.task.as_deref().filter(|task| *task != "detect") {
        let what = match task {
            "classify" => "an image classification model",
            "segment" => "an instance segmentation model",
            "semantic" => "a semantic segmentation model",
            "pose" => "a pose estimation model",
            "obb" => "an oriented-box detection model",
            "depth" => "a depth estimation model",
            _ => "not a detection model",
        };
        let found = format!("this is {what} (task {task:?} in its metadata) with outputs {outputs}. {SUPPORTED}");
        return Err(Refusal::new(found, "Export a detection model (yolo task=detect) and give that."));
    }
    if metadata.nms || index.graph.node.iter().any(|node| suppresses(node.op_type())) {
        let found = format!(
            "non-maximum suppression was exported with this model: its outputs {outputs} are final boxes, the logits of all \
             anchors are gone. {SUPPORTED}"
        );
        return Err(Refusal::new(found, WITHOUT_NMS));
    }
    let beside: Vec<&str> =
        index.graph.output.iter().map(|output| output.name()).filter(|name| is_other(name)).collect();
    if !beside.is_empty() {
        let found = format!(
            "this model gives {}: it is a segmentation or pose model, not a detector. Its outputs are {outputs}. {SUPPORTED}",
            beside.join(" and ")
        );
        return Err(Refusal::new(found, "Export a detection model and give that."));
    }
    Ok(())
}

/// Whether an operator suppresses boxes: ONNX's own (`NonMaxSuppression`) and the plug-ins of TensorRT (`EfficientNMS_TRT`).
fn suppresses(op: &str) -> bool {
    op == "NonMaxSuppression" || op.contains("NMS")
}

/// Whether an output of this name holds masks or points: so the projects name what a detector does not give.
fn is_other(name: &str) -> bool {
    let mut words = name.split(|letter: char| !letter.is_ascii_alphabetic()).map(str::to_ascii_lowercase);
    words.any(|word| word == "pose" || ["mask", "keypoint", "heatmap"].iter().any(|start| word.starts_with(start)))
}

/// Whether the one output is the best boxes of each image: corners, score, class.
pub(super) fn is_end_to_end(index: &GraphIndex<'_>) -> bool {
    matches!(output_dims(index).as_slice(), [_, _, Dim::Fixed(6)]) && ranks_anchors(index)
}

/// Whether the best of many are picked; the best one alone is how some exporters write "the best class".
fn ranks_anchors(index: &GraphIndex<'_>) -> bool {
    let best_alone = |k: &String| index.ints(k).as_deref() == Some(&[1]);
    index.graph.node.iter().any(|node| node.op_type() == "TopK" && !node.input.get(1).is_some_and(best_alone))
}

/// A head with an objectness.
pub(super) fn objectness(index: &GraphIndex<'_>) -> Refusal {
    if matches!(output_dims(index).as_slice(), [_, _]) {
        return outputs(index, "its outputs come from a Sigmoid alone");
    }
    Refusal::new(
        format!(
            "its outputs {} hold box, objectness and classes of each anchor, but neither as YOLOv5 and YOLOv7 nor as YOLOX \
             exports them. {SUPPORTED}",
            show_outputs(index)
        ),
        "Export it again with the project's own export, without NMS and without changes to the head.",
    )
}

/// A head that is not understood, with the reason; other known families are told by the shape of their output.
pub(super) fn outputs(index: &GraphIndex<'_>, why: &str) -> Refusal {
    let outputs = show_outputs(index);
    match output_dims(index).as_slice() {
        [_, _, Dim::Fixed(6)] if ranks_anchors(index) => Refusal::new(
            format!(
                "this is an end-to-end (NMS-free) export whose raw tensors were not found ({why}): its output {outputs} \
                 holds only the best boxes of each image. {SUPPORTED}"
            ),
            "Export again with the one-to-many head: yolo export model=... format=onnx end2end=False (in newest Ultralytics: leave nms out; nms=False asks for the NMS-free head).",
        ),
        [_, _] => Refusal::new(
            format!(
                "its one output {outputs} has one row of values per image, as an image classification model has. {SUPPORTED}"
            ),
            "Export a detection model (yolo task=detect) and give that.",
        ),
        [_, _, _, _] => Refusal::new(
            format!("its one output {outputs} has a value for each pixel, as a segmentation model has. {SUPPORTED}"),
            "Export a detection model and give that.",
        ),
        dims => {
            let form = match dims {
                [_, _, Dim::Fixed(6)] => ", in the form that DeepStream takes (corners, best score, best class)",
                [_, Dim::Fixed(anchors), Dim::Fixed(values)] if anchors > values => {
                    ", transposed (anchors before values)"
                }
                _ => "",
            };
            match &index.quantized {
                Some(how) => Refusal::new(
                    format!(
                        "this model is quantized ({how}), and its head was not recognised: {why}; its outputs are \
                         {outputs}{form}. {SUPPORTED}"
                    ),
                    USE_FLOAT,
                ),
                None => Refusal::new(
                    format!(
                        "this model's head was not recognised: {why}; its outputs are {outputs}{form}. {SUPPORTED}"
                    ),
                    EXPORT_AGAIN,
                ),
            }
        }
    }
}

/// The levels of YOLOv5 or YOLOv7 as they are, without boxes.
pub(super) fn raw_levels(index: &GraphIndex<'_>) -> Refusal {
    Refusal::new(
        format!(
            "its outputs {} are the raw tensors of each level, without boxes, as YOLOv5 and YOLOv7 give them before their \
             last step. {SUPPORTED}",
            show_outputs(index)
        ),
        "Export it with that step (YOLOv7: export.py --grid, without --end2end).",
    )
}

/// A graph that is not of the family that the user names.
pub(super) fn not_of_family(index: &GraphIndex<'_>, title: &str) -> Refusal {
    Refusal::new(
        format!("its head is not that of {title}, as `family=` says; its outputs are {}.", show_outputs(index)),
        "Leave `family=` out: the family is found in the graph.",
    )
}

/// A graph that several families could have.
pub(super) fn ambiguous<'n>(index: &GraphIndex<'_>, families: impl Iterator<Item = &'n str>) -> Refusal {
    let families = families.collect::<Vec<_>>().join(" or ");
    Refusal::new(
        format!("its outputs {} could be those of {families}.", show_outputs(index)),
        format!("Say which with `family=`: {families}."),
    )
}

/// The dimensions of the only output; none where there are several outputs or no declared shape.
fn output_dims(index: &GraphIndex<'_>) -> Vec<Dim> {
    match index.graph.output.as_slice() {
        [output] => declared(output).map(|(_, dims)| dims).unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// `output0 [1, 84, 8400]`
fn show_outputs(index: &GraphIndex<'_>) -> String {
    let show = |output| declared(output).map_or_else(|| "of unknown shape".to_owned(), |(_, dims)| show_dims(&dims));
    let shown: Vec<String> =
        index.graph.output.iter().take(8).map(|output| format!("{} {}", output.name(), show(output))).collect();
    shown.join(", ")
}
