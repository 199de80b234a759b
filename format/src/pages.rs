//! Pages that are put together here: of lists of float16, and of columns whose values are codes of one byte.
//!
//! The `parquet` crate's typed writer makes an object of every two-byte value, which costs nine times as much as
//! everything else of writing an image, and packs codes into as few bits as a dictionary needs, in runs of any length: they could not be
//! mapped. The levels of these columns follow from the lists' lengths and the values are already bytes, so pages are made here and handed to the
//! crate, which writes headers and footer.

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
        statistics::Statistics,
        writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite},
    },
    schema::types::ColumnDescPtr,
};
use std::io::Write;

/// Bits of a code.
pub const CODE_BITS: u8 = 8;

/// The values of a column, as bytes.
#[derive(Clone, Copy)]
pub enum PageValues<'a> {
    /// Value after value, of `width` bytes each.
    Plain {
        /// The values, little-endian.
        bytes: &'a [u8],
        /// Bytes of one.
        width: usize,
    },
    /// A byte of each value: its place in the dictionary.
    Codes {
        /// The places.
        codes: &'a [u8],
        /// The dictionary's values, little-endian.
        dictionary: &'a [u8],
        /// How many they are, at most 256.
        entries: usize,
    },
}

impl PageValues<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Plain { bytes, width } => bytes.len() / width,
            Self::Codes { codes, .. } => codes.len(),
        }
    }

    fn encoding(&self) -> Encoding {
        match self {
            Self::Plain { .. } => Encoding::PLAIN,
            Self::Codes { .. } => Encoding::RLE_DICTIONARY,
        }
    }

    /// As they lie in a data page. Codes are one bit-packed run of whole groups of eight.
    fn write_to(&self, body: &mut Vec<u8>) {
        match self {
            Self::Plain { bytes, .. } => body.extend_from_slice(bytes),
            Self::Codes { codes, .. } => {
                body.push(CODE_BITS);
                let groups = codes.len().div_ceil(8);
                if groups > 0 {
                    push_varint(body, (groups as u64) << 1 | 1);
                }
                body.extend_from_slice(codes);
                body.resize(body.len() + groups * 8 - codes.len(), 0);
            }
        }
    }
}

/// Writes the next column of a row group: REQUIRED lists of REQUIRED values, `lengths` of them with so many values each.
///
/// # Errors
/// Where there are other than the sum of the lengths, the page would reach 2 GiB, or writing fails.
pub fn write_lists<W: Write + Send>(
    row_group: &mut SerializedRowGroupWriter<'_, W>,
    column: ColumnDescPtr,
    values: PageValues<'_>,
    lengths: &[usize],
) -> Result<()> {
    let expected: usize = lengths.iter().sum();
    if expected != values.len() {
        return Err(ParquetError::General(format!("{} values are not lists of {expected} together", values.len())));
    }
    let mut levels = Levels { repetition: Vec::new(), definition: Vec::new() };
    for &length in lengths {
        levels.repetition.push(0);
        levels.definition.push(u8::from(length > 0));
        levels.repetition.resize(levels.repetition.len() + length.saturating_sub(1), 1);
        levels.definition.resize(levels.repetition.len(), 1);
    }
    write_column(row_group, column, values, lengths.len(), Some(levels), None)
}

/// Writes the next column of a row group: a REQUIRED value of each row.
///
/// # Errors
/// Where the page would reach 2 GiB, or writing fails.
pub fn write_flat<W: Write + Send>(
    row_group: &mut SerializedRowGroupWriter<'_, W>,
    column: ColumnDescPtr,
    values: PageValues<'_>,
    statistics: Statistics,
) -> Result<()> {
    write_column(row_group, column, values, values.len(), None, Some(statistics))
}

/// Of a list column, one per value and per empty list.
struct Levels {
    repetition: Vec<u8>,
    definition: Vec<u8>,
}

fn write_column<W: Write + Send>(
    row_group: &mut SerializedRowGroupWriter<'_, W>,
    column: ColumnDescPtr,
    values: PageValues<'_>,
    rows: usize,
    levels: Option<Levels>,
    statistics: Option<Statistics>,
) -> Result<()> {
    let count = levels.as_ref().map_or(rows, |l| l.repetition.len());
    let too_large = |_| ParquetError::General(format!("{count} values do not fit in one page"));
    let num_values = u32::try_from(count).map_err(too_large)?;
    let encode = |levels: Option<&Vec<u8>>| levels.map(|l| encode_levels(l)).unwrap_or_default();
    let repetition = encode(levels.as_ref().map(|l| &l.repetition));
    let definition = encode(levels.as_ref().map(|l| &l.definition));
    let mut body = [repetition.as_slice(), &definition].concat();
    values.write_to(&mut body);
    let body_len = body.len();
    let page = Page::DataPageV2 {
        buf: Bytes::from(body),
        num_values,
        encoding: values.encoding(),
        num_nulls: (count - values.len()) as u32,
        num_rows: u32::try_from(rows).map_err(too_large)?,
        def_levels_byte_len: u32::try_from(definition.len()).map_err(too_large)?,
        rep_levels_byte_len: u32::try_from(repetition.len()).map_err(too_large)?,
        is_compressed: false,
        statistics: None,
    };
    let mut sink = TrackedWrite::new(Vec::with_capacity(body_len + 64));
    let mut pages = SerializedPageWriter::new(&mut sink);
    let (mut bytes, mut data_page_offset) = ((0, 0), 0);
    let mut encodings = vec![values.encoding(), Encoding::RLE];
    let mut stats = Vec::new();
    let one = |page_type, encoding| PageEncodingStats { page_type, encoding, count: 1 };
    if let PageValues::Codes { dictionary, entries, .. } = values {
        let page = Page::DictionaryPage {
            buf: Bytes::copy_from_slice(dictionary),
            num_values: u32::try_from(entries).map_err(too_large)?,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let spec = pages.write_page(CompressedPage::new(page, dictionary.len()))?;
        bytes = (spec.compressed_size, spec.uncompressed_size);
        data_page_offset = spec.bytes_written as i64;
        encodings.push(Encoding::PLAIN);
        stats.push(one(PageType::DICTIONARY_PAGE, Encoding::PLAIN));
    }
    let spec = pages.write_page(CompressedPage::new(page, body_len))?;
    stats.push(one(PageType::DATA_PAGE_V2, values.encoding()));
    let chunk = Bytes::from(sink.into_inner()?);

    let is_coded = data_page_offset > 0;
    let mut metadata = ColumnChunkMetaData::builder(column)
        .set_compression(Compression::UNCOMPRESSED)
        .set_encodings(encodings)
        .set_num_values(i64::from(num_values))
        .set_total_compressed_size((bytes.0 + spec.compressed_size) as i64)
        .set_total_uncompressed_size((bytes.1 + spec.uncompressed_size) as i64)
        .set_data_page_offset(data_page_offset)
        .set_dictionary_page_offset(is_coded.then_some(0))
        .set_page_encoding_stats(stats);
    if let Some(levels) = &levels {
        metadata = metadata
            .set_repetition_level_histogram(histogram(&levels.repetition))
            .set_definition_level_histogram(histogram(&levels.definition));
    }
    if let Some(statistics) = statistics {
        metadata = metadata.set_statistics(statistics);
    }
    let close = ColumnCloseResult {
        bytes_written: chunk.len() as u64,
        rows_written: rows as u64,
        metadata: metadata.build()?,
        bloom_filter: None,
        column_index: None,
        offset_index: None,
    };
    row_group.append_column(&chunk, close)
}

fn histogram(levels: &[u8]) -> Option<LevelHistogram> {
    let ones = levels.iter().filter(|&&level| level == 1).count();
    let mut histogram = LevelHistogram::try_new(1)?;
    histogram.increment_by(0, (levels.len() - ones) as i64);
    histogram.increment_by(1, ones as i64);
    Some(histogram)
}

/// Levels of 0 and 1 in Parquet's RLE / bit-packing hybrid of bit width 1: as runs, or bit-packed in one, whichever is shorter.
fn encode_levels(levels: &[u8]) -> Vec<u8> {
    let groups = levels.len().div_ceil(8);
    let mut runs = Vec::new();
    for run in levels.chunk_by(|a, b| a == b) {
        push_varint(&mut runs, (run.len() as u64) << 1);
        runs.push(run.first().copied().unwrap_or(0));
        if runs.len() > groups {
            break;
        }
    }
    if runs.len() <= groups {
        return runs;
    }
    let mut packed = Vec::with_capacity(groups + 10);
    push_varint(&mut packed, (groups as u64) << 1 | 1);
    packed.extend(levels.chunks(8).map(|group| group.iter().rev().fold(0u8, |byte, &level| byte << 1 | level)));
    packed
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
    fn levels_decode_to_what_they_were() {
        for list_len in [1usize, 2, 3, 7, 8, 32, 33, 64, 65, 80, 365, 9000] {
            for rows in [1usize, 2, 5, 100] {
                let levels: Vec<u8> = (0..rows * list_len).map(|i| u8::from(i % list_len != 0)).collect();
                assert_eq!(decode(&encode_levels(&levels), levels.len()), levels, "{rows} x {list_len}");
                let ones = vec![1; levels.len()];
                assert_eq!(decode(&encode_levels(&ones), ones.len()), ones);
            }
        }
        assert!(encode_levels(&[]).is_empty());
    }

    #[test]
    fn codes_are_one_run_of_whole_groups() {
        let body = |codes: &[u8]| {
            let mut body = Vec::new();
            PageValues::Codes { codes, dictionary: &[], entries: 0 }.write_to(&mut body);
            body
        };
        assert_eq!(body(&[]), [8]);
        assert_eq!(body(&[1, 2, 3]), [8, 3, 1, 2, 3, 0, 0, 0, 0, 0]);
        assert_eq!(body(&[7; 8]), [&[8, 3][..], &[7; 8]].concat());
        assert_eq!(body(&[7; 8 * 64])[..3], [8, 0x81, 1]); // 64 groups: 129
    }
}
