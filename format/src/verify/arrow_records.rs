//! Reads a part back through the `arrow` reader: an implementation that shares nothing with the mapped one.

use crate::{
    ImageDigests, ImageKey, ImageRecord, Manifest, PartEntry, Predictions,
    columns::{Cells, ImageRow, Shape},
    digest::{Sha256Bytes, from_hex},
    rows_with_class_logits,
    types::{BoxXyxyPx, LabelBox},
};
use arrow::{
    array::{Array, AsArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray},
    datatypes::{ArrowPrimitiveType, Float16Type, Float32Type, Int32Type, Int64Type},
};
use half::f16;
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder},
};
use std::{fs::File, path::Path};

type Result<T> = std::result::Result<T, String>;

/// An image as the files have it, with what is stored beside the record.
pub struct StoredImage {
    /// The record.
    pub record: ImageRecord,
    /// As stored.
    pub record_sha256: Sha256Bytes,
    /// As stored.
    pub labels_sha256: Sha256Bytes,
    /// As stored.
    pub first_row: i64,
    /// As stored.
    pub row_count: i32,
    /// As stored.
    pub class_row_count: i32,
    /// As stored.
    pub first_class_row: i64,
    /// As stored.
    pub label_count: i32,
}

/// One Parquet file, a row group at a time.
struct ArrowTable {
    file: File,
    metadata: ArrowReaderMetadata,
}

impl ArrowTable {
    fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let metadata = ArrowReaderMetadata::load(&file, Default::default()).map_err(|e| e.to_string())?;
        Ok(Self { file, metadata })
    }

    fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// A whole row group as one batch.
    fn read(&self, group: usize) -> Result<RecordBatch> {
        self.read_masked(group, ProjectionMask::all())
    }

    /// These columns of a row group.
    fn read_columns(&self, group: usize, names: &[&str]) -> Result<RecordBatch> {
        self.read_masked(group, ProjectionMask::columns(self.metadata.parquet_schema(), names.iter().copied()))
    }

    fn read_masked(&self, group: usize, columns: ProjectionMask) -> Result<RecordBatch> {
        let rows = self.metadata.metadata().row_group(group).num_rows();
        let rows = usize::try_from(rows).map_err(|e| e.to_string())?;
        let file = self.file.try_clone().map_err(|e| e.to_string())?;
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_row_groups(vec![group])
            .with_projection(columns)
            .with_batch_size(rows)
            .build()
            .map_err(|e| e.to_string())?;
        let batch = reader.next().ok_or("it is empty")?.map_err(|e| e.to_string())?;
        if batch.num_rows() != rows || reader.next().is_some() {
            return Err(format!("it has {} rows, its footer says {rows}", batch.num_rows()));
        }
        Ok(batch)
    }
}

/// Calls `each` with every image of a part, in file order.
pub fn for_each(
    folder: &Path,
    part: &PartEntry,
    manifest: &Manifest,
    mut each: impl FnMut(StoredImage) -> Result<()>,
) -> Result<()> {
    let shape = manifest.shape();
    let images = ArrowTable::open(&part.images_path(folder))?;
    let predictions = ArrowTable::open(&part.predictions_path(folder))?;
    let mut rows = Rows { table: &predictions, next_group: 0, batch: None, used: 0 };
    for group in 0..images.row_groups() {
        let batch = images.read(group)?;
        for row in 0..batch.num_rows() {
            let mut image = read_image(&batch, row)?;
            let count = usize::try_from(image.row_count).map_err(|_| "row_count is negative")?;
            if count > 0 {
                let (batch, start) = rows.take(count)?;
                let key = (image.record.image_id, image.record.view);
                image.record.predictions = read_predictions(batch, start, count, key, &shape)?;
            }
            let found = image.record.predictions.class_row_count(shape.class_len);
            if i64::try_from(found).ok() != Some(image.class_row_count.into()) {
                let stated = image.class_row_count;
                return Err(format!(
                    "image {}: {found} rows have class logits, class_row_count is {stated}",
                    image.record.image_id
                ));
            }
            each(image)?;
        }
    }
    if rows.is_used_up() { Ok(()) } else { Err("the predictions have more rows than the images name".to_owned()) }
}

/// Key and digests of every image of a part, as stored: reads these columns and no other.
pub fn stored_digests(folder: &Path, part: &PartEntry) -> Result<Vec<(ImageKey, ImageDigests)>> {
    let images = ArrowTable::open(&part.images_path(folder))?;
    let mut found = Vec::new();
    for group in 0..images.row_groups() {
        let batch =
            images.read_columns(group, &["image_id", "view", "file_sha256", "record_sha256", "labels_sha256"])?;
        for row in 0..batch.num_rows() {
            let key = (value::<Int64Type>(&batch, "image_id", row)?, value::<Int32Type>(&batch, "view", row)?);
            let digest = |name| from_hex(text(&batch, name, row)?).ok_or_else(|| format!("{name} is not a digest"));
            let digests = ImageDigests {
                file: digest("file_sha256")?,
                record: digest("record_sha256")?,
                labels: digest("labels_sha256")?,
            };
            found.push((key, digests));
        }
    }
    Ok(found)
}

/// Hands out the rows of the predictions file image by image.
struct Rows<'a> {
    table: &'a ArrowTable,
    next_group: usize,
    batch: Option<RecordBatch>,
    used: usize,
}

impl Rows<'_> {
    fn take(&mut self, count: usize) -> Result<(&RecordBatch, usize)> {
        if self.batch.as_ref().is_none_or(|b| self.used == b.num_rows()) {
            if self.next_group == self.table.row_groups() {
                return Err("the predictions have fewer rows than the images name".to_owned());
            }
            self.batch = Some(self.table.read(self.next_group)?);
            self.next_group += 1;
            self.used = 0;
        }
        let start = self.used;
        let batch = self.batch.as_ref().ok_or("there is no row group")?;
        self.used = start.saturating_add(count);
        if self.used > batch.num_rows() {
            return Err("the rows of an image do not lie in one row group of the predictions".to_owned());
        }
        Ok((batch, start))
    }

    fn is_used_up(&self) -> bool {
        self.next_group == self.table.row_groups() && self.batch.as_ref().is_none_or(|b| self.used == b.num_rows())
    }
}

/// A row of a batch.
struct ArrowRow<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

impl<'a> Cells<'a> for ArrowRow<'a> {
    fn i64(&self, _: usize, name: &str) -> Result<i64> {
        value::<Int64Type>(self.batch, name, self.row)
    }

    fn i32(&self, _: usize, name: &str) -> Result<i32> {
        value::<Int32Type>(self.batch, name, self.row)
    }

    fn f32(&self, _: usize, name: &str) -> Result<f32> {
        value::<Float32Type>(self.batch, name, self.row)
    }

    fn bool(&self, _: usize, name: &str) -> Result<bool> {
        flag(self.batch, name, self.row)
    }

    fn text(&self, _: usize, name: &str) -> Result<&'a str> {
        text(self.batch, name, self.row)
    }

    fn digest(&self, _: usize, name: &str) -> Result<Sha256Bytes> {
        from_hex(text(self.batch, name, self.row)?).ok_or_else(|| format!("{name} is not a digest"))
    }
}

fn read_image(batch: &RecordBatch, row: usize) -> Result<StoredImage> {
    let labels = read_labels(batch, row)?;
    let values = ImageRow::read(&ArrowRow { batch, row })?;
    if !values.labelled && !labels.is_empty() {
        return Err(format!("row {row} is not labelled but has {} labels", labels.len()));
    }
    Ok(StoredImage {
        record: values.record(labels, Predictions::default())?,
        record_sha256: values.record_sha256,
        labels_sha256: values.labels_sha256,
        first_row: values.first_row,
        row_count: values.row_count,
        first_class_row: values.first_class_row,
        class_row_count: values.class_row_count,
        label_count: values.label_count,
    })
}

fn read_labels(batch: &RecordBatch, row: usize) -> Result<Vec<LabelBox>> {
    let lists = column(batch, "labels", |a| a.as_list_opt::<i32>())?;
    let (start, end) = list_range(lists, row)?;
    let fields = lists.values().as_struct_opt().ok_or("labels are not structs")?;
    let field = |name: &str| fields.column_by_name(name).ok_or_else(|| format!("labels have no field {name}"));
    let classes = primitive_slice::<Int32Type>(field("class_id")?, start, end)?;
    let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"];
    let edges = |name| primitive_slice::<Float32Type>(field(name)?, start, end);
    let boxes = boxes(edges(x1)?, edges(y1)?, edges(x2)?, edges(y2)?);
    let class = |&id: &i32| u32::try_from(id).map_err(|_| format!("a label has the class {id}"));
    classes.iter().zip(boxes).map(|(id, box_xyxy_px)| Ok(LabelBox { class_id: class(id)?, box_xyxy_px })).collect()
}

fn read_predictions(
    batch: &RecordBatch,
    start: usize,
    count: usize,
    key: ImageKey,
    shape: &Shape,
) -> Result<Predictions> {
    let end = start + count;
    let ids = slice::<Int64Type>(batch, "image_id", start, end)?;
    let views = slice::<Int32Type>(batch, "view", start, end)?;
    if ids.iter().any(|&id| id != key.0) || views.iter().any(|&view| view != key.1) {
        return Err(format!("the rows of image {}, view {} are rows of another image", key.0, key.1));
    }
    let ints = |name| slice::<Int32Type>(batch, name, start, end).map(<[i32]>::to_vec);
    let floats = |name| slice::<Float32Type>(batch, name, start, end);
    let scores = floats("score")?.to_vec();
    let dfl_logits = match shape.dfl_len {
        0 => Vec::new(),
        length => lists(batch, "dfl_logits", start, &vec![length; count])?,
    };
    // Which rows have class logits follows from their number and the scores.
    let with = non_empty(batch, "class_logits", start, end)?;
    let lengths = rows_with_class_logits(&scores, with).into_iter().map(|has| usize::from(has) * shape.class_len);
    let class_logits = lists(batch, "class_logits", start, &lengths.collect::<Vec<_>>())?;
    Ok(Predictions {
        anchor: ints("anchor")?,
        stride: if shape.head.is_on_grid() { ints("stride")? } else { Vec::new() },
        score: scores,
        class_id: ints("class_id")?,
        boxes_xyxy_px: boxes(floats("x1")?, floats("y1")?, floats("x2")?, floats("y2")?).collect(),
        class_logits,
        dfl_logits,
    })
}

/// How many of the lists `start..end` have values.
fn non_empty(batch: &RecordBatch, name: &str, start: usize, end: usize) -> Result<usize> {
    let lists = column(batch, name, |a| a.as_list_opt::<i32>())?;
    let mut count = 0;
    for row in start..end {
        let (from, to) = list_range(lists, row)?;
        count += usize::from(from < to);
    }
    Ok(count)
}

/// The values of the lists from `start` on, which must be of these lengths.
fn lists(batch: &RecordBatch, name: &str, start: usize, lengths: &[usize]) -> Result<Vec<f16>> {
    let lists = column(batch, name, |a| a.as_list_opt::<i32>())?;
    for (row, &expected) in (start..).zip(lengths) {
        let (from, to) = list_range(lists, row)?;
        if to - from != expected {
            return Err(format!("{name} of row {row} has {} values, expected {expected}", to - from));
        }
    }
    let first = list_range(lists, start)?.0;
    Ok(primitive_slice::<Float16Type>(lists.values(), first, first + lengths.iter().sum::<usize>())?.to_vec())
}

fn boxes<'a>(x1: &'a [f32], y1: &'a [f32], x2: &'a [f32], y2: &'a [f32]) -> impl Iterator<Item = BoxXyxyPx> + 'a {
    let edges = x1.iter().zip(y1).zip(x2.iter().zip(y2));
    edges.map(|((&x1, &y1), (&x2, &y2))| BoxXyxyPx { x1, y1, x2, y2 })
}

fn column<'a, T>(batch: &'a RecordBatch, name: &str, cast: impl Fn(&'a dyn Array) -> Option<&'a T>) -> Result<&'a T> {
    let array = batch.column_by_name(name).ok_or_else(|| format!("there is no column {name}"))?;
    if array.null_count() > 0 {
        return Err(format!("column {name} has nulls"));
    }
    cast(array.as_ref()).ok_or_else(|| format!("column {name} is of type {}", array.data_type()))
}

fn value<T: ArrowPrimitiveType>(batch: &RecordBatch, name: &str, row: usize) -> Result<T::Native> {
    slice::<T>(batch, name, row, row + 1)?.first().copied().ok_or_else(|| format!("column {name} is cut short"))
}

fn flag(batch: &RecordBatch, name: &str, row: usize) -> Result<bool> {
    let array: &BooleanArray = column(batch, name, |a| a.as_boolean_opt())?;
    (row < array.len()).then(|| array.value(row)).ok_or_else(|| format!("column {name} is cut short"))
}

fn slice<'a, T: ArrowPrimitiveType>(
    batch: &'a RecordBatch,
    name: &str,
    start: usize,
    end: usize,
) -> Result<&'a [T::Native]> {
    let array: &PrimitiveArray<T> = column(batch, name, |a| a.as_primitive_opt::<T>())?;
    array.values().get(start..end).ok_or_else(|| format!("column {name} is cut short"))
}

fn primitive_slice<T: ArrowPrimitiveType>(array: &dyn Array, start: usize, end: usize) -> Result<&[T::Native]> {
    let typed =
        array.as_primitive_opt::<T>().ok_or_else(|| format!("list values are of type {}", array.data_type()))?;
    if typed.null_count() > 0 {
        return Err("list values have nulls".to_owned());
    }
    typed.values().get(start..end).ok_or_else(|| "a list is cut short".to_owned())
}

fn text<'a>(batch: &'a RecordBatch, name: &str, row: usize) -> Result<&'a str> {
    let array: &StringArray = column(batch, name, |a| a.as_string_opt::<i32>())?;
    (row < array.len()).then(|| array.value(row)).ok_or_else(|| format!("column {name} is cut short"))
}

fn list_range(lists: &ListArray, row: usize) -> Result<(usize, usize)> {
    let bound = |at: usize| lists.value_offsets().get(at).and_then(|&o| usize::try_from(o).ok());
    match (bound(row), bound(row + 1)) {
        (Some(start), Some(end)) if start <= end => Ok((start, end)),
        _ => Err("a list has no valid bounds".to_owned()),
    }
}
