//! The columns of a row group under construction, and how they are written.

use super::{
    Manifest, archive,
    codebook::Codebook,
    columns::{Form, Table, predictions as leaves},
    digest::{ImageDigests, to_hex},
    pages::{self, PageValues},
    table_file::RowGroupWriter,
};
use crate::{
    ImageRecord, rows_with_class_logits,
    types::{LogitType, Store},
};
use half::f16;
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type},
    errors::{ParquetError, Result},
    file::statistics::Statistics,
    schema::types::SchemaDescriptor,
};

/// Rows of predictions.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowCounts {
    /// All of them.
    pub all: u64,
    /// Those with class logits.
    pub with_class_logits: u64,
}

/// Columns of `images`.
#[derive(Default)]
pub struct ImagesBlock {
    image_id: Vec<i64>,
    view: Vec<i32>,
    path: Vec<ByteArray>,
    width: Vec<i32>,
    height: Vec<i32>,
    /// file, record, labels
    digests: [Vec<ByteArray>; 3],
    /// scale, pad_left, pad_top
    letterbox: [Vec<f32>; 3],
    /// view_scale, view_offset_x, view_offset_y
    view_geometry: [Vec<f32>; 3],
    view_flip: Vec<bool>,
    /// view_hue, view_saturation, view_value
    view_colours: [Vec<f32>; 3],
    first_row: Vec<i64>,
    row_count: Vec<i32>,
    first_class_row: Vec<i64>,
    class_row_count: Vec<i32>,
    /// dropped_max_score, dropped_mean_prob, rest_mean_prob
    left_out: [Vec<f32>; 3],
    labelled: Vec<bool>,
    label_count: Vec<i32>,
    label_class: Vec<i32>,
    /// x1, y1, x2, y2
    label_edges: [Vec<f32>; 4],
    text_bytes: usize,
}

impl ImagesBlock {
    /// Images in the block.
    pub fn len(&self) -> usize {
        self.image_id.len()
    }

    /// About how many bytes its values take.
    pub fn bytes(&self) -> usize {
        self.len() * (105 + 3 * 68) + self.text_bytes + self.label_class.len() * 20
    }

    /// Appends an image before whose rows the part has `rows_before`, and of these with class logits.
    pub fn push(&mut self, record: &ImageRecord, digests: &ImageDigests, rows_before: RowCounts, num_classes: usize) {
        self.image_id.push(record.image_id);
        self.view.push(record.view);
        self.path.push(ByteArray::from(record.path.as_str()));
        self.width.push(record.size.width as i32);
        self.height.push(record.size.height as i32);
        for (column, digest) in self.digests.iter_mut().zip([digests.file, digests.record, digests.labels]) {
            column.push(ByteArray::from(to_hex(&digest).into_bytes()));
        }
        let l = &record.letterbox;
        for (column, value) in self.letterbox.iter_mut().zip([l.scale, l.pad_left, l.pad_top]) {
            column.push(value);
        }
        let c = &record.change;
        for (column, value) in self.view_geometry.iter_mut().zip([c.scale, c.offset_x, c.offset_y]) {
            column.push(value);
        }
        self.view_flip.push(c.flip);
        for (column, value) in self.view_colours.iter_mut().zip([c.hue, c.saturation, c.value]) {
            column.push(value);
        }
        self.first_row.push(rows_before.all as i64);
        self.row_count.push(record.predictions.len() as i32);
        self.first_class_row.push(rows_before.with_class_logits as i64);
        self.class_row_count.push(record.predictions.class_row_count(num_classes) as i32);
        let left_out = [record.dropped_max_score, record.dropped_mean_prob, record.rest_mean_prob];
        for (column, value) in self.left_out.iter_mut().zip(left_out) {
            column.push(value);
        }
        self.labelled.push(record.labels.is_some());
        let labels = record.labels.as_deref().unwrap_or_default();
        self.label_count.push(labels.len() as i32);
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
        let Self { image_id, view, path, width, height, digests, letterbox, first_row, row_count, .. } = self;
        image_id.clear();
        view.clear();
        path.clear();
        width.clear();
        height.clear();
        digests.iter_mut().for_each(Vec::clear);
        letterbox.iter_mut().for_each(Vec::clear);
        self.view_geometry.iter_mut().for_each(Vec::clear);
        self.view_flip.clear();
        self.view_colours.iter_mut().for_each(Vec::clear);
        first_row.clear();
        row_count.clear();
        self.first_class_row.clear();
        self.class_row_count.clear();
        self.left_out.iter_mut().for_each(Vec::clear);
        self.labelled.clear();
        self.label_count.clear();
        self.label_class.clear();
        self.label_edges.iter_mut().for_each(Vec::clear);
        self.text_bytes = 0;
    }

    /// Writes every column.
    pub fn write(&self, group: &mut RowGroupWriter<'_>, _schema: &SchemaDescriptor) -> Result<()> {
        write::<Int64Type>(group, &self.image_id)?;
        write::<Int32Type>(group, &self.view)?;
        write::<ByteArrayType>(group, &self.path)?;
        write::<Int32Type>(group, &self.width)?;
        write::<Int32Type>(group, &self.height)?;
        for column in &self.digests {
            write::<ByteArrayType>(group, column)?;
        }
        for column in self.letterbox.iter().chain(&self.view_geometry) {
            write::<FloatType>(group, column)?;
        }
        write::<BoolType>(group, &self.view_flip)?;
        for column in &self.view_colours {
            write::<FloatType>(group, column)?;
        }
        write::<Int64Type>(group, &self.first_row)?;
        write::<Int32Type>(group, &self.row_count)?;
        write::<Int64Type>(group, &self.first_class_row)?;
        write::<Int32Type>(group, &self.class_row_count)?;
        for column in &self.left_out {
            write::<FloatType>(group, column)?;
        }
        write::<BoolType>(group, &self.labelled)?;
        write::<Int32Type>(group, &self.label_count)?;
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

/// What decides how the columns of `predictions` are written.
pub struct PredictionsShape {
    store: Store,
    logits: LogitType,
    class_len: usize,
    dfl_len: usize,
    strides: Vec<i32>,
    archive: bool,
}

impl PredictionsShape {
    /// That of the cache of this manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            store: manifest.settings.store,
            logits: manifest.settings.logits,
            class_len: manifest.class_len(),
            dfl_len: manifest.dfl_len(),
            strides: manifest.teacher.strides.iter().map(|&s| s as i32).collect(),
            archive: manifest.is_archive(),
        }
    }

    fn form(&self, leaf: usize) -> Form {
        match self.archive {
            true => Form::Plain,
            false => Table::Predictions.form(leaf, self.logits, self.class_len),
        }
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

    /// Writes every column.
    pub fn write(
        &self,
        group: &mut RowGroupWriter<'_>,
        schema: &SchemaDescriptor,
        shape: &PredictionsShape,
    ) -> Result<()> {
        write::<Int64Type>(group, &self.image_id)?;
        write::<Int32Type>(group, &self.view)?;
        write::<Int32Type>(group, &self.anchor)?;
        write_small(group, schema, leaves::STRIDE, &self.stride, shape, &shape.strides)?;
        write::<FloatType>(group, &self.score)?;
        let classes: Vec<i32> = (0..shape.class_len as i32).collect();
        write_small(group, schema, leaves::CLASS_ID, &self.class_id, shape, &classes)?;
        for column in &self.edges {
            write::<FloatType>(group, column)?;
        }
        let lengths: Vec<usize> = self.has_class_logits.iter().map(|&has| usize::from(has) * shape.class_len).collect();
        write_logits(group, schema, leaves::CLASS_LOGITS, (&self.class_logits, &lengths), shape, Codebook::class())?;
        if shape.store == Store::All {
            let lengths = vec![shape.dfl_len; self.len()];
            write_logits(group, schema, leaves::DFL_LOGITS, (&self.dfl_logits, &lengths), shape, Codebook::dfl())?;
        }
        Ok(())
    }
}

/// Writes an INT32 column of few values: as codes of `values` where that is the column's form.
fn write_small(
    group: &mut RowGroupWriter<'_>,
    schema: &SchemaDescriptor,
    leaf: usize,
    column: &[i32],
    shape: &PredictionsShape,
    values: &[i32],
) -> Result<()> {
    if shape.form(leaf) != Form::Codes {
        return write::<Int32Type>(group, column);
    }
    let code = |wanted: &i32| values.iter().position(|value| value == wanted).and_then(|at| u8::try_from(at).ok());
    let codes = coded(column, code)?;
    let dictionary: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let values = PageValues::Codes { codes: &codes, dictionary: &dictionary, entries: values.len() };
    let (min, max) = (column.iter().min().copied(), column.iter().max().copied());
    pages::write_flat(group, schema.column(leaf), values, Statistics::int32(min, max, None, Some(0), false))
}

/// Writes a column of lists of logits.
fn write_logits(
    group: &mut RowGroupWriter<'_>,
    schema: &SchemaDescriptor,
    leaf: usize,
    (logits, lengths): (&[f16], &[usize]),
    shape: &PredictionsShape,
    book: &Codebook,
) -> Result<()> {
    if shape.archive {
        return archive::write_float16_lists(group, &little_endian(logits.iter().copied()), lengths);
    }
    let column = schema.column(leaf);
    if shape.form(leaf) != Form::Codes {
        let bytes = little_endian(logits.iter().copied());
        return pages::write_lists(group, column, PageValues::Plain { bytes: &bytes, width: 2 }, lengths);
    }
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

fn write<T: DataType>(group: &mut RowGroupWriter<'_>, values: &[T::T]) -> Result<()> {
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
