//! The columns of `predictions`, and which of them a cache has.

use super::{Column, Kind};

/// The columns, in the order of the Parquet file where all of them are there. `Shape::leaf` gives the leaf number.
#[allow(non_camel_case_types, missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    image_id,
    view,
    anchor,
    stride,
    score,
    class_id,
    x1,
    y1,
    x2,
    y2,
    class_logits,
    dfl_logits,
}

/// What a cache must have for a column to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: every cache has the column.
    Nothing,
    /// Predictions that stand on a grid.
    Grid,
    /// DFL logits that are stored.
    Dfl,
}

/// A column of predictions.
#[derive(Debug, Clone, Copy)]
pub struct PredictionColumn {
    /// Which one.
    pub leaf: Leaf,
    /// When it is there.
    pub needs: Needs,
    /// What it is.
    pub column: Column,
}

const fn column(
    leaf: Leaf,
    needs: Needs,
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    meaning: &'static str,
) -> PredictionColumn {
    // Image and view are in the record's digest once, with the columns of `images`.
    let hashed = !matches!(leaf, Leaf::image_id | Leaf::view);
    PredictionColumn { leaf, needs, column: Column { name, kind, unit, meaning, hashed } }
}

/// Columns of `predictions/*.parquet`: one row per kept prediction, ordered by (image_id, view, anchor).
pub const PREDICTIONS: [PredictionColumn; 12] = [
    column(Leaf::image_id, Needs::Nothing, "image_id", Kind::I64, "", "the image"),
    column(Leaf::view, Needs::Nothing, "view", Kind::I32, "", "its view"),
    column(
        Leaf::anchor,
        Needs::Nothing,
        "anchor",
        Kind::I32,
        "",
        "flattened grid index over the strides in their order, row major; of a head of queries, the query's number",
    ),
    column(
        Leaf::stride,
        Needs::Grid,
        "stride",
        Kind::I32,
        "input pixels",
        "size of the anchor's grid cell; not there for a head of queries",
    ),
    column(Leaf::score, Needs::Nothing, "score", Kind::F32, "probability", "highest class probability"),
    column(Leaf::class_id, Needs::Nothing, "class_id", Kind::I32, "", "class of that probability"),
    column(Leaf::x1, Needs::Nothing, "x1", Kind::F32, "pixels", "left edge of the box"),
    column(Leaf::y1, Needs::Nothing, "y1", Kind::F32, "pixels", "top edge"),
    column(Leaf::x2, Needs::Nothing, "x2", Kind::F32, "pixels", "right edge, exclusive"),
    column(Leaf::y2, Needs::Nothing, "y2", Kind::F32, "pixels", "bottom edge, exclusive"),
    column(
        Leaf::class_logits,
        Needs::Nothing,
        "class_logits",
        Kind::ClassLogits,
        "logit",
        "one per class, before the sigmoid; empty in rows without",
    ),
    column(
        Leaf::dfl_logits,
        Needs::Dfl,
        "dfl_logits",
        Kind::DflLogits,
        "logit",
        "left, top, right, bottom, each of reg_max bins, before the softmax",
    ),
];
