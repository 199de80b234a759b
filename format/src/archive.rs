//! How the files of an archive are written: the same columns and values as in a mapped cache, each column in the encoding
//! that is smallest under zstd and that every common reader of Parquet decodes.
//!
//! Measured on a real cache (`docs/benchmarks.md`). FLOAT16 of 256 values has a dictionary, other FLOAT16 stays PLAIN: split into streams of bytes it would be smaller, but
//! DuckDB reads BYTE_STREAM_SPLIT of types of 4 and 8 bytes only. Pages are of version 1, in which levels are compressed too:
//! those of two lists would take about 7 bytes a row.

use super::codebook::Codebook;
use super::table_file::RowGroupWriter;
use crate::types::LogitType;
use parquet::{
    basic::{Compression, Encoding, Type, ZstdLevel},
    data_type::{ByteArray, FixedLenByteArray, FixedLenByteArrayType},
    errors::{ParquetError, Result},
    file::properties::{EnabledStatistics, WriterPropertiesBuilder, WriterVersion},
    schema::types::SchemaDescriptor,
};

/// zstd's level: the highest that gains anything.
const LEVEL: i32 = 19;
/// Values handed to the column writer at a time: it wants an object of each.
const BLOCK_VALUES: usize = 1 << 16;

/// The properties of a mapped file, changed to those of an archive's.
///
/// # Errors
/// Never with this level.
pub fn compressed(
    plain: WriterPropertiesBuilder,
    schema: &SchemaDescriptor,
    logits: LogitType,
) -> Result<WriterPropertiesBuilder> {
    let mut properties = plain
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(LEVEL)?));
    for column in schema.columns() {
        let path = column.path().clone();
        properties = match column.physical_type() {
            Type::INT32 | Type::FLOAT | Type::DOUBLE => {
                properties.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT)
            }
            Type::INT64 => properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Type::BYTE_ARRAY => properties.set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY),
            // Finding the least and the greatest of so many objects costs more than writing them.
            Type::FIXED_LEN_BYTE_ARRAY => {
                let is_class = path.parts().first().is_some_and(|name| name == "class_logits");
                let book = if is_class { Codebook::of_class(logits) } else { Codebook::of_dfl(logits) };
                properties
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                    .set_column_dictionary_enabled(path, book.is_some())
            }
            Type::BOOLEAN | Type::INT96 => properties,
        };
    }
    Ok(properties)
}

/// Writes the next column of a row group: `values` are the little-endian bytes of lists of float16 of these lengths.
///
/// # Errors
/// Where writing fails.
pub fn write_float16_lists(group: &mut RowGroupWriter<'_>, values: &[u8], lengths: &[usize]) -> Result<()> {
    let missing = || ParquetError::General("the schema has fewer columns than are written".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    let (mut definition, mut repetition, mut block) = (Vec::new(), Vec::new(), Vec::new());
    let (mut rest, mut lengths) = (values, lengths.iter().peekable());
    while lengths.peek().is_some() {
        definition.clear();
        repetition.clear();
        block.clear();
        let mut count = 0;
        while let Some(&length) = lengths.next_if(|_| definition.len() < BLOCK_VALUES) {
            definition.push(i16::from(length > 0));
            repetition.push(0);
            definition.resize(definition.len() + length.saturating_sub(1), 1);
            repetition.resize(definition.len(), 1);
            count += length;
        }
        let short = || ParquetError::General("there are fewer values than the lists' lengths say".to_owned());
        let (bytes, after) = rest.split_at_checked(count * 2).ok_or_else(short)?;
        rest = after;
        let owner = bytes::Bytes::copy_from_slice(bytes);
        block.extend((0..count).map(|at| FixedLenByteArray::from(ByteArray::from(owner.slice(at * 2..at * 2 + 2)))));
        column.typed::<FixedLenByteArrayType>().write_batch(&block, Some(&definition), Some(&repetition))?;
    }
    column.close()
}
