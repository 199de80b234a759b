//! One Parquet file under construction: properties, digests on the way to the disk, the name at the end.

use super::{
    archive,
    columns::{Form, Table},
    digest::to_hex,
    footer::{FileInfo, INFO_KEY},
    manifest::{FileEntry, Manifest},
    verify::files::check_bytes,
};
use crate::{Error, Result, fsio::TempFile};
use parquet::{
    basic::{Compression, Encoding},
    errors::ParquetError,
    file::{
        metadata::{KeyValue, SortingColumn},
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion},
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{ColumnPath, SchemaDescriptor},
};
use sha2::{Digest, Sha256};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

/// The row group being written.
pub type RowGroupWriter<'a> = SerializedRowGroupWriter<'a, HashingFile>;

/// A Parquet file that gets its name when it is complete.
pub struct TableFile {
    table: Table,
    /// The file's name in messages.
    shown: PathBuf,
    writer: SerializedFileWriter<HashingFile>,
}

impl TableFile {
    /// Begins a file of `table` in the cache in `folder`.
    pub fn create(folder: &Path, table: Table, manifest: &Manifest) -> Result<Self> {
        let temp = TempFile::create(&folder.join(table.folder()), "part.parquet")?;
        let shown = temp.shown().to_path_buf();
        let begin = || {
            let shape = manifest.shape();
            let schema = shape.schema(table)?;
            let info =
                serde_json::to_string(&FileInfo::new(manifest, table)).map_err(|e| ParquetError::External(e.into()))?;
            let descriptor = SchemaDescriptor::new(schema.clone());
            let mut properties = properties(table, info);
            if manifest.is_archive() {
                properties = archive::compressed(properties, &descriptor, manifest.settings.logits)?;
            } else {
                for (column, form) in descriptor.columns().iter().zip(shape.forms(table)) {
                    if form == Form::Runs {
                        properties = properties.set_column_dictionary_enabled(column.path().clone(), true);
                    }
                }
            }
            SerializedFileWriter::new(HashingFile::new(temp), schema, Arc::new(properties.build()))
        };
        let writer = begin().map_err(|e| write_error(&shown, e))?;
        Ok(Self { table, shown, writer })
    }

    /// Bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    /// Writes one row group; `fill` writes every column in order.
    pub fn write_row_group(
        &mut self,
        fill: impl FnOnce(&mut RowGroupWriter<'_>, &SchemaDescriptor) -> Result<(), ParquetError>,
    ) -> Result<()> {
        let schema = SchemaDescriptor::new(self.writer.schema_descr().root_schema_ptr());
        let write = || {
            let mut group = self.writer.next_row_group()?;
            fill(&mut group, &schema)?;
            group.close().map(|_| ())
        };
        write().map_err(|e| write_error(&self.shown, e))
    }

    /// Writes the footer, flushes the file to the disk and names it.
    pub fn finish(mut self, folder: &Path, name: &str) -> Result<FileEntry> {
        let footer_start = self.writer.bytes_written() as u64;
        self.writer.inner_mut().keep_from = footer_start;
        let failed = self.writer.inner_mut().failed.clone();
        let file = self.writer.into_inner().map_err(|e| match failed.get() {
            // Of an error in the last bytes the writer gives nothing but the words: a full disk would not be known for one.
            Some(&code) => Error::io(&self.shown, "write to", io::Error::from_raw_os_error(code)),
            None => write_error(&self.shown, e),
        })?;
        let entry = FileEntry {
            bytes: file.bytes,
            sha256: to_hex(&file.hash.finalize()),
            footer_sha256: to_hex(&Sha256::digest(&file.kept)),
        };
        let target = folder.join(self.table.folder()).join(format!("{name}.parquet"));
        // A finished file is never written again. Another worker on the same images may have made it: then it is this very one.
        if !file.temp.persist_new(&target)? {
            check_bytes(&target, &entry, &|_| {}).map_err(|found| Error::Cache {
                path: target,
                found: format!(
                    "a file of this name is there already, and it is not the one that was to be written: {found}"
                ),
                remedy: "Remove it and run the same command again.".to_owned(),
            })?;
        }
        Ok(entry)
    }
}

/// One PLAIN, uncompressed v2 data page per column and row group, whatever its size; statistics per row group only.
fn properties(table: Table, info: String) -> WriterPropertiesBuilder {
    let sorted_by = |column_idx| SortingColumn { column_idx, descending: false, nulls_first: false };
    let key_columns: &[i32] = match table {
        Table::Images => &[0, 1],
        Table::Predictions => &[0, 1, 2],
    };
    let without_statistics = ["file_sha256", "record_sha256", "labels_sha256"];
    let builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_encoding(Encoding::PLAIN)
        .set_compression(Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(i32::MAX as usize)
        .set_data_page_row_count_limit(i32::MAX as usize)
        .set_max_row_group_row_count(None)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_created_by(concat!("logitcache ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_sorting_columns(Some(key_columns.iter().copied().map(sorted_by).collect()))
        .set_key_value_metadata(Some(vec![KeyValue::new(INFO_KEY.to_owned(), info)]));
    without_statistics
        .into_iter()
        .fold(builder, |b, name| b.set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::None))
}

/// The system's own error where there is one below.
fn write_error(path: &Path, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(inner) => match inner.downcast::<io::Error>() {
            Ok(e) => *e,
            Err(other) => io::Error::other(other),
        },
        other => io::Error::other(other),
    };
    Error::io(path, "write to", source)
}

/// Hashes what passes through it and keeps a copy of the end.
pub struct HashingFile {
    temp: TempFile,
    hash: Sha256,
    bytes: u64,
    /// Bytes from this position on are kept: the footer.
    keep_from: u64,
    kept: Vec<u8>,
    /// The system's number of the first write that failed.
    failed: Arc<OnceLock<i32>>,
}

impl HashingFile {
    fn new(temp: TempFile) -> Self {
        Self { temp, hash: Sha256::new(), bytes: 0, keep_from: u64::MAX, kept: Vec::new(), failed: Arc::default() }
    }
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.temp.write(buffer).inspect_err(|e| {
            if let Some(code) = e.raw_os_error() {
                // Only the first matters.
                let _ = self.failed.set(code);
            }
        })?;
        let done = buffer.get(..written).unwrap_or(buffer);
        self.hash.update(done);
        let skip = self.keep_from.saturating_sub(self.bytes).min(done.len() as u64) as usize;
        self.kept.extend_from_slice(done.get(skip..).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temp.flush()
    }
}
