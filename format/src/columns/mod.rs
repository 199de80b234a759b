//! The columns of the two kinds of files. Each is declared once, in `images` and `predictions`: schema, writer, reader, digest and
//! the published schema follow.

mod images;
pub mod predictions;

pub use images::{Cells, IMAGES, ImageRow, ImageRows, Leaf as ImageLeaf};
pub use predictions::{Leaf, Needs, PREDICTIONS};

use crate::{head::HeadKind, types::LogitType};
use parquet::{
    errors::ParquetError,
    schema::{parser::parse_message_type, types::TypePtr},
};
use serde::{Deserialize, Serialize};
use std::{ffi::OsStr, path::Path, sync::Arc};

/// Most values that a byte can tell apart.
pub const MAX_CODES: usize = 256;

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
    /// Whether the digest of a record covers it.
    pub hashed: bool,
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
        let shape = Shape { logits, class_len: num_classes, ..Shape::default() };
        let bytes = |column: &predictions::PredictionColumn| match shape.form_of(column.leaf) {
            Form::Runs => 0,
            Form::Codes => 1,
            Form::Plain => match column.column.kind {
                Kind::I64 => 8,
                Kind::ClassLogits | Kind::DflLogits => 2,
                _ => 4,
            },
        };
        let is_list =
            |column: &&predictions::PredictionColumn| matches!(column.column.kind, Kind::ClassLogits | Kind::DflLogits);
        let scalars = PREDICTIONS.iter().filter(|column| !is_list(column)).map(bytes).sum();
        let logit = |leaf: Leaf| if shape.form_of(leaf) == Form::Codes { 1 } else { 2 };
        Self { scalars, class_logit: logit(Leaf::class_logits), dfl_logit: logit(Leaf::dfl_logits) }
    }

    /// Digests, place and numbers of an image or view in the images' file, beside its path.
    pub const PER_IMAGE: u64 = 420;

    /// About how many bytes so many rows take in a file, some of them with class logits: values and the structure of their lists.
    pub fn of_rows(&self, rows: f64, class_rows: f64, class_len: usize, dfl_len: usize) -> f64 {
        let list = |len: usize, width: u64| (len as u64 * width + len.div_ceil(8).min(6) as u64) as f64;
        rows * (self.scalars as f64 + list(dfl_len, self.dfl_logit)) + class_rows * list(class_len, self.class_logit)
    }
}

/// What decides which columns the files of a cache have and how their values lie there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The kind of head: whether predictions stand on a grid, and what their logits mean.
    pub head: HeadKind,
    /// Values per row of `class_logits`: the number of classes.
    pub class_len: usize,
    /// Values per row of `dfl_logits`; 0 where they are not stored.
    pub dfl_len: usize,
    /// How logits are stored.
    pub logits: LogitType,
    /// The strides of the grid.
    pub strides: Vec<i32>,
}

impl Default for Shape {
    /// With every column, of the Ultralytics heads for COCO.
    fn default() -> Self {
        Self {
            head: HeadKind::Yolov8Dfl,
            class_len: 80,
            dfl_len: 64,
            logits: LogitType::Float16,
            strides: vec![8, 16, 32],
        }
    }
}

impl Shape {
    /// The columns of a table, in the order of the file.
    pub fn columns(&self, table: Table) -> Vec<&'static Column> {
        match table {
            Table::Images => IMAGES.iter().collect(),
            Table::Predictions => self.predictions().map(|column| &column.column).collect(),
        }
    }

    /// The columns of predictions that are there.
    pub(crate) fn predictions(&self) -> impl Iterator<Item = &'static predictions::PredictionColumn> {
        let (grid, dfl) = (self.head.is_on_grid(), self.dfl_len > 0);
        PREDICTIONS.iter().filter(move |column| match column.needs {
            Needs::Nothing => true,
            Needs::Grid => grid,
            Needs::Dfl => dfl,
        })
    }

    /// The leaf number of a column of predictions; of one that is not there, the number that it would have.
    pub fn leaf(&self, leaf: Leaf) -> usize {
        self.predictions().take_while(|column| (column.leaf as usize) < leaf as usize).count()
    }

    /// The kind of every leaf, in order.
    pub fn leaves(&self, table: Table) -> Vec<Kind> {
        let of = |c: &Column| vec![c.kind; if c.kind == Kind::Labels { 5 } else { 1 }];
        self.columns(table).into_iter().flat_map(of).collect()
    }

    /// How the values of each leaf lie in a mapped file.
    pub fn forms(&self, table: Table) -> Vec<Form> {
        match table {
            Table::Images => vec![Form::Plain; self.leaves(table).len()],
            Table::Predictions => self.predictions().map(|column| self.form_of(column.leaf)).collect(),
        }
    }

    /// How the values of a column of predictions lie in a mapped file.
    pub fn form_of(&self, leaf: Leaf) -> Form {
        match (self.logits, leaf) {
            (LogitType::Float16, _) => Form::Plain,
            (_, Leaf::image_id | Leaf::view) => Form::Runs,
            (_, Leaf::class_id) if self.class_len > MAX_CODES => Form::Plain,
            (_, Leaf::stride | Leaf::class_id) => Form::Codes,
            (LogitType::Bits8Dfl, Leaf::class_logits) => Form::Plain,
            (_, Leaf::class_logits | Leaf::dfl_logits) => Form::Codes,
            _ => Form::Plain,
        }
    }

    /// Bytes of the dictionary of each leaf of codes.
    pub fn dictionary_bytes(&self, table: Table) -> Vec<usize> {
        match table {
            Table::Images => vec![0; self.leaves(table).len()],
            Table::Predictions => self
                .predictions()
                .map(|column| match column.leaf {
                    Leaf::stride => 4 * self.strides.len(),
                    Leaf::class_id => 4 * self.class_len,
                    _ => 2 * MAX_CODES,
                })
                .collect(),
        }
    }

    /// The Parquet schema as text, in the notation of the Parquet format's documentation.
    pub fn message_type(&self, table: Table) -> String {
        let fields: String = self.columns(table).into_iter().map(|c| c.kind.field(c.name)).collect();
        format!("message {} {{\n{fields}}}\n", table.folder())
    }

    /// The Parquet schema.
    ///
    /// # Errors
    /// Never with the columns of this format.
    pub fn schema(&self, table: Table) -> Result<TypePtr, ParquetError> {
        parse_message_type(&self.message_type(table)).map(Arc::new)
    }
}

impl Table {
    /// Name of the folder that holds the table's files.
    pub fn folder(self) -> &'static str {
        match self {
            Table::Images => "images",
            Table::Predictions => "predictions",
        }
    }
}

/// What the user of a cache at `folder` (absolute) must know where a part of that path is
/// `<column>=value`: DuckDB takes such parts for columns, in upper or lower case, and then shows
/// that value instead of the file's.
pub fn hidden_by_path(folder: &Path) -> Option<String> {
    let columns = || IMAGES.iter().chain(PREDICTIONS.iter().map(|column| &column.column));
    let hides = |part: &OsStr| {
        let (key, value) = part.to_str()?.split_once('=')?;
        let column = columns().find(|column| column.name.eq_ignore_ascii_case(key))?;
        (!value.contains('=')).then(|| format!("{key}={value} (column {})", column.name))
    };
    let hidden: Vec<String> = folder.iter().filter_map(hides).collect();
    (!hidden.is_empty()).then(|| {
        format!(
            "the path of the cache has the part {}: DuckDB takes it for the value of that column in every row; read \
             with hive_partitioning = false (docs/format.md), or choose another `out=`",
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
        let full = Shape::default();
        for shape in [
            full.clone(),
            Shape { dfl_len: 0, ..full.clone() },
            Shape { head: HeadKind::DetrSigmoid, dfl_len: 0, ..full.clone() },
            Shape { head: HeadKind::DetrSigmoid, ..full },
        ] {
            let leaf = |table: Table, at: usize| {
                SchemaDescriptor::new(shape.schema(table).unwrap()).column(at).path().string()
            };
            for (at, column) in IMAGES.iter().enumerate().take(ImageLeaf::labels as usize) {
                assert_eq!(leaf(Table::Images, at), column.name);
            }
            assert_eq!(leaf(Table::Images, ImageLeaf::labels as usize), "labels.list.element.class_id");
            assert_eq!(leaf(Table::Images, ImageLeaf::labels as usize + 4), "labels.list.element.y2");
            for column in shape.predictions() {
                let path = leaf(Table::Predictions, shape.leaf(column.leaf));
                assert_eq!(path.split('.').next(), Some(column.column.name));
                assert_eq!(format!("{:?}", column.leaf), column.column.name);
            }
            assert_eq!(shape.forms(Table::Predictions).len(), shape.leaves(Table::Predictions).len());
            assert_eq!(shape.dictionary_bytes(Table::Predictions).len(), shape.leaves(Table::Predictions).len());
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
        for column in IMAGES.iter().chain(PREDICTIONS.iter().map(|column| &column.column)) {
            let told = hidden(&format!("/runs/{}=7/cache", column.name)).unwrap();
            assert!(told.contains(&format!("{}=7 (column {})", column.name, column.name)), "{told}");
        }
        assert!(
            hidden("/Score=0.5/IMAGE_ID=5").unwrap().contains("Score=0.5 (column score), IMAGE_ID=5 (column image_id)")
        );
        assert!(hidden("/class_id=/c").is_some());
    }
}
