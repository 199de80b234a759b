//! Export to ONNX in the form of an Ultralytics export: `images` `[1, 3, H, W]` in, `output0` `[1, 4 + C, A]` out (boxes as
//! centre x, centre y, width, height in input pixels, then class probabilities), batch normalisations fused, and the
//! metadata that Ultralytics reads. No libtorch is needed.

mod graph;
mod metadata;

use std::path::Path;

use prost::Message;

use self::graph::{Graph, Operand};
use super::{
    net::{LevelOutput, StudentHead},
    state::State,
    weights::{self, Description},
};
use crate::{
    Error, Result,
    cache::Grid,
    detector::{
        BoxRule,
        onnx::proto::{ModelProto, OperatorSetIdProto},
    },
    fsio,
    outputs::ONNX_PRODUCER,
    types::InputSize,
};

/// ONNX 1.12 (2022): what it adds to its forerunners is not used, and every runtime of today reads it.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// Writes the network as an ONNX file, atomically; the same state gives the same bytes.
///
/// # Errors
/// [`Error::Mismatch`] where a side of `imgsz` is no multiple of 32 up to 8192; [`Error::Io`] naming the file, which is then as it was.
///
/// # Panics
/// If there are not as many class names as classes.
pub fn export(path: impl AsRef<Path>, state: &State, description: &Description) -> Result<()> {
    let coarsest = state.net().head.coarsest_stride();
    let size = description.imgsz;
    if !size.is_possible(coarsest) {
        let most = InputSize::MOST_PX;
        return Err(Error::Mismatch {
            found: format!("an ONNX model for images of {} pixels is not possible", size.in_words()),
            remedy: format!(
                "Give a multiple of {coarsest} from {coarsest} to {most} as `imgsz=`, such as 640, or two, such as 480x640."
            ),
        });
    }
    Ok(fsio::write_atomic(path.as_ref(), &model(state, description).encode_to_vec())?)
}

/// [`export`] of a weights file. Class names and size are the file's own where it has them and none are given.
///
/// # Errors
/// Those of [`weights::load`] and [`export`]; [`Error::Mismatch`] where the file names no classes and none are given, or not as
/// many as its head has.
pub fn export_file(
    weights: impl AsRef<Path>,
    class_names: Option<Vec<String>>,
    imgsz: Option<InputSize>,
    out: impl AsRef<Path>,
) -> Result<()> {
    let path = weights.as_ref();
    let start = weights::load(path, None, 0)?;
    let own_size = start.description.as_ref().map(|own| own.imgsz);
    let class_names =
        class_names.or_else(|| start.description.map(|own| own.class_names)).ok_or_else(|| Error::Mismatch {
            found: format!("{} does not name its classes", path.display()),
            remedy: "Give their names in the order of the class ids: `names=`.".to_owned(),
        })?;
    let classes = start.state.net().num_classes;
    if class_names.len() != classes {
        return Err(Error::Mismatch {
            found: format!("{} has {classes} classes, {} names are given", path.display(), class_names.len()),
            remedy: "Give as many names as there are classes, in the order of the class ids.".to_owned(),
        });
    }
    let description = Description { class_names, imgsz: imgsz.or(own_size).unwrap_or(InputSize::square(640)) };
    export(out, &start.state, &description)
}

/// The model in memory.
fn model(state: &State, description: &Description) -> ModelProto {
    let net = state.net();
    assert_eq!(description.class_names.len(), net.num_classes, "one name per class");
    let size = description.imgsz;
    let mut graph = Graph::new(state);
    let images = graph.input("images", &[1, 3, size.height as usize, size.width as usize]);
    let levels = net.run(&mut graph, images);
    let grid = net.grid(size.into());
    let output = head(&mut graph, &net.head, &levels, &grid);
    let shape = [1, 4 + net.num_classes, grid.num_anchors()];
    ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        producer_name: Some(ONNX_PRODUCER.to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph.finish(&output, &shape)),
        metadata_props: metadata::entries(net, description),
        ..Default::default()
    }
}

/// Joins the levels and decodes them, as `Detect` does in evaluation: `output0`.
fn head(graph: &mut Graph<'_>, head: &StudentHead, levels: &[LevelOutput<Operand>], grid: &Grid) -> Operand {
    let anchors = grid.num_anchors();
    let cells: Vec<_> = (0..anchors).map(|anchor| grid.cell(anchor)).collect();
    let class_logits = graph.join_levels("class_logits", levels.iter().map(|level| &level.class_logits));
    let box_values = levels.iter().map(|level| &level.box_values);
    let sides = match head.boxes {
        BoxRule::Bins { reg_max } => {
            let logits = graph.join_levels("dfl_logits", box_values);
            expectation(graph, &logits, reg_max, anchors)
        }
        BoxRule::Distances | BoxRule::CentreSizePx => graph.join_levels("sides", box_values),
    };
    let [left_top, right_bottom] = graph.split("sides", &sides, 2);

    // dist2bbox with xywh: the centre lies half the difference of the sides from the cell's centre.
    let centre = cells.iter().map(|cell| cell.centre_x).chain(cells.iter().map(|cell| cell.centre_y)).collect();
    let centre = graph.floats("cell_centres", &[1, 2, anchors], centre);
    let half = graph.floats("half", &[], vec![0.5]);
    let stride = graph.floats("strides", &[1, anchors], cells.iter().map(|cell| cell.stride as f32).collect());
    let shift = graph.binary("Sub", "box_difference", &right_bottom, &left_top);
    let shift = graph.binary("Mul", "box_shift", &shift, &half);
    let centre = graph.binary("Add", "box_centre", &centre, &shift);
    let extent = graph.binary("Add", "box_extent", &left_top, &right_bottom);
    let boxes = graph.join("boxes_in_cells", &[&centre, &extent], 1);
    let boxes = graph.binary("Mul", "boxes_px", &boxes, &stride);
    let scores = graph.unary("Sigmoid", "class_probabilities", &class_logits);
    graph.join("output0", &[&boxes, &scores], 1)
}

/// The expectation of each side's bins, in cells.
fn expectation(graph: &mut Graph<'_>, dfl_logits: &Operand, reg_max: usize, anchors: usize) -> Operand {
    // Bins go last: runtimes turn any other softmax into one over the last dimension between two
    // transpositions.
    let bins = graph.reshape("dfl_bins", dfl_logits, &[1, 4, reg_max as i64, anchors as i64]);
    let bins = graph.transpose("dfl_bins_last", &bins, &[0, 1, 3, 2]);
    let bins = graph.softmax("dfl_softmax", &bins);
    let indices = graph.floats("dfl_bin_indices", &[reg_max, 1], (0..reg_max).map(|bin| bin as f32).collect());
    let sides = graph.binary("MatMul", "dfl_expectation", &bins, &indices);
    graph.reshape("sides", &sides, &[1, 4, anchors as i64])
}
