//! The columns of the two kinds of files: one table from which the Parquet schema, the published schema and the reader's
//! column numbers come.

use crate::types::{LogitType, Store};
use parquet::{
    errors::ParquetError,
    schema::{parser::parse_message_type, types::TypePtr},
};
use serde::{Deserialize, Serialize};
use std::{ffi::OsStr, path::Path, sync::Arc};

/// Most values that one row's list may hold (classes, DFL bins of four sides).
pub const MAX_LIST_LEN: usize = 1 << 16;
/// Most values that a byte can tell apart.
pub const MAX_CODES: usize = 256;
/// Most strides that a head may have.
pub const MAX_STRIDES: usize = 16;

/// Which of a part's two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// One row per image and view.
    Images,
    /// One row per kept anchor.
    Predictions,
}

/// How a column's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// INT32, 4 bytes a value.
    I32,
    /// INT64, 8 bytes a value.
    I64,
    /// FLOAT, 4 bytes a value.
    F32,
    /// BOOLEAN, a bit a value.
    Bool,
    /// STRING of any length: 4 bytes of length, then UTF-8.
    Text,
    /// STRING of 64 lowercase hexadecimal digits: 68 bytes a value.
    Digest,
    /// LIST of FLOAT16: a value for each class, or none at all.
    ClassLogits,
    /// LIST of FLOAT16, the same number of values in every row.
    DflLogits,
    /// LIST of STRUCT of a class id and a box.
    Labels,
}

/// How the values of a column lie in a file that can be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Value after value.
    Plain,
    /// A byte of each value: its place in a dictionary of at most [`MAX_CODES`].
    Codes,
    /// A dictionary and runs, as the `parquet` crate writes them: small, but not for the mapped reader.
    Runs,
}

/// One column and what it means.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// How its values are stored.
    pub kind: Kind,
    /// Unit of its values; empty where they have none.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
}

const fn column(name: &'static str, kind: Kind, unit: &'static str, meaning: &'static str) -> Column {
    Column { name, kind, unit, meaning }
}

/// Bytes of a prediction in a file that can be mapped, without the structure of its lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowBytes {
    /// Its columns beside the logits.
    pub scalars: u64,
    /// A class logit.
    pub class_logit: u64,
    /// A DFL logit.
    pub dfl_logit: u64,
}

impl RowBytes {
    /// Of a cache with this type of logits and number of classes. Columns of runs take next to nothing.
    pub fn of(logits: LogitType, num_classes: usize) -> Self {
        let bytes = |(leaf, column): (usize, &Column)| match Table::Predictions.form(leaf, logits, num_classes) {
            Form::Runs => 0,
            Form::Codes => 1,
            Form::Plain => match column.kind {
                Kind::I64 => 8,
                Kind::ClassLogits | Kind::DflLogits => 2,
                _ => 4,
            },
        };
        let mut columns = PREDICTIONS.iter().enumerate().map(bytes);
        let scalars = columns.by_ref().take(predictions::CLASS_LOGITS).sum();
        Self { scalars, class_logit: columns.next().unwrap_or(2), dfl_logit: columns.next().unwrap_or(2) }
    }
}

/// Columns of `images/*.parquet`: one row per image and view, ordered by (image_id, view).
pub const IMAGES: &[Column] = &[
    column("image_id", Kind::I64, "", "position in the data set's sorted sample list"),
    column("view", Kind::I32, "", "0 for the image as it is"),
    column("path", Kind::Text, "", "the image file, relative to the data set"),
    column("width", Kind::I32, "pixels", "width after EXIF orientation"),
    column("height", Kind::I32, "pixels", "height after EXIF orientation"),
    column("file_sha256", Kind::Digest, "", "SHA-256 of the image file"),
    column("record_sha256", Kind::Digest, "", "digest of everything here and in predictions but the labels"),
    column("labels_sha256", Kind::Digest, "", "digest of the labels"),
    column("scale", Kind::F32, "input pixels per pixel", "letterbox: x_input = x * scale + pad_left"),
    column("pad_left", Kind::F32, "input pixels", "letterbox: grey columns at the left"),
    column("pad_top", Kind::F32, "input pixels", "letterbox: grey rows at the top"),
    column("view_scale", Kind::F32, "", "view: x_view = x_input * view_scale + view_offset_x, before the mirror"),
    column("view_offset_x", Kind::F32, "input pixels", "view: where the letterbox's left edge lies"),
    column("view_offset_y", Kind::F32, "input pixels", "view: where its top edge lies"),
    column("view_flip", Kind::Bool, "", "view: left and right changed places"),
    column("view_hue", Kind::F32, "circles", "view: change of the hue"),
    column("view_saturation", Kind::F32, "", "view: relative change of the saturation"),
    column("view_value", Kind::F32, "", "view: relative change of the value"),
    column("first_row", Kind::I64, "rows", "where the image's rows begin in the same part's predictions"),
    column("row_count", Kind::I32, "rows", "how many rows it has there"),
    column(
        "first_class_row",
        Kind::I64,
        "rows",
        "how many rows of the same part with class logits come before its own",
    ),
    column("class_row_count", Kind::I32, "rows", "how many of its rows have class logits: those of the highest scores"),
    column("dropped_max_score", Kind::F32, "probability", "highest class probability of the anchors not kept"),
    column("dropped_mean_prob", Kind::F32, "probability", "mean class probability over the anchors not kept"),
    column(
        "rest_mean_prob",
        Kind::F32,
        "probability",
        "mean probability of the other classes in its rows without class logits",
    ),
    column("labelled", Kind::Bool, "", "whether the image has labels, be they none"),
    column("label_count", Kind::I32, "", "length of labels"),
    column("labels", Kind::Labels, "pixels", "ground truth: class_id of the teacher, x1, y1, x2, y2"),
];

/// Columns of `predictions/*.parquet`: one row per kept anchor, ordered by (image_id, view, anchor).
pub const PREDICTIONS: &[Column] = &[
    column("image_id", Kind::I64, "", "the image"),
    column("view", Kind::I32, "", "its view"),
    column("anchor", Kind::I32, "", "flattened grid index over the strides in their order, row major"),
    column("stride", Kind::I32, "input pixels", "size of the anchor's grid cell"),
    column("score", Kind::F32, "probability", "highest class probability"),
    column("class_id", Kind::I32, "", "class of that probability"),
    column("x1", Kind::F32, "pixels", "left edge of the box"),
    column("y1", Kind::F32, "pixels", "top edge"),
    column("x2", Kind::F32, "pixels", "right edge, exclusive"),
    column("y2", Kind::F32, "pixels", "bottom edge, exclusive"),
    column("class_logits", Kind::ClassLogits, "logit", "one per class, before the sigmoid; empty in rows without"),
    column(
        "dfl_logits",
        Kind::DflLogits,
        "logit",
        "left, top, right, bottom, each of reg_max bins, before the softmax",
    ),
];

/// Leaf numbers of [`IMAGES`] in the Parquet file; a LIST of STRUCT has a leaf per field.
pub mod images {
    #![allow(missing_docs)]
    pub const IMAGE_ID: usize = 0;
    pub const VIEW: usize = 1;
    pub const PATH: usize = 2;
    pub const WIDTH: usize = 3;
    pub const HEIGHT: usize = 4;
    pub const FILE_SHA256: usize = 5;
    pub const RECORD_SHA256: usize = 6;
    pub const LABELS_SHA256: usize = 7;
    pub const SCALE: usize = 8;
    pub const PAD_LEFT: usize = 9;
    pub const PAD_TOP: usize = 10;
    pub const VIEW_SCALE: usize = 11;
    pub const VIEW_OFFSET_X: usize = 12;
    pub const VIEW_OFFSET_Y: usize = 13;
    pub const VIEW_FLIP: usize = 14;
    pub const VIEW_HUE: usize = 15;
    pub const VIEW_SATURATION: usize = 16;
    pub const VIEW_VALUE: usize = 17;
    pub const FIRST_ROW: usize = 18;
    pub const ROW_COUNT: usize = 19;
    pub const FIRST_CLASS_ROW: usize = 20;
    pub const CLASS_ROW_COUNT: usize = 21;
    pub const DROPPED_MAX_SCORE: usize = 22;
    pub const DROPPED_MEAN_PROB: usize = 23;
    pub const REST_MEAN_PROB: usize = 24;
    pub const LABELLED: usize = 25;
    pub const LABEL_COUNT: usize = 26;
    /// class_id, x1, y1, x2, y2 follow one another.
    pub const LABELS: usize = 27;
}

/// Leaf numbers of [`PREDICTIONS`] in the Parquet file.
pub mod predictions {
    #![allow(missing_docs)]
    pub const IMAGE_ID: usize = 0;
    pub const VIEW: usize = 1;
    pub const ANCHOR: usize = 2;
    pub const STRIDE: usize = 3;
    pub const SCORE: usize = 4;
    pub const CLASS_ID: usize = 5;
    pub const X1: usize = 6;
    pub const Y1: usize = 7;
    pub const X2: usize = 8;
    pub const Y2: usize = 9;
    pub const CLASS_LOGITS: usize = 10;
    pub const DFL_LOGITS: usize = 11;
}

impl Table {
    /// The table's columns; predictions lack `dfl_logits` where it is not stored.
    pub fn columns(self, store: Store) -> &'static [Column] {
        match (self, store) {
            (Table::Images, _) => IMAGES,
            (Table::Predictions, Store::All) => PREDICTIONS,
            (Table::Predictions, Store::Cls) => &PREDICTIONS[..predictions::DFL_LOGITS],
        }
    }

    /// The kind of every leaf, in order.
    pub fn leaves(self, store: Store) -> Vec<Kind> {
        let of = |c: &Column| vec![c.kind; if c.kind == Kind::Labels { 5 } else { 1 }];
        self.columns(store).iter().flat_map(of).collect()
    }

    /// How the values of a leaf lie in a mapped file, by the type of its logits and the number of classes.
    pub fn form(self, leaf: usize, logits: LogitType, num_classes: usize) -> Form {
        match (self, logits, leaf) {
            (Table::Images, ..) | (_, LogitType::Float16, _) => Form::Plain,
            (_, _, predictions::IMAGE_ID | predictions::VIEW) => Form::Runs,
            (_, _, predictions::CLASS_ID) if num_classes > MAX_CODES => Form::Plain,
            (_, _, predictions::STRIDE | predictions::CLASS_ID) => Form::Codes,
            (_, LogitType::Bits8Dfl, predictions::CLASS_LOGITS) => Form::Plain,
            (_, _, predictions::CLASS_LOGITS | predictions::DFL_LOGITS) => Form::Codes,
            _ => Form::Plain,
        }
    }

    /// Name of the folder that holds the table's files.
    pub fn folder(self) -> &'static str {
        match self {
            Table::Images => "images",
            Table::Predictions => "predictions",
        }
    }

    /// The Parquet schema as text, in the notation of the Parquet format's documentation.
    pub fn message_type(self, store: Store) -> String {
        let fields: String = self.columns(store).iter().map(|c| c.kind.field(c.name)).collect();
        format!("message {} {{\n{fields}}}\n", self.folder())
    }

    /// The Parquet schema.
    ///
    /// # Errors
    /// Never with the tables of this file.
    pub fn schema(self, store: Store) -> Result<TypePtr, ParquetError> {
        parse_message_type(&self.message_type(store)).map(Arc::new)
    }
}

/// What the user of a cache at `folder` (absolute) must know where a part of that path is
/// `<column>=value`: DuckDB takes such parts for columns, in upper or lower case, and then shows
/// that value instead of the file's.
pub fn hidden_by_path(folder: &Path) -> Option<String> {
    let columns = || IMAGES.iter().chain(PREDICTIONS);
    let hides = |part: &OsStr| {
        let (key, value) = part.to_str()?.split_once('=')?;
        let column = columns().find(|column| column.name.eq_ignore_ascii_case(key))?;
        (!value.contains('=')).then(|| format!("{key}={value} (column {})", column.name))
    };
    let hidden: Vec<String> = folder.iter().filter_map(hides).collect();
    (!hidden.is_empty()).then(|| {
        format!(
            "the path of the cache has the part {}: DuckDB takes it for the value of that column in every row; read \
             with hive_partitioning = false (docs/format.md), or choose another --out",
            hidden.join(", ")
        )
    })
}

impl Kind {
    /// The type as the documentation and the published schema show it.
    pub fn type_name(self) -> &'static str {
        match self {
            Kind::I32 => "INT32",
            Kind::I64 => "INT64",
            Kind::F32 => "FLOAT",
            Kind::Bool => "BOOLEAN",
            Kind::Text => "STRING",
            Kind::Digest => "STRING of 64 hexadecimal digits",
            Kind::ClassLogits => "LIST<FLOAT16> of num_classes or none",
            Kind::DflLogits => "LIST<FLOAT16> of 4 x reg_max",
            Kind::Labels => "LIST<STRUCT<class_id INT32, x1 FLOAT, y1 FLOAT, x2 FLOAT, y2 FLOAT>>",
        }
    }

    fn field(self, name: &str) -> String {
        let primitive = |kind: &str| format!("  REQUIRED {kind} {name};\n");
        let annotated = |kind: &str, logical: &str| format!("  REQUIRED {kind} {name} ({logical});\n");
        let list = |element: &str| {
            format!("  REQUIRED GROUP {name} (LIST) {{\n    REPEATED GROUP list {{\n{element}    }}\n  }}\n")
        };
        match self {
            Kind::I32 => primitive("INT32"),
            Kind::I64 => primitive("INT64"),
            Kind::F32 => primitive("FLOAT"),
            Kind::Bool => primitive("BOOLEAN"),
            Kind::Text | Kind::Digest => annotated("BYTE_ARRAY", "STRING"),
            Kind::ClassLogits | Kind::DflLogits => list("      REQUIRED FIXED_LEN_BYTE_ARRAY (2) element (FLOAT16);\n"),
            Kind::Labels => {
                let edges: String = ["x1", "y1", "x2", "y2"].map(|e| format!("        REQUIRED FLOAT {e};\n")).concat();
                list(&format!("      REQUIRED GROUP element {{\n        REQUIRED INT32 class_id;\n{edges}      }}\n"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::schema::types::SchemaDescriptor;

    #[test]
    fn bytes_of_a_row_are_those_of_the_format() {
        let of = |logits, num_classes| {
            let bytes = RowBytes::of(logits, num_classes);
            [bytes.scalars, bytes.class_logit, bytes.dfl_logit]
        };
        assert_eq!(of(LogitType::Float16, 80), [44, 2, 2]);
        assert_eq!(of(LogitType::Bits8Dfl, 80), [26, 2, 1]);
        assert_eq!(of(LogitType::Bits8, 80), [26, 1, 1]);
        assert_eq!(of(LogitType::Bits8, 300), [29, 1, 1]);
    }

    #[test]
    fn leaf_numbers_name_the_columns_they_say() {
        let leaf = |table: Table, at: usize| {
            SchemaDescriptor::new(table.schema(Store::All).unwrap()).column(at).path().string()
        };
        for (at, column) in IMAGES.iter().enumerate().take(images::LABELS) {
            assert_eq!(leaf(Table::Images, at), column.name);
        }
        assert_eq!(leaf(Table::Images, images::LABELS), "labels.list.element.class_id");
        assert_eq!(leaf(Table::Images, images::LABELS + 4), "labels.list.element.y2");
        for (at, column) in PREDICTIONS.iter().enumerate().take(predictions::CLASS_LOGITS) {
            assert_eq!(leaf(Table::Predictions, at), column.name);
        }
        assert_eq!(leaf(Table::Predictions, predictions::DFL_LOGITS), "dfl_logits.list.element");
        use images as i;
        let named = [
            (i::IMAGE_ID, "image_id"),
            (i::VIEW, "view"),
            (i::PATH, "path"),
            (i::WIDTH, "width"),
            (i::HEIGHT, "height"),
            (i::FILE_SHA256, "file_sha256"),
            (i::RECORD_SHA256, "record_sha256"),
            (i::LABELS_SHA256, "labels_sha256"),
            (i::SCALE, "scale"),
            (i::PAD_LEFT, "pad_left"),
            (i::PAD_TOP, "pad_top"),
            (i::VIEW_SCALE, "view_scale"),
            (i::VIEW_OFFSET_X, "view_offset_x"),
            (i::VIEW_OFFSET_Y, "view_offset_y"),
            (i::VIEW_FLIP, "view_flip"),
            (i::VIEW_HUE, "view_hue"),
            (i::VIEW_SATURATION, "view_saturation"),
            (i::VIEW_VALUE, "view_value"),
            (i::FIRST_ROW, "first_row"),
            (i::ROW_COUNT, "row_count"),
            (i::FIRST_CLASS_ROW, "first_class_row"),
            (i::CLASS_ROW_COUNT, "class_row_count"),
            (i::DROPPED_MAX_SCORE, "dropped_max_score"),
            (i::DROPPED_MEAN_PROB, "dropped_mean_prob"),
            (i::REST_MEAN_PROB, "rest_mean_prob"),
            (i::LABELLED, "labelled"),
            (i::LABEL_COUNT, "label_count"),
            (i::LABELS, "labels"),
        ];
        for (at, name) in named {
            assert_eq!(IMAGES[at].name, name);
        }
        use predictions as p;
        let named = [
            (p::IMAGE_ID, "image_id"),
            (p::VIEW, "view"),
            (p::ANCHOR, "anchor"),
            (p::STRIDE, "stride"),
            (p::SCORE, "score"),
            (p::CLASS_ID, "class_id"),
            (p::X1, "x1"),
            (p::Y1, "y1"),
            (p::X2, "x2"),
            (p::Y2, "y2"),
            (p::CLASS_LOGITS, "class_logits"),
            (p::DFL_LOGITS, "dfl_logits"),
        ];
        for (at, name) in named {
            assert_eq!(PREDICTIONS[at].name, name);
        }
    }

    #[test]
    fn parts_of_a_path_that_hide_a_column_are_named() {
        let hidden = |path: &str| hidden_by_path(Path::new(path));
        for path in [
            "/runs/model=v8n/cache",
            "/xclass_id=3",
            "/class_id",
            "/ class_id=3",
            "/p=class_id=4",
            "/class_id=a=b",
            "/=",
        ] {
            assert_eq!(hidden(path), None, "{path}");
        }
        for column in IMAGES.iter().chain(PREDICTIONS) {
            let told = hidden(&format!("/runs/{}=7/cache", column.name)).unwrap();
            assert!(told.contains(&format!("{}=7 (column {})", column.name, column.name)), "{told}");
        }
        assert!(
            hidden("/Score=0.5/IMAGE_ID=5").unwrap().contains("Score=0.5 (column score), IMAGE_ID=5 (column image_id)")
        );
        assert!(hidden("/class_id=/c").is_some());
    }

    #[test]
    fn every_leaf_has_a_kind() {
        for store in [Store::All, Store::Cls] {
            for table in [Table::Images, Table::Predictions] {
                let schema = SchemaDescriptor::new(table.schema(store).unwrap());
                assert_eq!(schema.num_columns(), table.leaves(store).len());
            }
        }
    }
}
