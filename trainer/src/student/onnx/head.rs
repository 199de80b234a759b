//! Behind the last convolutions: levels joined and decoded, as `Detect` does in evaluation, and
//! overlapping boxes suppressed where that is asked for.

use super::{
    graph::{Graph, Operand},
    options::NmsInside,
};
use crate::{
    cache::Grid,
    detector::BoxRule,
    student::net::{LevelOutput, StudentHead},
};

/// Classes are kept apart by moving the boxes of class `c` by `c` times this, as `logitcache::eval` does.
const CLASS_OFFSET_PX: f32 = 7680.0;

/// Boxes of every anchor, in input pixels, and the class probabilities.
pub(super) struct Decoded {
    /// `[B, 4, A]`: centre x, centre y, width, height.
    boxes: Operand,
    /// `[B, C, A]`.
    scores: Operand,
}

/// Joins the levels and decodes them. `grid` says where the anchors stand; `None`: the graph finds it
/// out from the sizes of its maps.
pub(super) fn decode(
    graph: &mut Graph<'_>,
    head: &StudentHead,
    levels: &[LevelOutput<Operand>],
    grid: Option<&Grid>,
) -> Decoded {
    let (centre, stride) = match grid {
        Some(grid) => fixed_places(graph, grid),
        None => free_places(graph, head, levels),
    };
    let class_logits = graph.join_levels("class_logits", levels.iter().map(|level| &level.class_logits));
    let box_values = levels.iter().map(|level| &level.box_values);
    let sides = match head.boxes {
        BoxRule::Bins { reg_max } => {
            let logits = graph.join_levels("dfl_logits", box_values);
            expectation(graph, &logits, reg_max, grid.map(Grid::num_anchors))
        }
        BoxRule::Distances | BoxRule::CentreSizePx => graph.join_levels("sides", box_values),
    };
    let [left_top, right_bottom] = graph.split_at("sides", &sides, 2);

    // dist2bbox with xywh: the centre lies half the difference of the sides from the cell's centre.
    let half = graph.floats("half", &[], vec![0.5]);
    let shift = graph.binary("Sub", "box_difference", &right_bottom, &left_top);
    let shift = graph.binary("Mul", "box_shift", &shift, &half);
    let centre = graph.binary("Add", "box_centre", &centre, &shift);
    let extent = graph.binary("Add", "box_extent", &left_top, &right_bottom);
    let boxes = graph.join("boxes_in_cells", &[&centre, &extent], 1);
    let boxes = graph.binary("Mul", "boxes_px", &boxes, &stride);
    let scores = graph.unary("Sigmoid", "class_probabilities", &class_logits);
    Decoded { boxes, scores }
}

/// `[B, 4 + C, A]`: an Ultralytics export's own output.
pub(super) fn plain(graph: &mut Graph<'_>, decoded: &Decoded) -> Operand {
    graph.join("output0", &[&decoded.boxes, &decoded.scores], 1)
}

/// `[B, max_det, 6]`: corners, score and class of the boxes that are left, best first, then rows of 0.
///
/// Each box has its best class alone. The suppression gives the places that are kept; in a table of all
/// places the others get the score 0, so that the best rows of every image of a batch are found at once.
pub(super) fn suppressed(graph: &mut Graph<'_>, decoded: &Decoded, nms: &NmsInside) -> Operand {
    let half = graph.floats("half", &[], vec![0.5]);
    let [centre, extent] = graph.split_at("boxes_px", &decoded.boxes, 2);
    let extent = graph.binary("Mul", "half_extent", &extent, &half);
    let first = graph.binary("Sub", "first_corner", &centre, &extent);
    let second = graph.binary("Add", "second_corner", &centre, &extent);
    let corners = graph.join("corners", &[&first, &second], 1);

    let [score, class] = graph.top("best_class", &decoded.scores, 1, 1);
    let class = graph.float_of("best_class_id", &class);
    let offset = graph.floats("class_offset", &[], vec![CLASS_OFFSET_PX]);
    let offset = graph.binary("Mul", "class_moved", &class, &offset);
    let apart = graph.binary("Add", "corners_apart", &corners, &offset);
    let apart = graph.transpose("corners_last", &apart, &[0, 2, 1]);
    let kept = graph.non_max_suppression("kept", [&apart, &score], nms);

    let nothing = graph.floats("nothing", &[], vec![0.0]);
    let no_score = graph.binary("Mul", "no_score", &score, &nothing);
    let kept_score = graph.binary("GatherND", "kept_score", &score, &kept);
    let score = graph.ternary("ScatterND", "score_or_nothing", [&no_score, &kept, &kept_score]);
    let rows = graph.join("rows", &[&corners, &score, &class], 1);
    // Small inputs have fewer places than the output has rows.
    let [rows, score] =
        [("rows_padded", &rows), ("score_padded", &score)].map(|(name, x)| graph.pad_end(name, x, nms.max_det));
    let [score, best] = graph.top("best_rows", &score, nms.max_det, 2);
    let best = graph.join("best_places", &[&best; 6], 1);
    let rows = graph.gather_elements("rows_of_best", &rows, &best);
    let is_kept = graph.unary("Sign", "is_kept", &score);
    let rows = graph.binary("Mul", "rows_kept", &rows, &is_kept);
    graph.transpose("output0", &rows, &[0, 2, 1])
}

/// Centres `[1, 2, A]` and strides `[1, A]` of the cells as constants.
fn fixed_places(graph: &mut Graph<'_>, grid: &Grid) -> (Operand, Operand) {
    let anchors = grid.num_anchors();
    let cells: Vec<_> = (0..anchors).map(|anchor| grid.cell(anchor)).collect();
    let centre = cells.iter().map(|cell| cell.centre_x).chain(cells.iter().map(|cell| cell.centre_y)).collect();
    let centre = graph.floats("cell_centres", &[1, 2, anchors], centre);
    let stride = graph.floats("strides", &[1, anchors], cells.iter().map(|cell| cell.stride as f32).collect());
    (centre, stride)
}

/// The same, computed from the rows and columns of each level's map.
fn free_places(graph: &mut Graph<'_>, head: &StudentHead, levels: &[LevelOutput<Operand>]) -> (Operand, Operand) {
    let (mut centres, mut strides) = (Vec::new(), Vec::new());
    for (level, &stride) in levels.iter().zip(&head.strides) {
        let name = |part: &str| format!("stride_{stride}_{part}");
        let size = graph.map_size(&name("size"), &level.box_values);
        let [y, x] = [("y", 0), ("x", 1)].map(|(axis, at)| graph.cell_centres(&name(axis), &size, at));
        let [y, x] = [("ys", y, [-1, 1]), ("xs", x, [1, -1])].map(|(part, along, shape)| {
            let along = graph.reshape(&name(&format!("{part}_along")), &along, &shape);
            let cells = graph.binary("Expand", &name(&format!("{part}_of_cells")), &along, &size);
            graph.reshape(&name(part), &cells, &[1, 1, -1])
        });
        let nothing = graph.floats("nothing", &[], vec![0.0]);
        let value = graph.floats(&name("value"), &[], vec![stride as f32]);
        let zeros = graph.binary("Mul", &name("zeros"), &x, &nothing);
        strides.push(graph.binary("Add", &name("strides"), &zeros, &value));
        centres.push(graph.join(&name("centres"), &[&x, &y], 1));
    }
    let [centre, stride] = [("cell_centres", centres), ("strides", strides)]
        .map(|(name, parts)| graph.join(name, &parts.iter().collect::<Vec<_>>(), 2));
    (centre, stride)
}

/// The expectation of each side's bins, in cells. `anchors` where it is known.
fn expectation(graph: &mut Graph<'_>, dfl_logits: &Operand, reg_max: usize, anchors: Option<usize>) -> Operand {
    let (batch, anchors) = (graph.batch_dim(), anchors.map_or(-1, |anchors| anchors as i64));
    // Bins go last: runtimes turn any other softmax into one over the last dimension between two
    // transpositions.
    let bins = graph.reshape("dfl_bins", dfl_logits, &[batch, 4, reg_max as i64, anchors]);
    let bins = graph.transpose("dfl_bins_last", &bins, &[0, 1, 3, 2]);
    let bins = graph.softmax("dfl_softmax", &bins);
    let indices = graph.floats("dfl_bin_indices", &[reg_max, 1], (0..reg_max).map(|bin| bin as f32).collect());
    let sides = graph.binary("MatMul", "dfl_expectation", &bins, &indices);
    graph.reshape("sides", &sides, &[batch, 4, anchors])
}
