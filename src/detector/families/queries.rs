//! What the families of queries share: transformers that answer so many learned queries, each with one box and a probability
//! of each class.

use super::{
    HeadTensors, LogitSource,
    parts::{outputs, source},
};
use crate::{
    cache::{HeadKind, Places},
    detector::{
        head::BoxRule,
        onnx::{
            adapter::{Adapter, Late},
            graph::GraphIndex,
            proto::NodeProto,
        },
        own::OwnOutputs,
        refuse::Refusal,
    },
    types::ImageSize,
};

/// What the box tensor of a head of queries holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryBoxes {
    /// Centre x, centre y, width, height as fractions of the input's sides.
    Fractions,
    /// x1, y1, x2, y2 in input pixels.
    CornersPx,
}

/// What the class tensor of a head of queries holds, with the number of classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryClasses {
    /// A logit of each class before its sigmoid.
    Sigmoid(usize),
    /// Logits before one softmax, and behind them that of "no object".
    SoftmaxAndNone(usize),
}

/// The tensors of a head of queries: class logits `[B, Q, C]` and boxes `[B, Q, 4]`, by their names in the graph.
pub(super) fn tensors(
    index: &GraphIndex<'_>,
    (class_logits, classes): (&str, QueryClasses),
    (boxes, form): (&str, QueryBoxes),
    num_queries: usize,
    own: OwnOutputs,
) -> HeadTensors {
    let mut adapter = Adapter::new(index.graph);
    let logits = adapter.read(class_logits);
    let (num_classes, logits, source) = match classes {
        QueryClasses::Sigmoid(count) => (count, logits, LogitSource::Raw),
        QueryClasses::SoftmaxAndNone(count) => {
            (count, adapter.logits_of_softmax(&logits, num_queries, count), LogitSource::Softmax)
        }
    };
    let class_logits = adapter.transposed(&logits);
    let boxes = adapter.read(boxes);
    let boxes = adapter.transposed(&boxes);
    let box_values = match form {
        QueryBoxes::Fractions => {
            let size = adapter.late(Late::Size);
            adapter.op("Mul", &[&boxes, &size])
        }
        QueryBoxes::CornersPx => adapter.centre_size(&boxes),
    };
    HeadTensors {
        kind: HeadKind::DetrSigmoid,
        outputs: outputs(index),
        class_logits,
        box_values,
        boxes: BoxRule::CentreSizePx,
        num_classes,
        levels: None,
        num_places: i64::try_from(num_queries).ok(),
        adapter,
        logits: source,
        one_to_one: true,
        own,
        size_input: None,
    }
}

/// As many places as queries.
///
/// # Errors
/// Where their number is not fixed.
pub(super) fn places(tensors: &HeadTensors) -> Result<Places, Refusal> {
    match tensors.num_places.and_then(|queries| usize::try_from(queries).ok()) {
        Some(queries @ 1..) => Ok(Places::Queries(queries)),
        _ => Err(dynamic_queries()),
    }
}

/// A head whose number of queries the file does not fix.
pub(super) fn dynamic_queries() -> Refusal {
    Refusal::new(
        "the number of queries of this model is not fixed in the file; a cache holds a fixed number of predictions of \
         each image.",
        "Export it again for one input size, without dynamic axes other than the batch.",
    )
}

/// The class logits and boxes of all queries behind the best of them: what TopK takes scores from, before the sigmoid, and
/// what the boxes are gathered from.
pub(super) fn behind_ranking<'g>(
    index: &GraphIndex<'g>,
    scores: &'g str,
    boxes: &'g str,
) -> Option<(&'g str, &'g str)> {
    let top = source(index, scores).filter(|node| node.op_type() == "TopK")?;
    let sigmoid = source(index, top.input.first()?).filter(|node| node.op_type() == "Sigmoid")?;
    let gather = index.producer(index.skip_back(boxes, &["Cast", "Identity"]));
    let gather = gather.filter(|node| node.op_type().starts_with("Gather"))?;
    Some((sigmoid.input.first()?, gather.input.first()?))
}

/// The number of queries: how many places of the encoder are picked for them. D-FINE picks a few of each distribution as
/// well, so the largest pick counts; `None` where one is computed.
pub(super) fn picked_queries(index: &GraphIndex<'_>, class_logits: &str) -> Option<usize> {
    let nodes = index.walk_back(&[class_logits], |_| true);
    let picks = nodes.into_iter().filter(|node| node.op_type() == "TopK");
    let count = |pick: &NodeProto| match index.ints(pick.input.get(1)?)?.as_slice() {
        [count] => usize::try_from(*count).ok().filter(|count| *count > 0),
        _ => None,
    };
    picks.map(count).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// The number of classes: the width of the last linear layer before the logits, the widest where several are added.
pub(super) fn linear_width(index: &GraphIndex<'_>, class_logits: &str) -> Option<usize> {
    const PASSED: &[&str] =
        &["Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Unsqueeze"];
    let last = |name: &String| index.constant(name)?.dims.last().copied().and_then(|size| usize::try_from(size).ok());
    let bias = |node: &NodeProto| node.input.iter().find_map(last).filter(|_| node.op_type() == "Add");
    let nodes = index.walk_back(&[class_logits], |node| {
        PASSED.contains(&node.op_type()) || (node.op_type() == "Add" && bias(node).is_none())
    });
    let width = |node: &&NodeProto| match node.op_type() {
        "Add" => bias(node),
        // A second matrix that is transposed has its width first; a bias tells it in any case.
        "Gemm" => node.input.get(2).and_then(last),
        "MatMul" => node.input.get(1).and_then(last),
        _ => None,
    };
    nodes.iter().filter_map(width).max()
}

/// Whether the network samples features where its queries point to: that of RT-DETR, D-FINE and RF-DETR does.
pub(super) fn is_deformable(index: &GraphIndex<'_>) -> bool {
    index.has_op("GridSample")
}

/// Boxes of queries lie anywhere; what can be told is whether they are centres and sizes in input pixels.
///
/// # Errors
/// What they look like instead.
pub(super) fn plausible_boxes(boxes: &[f32], input: ImageSize) -> Result<Vec<f32>, String> {
    let rows: Vec<&[f32]> = boxes.chunks_exact((boxes.len() / 4).max(1)).collect();
    let [xs, ys, widths, heights] = rows.as_slice() else { return Err("it gives no boxes".to_owned()) };
    let near = |values: &[f32], side: u32| values.iter().all(|v| (-0.5..=1.5).contains(&(v / side as f32)));
    if !near(xs, input.width) || !near(ys, input.height) {
        return Err("the centres of its boxes do not lie in the input".to_owned());
    }
    if !widths.iter().chain(*heights).all(|side| *side >= 0.0) {
        return Err("some of its boxes have a negative width or height".to_owned());
    }
    let corners = xs.iter().zip(*widths).all(|(x, w)| w > x) && ys.iter().zip(*heights).all(|(y, h)| h > y);
    if corners && xs.len() > 1 {
        return Err("its boxes look like corners (x1, y1, x2, y2); expected are centre and size".to_owned());
    }
    Ok(boxes.to_vec())
}
