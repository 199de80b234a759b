//! The columns of a row group under construction, and how they are written.

use super::{
    archive,
    codebook::Codebook,
    columns::{Form, ImageRows, Leaf, Shape},
    digest::ImageDigests,
    pages::{self, PageValues},
    record::RowCounts,
    table_file::RowGroupWriter,
};
use crate::{ImageRecord, rows_with_class_logits};
use half::f16;
use parquet::{
    data_type::{DataType, FloatType, Int32Type, Int64Type},
    errors::{ParquetError, Result},
    file::statistics::Statistics,
    schema::types::{ColumnDescPtr, SchemaDescriptor},
};

/// Columns of `images`.
#[derive(Default)]
pub struct ImagesBlock {
    rows: ImageRows,
    label_count: Vec<usize>,
    label_class: Vec<i32>,
    /// x1, y1, x2, y2
    label_edges: [Vec<f32>; 4],
    text_bytes: usize,
}

impl ImagesBlock {
    /// Images in the block.
    pub fn len(&self) -> usize {
        self.label_count.len()
    }

    /// About how many bytes its values take.
    pub fn bytes(&self) -> usize {
        self.len() * (109 + 3 * 68) + self.text_bytes + self.label_class.len() * 20
    }

    /// Appends an image before whose rows the part has `before`.
    pub fn push(&mut self, record: &ImageRecord, digests: &ImageDigests, before: RowCounts, num_classes: usize) {
        self.rows.push(&record.row(digests, before, num_classes));
        let labels = record.labels.as_deref().unwrap_or_default();
        self.label_count.push(labels.len());
        for label in labels {
            self.label_class.push(label.class_id as i32);
            let b = &label.box_xyxy_px;
            for (column, value) in self.label_edges.iter_mut().zip([b.x1, b.y1, b.x2, b.y2]) {
                column.push(value);
            }
        }
        self.text_bytes += record.path.len();
    }

    /// Empties the block; its memory is used again.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.label_count.clear();
        self.label_class.clear();
        self.label_edges.iter_mut().for_each(Vec::clear);
        self.text_bytes = 0;
    }

    /// Writes every column.
    pub fn write(&self, group: &mut RowGroupWriter<'_>) -> Result<()> {
        self.rows.write(group)?;
        let (definition, repetition) = self.label_levels();
        let levels = Some((definition.as_slice(), repetition.as_slice()));
        write_leaf::<Int32Type>(group, &self.label_class, levels)?;
        for column in &self.label_edges {
            write_leaf::<FloatType>(group, column, levels)?;
        }
        Ok(())
    }

    /// Definition 1 for a label, 0 for an empty list; repetition 0 where a list begins.
    fn label_levels(&self) -> (Vec<i16>, Vec<i16>) {
        let (mut definition, mut repetition) = (Vec::new(), Vec::new());
        for &count in &self.label_count {
            definition.push(i16::from(count > 0));
            repetition.push(0);
            for _ in 1..count {
                definition.push(1);
                repetition.push(1);
            }
        }
        (definition, repetition)
    }
}

/// Columns of `predictions`.
#[derive(Default)]
pub struct PredictionsBlock {
    image_id: Vec<i64>,
    view: Vec<i32>,
    anchor: Vec<i32>,
    stride: Vec<i32>,
    score: Vec<f32>,
    class_id: Vec<i32>,
    /// x1, y1, x2, y2
    edges: [Vec<f32>; 4],
    has_class_logits: Vec<bool>,
    class_logits: Vec<f16>,
    dfl_logits: Vec<f16>,
}

impl PredictionsBlock {
    /// Rows in the block.
    pub fn len(&self) -> usize {
        self.image_id.len()
    }

    /// About how many bytes its values take as float16.
    pub fn bytes(&self) -> usize {
        self.len() * 44 + (self.class_logits.len() + self.dfl_logits.len()) * 2
    }

    /// Appends the rows of an image.
    pub fn push(&mut self, record: &ImageRecord, num_classes: usize) {
        let p = &record.predictions;
        let rows = self.len() + p.len();
        self.image_id.resize(rows, record.image_id);
        self.view.resize(rows, record.view);
        self.anchor.extend_from_slice(&p.anchor);
        self.stride.extend_from_slice(&p.stride);
        self.score.extend_from_slice(&p.score);
        self.class_id.extend_from_slice(&p.class_id);
        let [x1, y1, x2, y2] = &mut self.edges;
        x1.extend(p.boxes_xyxy_px.iter().map(|b| b.x1));
        y1.extend(p.boxes_xyxy_px.iter().map(|b| b.y1));
        x2.extend(p.boxes_xyxy_px.iter().map(|b| b.x2));
        y2.extend(p.boxes_xyxy_px.iter().map(|b| b.y2));
        self.has_class_logits.extend(rows_with_class_logits(&p.score, p.class_row_count(num_classes)));
        self.class_logits.extend_from_slice(&p.class_logits);
        self.dfl_logits.extend_from_slice(&p.dfl_logits);
    }

    /// Empties the block; its memory is used again.
    pub fn clear(&mut self) {
        self.image_id.clear();
        self.view.clear();
        self.anchor.clear();
        self.stride.clear();
        self.score.clear();
        self.class_id.clear();
        self.edges.iter_mut().for_each(Vec::clear);
        self.has_class_logits.clear();
        self.class_logits.clear();
        self.dfl_logits.clear();
    }

    /// Writes every column; of an archive, all of them value after value.
    pub fn write(
        &self,
        group: &mut RowGroupWriter<'_>,
        schema: &SchemaDescriptor,
        shape: &Shape,
        archive: bool,
    ) -> Result<()> {
        let classes: Vec<i32> = (0..shape.class_len as i32).collect();
        let [x1, y1, x2, y2] = &self.edges;
        for (at, column) in shape.predictions().enumerate() {
            let form = if archive { Form::Plain } else { shape.form_of(column.leaf) };
            let mut small = |values: &[i32], known: &[i32]| match form {
                Form::Codes => write_codes(group, schema.column(at), values, known),
                Form::Plain | Form::Runs => write::<Int32Type>(group, values),
            };
            match column.leaf {
                Leaf::image_id => write::<Int64Type>(group, &self.image_id)?,
                Leaf::view => small(&self.view, &[])?,
                Leaf::anchor => small(&self.anchor, &[])?,
                Leaf::stride => small(&self.stride, &shape.strides)?,
                Leaf::class_id => small(&self.class_id, &classes)?,
                Leaf::score => write::<FloatType>(group, &self.score)?,
                Leaf::x1 => write::<FloatType>(group, x1)?,
                Leaf::y1 => write::<FloatType>(group, y1)?,
                Leaf::x2 => write::<FloatType>(group, x2)?,
                Leaf::y2 => write::<FloatType>(group, y2)?,
                Leaf::class_logits => {
                    let length = |&has: &bool| usize::from(has) * shape.class_len;
                    let lengths: Vec<usize> = self.has_class_logits.iter().map(length).collect();
                    let book = (form == Form::Codes).then(Codebook::class);
                    write_logits(group, schema.column(at), (&self.class_logits, &lengths), book, archive)?;
                }
                Leaf::dfl_logits => {
                    let lengths = vec![shape.dfl_len; self.len()];
                    let book = (form == Form::Codes).then(Codebook::dfl);
                    write_logits(group, schema.column(at), (&self.dfl_logits, &lengths), book, archive)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes an INT32 column of few values as codes of `known`.
fn write_codes(group: &mut RowGroupWriter<'_>, descriptor: ColumnDescPtr, column: &[i32], known: &[i32]) -> Result<()> {
    let code = |wanted: &i32| known.iter().position(|value| value == wanted).and_then(|at| u8::try_from(at).ok());
    let codes = coded(column, code)?;
    let dictionary: Vec<u8> = known.iter().flat_map(|value| value.to_le_bytes()).collect();
    let values = PageValues::Codes { codes: &codes, dictionary: &dictionary, entries: known.len() };
    let (min, max) = (column.iter().min().copied(), column.iter().max().copied());
    pages::write_flat(group, descriptor, values, Statistics::int32(min, max, None, Some(0), false))
}

/// Writes a column of lists of logits, as codes of `book` where there is one.
fn write_logits(
    group: &mut RowGroupWriter<'_>,
    column: ColumnDescPtr,
    (logits, lengths): (&[f16], &[usize]),
    book: Option<&Codebook>,
    archive: bool,
) -> Result<()> {
    if archive {
        return archive::write_float16_lists(group, &little_endian(logits.iter().copied()), lengths);
    }
    let Some(book) = book else {
        let bytes = little_endian(logits.iter().copied());
        return pages::write_lists(group, column, PageValues::Plain { bytes: &bytes, width: 2 }, lengths);
    };
    let codes = coded(logits, |logit| book.code(*logit))?;
    let dictionary = little_endian(book.values());
    let values = PageValues::Codes { codes: &codes, dictionary: &dictionary, entries: dictionary.len() / 2 };
    pages::write_lists(group, column, values, lengths)
}

fn coded<T: std::fmt::Display>(values: &[T], code: impl Fn(&T) -> Option<u8>) -> Result<Vec<u8>> {
    let unknown = |value: &T| ParquetError::General(format!("{value} has no code"));
    values.iter().map(|value| code(value).ok_or_else(|| unknown(value))).collect()
}

fn little_endian(values: impl Iterator<Item = f16>) -> Vec<u8> {
    values.flat_map(f16::to_le_bytes).collect()
}

/// Writes a column without lists.
pub fn write<T: DataType>(group: &mut RowGroupWriter<'_>, values: &[T::T]) -> Result<()> {
    write_leaf::<T>(group, values, None)
}

fn write_leaf<T: DataType>(
    group: &mut RowGroupWriter<'_>,
    values: &[T::T],
    levels: Option<(&[i16], &[i16])>,
) -> Result<()> {
    let missing = || ParquetError::General("the schema has fewer columns than are written".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    let (definition, repetition) = levels.unzip();
    column.typed::<T>().write_batch(values, definition, repetition)?;
    column.close()
}
