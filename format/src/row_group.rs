//! The columns of a row group under construction, and how they are written.

use super::{
    archive,
    codebook::Codebook,
    columns::{Form, ImageRows, Leaf, RowBytes, Shape},
    digest::ImageDigests,
    pages::{self, PageValues},
    record::RowCounts,
    table_file::RowGroupWriter,
};
use crate::{ImageRecord, rows_with_class_logits, types::LogitType};
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

/// Logits as they will lie in the file: looked up once, when they come.
enum LogitColumn {
    Float16 {
        values: Vec<f16>,
        /// Of an archive: its float16 values must be those of the book all the same.
        book: Option<&'static Codebook>,
    },
    Codes {
        codes: Vec<u8>,
        book: &'static Codebook,
    },
}

impl LogitColumn {
    fn new(book: Option<&'static Codebook>, archive: bool) -> Self {
        match book.filter(|_| !archive) {
            Some(book) => Self::Codes { codes: Vec::new(), book },
            None => Self::Float16 { values: Vec::new(), book },
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Float16 { values, .. } => values.len(),
            Self::Codes { codes, .. } => codes.len(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Float16 { values, .. } => values.clear(),
            Self::Codes { codes, .. } => codes.clear(),
        }
    }

    /// The first logit that has no code, where it should have one.
    fn push(&mut self, logits: &[f16]) -> Result<(), f16> {
        match self {
            Self::Float16 { values, book } => {
                let unknown = book.and_then(|book| logits.iter().find(|logit| book.code(**logit).is_none()));
                values.extend_from_slice(logits);
                unknown.map_or(Ok(()), |logit| Err(*logit))
            }
            Self::Codes { codes, book } => {
                for &logit in logits {
                    codes.push(book.code(logit).ok_or(logit)?);
                }
                Ok(())
            }
        }
    }

    /// Writes it as lists of these lengths.
    fn write(
        &self,
        group: &mut RowGroupWriter<'_>,
        column: ColumnDescPtr,
        lengths: &[usize],
        archive: bool,
    ) -> Result<()> {
        match self {
            Self::Float16 { values, .. } => {
                let bytes = little_endian(values.iter().copied());
                match archive {
                    true => archive::write_float16_lists(group, &bytes, lengths),
                    false => pages::write_lists(group, column, PageValues::Plain { bytes: &bytes, width: 2 }, lengths),
                }
            }
            Self::Codes { codes, book } => {
                let dictionary = little_endian(book.values());
                let values = PageValues::Codes { codes, dictionary: &dictionary, entries: dictionary.len() / 2 };
                pages::write_lists(group, column, values, lengths)
            }
        }
    }
}

/// Columns of `predictions`.
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
    class_logits: LogitColumn,
    dfl_logits: LogitColumn,
    archive: bool,
}

impl PredictionsBlock {
    /// An empty block of a cache whose logits are of this type; `archive`: all columns are written value after value.
    pub fn new(logits: LogitType, archive: bool) -> Self {
        Self {
            image_id: Vec::new(),
            view: Vec::new(),
            anchor: Vec::new(),
            stride: Vec::new(),
            score: Vec::new(),
            class_id: Vec::new(),
            edges: Default::default(),
            has_class_logits: Vec::new(),
            class_logits: LogitColumn::new(Codebook::of_class(logits), archive),
            dfl_logits: LogitColumn::new(Codebook::of_dfl(logits), archive),
            archive,
        }
    }

    /// Rows in the block.
    pub fn len(&self) -> usize {
        self.image_id.len()
    }

    /// About how many bytes its values take as float16.
    pub fn bytes(&self) -> usize {
        let row = RowBytes::of(LogitType::Float16, 0);
        let scalars = self.len() * row.scalars as usize;
        scalars + self.class_logits.len() * row.class_logit as usize + self.dfl_logits.len() * row.dfl_logit as usize
    }

    /// Appends the rows of an image.
    ///
    /// # Errors
    /// The first logit that is none of those that the cache's type of logits can have; the block is then of no use.
    pub fn push(&mut self, record: &ImageRecord, num_classes: usize) -> Result<(), f16> {
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
        self.class_logits.push(&p.class_logits)?;
        self.dfl_logits.push(&p.dfl_logits)
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

    /// Writes every column.
    pub fn write(&self, group: &mut RowGroupWriter<'_>, schema: &SchemaDescriptor, shape: &Shape) -> Result<()> {
        let classes: Vec<i32> = (0..shape.class_len as i32).collect();
        let [x1, y1, x2, y2] = &self.edges;
        for (at, column) in shape.predictions().enumerate() {
            let form = if self.archive { Form::Plain } else { shape.form_of(column.leaf) };
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
                    self.class_logits.write(group, schema.column(at), &lengths, self.archive)?;
                }
                Leaf::dfl_logits => {
                    let lengths = vec![shape.dfl_len; self.len()];
                    self.dfl_logits.write(group, schema.column(at), &lengths, self.archive)?;
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
