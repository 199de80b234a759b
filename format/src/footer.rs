//! The end of a Parquet file: checked against its digest, parsed, and turned into where every column's values lie.
//!
//! Nothing between footer and values is ever parsed on this path. A column chunk holds one data page, its values are the
//! chunk's last bytes, and their number follows from the footer, so page headers and levels need not be read at all. The values of a
//! dictionary are the last bytes before the data page.

use super::{
    columns::{self, Form, Kind, Table},
    digest::{from_hex, sha256},
    limits::{MAX_FOOTER_BYTES, MAX_PAGE_BYTES, MAX_ROWS_OF_GROUP, MAX_SCHEMA_ELEMENTS},
    manifest::{FileEntry, Format, Manifest, Settings, Teacher},
    manifest_file::check_format,
};
use crate::Result;
use parquet::{
    basic::{Compression, Encoding, PageType},
    file::metadata::{
        ColumnChunkMetaData, FileMetaData, LevelHistogram, PageEncodingStats, ParquetMetaData, ParquetMetaDataOptions,
        ParquetMetaDataReader, ParquetStatisticsPolicy, RowGroupMetaData,
    },
};
use serde::{Deserialize, Serialize};
use std::{ops::Range, path::Path};

/// Key of the one entry that this program adds to a footer.
pub const INFO_KEY: &str = "logitcache";
const MAGIC: &[u8; 4] = b"PAR1";

/// What a single file tells about itself, as JSON in its footer under [`INFO_KEY`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Format name, version and features.
    pub format: Format,
    /// Which of a part's two files it is.
    pub table: Table,
    /// The model, without its file name: equal content gives equal bytes wherever the model lies.
    pub teacher: Teacher,
    /// How it ran and what was kept.
    pub settings: Settings,
}

impl FileInfo {
    /// What the files of `table` in the cache of this manifest say.
    pub fn new(manifest: &Manifest, table: Table) -> Self {
        Self {
            format: manifest.format.clone(),
            table,
            teacher: Teacher { file_name: String::new(), ..manifest.teacher.clone() },
            settings: manifest.settings.clone(),
        }
    }
}

/// Where everything lies in one file.
#[derive(Debug, Clone)]
pub struct Layout {
    /// In file order.
    pub row_groups: Vec<RowGroup>,
    /// Sum over the row groups.
    pub rows: usize,
}

/// A block of whole images.
#[derive(Debug, Clone)]
pub struct RowGroup {
    /// Rows before it in the file.
    pub first_row: usize,
    /// Its rows.
    pub rows: usize,
    /// Per leaf, the bytes of its values in the file.
    pub values: Vec<Range<usize>>,
    /// Per leaf, the bytes of its dictionary's values; empty where it has none to map.
    pub dictionaries: Vec<Range<usize>>,
    /// Number of labels over its rows; 0 in predictions.
    pub labels: usize,
    /// Rows with class logits before it in the file.
    pub first_class_row: usize,
    /// Its rows with class logits; 0 in images.
    pub class_rows: usize,
    /// Per leaf, the bytes of the whole column chunk: page header, levels, values.
    pub chunks: Vec<Range<usize>>,
}

impl Layout {
    /// The row group that holds a row of the file, and the row's place in it.
    pub fn locate(&self, row: usize) -> Option<(&RowGroup, usize)> {
        let after = self.row_groups.partition_point(|g| g.first_row <= row);
        let group = self.row_groups.get(after.checked_sub(1)?)?;
        let at = row - group.first_row;
        (at < group.rows).then_some((group, at))
    }
}

/// Checks `bytes`, the whole file, against its entry in the manifest and returns where its values lie.
/// Touches the first four bytes and the footer.
///
/// # Errors
/// What was found, in words.
pub fn read_layout(
    path: &Path,
    bytes: &[u8],
    entry: &FileEntry,
    rows: u64,
    table: Table,
    manifest: &Manifest,
) -> Result<Layout, String> {
    let (footer_start, metadata) = open_footer(path, bytes, entry, table, manifest)?;
    let mut layout = Layout { row_groups: Vec::with_capacity(metadata.num_row_groups()), rows: 0 };
    let mut position = MAGIC.len();
    let expected = Expected::new(table, manifest);
    let mut class_rows = 0usize;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let group = read_row_group(group, (layout.rows, class_rows), &mut position, &expected)
            .map_err(|e| format!("row group {number}: {e}"))?;
        class_rows = class_rows.saturating_add(group.class_rows);
        layout.rows = layout.rows.checked_add(group.rows).ok_or("the row groups have too many rows")?;
        layout.row_groups.push(group);
    }
    if position != footer_start {
        return Err(format!("its columns end at byte {position}, but its footer begins at byte {footer_start}"));
    }
    let stated = metadata.file_metadata().num_rows();
    if layout.rows as u64 != rows || stated != layout.rows as i64 {
        return Err(format!("it has {} rows and declares {stated}, the manifest says {rows}", layout.rows));
    }
    Ok(layout)
}

/// Checks the footer of an archive's file: digest, description, schema, row counts, and that every chunk is compressed as an
/// archive's are. `bytes` is the whole file, whose digest was compared before: decoders trust more than footers.
///
/// # Errors
/// What was found, in words.
pub fn check_archive(
    path: &Path,
    bytes: &[u8],
    entry: &FileEntry,
    rows: u64,
    table: Table,
    manifest: &Manifest,
) -> Result<(), String> {
    let (footer_start, metadata) = open_footer(path, bytes, entry, table, manifest)?;
    let mut total = 0u64;
    for (number, group) in metadata.row_groups().iter().enumerate() {
        let count = u64::try_from(group.num_rows()).ok().filter(|&n| n > 0 && n <= MAX_ROWS_OF_GROUP);
        let count = count.ok_or_else(|| format!("row group {number} declares {} rows", group.num_rows()))?;
        total = total.checked_add(count).ok_or("the row groups have too many rows")?;
        for chunk in group.columns() {
            let found = |what: &str| format!("row group {number}, column `{}`: {what}", chunk.column_path().string());
            let fits = |size: i64| (1..=MAX_PAGE_BYTES).contains(&size);
            let sizes_fit = fits(chunk.compressed_size()) && fits(chunk.uncompressed_size());
            if !matches!(chunk.compression(), Compression::ZSTD(_)) || !sizes_fit {
                return Err(found("it is not compressed as an archive's are"));
            }
            // The reader of pages asserts that these are sensible.
            let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
            let end = start.checked_add(chunk.compressed_size()).and_then(|end| usize::try_from(end).ok());
            if start < MAGIC.len() as i64 || end.is_none_or(|end| end > footer_start) {
                return Err(found("it does not lie between the beginning and the footer"));
            }
        }
    }
    if total != rows || metadata.file_metadata().num_rows() != i64::try_from(total).unwrap_or(-1) {
        return Err(format!("its row groups have {total} rows, the manifest says {rows}"));
    }
    Ok(())
}

/// Where the footer begins and what it says: digest, then schema and description.
fn open_footer(
    path: &Path,
    bytes: &[u8],
    entry: &FileEntry,
    table: Table,
    manifest: &Manifest,
) -> Result<(usize, ParquetMetaData), String> {
    let start = check_footer_digest(bytes, entry)?;
    let metadata = parse_footer(bytes.get(start..bytes.len() - 8).ok_or("the footer lies outside the file")?)?;
    check_file_metadata(path, metadata.file_metadata(), table, manifest)?;
    Ok((start, metadata))
}

/// Returns where the footer begins, after checking length, magics and digest.
pub fn check_footer_digest(bytes: &[u8], entry: &FileEntry) -> Result<usize, String> {
    if bytes.len() as u64 != entry.bytes {
        return Err(format!("it has {} bytes, the manifest says {}", bytes.len(), entry.bytes));
    }
    let (front, tail) = bytes.split_last_chunk::<8>().ok_or("it is too short for a Parquet file")?;
    let (length, magic) = (&tail[..4], &tail[4..]);
    if magic != MAGIC || !front.starts_with(MAGIC) {
        return Err("it does not begin and end as a Parquet file".to_owned());
    }
    let length = length.iter().rev().fold(0usize, |n, &b| n << 8 | usize::from(b));
    let start = front.len().checked_sub(length).filter(|&s| s >= MAGIC.len() && length <= MAX_FOOTER_BYTES);
    let start = start.ok_or_else(|| format!("its footer declares {length} bytes"))?;
    let found = sha256(bytes.get(start..).unwrap_or_default());
    if from_hex(&entry.footer_sha256) != Some(found) {
        return Err("its footer does not have the digest that the manifest names".to_owned());
    }
    Ok(start)
}

fn parse_footer(thrift: &[u8]) -> Result<ParquetMetaData, String> {
    match declared_schema_elements(thrift) {
        Some(n) if n <= MAX_SCHEMA_ELEMENTS => {}
        Some(n) => return Err(format!("its schema declares {n} elements")),
        None => return Err("its footer does not begin with a schema".to_owned()),
    }
    let options = ParquetMetaDataOptions::new()
        .with_encoding_stats_as_mask(false)
        .with_column_stats_policy(ParquetStatisticsPolicy::SkipAll);
    ParquetMetaDataReader::decode_metadata_with_options(thrift, Some(&options))
        .map_err(|e| format!("its footer cannot be parsed: {e}"))
}

/// Number of schema elements: the footer begins with the version (field 1, an i32) and the schema (field 2, a list).
fn declared_schema_elements(thrift: &[u8]) -> Option<u64> {
    let rest = thrift.strip_prefix(&[0x15])?;
    let (_, rest) = varint(rest)?;
    let (&[0x19, head], rest) = rest.split_first_chunk::<2>()? else { return None };
    match (head & 0x0f, head >> 4) {
        (0x0c, 15) => varint(rest).map(|(n, _)| n),
        (0x0c, short) => Some(u64::from(short)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

fn check_file_metadata(path: &Path, file: &FileMetaData, table: Table, manifest: &Manifest) -> Result<(), String> {
    let expected = manifest.shape().schema(table).map_err(|e| e.to_string())?;
    if file.schema() != expected.as_ref() {
        return Err(describe_schema_difference(file, &expected));
    }
    let entry = file.key_value_metadata().and_then(|list| list.iter().find(|kv| kv.key == INFO_KEY));
    let text =
        entry.and_then(|kv| kv.value.as_deref()).ok_or("its footer does not name the cache that it belongs to")?;
    let info: FileInfo = serde_json::from_str(text).map_err(|e| format!("its footer's description: {e}"))?;
    check_format(path, &info.format).map_err(|e| e.to_string())?;
    let ours = FileInfo::new(manifest, table);
    let features = |f: &FileInfo| f.format.reader_features.clone();
    let same = info.table == ours.table && info.teacher == ours.teacher && info.settings == ours.settings;
    if !same || features(&info) != features(&ours) {
        return Err("it belongs to another cache (other teacher or settings) or to the other table".to_owned());
    }
    Ok(())
}

fn describe_schema_difference(file: &FileMetaData, expected: &parquet::schema::types::TypePtr) -> String {
    let expected = parquet::schema::types::SchemaDescriptor::new(expected.clone());
    let (found, wanted) = (file.schema_descr().columns(), expected.columns());
    for (f, w) in found.iter().zip(wanted) {
        if f != w {
            return format!("its column `{}` is not `{}` as this format has it", f.path().string(), w.path().string());
        }
    }
    format!("it has {} columns, this format has {}", found.len(), wanted.len())
}

/// What the columns of a table must be.
struct Expected {
    /// Kind, form, bytes of the dictionary.
    leaves: Vec<(Kind, Form, usize)>,
    shape: columns::Shape,
}

impl Expected {
    fn new(table: Table, manifest: &Manifest) -> Self {
        let shape = manifest.shape();
        let leaves = shape.leaves(table).into_iter().zip(shape.forms(table)).zip(shape.dictionary_bytes(table));
        Self { leaves: leaves.map(|((kind, form), bytes)| (kind, form, bytes)).collect(), shape }
    }
}

fn read_row_group(
    group: &RowGroupMetaData,
    (first_row, first_class_row): (usize, usize),
    position: &mut usize,
    expected: &Expected,
) -> Result<RowGroup, String> {
    let rows = usize::try_from(group.num_rows()).ok().filter(|&r| r > 0 && r as u64 <= MAX_ROWS_OF_GROUP);
    let rows = rows.ok_or_else(|| format!("it declares {} rows", group.num_rows()))?;
    if group.num_columns() != expected.leaves.len() {
        return Err(format!("it has {} columns, expected {}", group.num_columns(), expected.leaves.len()));
    }
    let mut out = RowGroup {
        first_row,
        rows,
        values: Vec::new(),
        dictionaries: Vec::new(),
        labels: 0,
        first_class_row,
        class_rows: 0,
        chunks: Vec::new(),
    };
    for (chunk, &(kind, form, dictionary_bytes)) in group.columns().iter().zip(&expected.leaves) {
        let found = |e: String| format!("column `{}`: {e}", chunk.column_path().string());
        let range = check_chunk(chunk, *position, form).map_err(found)?;
        let (dictionary, data_page) = match form {
            Form::Plain => (0..0, range.start),
            Form::Codes => find_dictionary(chunk, &range, dictionary_bytes).map_err(found)?,
            Form::Runs => (0..0, range.end), // not for mapping
        };
        let values = count_values(chunk, kind, rows, &expected.shape).map_err(found)?;
        match kind {
            Kind::Labels => out.labels = values.count,
            Kind::ClassLogits => out.class_rows = values.count / expected.shape.class_len.max(1),
            _ => {}
        }
        let (bytes, padded) = match form {
            Form::Plain => (values.bytes, values.bytes),
            Form::Codes => (values.count, values.count.div_ceil(8) * 8),
            Form::Runs => (0, 0),
        };
        let start = range.end.checked_sub(padded).filter(|&s| s > data_page || form == Form::Runs);
        let start = start.ok_or_else(|| found(format!("{padded} bytes of values do not fit in the chunk")))?;
        *position = range.end;
        out.values.push(start..start + bytes);
        out.dictionaries.push(dictionary);
        out.chunks.push(range);
    }
    Ok(out)
}

/// One uncompressed v2 data page that begins where the chunk before it ended, behind the dictionary that its form has.
fn check_chunk(chunk: &ColumnChunkMetaData, position: usize, form: Form) -> Result<Range<usize>, String> {
    const fn one(page_type: PageType, encoding: Encoding) -> PageEncodingStats {
        PageEncodingStats { page_type, encoding, count: 1 }
    }
    const PLAIN: [PageEncodingStats; 1] = [one(PageType::DATA_PAGE_V2, Encoding::PLAIN)];
    const CODED: [PageEncodingStats; 2] =
        [one(PageType::DICTIONARY_PAGE, Encoding::PLAIN), one(PageType::DATA_PAGE_V2, Encoding::RLE_DICTIONARY)];
    if chunk.compression() != Compression::UNCOMPRESSED || chunk.compressed_size() != chunk.uncompressed_size() {
        return Err("it is compressed".to_owned());
    }
    let pages = chunk.page_encoding_stats().map(Vec::as_slice).unwrap_or_default();
    let (expected, what) = match form {
        Form::Plain => (&PLAIN[..], "one PLAIN data page of version 2"),
        Form::Codes | Form::Runs => (&CODED[..], "a dictionary and one data page of version 2"),
    };
    if pages != expected || chunk.dictionary_page_offset().is_some() != (form != Form::Plain) {
        return Err(format!("it is not {what}"));
    }
    let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
    if start != position as i64 || chunk.file_path().is_some() {
        return Err(format!("it begins at byte {start}, expected {position}"));
    }
    let size = usize::try_from(chunk.compressed_size()).ok().filter(|_| chunk.compressed_size() <= MAX_PAGE_BYTES);
    let end = size.and_then(|s| position.checked_add(s));
    let end = end.ok_or_else(|| format!("it declares {} bytes", chunk.compressed_size()))?;
    let data_page = usize::try_from(chunk.data_page_offset()).ok().filter(|at| (position..end).contains(at));
    match data_page {
        Some(_) => Ok(position..end),
        None => Err(format!("its data page begins at byte {}, outside of it", chunk.data_page_offset())),
    }
}

/// Where a dictionary's values lie, and where the data page begins behind them.
fn find_dictionary(
    chunk: &ColumnChunkMetaData,
    range: &Range<usize>,
    bytes: usize,
) -> Result<(Range<usize>, usize), String> {
    let data_page = usize::try_from(chunk.data_page_offset()).unwrap_or_default(); // checked with the chunk
    let start = data_page.checked_sub(bytes).filter(|&start| start > range.start);
    let start = start.ok_or_else(|| format!("its dictionary has no room for {bytes} bytes"))?;
    Ok((start..data_page, data_page))
}

struct ValueCount {
    count: usize,
    bytes: usize,
}

/// How many values a chunk has and how many bytes they take.
fn count_values(
    chunk: &ColumnChunkMetaData,
    kind: Kind,
    rows: usize,
    shape: &columns::Shape,
) -> Result<ValueCount, String> {
    let levels = chunk.num_values();
    let flat = |width: usize| {
        if levels != rows as i64 {
            return Err(format!("it declares {levels} values for {rows} rows"));
        }
        let bytes = rows.checked_mul(width).ok_or("it is too large")?;
        Ok(ValueCount { count: rows, bytes })
    };
    match kind {
        Kind::I32 | Kind::F32 => flat(4),
        Kind::I64 => flat(8),
        Kind::Digest => flat(4 + 64),
        Kind::Bool => flat(1).map(|v| ValueCount { bytes: rows.div_ceil(8), ..v }),
        Kind::Text => {
            let text = chunk.unencoded_byte_array_data_bytes().and_then(|b| usize::try_from(b).ok());
            let text = text.ok_or("it does not declare the length of its text")?;
            let lengths = flat(4)?;
            let bytes = lengths.bytes.checked_add(text).ok_or("it is too large")?;
            Ok(ValueCount { bytes, ..lengths })
        }
        Kind::ClassLogits => lists_or_none(chunk, rows, shape.class_len),
        Kind::DflLogits => uniform_lists(chunk, rows, shape.dfl_len),
        Kind::Labels => {
            let count = present_values(chunk, rows)?;
            let bytes = count.checked_mul(4).ok_or("it is too large")?;
            Ok(ValueCount { count, bytes })
        }
    }
}

fn uniform_lists(chunk: &ColumnChunkMetaData, rows: usize, list_len: usize) -> Result<ValueCount, String> {
    let expected = rows.checked_mul(list_len).ok_or("it is too large")?;
    let count = present_values(chunk, rows)?;
    if count != expected || chunk.num_values() != expected as i64 {
        return Err(format!("it has {count} values, expected {rows} lists of {list_len}"));
    }
    let bytes = expected.checked_mul(2).ok_or("it is too large")?;
    Ok(ValueCount { count, bytes })
}

/// Lists of one length, or empty.
fn lists_or_none(chunk: &ColumnChunkMetaData, rows: usize, list_len: usize) -> Result<ValueCount, String> {
    let count = present_values(chunk, rows)?;
    let lists = count.checked_div(list_len).filter(|lists| *lists <= rows && lists * list_len == count);
    let levels = lists.map(|lists| count + rows - lists);
    if levels.is_none_or(|levels| chunk.num_values() != levels as i64) {
        return Err(format!("it has {count} values, expected {list_len} for each of at most {rows} rows"));
    }
    let bytes = count.checked_mul(2).ok_or("it is too large")?;
    Ok(ValueCount { count, bytes })
}

/// Values of a list column, from the footer's level histograms; lists without values leave a level but no value.
fn present_values(chunk: &ColumnChunkMetaData, rows: usize) -> Result<usize, String> {
    let pair = |h: Option<&LevelHistogram>| match h.map(LevelHistogram::values) {
        Some(&[zeros, ones]) if zeros >= 0 && ones >= 0 && zeros.checked_add(ones) == Some(chunk.num_values()) => {
            Some((zeros, ones))
        }
        _ => None,
    };
    let lists = pair(chunk.repetition_level_histogram());
    let values = pair(chunk.definition_level_histogram());
    match (lists, values) {
        (Some((begun, _)), Some((_, present))) if begun == rows as i64 => {
            usize::try_from(present).map_err(|_| format!("it declares {present} values"))
        }
        _ => Err(format!("its level counts do not fit {rows} lists")),
    }
}
