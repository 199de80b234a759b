//! The columns of `predictions`, declared once, and which of them a cache has. Writer and digest match on [`Leaf`], so a
//! column that is added here and nowhere else does not compile.

use super::{Column, Kind};

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

macro_rules! prediction_columns {
    ($($name:ident: $kind:ident, $needs:ident, $hashed:literal, $unit:literal, $meaning:literal;)*) => {
        /// The columns, in the order of the Parquet file where all of them are there. `Shape::leaf` gives the leaf number.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Leaf {
            $(#[doc = $meaning] $name,)*
        }

        /// Columns of `predictions/*.parquet`: one row per kept prediction, ordered by (image_id, view, anchor).
        pub const PREDICTIONS: &[PredictionColumn] = &[$(PredictionColumn {
            leaf: Leaf::$name,
            needs: Needs::$needs,
            column: Column {
                name: stringify!($name),
                kind: Kind::$kind,
                unit: $unit,
                meaning: $meaning,
                hashed: $hashed,
            },
        },)*];
    };
}

// name: kind, what it needs, whether the record's digest covers it (image and view are in it once, with the columns of
// `images`), unit, meaning;
prediction_columns! {
    image_id: I64, Nothing, false, "", "the image";
    view: I32, Nothing, false, "", "its view";
    anchor: I32, Nothing, true, "", "flattened grid index over the strides in their order, row major; of a head of queries, the query's number";
    stride: I32, Grid, true, "input pixels", "size of the anchor's grid cell; not there for a head of queries";
    score: F32, Nothing, true, "probability", "highest class probability";
    class_id: I32, Nothing, true, "", "class of that probability";
    x1: F32, Nothing, true, "pixels", "left edge of the box";
    y1: F32, Nothing, true, "pixels", "top edge";
    x2: F32, Nothing, true, "pixels", "right edge, exclusive";
    y2: F32, Nothing, true, "pixels", "bottom edge, exclusive";
    class_logits: ClassLogits, Nothing, true, "logit", "one per class, before the sigmoid; empty in rows without";
    dfl_logits: DflLogits, Dfl, true, "logit", "left, top, right, bottom, each of reg_max bins, before the softmax";
}
