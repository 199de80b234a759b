//! The columns of a row group under construction, and how they are written.

use super::{
    archive, columns,
    digest::{ImageDigests, to_hex},
    pages,
    table_file::RowGroupWriter,
};
use crate::{cache::ImageRecord, types::Store};
use half::f16;
use parquet::{
    data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type, Int64Type},
    errors::{ParquetError, Result},
    schema::types::SchemaDescriptor,
};

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
    dropped_max_score: Vec<f32>,
    dropped_mean_prob: Vec<f32>,
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
        self.len() * (89 + 3 * 68) + self.text_bytes + self.label_class.len() * 20
    }

    /// Appends an image whose rows begin at `first_row` of the part.
    pub fn push(&mut self, record: &ImageRecord, digests: &ImageDigests, first_row: u64) {
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
        self.first_row.push(first_row as i64);
        self.row_count.push(record.predictions.len() as i32);
        self.dropped_max_score.push(record.dropped_max_score);
        self.dropped_mean_prob.push(record.dropped_mean_prob);
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
        self.dropped_max_score.clear();
        self.dropped_mean_prob.clear();
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
        write::<FloatType>(group, &self.dropped_max_score)?;
        write::<FloatType>(group, &self.dropped_mean_prob)?;
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
    /// Little-endian float16.
    class_logits: Vec<u8>,
    dfl_logits: Vec<u8>,
}

impl PredictionsBlock {
    /// Rows in the block.
    pub fn len(&self) -> usize {
        self.image_id.len()
    }

    /// How many bytes its values take.
    pub fn bytes(&self) -> usize {
        self.len() * 44 + self.class_logits.len() + self.dfl_logits.len()
    }

    /// Appends the rows of an image.
    pub fn push(&mut self, record: &ImageRecord) {
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
        extend_le(&mut self.class_logits, &p.class_logits);
        extend_le(&mut self.dfl_logits, &p.dfl_logits);
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
        self.class_logits.clear();
        self.dfl_logits.clear();
    }

    /// Writes every column; `shape` is what is stored and the lengths of the two kinds of lists, `archive` whether they
    /// are to be compressed.
    pub fn write(
        &self,
        group: &mut RowGroupWriter<'_>,
        schema: &SchemaDescriptor,
        (store, class_len, dfl_len): (Store, usize, usize),
        archive: bool,
    ) -> Result<()> {
        write::<Int64Type>(group, &self.image_id)?;
        write::<Int32Type>(group, &self.view)?;
        write::<Int32Type>(group, &self.anchor)?;
        write::<Int32Type>(group, &self.stride)?;
        write::<FloatType>(group, &self.score)?;
        write::<Int32Type>(group, &self.class_id)?;
        for column in &self.edges {
            write::<FloatType>(group, column)?;
        }
        let rows = self.len();
        let mut lists = |leaf: usize, values: &[u8], list_len: usize| match archive {
            true => archive::write_float16_lists(group, values, list_len),
            false => pages::write_float16_lists(group, schema.column(leaf), values, rows, list_len),
        };
        lists(columns::predictions::CLASS_LOGITS, &self.class_logits, class_len)?;
        if store == Store::All {
            lists(columns::predictions::DFL_LOGITS, &self.dfl_logits, dfl_len)?;
        }
        Ok(())
    }
}

fn extend_le(out: &mut Vec<u8>, values: &[f16]) {
    let start = out.len();
    out.resize(start + values.len() * 2, 0);
    let (slots, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut::<2>();
    for (slot, value) in slots.iter_mut().zip(values) {
        *slot = value.to_le_bytes();
    }
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
