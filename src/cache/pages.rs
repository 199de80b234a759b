//! The page of a `LIST<FLOAT16>` column whose rows all have the same length.
//!
//! The `parquet` crate's typed writer makes an object of every two-byte value, which costs nine times as much as
//! everything else of writing an image. The levels of such a column follow from two numbers and its values are
//! already bytes, so the page is put together here and handed to the crate, which writes headers and footer.

use bytes::Bytes;
use parquet::{
    basic::{Compression, Encoding, PageType},
    column::{
        page::{CompressedPage, Page, PageWriter},
        writer::ColumnCloseResult,
    },
    errors::{ParquetError, Result},
    file::{
        metadata::{ColumnChunkMetaData, LevelHistogram, PageEncodingStats},
        writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};
use std::io::Write;

/// Writes the next column of a row group: `values` are the little-endian bytes of `rows` lists of `list_len` float16
/// each. `rows` and `list_len` are not 0.
///
/// # Errors
/// Where the page would reach 2 GiB, or writing fails.
pub fn write_float16_lists<W: Write + Send>(
    row_group: &mut SerializedRowGroupWriter<'_, W>,
    column: ColumnDescPtr,
    values: &[u8],
    rows: usize,
    list_len: usize,
) -> Result<()> {
    let count = rows * list_len;
    if count == 0 || count * 2 != values.len() {
        return Err(ParquetError::General(format!("{} bytes are not {rows} lists of {list_len}", values.len())));
    }
    let too_large = |_| ParquetError::General(format!("{rows} lists of {list_len} do not fit in one page"));
    let num_values = u32::try_from(count).map_err(too_large)?;
    let repetition = repetition_levels(rows, list_len);
    let definition = definition_levels(num_values);
    let levels = repetition.len() + definition.len();

    let mut body = Vec::with_capacity(levels + values.len());
    body.extend_from_slice(&repetition);
    body.extend_from_slice(&definition);
    body.extend_from_slice(values);
    let body_len = body.len();
    let page = Page::DataPageV2 {
        buf: Bytes::from(body),
        num_values,
        encoding: Encoding::PLAIN,
        num_nulls: 0,
        num_rows: u32::try_from(rows).map_err(too_large)?,
        def_levels_byte_len: u32::try_from(definition.len()).map_err(too_large)?,
        rep_levels_byte_len: u32::try_from(repetition.len()).map_err(too_large)?,
        is_compressed: false,
        statistics: None,
    };
    let mut sink = TrackedWrite::new(Vec::with_capacity(body_len + 64));
    let spec = SerializedPageWriter::new(&mut sink).write_page(CompressedPage::new(page, body_len))?;
    let chunk = Bytes::from(sink.into_inner()?);

    let metadata = ColumnChunkMetaData::builder(column)
        .set_compression(Compression::UNCOMPRESSED)
        .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
        .set_num_values(i64::from(num_values))
        .set_total_compressed_size(spec.compressed_size as i64)
        .set_total_uncompressed_size(spec.uncompressed_size as i64)
        .set_data_page_offset(0)
        .set_page_encoding_stats(vec![PageEncodingStats {
            page_type: PageType::DATA_PAGE_V2,
            encoding: Encoding::PLAIN,
            count: 1,
        }])
        .set_repetition_level_histogram(histogram([rows, count - rows]))
        .set_definition_level_histogram(histogram([0, count]))
        .build()?;
    let close = ColumnCloseResult {
        bytes_written: chunk.len() as u64,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    row_group.append_column(&chunk, close)
}

fn histogram(counts: [usize; 2]) -> Option<LevelHistogram> {
    let mut histogram = LevelHistogram::try_new(1)?;
    histogram.increment_by(0, counts[0] as i64);
    histogram.increment_by(1, counts[1] as i64);
    Some(histogram)
}

/// Every value is there: one run of ones, in Parquet's RLE / bit-packing hybrid of bit width 1.
fn definition_levels(count: u32) -> Vec<u8> {
    let mut out = Vec::new();
    push_run(&mut out, u64::from(count), 1);
    out
}

/// 0 where a list begins, 1 inside it: as runs where lists are long, else bit-packed in one run, whichever is shorter.
fn repetition_levels(rows: usize, list_len: usize) -> Vec<u8> {
    let count = rows * list_len;
    if list_len == 1 {
        let mut out = Vec::new();
        push_run(&mut out, count as u64, 0);
        return out;
    }
    let mut row = Vec::new();
    push_run(&mut row, 1, 0);
    push_run(&mut row, list_len as u64 - 1, 1);
    let groups = count.div_ceil(8);
    if row.len() * rows <= groups {
        return row.repeat(rows);
    }
    let mut bits = vec![0xffu8; groups];
    for at in (0..count).step_by(list_len).chain(count..groups * 8) {
        if let Some(byte) = bits.get_mut(at / 8) {
            *byte &= !(1 << (at % 8));
        }
    }
    let mut out = Vec::with_capacity(bits.len() + 10);
    push_varint(&mut out, (groups as u64) << 1 | 1);
    out.extend_from_slice(&bits);
    out
}

fn push_run(out: &mut Vec<u8>, length: u64, level: u8) {
    push_varint(out, length << 1);
    out.push(level);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hybrid encoding of bit width 1, decoded as the Parquet format's Encodings.md says.
    fn decode(mut bytes: &[u8], count: usize) -> Vec<u8> {
        let mut levels = Vec::new();
        while levels.len() < count {
            let (mut header, mut shift) = (0u64, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if header & 1 == 0 {
                levels.extend(std::iter::repeat_n(bytes[0], (header >> 1) as usize));
                bytes = &bytes[1..];
            } else {
                let groups = (header >> 1) as usize;
                levels.extend((0..groups * 8).map(|i| bytes[i / 8] >> (i % 8) & 1));
                bytes = &bytes[groups..];
            }
        }
        assert!(bytes.is_empty() && levels[count..].iter().all(|&l| l == 0));
        levels.truncate(count);
        levels
    }

    #[test]
    fn levels_decode_to_lists_of_one_length() {
        for list_len in [1usize, 2, 3, 7, 8, 32, 33, 64, 65, 80, 365, 9000] {
            for rows in [1usize, 2, 5, 100] {
                let count = rows * list_len;
                let expected: Vec<u8> = (0..count).map(|i| u8::from(i % list_len != 0)).collect();
                assert_eq!(decode(&repetition_levels(rows, list_len), count), expected, "{rows} x {list_len}");
                assert_eq!(decode(&definition_levels(count as u32), count), vec![1; count]);
            }
        }
    }
}
