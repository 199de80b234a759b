//! Which strides a head of the family has.

use crate::{
    cache::Grid,
    detector::{families::HeadTensors, onnx::metadata::Metadata, refuse::Refusal},
    types::ImageSize,
};

/// Sets of strides that heads of the family have (plain, P2, P6), in the order their anchors are joined.
const STRIDES: [&[u32]; 3] = [&[8, 16, 32], &[4, 8, 16, 32], &[8, 16, 32, 64]];

/// The grid of a head with so many boxes in each cell, checked against everything that the model says of strides and anchors.
pub fn grid(size: ImageSize, tensors: &HeadTensors, metadata: &Metadata, of_a_cell: usize) -> Result<Grid, Refusal> {
    let repeated =
        |strides: &[u32]| strides.iter().flat_map(|&s| std::iter::repeat_n(s, of_a_cell)).collect::<Vec<_>>();
    let count = |strides: &[u32]| Grid::new(size, &repeated(strides)).num_anchors();
    let divides = |strides: &[u32]| {
        strides.last().is_some_and(|last| size.height.is_multiple_of(*last) && size.width.is_multiple_of(*last))
    };
    let levels = |strides: &[u32]| tensors.levels.is_none_or(|levels| levels == strides.len());
    let coarsest = |strides: &[u32]| metadata.stride.is_none_or(|stride| strides.last() == Some(&stride));
    let as_declared =
        |strides: &[u32]| tensors.num_places.is_none_or(|anchors| usize::try_from(anchors) == Ok(count(strides)));

    let mut fitting = STRIDES.into_iter().filter(|strides| levels(strides) && coarsest(strides));
    let Some(first) = fitting.clone().next() else {
        let levels = tensors.levels.map_or_else(|| "an unknown number of".to_owned(), |levels| levels.to_string());
        let stride = metadata.stride.map_or_else(|| "unknown".to_owned(), |stride| stride.to_string());
        return Err(Refusal::new(
            format!(
                "its head has {levels} feature levels and a coarsest stride of {stride}; supported are strides 8, 16, 32, with 4 or 64 added."
            ),
            "Use a teacher with one of these sets of strides.",
        ));
    };
    if !STRIDES.iter().any(|strides| levels(strides) && coarsest(strides) && divides(strides)) {
        let last = first.last().copied().unwrap_or(32);
        return Err(Refusal::new(
            format!(
                "an input of {} x {} pixels (height x width) is not a multiple of the coarsest stride, {last}.",
                size.height, size.width
            ),
            format!("Use an `imgsz=` that is a multiple of {last}."),
        ));
    }
    match fitting.find(|strides| divides(strides) && as_declared(strides)) {
        Some(strides) => Ok(Grid::new(size, &repeated(strides))),
        None => Err(Refusal::new(
            format!(
                "its output has {} anchors, but strides {first:?} at {} x {} pixels give {}.",
                tensors.num_places.unwrap_or_default(),
                size.height,
                size.width,
                count(first)
            ),
            "Supported are heads with strides 8, 16, 32 (with 4 or 64 added) and one anchor per cell (three in YOLOv5 and YOLOv7); use such a teacher.",
        )),
    }
}
