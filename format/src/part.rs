//! One part, mapped: validated at open, then its columns as slices of the map.

use super::{
    ImageKey, ImageView, Manifest, PartEntry, REMEDY_VERIFY,
    columns::{Cells, Form, ImageLeaf, ImageRow, Leaf, Shape, Table},
    digest::{Sha256Bytes, from_hex},
    footer::{Layout, RowGroup, read_layout},
    storage::{Bytes, Storage},
    view::{LabelColumns, PredictionColumns, Values, decode_i32},
};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// A mapped Parquet file of the cache.
#[derive(Debug)]
pub struct MappedTable {
    path: PathBuf,
    bytes: Bytes,
    layout: Layout,
}

impl MappedTable {
    fn open(storage: &dyn Storage, part: &PartEntry, table: Table, manifest: &Manifest) -> Result<Self> {
        let rows = match table {
            Table::Images => part.images,
            Table::Predictions => part.rows,
        };
        let entry = part.file(table);
        let name = part.file_name(table);
        let path = storage.folder().join(&name);
        let bytes = storage.bytes(&name, entry.bytes)?;
        let layout = read_layout(&path, &bytes, entry, rows, table, manifest).map_err(|e| damaged(&path, e))?;
        Ok(Self { path, bytes, layout })
    }

    /// Where everything lies.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn values(&self, group: &RowGroup, leaf: usize) -> &[u8] {
        group.values.get(leaf).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default()
    }

    /// The values of a column of fixed width in one row group.
    fn fixed<const N: usize>(&self, group: &RowGroup, leaf: usize) -> &[[u8; N]] {
        self.values(group, leaf).as_chunks::<N>().0
    }

    /// The dictionary of a column of codes of values of fixed width.
    fn dictionary<const N: usize>(&self, group: &RowGroup, leaf: usize) -> &[[u8; N]] {
        let bytes = group.dictionaries.get(leaf).and_then(|range| self.bytes.get(range.clone())).unwrap_or_default();
        bytes.as_chunks::<N>().0
    }
}

/// Both mapped files of a part.
#[derive(Debug)]
pub struct MappedPart {
    entry: PartEntry,
    shape: Shape,
    total_anchors: u64,
    images: MappedTable,
    predictions: MappedTable,
}

/// The values of row `at` in a slice of columns; an error in words where a column is too short.
fn at<const N: usize>(values: &[[u8; N]], at: usize) -> Result<[u8; N], String> {
    values.get(at).copied().ok_or_else(|| "a column is shorter than its row group".to_owned())
}

/// `count` values from `start`.
fn slice<const N: usize>(values: &[[u8; N]], start: usize, count: usize) -> Result<&[[u8; N]], String> {
    let end = start.checked_add(count);
    end.and_then(|end| values.get(start..end)).ok_or_else(|| "a column is shorter than its row group".to_owned())
}

impl MappedPart {
    /// Opens and validates a part of a cache.
    ///
    /// # Errors
    /// [`Error::Cache`] naming the file that is not as the manifest says, [`Error::Io`] where one cannot be mapped.
    pub fn open(storage: &dyn Storage, part: &PartEntry, manifest: &Manifest) -> Result<Self> {
        Ok(Self {
            entry: part.clone(),
            shape: manifest.shape(),
            total_anchors: manifest.teacher.total_anchors(),
            images: MappedTable::open(storage, part, Table::Images, manifest)?,
            predictions: MappedTable::open(storage, part, Table::Predictions, manifest)?,
        })
    }

    /// The part's entry in the manifest.
    pub fn entry(&self) -> &PartEntry {
        &self.entry
    }

    /// One of its two files.
    pub fn table(&self, table: Table) -> &MappedTable {
        match table {
            Table::Images => &self.images,
            Table::Predictions => &self.predictions,
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.layout.rows
    }

    /// (image_id, view) of a row of the images file; `None` past its end.
    pub fn key(&self, row: usize) -> Option<ImageKey> {
        let (group, at) = self.images.layout.locate(row)?;
        let image_id = self.images.fixed::<8>(group, ImageLeaf::image_id as usize).get(at)?;
        let view = self.images.fixed::<4>(group, ImageLeaf::view as usize).get(at)?;
        Some((i64::from_le_bytes(*image_id), i32::from_le_bytes(*view)))
    }

    /// The row of (image_id, view), by binary search in the mapped columns.
    pub fn find(&self, key: ImageKey) -> Option<usize> {
        let table = &self.images;
        let ids = |group: &RowGroup| table.fixed::<8>(group, ImageLeaf::image_id as usize);
        let views = |group: &RowGroup| table.fixed::<4>(group, ImageLeaf::view as usize);
        let key_at = |ids: &[[u8; 8]], views: &[[u8; 4]], at: usize| {
            Some((i64::from_le_bytes(*ids.get(at)?), i32::from_le_bytes(*views.get(at)?)))
        };
        // First the row group, then the row in it.
        let groups = &table.layout.row_groups;
        let begun =
            groups.partition_point(|group| key_at(ids(group), views(group), 0).is_some_and(|first| first <= key));
        let group = groups.get(begun.checked_sub(1)?)?;
        let (ids, views) = (ids(group), views(group));
        let (mut low, mut high) = (0, group.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if key_at(ids, views, middle)? < key { low = middle + 1 } else { high = middle }
        }
        (key_at(ids, views, low)? == key).then_some(group.first_row + low)
    }

    /// The image of a row of the images file.
    ///
    /// # Errors
    /// [`Error::Cache`] where the row's values contradict each other or the predictions.
    pub fn image(&self, row: usize) -> Result<ImageView<'_>> {
        self.read_image(row).map_err(|found| {
            let key = self.key(row).map(|(id, view)| format!("image {id}, view {view}: ")).unwrap_or_default();
            damaged(&self.images.path, format!("{key}{found}"))
        })
    }

    fn read_image(&self, row: usize) -> Result<ImageView<'_>, String> {
        let (group, at) = self.images.layout.locate(row).ok_or("there is no such row")?;
        let row = ImageRow::read(&MappedRow { table: &self.images, group, row: at })?;
        let count = |value: i64, name: &str| usize::try_from(value).map_err(|_| format!("{name} is negative"));
        let rows = Rows {
            first: count(row.first_row, "first_row")?,
            count: count(row.row_count.into(), "row_count")?,
            first_class: count(row.first_class_row, "first_class_row")?,
            class_count: count(row.class_row_count.into(), "class_row_count")?,
        };
        let predictions = PredictionColumns {
            rest_mean_prob: row.rest_mean_prob,
            ..self.predictions_of((row.image_id, row.view), rows)?
        };
        Ok(ImageView {
            image_id: row.image_id,
            view: row.view,
            path: row.path,
            size: row.size()?,
            file_sha256: row.file_sha256,
            record_sha256: row.record_sha256,
            labels_sha256: row.labels_sha256,
            letterbox: row.letterbox(),
            change: row.change(),
            first_row: rows.first,
            dropped_max_score: row.dropped_max_score,
            dropped_mean_prob: row.dropped_mean_prob,
            dropped_score_sum: row.dropped_score_sum,
            labels: self.labels_of(group, at, row.labelled)?,
            predictions,
        })
    }

    /// label_count of the first `rows` images of a row group of the images file.
    pub fn label_counts(
        &self,
        group: &RowGroup,
        rows: usize,
    ) -> Result<impl Iterator<Item = Result<usize, String>>, String> {
        let counts = slice(self.images.fixed::<4>(group, ImageLeaf::label_count as usize), 0, rows)?;
        let count = |value: &[u8; 4]| usize::try_from(i32::from_le_bytes(*value));
        Ok(counts.iter().map(move |value| count(value).map_err(|_| "label_count is negative".to_owned())))
    }

    fn labels_of(&self, group: &RowGroup, row: usize, labelled: bool) -> Result<Option<LabelColumns<'_>>, String> {
        let (mut before, mut count) = (0usize, 0usize);
        for next in self.label_counts(group, row + 1)? {
            before = before.checked_add(count).ok_or("label counts are too large")?;
            count = next?;
        }
        if before.checked_add(count).is_none_or(|end| end > group.labels) {
            return Err(format!("its {count} labels lie outside the {} of the row group", group.labels));
        }
        if !labelled {
            return if count == 0 { Ok(None) } else { Err(format!("it is not labelled but has {count} labels")) };
        }
        let column = |field| slice(self.images.fixed::<4>(group, ImageLeaf::labels as usize + field), before, count);
        Ok(Some(LabelColumns { class_ids: column(0)?, x1: column(1)?, y1: column(2)?, x2: column(3)?, y2: column(4)? }))
    }

    fn predictions_of(&self, key: ImageKey, rows: Rows) -> Result<PredictionColumns<'_>, String> {
        let mut columns = PredictionColumns::none(&self.shape);
        let Rows { first, count, first_class, class_count } = rows;
        if count == 0 {
            let none = || format!("it has no rows, but {class_count} with class logits");
            return if class_count == 0 { Ok(columns) } else { Err(none()) };
        }
        let table = &self.predictions;
        let outside = || format!("its {count} rows from {first} do not lie in one row group of the predictions");
        let (group, start) = table.layout.locate(first).ok_or_else(outside)?;
        if start.checked_add(count).is_none_or(|end| end > group.rows) {
            return Err(outside());
        }
        let class_start = first_class.checked_sub(group.first_class_row);
        let class_end = class_start.and_then(|start| start.checked_add(class_count));
        let class_start =
            class_start.filter(|_| class_count <= count && class_end.is_some_and(|e| e <= group.class_rows));
        let class_start = class_start.ok_or_else(|| {
            format!("its {class_count} rows with class logits from {first_class} are not among its {count} rows")
        })?;
        if self.shape.form_of(Leaf::image_id) == Form::Plain {
            let ids = slice(table.fixed::<8>(group, self.shape.leaf(Leaf::image_id)), start, count)?;
            let views = slice(table.fixed::<4>(group, self.shape.leaf(Leaf::view)), start, count)?;
            let ours = (key.0.to_le_bytes(), key.1.to_le_bytes());
            if !ids.iter().zip(views).all(|(&id, &view)| (id, view) == ours) {
                return Err(format!("its {count} rows from {first} are rows of another image"));
            }
        }
        let four = |leaf| slice(table.fixed::<4>(group, self.shape.leaf(leaf)), start, count);
        columns.anchors = four(Leaf::anchor)?;
        if self.shape.head.is_on_grid() {
            columns.strides = self.column(group, Leaf::stride, start, count)?;
        }
        columns.scores = four(Leaf::score)?;
        columns.class_ids = self.column(group, Leaf::class_id, start, count)?;
        columns.x1 = four(Leaf::x1)?;
        columns.y1 = four(Leaf::y1)?;
        columns.x2 = four(Leaf::x2)?;
        columns.y2 = four(Leaf::y2)?;
        columns.class_logits = self.lists(group, Leaf::class_logits, self.shape.class_len, class_start, class_count)?;
        // Cheap, and nothing after it can tell: a value that was changed in place shows nowhere else without `verify`.
        let is_anchor = |anchor: &i32| u64::try_from(*anchor).is_ok_and(|anchor| anchor < self.total_anchors);
        if !Values::from(columns.anchors).all(|value| is_anchor(&i32::from_le_bytes(value)))
            && let Some(anchor) = decode_i32(columns.anchors).find(|anchor| !is_anchor(anchor))
        {
            return Err(format!("its anchor {anchor} is not one of the head's {}", self.total_anchors));
        }
        let is_class = |class: &i32| usize::try_from(*class).is_ok_and(|class| class < self.shape.class_len);
        if !columns.class_ids.all(|value| is_class(&i32::from_le_bytes(value)))
            && let Some(class) = decode_i32(columns.class_ids).find(|class| !is_class(class))
        {
            return Err(format!("its class_id {class} is not one of the teacher's {} classes", self.shape.class_len));
        }
        if self.shape.dfl_len > 0 {
            columns.dfl_logits = Some(self.lists(group, Leaf::dfl_logits, self.shape.dfl_len, start, count)?);
        }
        Ok(columns)
    }

    /// `count` values of a column of the predictions from the row group's value `start` on.
    fn column<const N: usize>(
        &self,
        group: &RowGroup,
        leaf: Leaf,
        start: usize,
        count: usize,
    ) -> Result<Values<'_, N>, String> {
        let at = self.shape.leaf(leaf);
        let all = match self.shape.form_of(leaf) {
            Form::Codes => Values::Codes {
                codes: self.predictions.values(group, at),
                dictionary: self.predictions.dictionary(group, at),
            },
            Form::Plain | Form::Runs => Values::Plain(self.predictions.fixed(group, at)),
        };
        let end = start.checked_add(count);
        end.and_then(|end| all.slice(start, end)).ok_or_else(|| "a column is shorter than its row group".to_owned())
    }

    /// `count` lists of `len` values from the row group's list `start` on.
    fn lists(
        &self,
        group: &RowGroup,
        leaf: Leaf,
        len: usize,
        start: usize,
        count: usize,
    ) -> Result<Values<'_, 2>, String> {
        let (start, count) = (start.checked_mul(len), count.checked_mul(len));
        let (start, count) = start.zip(count).ok_or("a list column is too large")?;
        self.column(group, leaf, start, count)
    }
}

/// One row of the mapped images file.
struct MappedRow<'a> {
    table: &'a MappedTable,
    group: &'a RowGroup,
    row: usize,
}

impl<'a> Cells<'a> for MappedRow<'a> {
    fn i64(&self, leaf: usize, _: &str) -> Result<i64, String> {
        at(self.table.fixed::<8>(self.group, leaf), self.row).map(i64::from_le_bytes)
    }

    fn i32(&self, leaf: usize, _: &str) -> Result<i32, String> {
        at(self.table.fixed::<4>(self.group, leaf), self.row).map(i32::from_le_bytes)
    }

    fn f32(&self, leaf: usize, _: &str) -> Result<f32, String> {
        at(self.table.fixed::<4>(self.group, leaf), self.row).map(f32::from_le_bytes)
    }

    fn bool(&self, leaf: usize, _: &str) -> Result<bool, String> {
        let bits = self.table.values(self.group, leaf);
        bits.get(self.row / 8)
            .map(|byte| byte >> (self.row % 8) & 1 == 1)
            .ok_or_else(|| "a column is shorter than its row group".to_owned())
    }

    /// Texts have no fixed width: walk the lengths from the row group's beginning, at most some hundred.
    fn text(&self, leaf: usize, name: &str) -> Result<&'a str, String> {
        let outside = || format!("its {name} lies outside the column");
        let mut rest = self.table.values(self.group, leaf);
        for skipped in 0..=self.row {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(outside)?;
            let length = u32::from_le_bytes(*length) as usize;
            let (text, after) = after.split_at_checked(length).ok_or_else(outside)?;
            if skipped == self.row {
                return std::str::from_utf8(text).map_err(|_| format!("its {name} is not UTF-8"));
            }
            rest = after;
        }
        Err("there is no such row".to_owned())
    }

    fn digest(&self, leaf: usize, _: &str) -> Result<Sha256Bytes, String> {
        let values = self.table.fixed::<68>(self.group, leaf);
        let value = values.get(self.row).ok_or("a column is shorter than its row group")?;
        let digits = value.strip_prefix(&64u32.to_le_bytes()).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(from_hex).ok_or_else(|| "a digest is not 64 digits".to_owned())
    }
}

/// Where an image's rows lie in its part's predictions.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    count: usize,
    /// Rows with class logits before its own.
    first_class: usize,
    class_count: usize,
}

fn damaged(path: &Path, found: impl Into<String>) -> Error {
    Error::Cache { path: path.to_path_buf(), found: found.into(), remedy: REMEDY_VERIFY.to_owned() }
}
