//! The columns of `images`, declared once: what they are called and mean, the row that holds their values, how they are
//! written, read and hashed follow from the list in this file.

use super::{Column, Kind};
use crate::{
    digest::{Sha256Bytes, to_hex},
    table_file::RowGroupWriter,
};
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, FloatType, Int32Type, Int64Type},
    errors::Result as ParquetResult,
};
use sha2::{Digest as _, Sha256};

/// Where a row's values come from: a mapped file, or a batch of the Arrow reader. Columns are named twice, by leaf number and
/// by name; an implementation uses what it has.
pub trait Cells<'a> {
    /// A value of an INT64 column.
    fn i64(&self, leaf: usize, name: &str) -> Result<i64, String>;
    /// A value of an INT32 column.
    fn i32(&self, leaf: usize, name: &str) -> Result<i32, String>;
    /// A value of a FLOAT column.
    fn f32(&self, leaf: usize, name: &str) -> Result<f32, String>;
    /// A value of a BOOLEAN column.
    fn bool(&self, leaf: usize, name: &str) -> Result<bool, String>;
    /// A value of a STRING column.
    fn text(&self, leaf: usize, name: &str) -> Result<&'a str, String>;
    /// A value of a STRING column of digests.
    fn digest(&self, leaf: usize, name: &str) -> Result<Sha256Bytes, String>;
}

/// A value as a record's digest covers it (`docs/format.md`, "Digests").
trait Hashed {
    fn update(&self, hash: &mut Sha256);
}

impl Hashed for i64 {
    fn update(&self, hash: &mut Sha256) {
        hash.update(self.to_le_bytes());
    }
}

impl Hashed for i32 {
    fn update(&self, hash: &mut Sha256) {
        hash.update(self.to_le_bytes());
    }
}

impl Hashed for f32 {
    fn update(&self, hash: &mut Sha256) {
        hash.update(self.to_le_bytes());
    }
}

impl Hashed for bool {
    fn update(&self, hash: &mut Sha256) {
        hash.update([u8::from(*self)]);
    }
}

impl Hashed for &str {
    fn update(&self, hash: &mut Sha256) {
        hash.update((self.len() as u32).to_le_bytes());
        hash.update(self.as_bytes());
    }
}

impl Hashed for Sha256Bytes {
    fn update(&self, hash: &mut Sha256) {
        hash.update(self);
    }
}

/// The type of a column's value in a row.
macro_rules! value {
    ($life:lifetime I64) => (i64);
    ($life:lifetime I32) => (i32);
    ($life:lifetime F32) => (f32);
    ($life:lifetime Bool) => (bool);
    ($life:lifetime Text) => (&$life str);
    ($life:lifetime Digest) => (Sha256Bytes);
}

/// The type of a column's value while it waits to be written.
macro_rules! stored {
    (I64) => {
        i64
    };
    (I32) => {
        i32
    };
    (F32) => {
        f32
    };
    (Bool) => {
        bool
    };
    (Text) => {
        ByteArray
    };
    (Digest) => {
        ByteArray
    };
}

macro_rules! to_stored {
    (Text, $value:expr) => {
        ByteArray::from($value)
    };
    (Digest, $value:expr) => {
        ByteArray::from(to_hex(&$value).into_bytes())
    };
    ($kind:ident, $value:expr) => {
        $value
    };
}

macro_rules! parquet_type {
    (I64) => {
        Int64Type
    };
    (I32) => {
        Int32Type
    };
    (F32) => {
        FloatType
    };
    (Bool) => {
        BoolType
    };
    (Text) => {
        ByteArrayType
    };
    (Digest) => {
        ByteArrayType
    };
}

macro_rules! read {
    (I64, $cells:expr, $leaf:expr, $name:expr) => {
        $cells.i64($leaf, $name)?
    };
    (I32, $cells:expr, $leaf:expr, $name:expr) => {
        $cells.i32($leaf, $name)?
    };
    (F32, $cells:expr, $leaf:expr, $name:expr) => {
        $cells.f32($leaf, $name)?
    };
    (Bool, $cells:expr, $leaf:expr, $name:expr) => {
        $cells.bool($leaf, $name)?
    };
    (Text, $cells:expr, $leaf:expr, $name:expr) => {
        $cells.text($leaf, $name)?
    };
    (Digest, $cells:expr, $leaf:expr, $name:expr) => {
        $cells.digest($leaf, $name)?
    };
}

macro_rules! image_columns {
    ($($name:ident: $kind:ident, $hashed:literal, $unit:literal, $meaning:literal;)*) => {
        /// Leaf numbers of the columns in the Parquet file. Of `labels` it is the first: class_id, x1, y1, x2, y2 follow one
        /// another.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy)]
        pub enum Leaf {
            $(#[doc = $meaning] $name,)*
            /// Ground truth.
            labels,
        }

        /// Columns of `images/*.parquet`: one row per image and view, ordered by (image_id, view).
        pub const IMAGES: &[Column] = &[
            $(Column { name: stringify!($name), kind: Kind::$kind, unit: $unit, meaning: $meaning, hashed: $hashed },)*
            Column {
                name: "labels",
                kind: Kind::Labels,
                unit: "pixels",
                meaning: "ground truth: class_id of the teacher, x1, y1, x2, y2",
                hashed: false,
            },
        ];

        /// The values of one row of `images` but its labels.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct ImageRow<'a> {
            $(#[doc = $meaning] pub $name: value!('a $kind),)*
        }

        impl<'a> ImageRow<'a> {
            /// The row whose values `cells` gives.
            ///
            /// # Errors
            /// What `cells` gives, in words.
            pub fn read(cells: &impl Cells<'a>) -> Result<Self, String> {
                Ok(Self { $($name: read!($kind, cells, Leaf::$name as usize, stringify!($name)),)* })
            }

            /// Adds what a record's digest covers, in the order of the columns.
            pub fn update_digest(&self, hash: &mut Sha256) {
                $(if $hashed { Hashed::update(&self.$name, hash); })*
            }
        }

        /// Rows of `images` that wait to be written, column by column.
        #[derive(Default)]
        pub struct ImageRows {
            $($name: Vec<stored!($kind)>,)*
        }

        impl ImageRows {
            /// Adds a row.
            pub fn push(&mut self, row: &ImageRow<'_>) {
                $(self.$name.push(to_stored!($kind, row.$name));)*
            }

            /// Empties the columns; their memory is used again.
            pub fn clear(&mut self) {
                $(self.$name.clear();)*
            }

            /// Writes every column.
            ///
            /// # Errors
            /// What the writer gives.
            pub fn write(&self, group: &mut RowGroupWriter<'_>) -> ParquetResult<()> {
                $(crate::row_group::write::<parquet_type!($kind)>(group, &self.$name)?;)*
                Ok(())
            }
        }
    };
}

// name: kind, whether the record's digest covers it, unit, meaning;
image_columns! {
    image_id: I64, true, "", "position in the data set's sorted sample list";
    view: I32, true, "", "0 for the image as it is";
    path: Text, true, "", "the image file, relative to the data set";
    width: I32, true, "pixels", "width after EXIF orientation";
    height: I32, true, "pixels", "height after EXIF orientation";
    file_sha256: Digest, true, "", "SHA-256 of the image file";
    record_sha256: Digest, false, "", "digest of everything here and in predictions but the labels";
    labels_sha256: Digest, false, "", "digest of the labels";
    scale: F32, true, "input pixels per pixel", "letterbox: x_input = x * scale + pad_left";
    pad_left: F32, true, "input pixels", "letterbox: grey columns at the left";
    pad_top: F32, true, "input pixels", "letterbox: grey rows at the top";
    view_scale: F32, true, "", "view: x_view = x_input * view_scale + view_offset_x, before the mirror";
    view_offset_x: F32, true, "input pixels", "view: where the letterbox's left edge lies";
    view_offset_y: F32, true, "input pixels", "view: where its top edge lies";
    view_flip: Bool, true, "", "view: left and right changed places";
    view_hue: F32, true, "circles", "view: change of the hue";
    view_saturation: F32, true, "", "view: relative change of the saturation";
    view_value: F32, true, "", "view: relative change of the value";
    first_row: I64, false, "rows", "where the image's rows begin in the same part's predictions";
    row_count: I32, true, "rows", "how many rows it has there";
    first_class_row: I64, false, "rows", "how many rows of the same part with class logits come before its own";
    class_row_count: I32, true, "rows", "how many of its rows have class logits: those of the highest scores";
    dropped_max_score: F32, true, "probability", "highest class probability of the anchors not kept";
    dropped_mean_prob: F32, true, "probability", "mean class probability over the anchors not kept";
    dropped_score_sum: F32, true, "probability", "sum of the highest class probabilities of the anchors not kept";
    rest_mean_prob: F32, true, "probability", "mean probability of the other classes in its rows without class logits";
    labelled: Bool, false, "", "whether the image is annotated; then it can still have no objects";
    label_count: I32, false, "", "length of labels";
}
