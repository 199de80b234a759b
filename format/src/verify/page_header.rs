//! The headers before a column chunk's dictionary, where it has one, and its only data page, read strictly: one form of each is valid, everything
//! else is a problem.
//!
//! The `parquet` crate's reader of page headers trusts the lengths it finds and can panic on hostile ones, so `verify`
//! lets it near a file only after this. The mapped reader needs no page headers at all.

use crate::columns::Form;
use std::ops::Range;

/// The numbers of a data page's header.
#[derive(Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// Bytes of the header itself.
    pub header_bytes: usize,
    /// Values and gaps: one per level pair.
    pub num_values: usize,
    /// Levels without a value.
    pub num_nulls: usize,
    /// Rows.
    pub num_rows: usize,
    /// Bytes of the definition levels.
    pub definition_bytes: usize,
    /// Bytes of the repetition levels.
    pub repetition_bytes: usize,
    /// Bytes of levels and values together.
    pub page_bytes: usize,
}

/// Thrift's `Encoding` of plain values and of codes.
const PLAIN: usize = 0;
const RLE_DICTIONARY: usize = 8;

/// Checks a data page; `page` is where the footer says that it lies in `file`, header and all.
pub fn check(file: &[u8], page: &Range<usize>, rows: usize, form: Form) -> Result<PageHeader, String> {
    let bytes = file.get(page.clone()).ok_or("it lies outside the file")?;
    let encoding = if form == Form::Plain { PLAIN } else { RLE_DICTIONARY };
    let header = parse(bytes, encoding).ok_or("its page header is not that of one uncompressed v2 page of its form")?;
    let levels = header.definition_bytes + header.repetition_bytes;
    let fits = header.header_bytes + header.page_bytes == bytes.len()
        && levels <= header.page_bytes
        && header.num_rows == rows
        && header.num_nulls <= header.num_values;
    if fits { Ok(header) } else { Err(format!("its page header does not fit the footer: {header:?}")) }
}

/// Checks the header of the dictionary that begins at `start`; `values` is where the footer says that its values lie.
///
/// Thrift's compact encoding of `PageHeader { 1: DICTIONARY_PAGE, 2: size, 3: size, 7: DictionaryPageHeader { 1: num_values, 2: PLAIN,
/// 3: is_sorted = false } }`. Its number of values is left to the `arrow` reader, which refuses a page that is too short for it.
pub fn check_dictionary(file: &[u8], start: usize, values: &Range<usize>) -> Result<(), String> {
    let invalid = || "its dictionary's header is not that of PLAIN, uncompressed values".to_owned();
    let mut rest = file.get(start..values.start).ok_or_else(invalid)?;
    let mut next = |header| field(&mut rest, header);
    let sizes = (next(0x15) == Some(2)).then(|| (next(0x15), next(0x15))).ok_or_else(invalid)?;
    let size = Some(values.len());
    rest = rest.strip_prefix(&[0x4c]).ok_or_else(invalid)?;
    let entries = field(&mut rest, 0x15).filter(|n| (1..=values.len()).contains(n));
    let is_plain = field(&mut rest, 0x15) == Some(PLAIN);
    let fits = sizes == (size, size) && entries.is_some() && is_plain && rest == [0x12, 0, 0];
    if fits { Ok(()) } else { Err(invalid()) }
}

/// Thrift's compact encoding of `PageHeader { 1: DATA_PAGE_V2, 2: size, 3: size, 8: DataPageHeaderV2 { 1: num_values,
/// 2: num_nulls, 3: num_rows, 4: encoding, 5: definition bytes, 6: repetition bytes, 7: is_compressed = false } }`.
fn parse(bytes: &[u8], expected_encoding: usize) -> Option<PageHeader> {
    let mut rest = bytes;
    if field(&mut rest, 0x15)? != 3 {
        return None;
    }
    let uncompressed = field(&mut rest, 0x15)?;
    let page_bytes = field(&mut rest, 0x15)?;
    rest = rest.strip_prefix(&[0x5c])?;
    let num_values = field(&mut rest, 0x15)?;
    let num_nulls = field(&mut rest, 0x15)?;
    let num_rows = field(&mut rest, 0x15)?;
    let encoding = field(&mut rest, 0x15)?;
    let definition_bytes = field(&mut rest, 0x15)?;
    let repetition_bytes = field(&mut rest, 0x15)?;
    rest = rest.strip_prefix(&[0x12, 0, 0])?;
    let header_bytes = bytes.len() - rest.len();
    (encoding == expected_encoding && uncompressed == page_bytes).then_some(PageHeader {
        header_bytes,
        num_values,
        num_nulls,
        num_rows,
        definition_bytes,
        repetition_bytes,
        page_bytes,
    })
}

/// A field of type i32 with this header byte: a zigzag varint that is not negative and at most 2^31 - 1.
fn field(rest: &mut &[u8], header: u8) -> Option<usize> {
    let mut bytes = rest.strip_prefix(&[header])?;
    let mut value = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, after) = bytes.split_first()?;
        bytes = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            *rest = bytes;
            let number = usize::try_from(value >> 1).ok();
            return number.filter(|&n| value & 1 == 0 && n <= i32::MAX as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = &[
        0x15, 6, 0x15, 0x90, 3, 0x15, 0x90, 3, 0x5c, 0x15, 200, 1, 0x15, 0, 0x15, 200, 1, 0x15, 0, 0x15, 0, 0x15, 0,
        0x12, 0, 0,
    ];

    fn chunk() -> Vec<u8> {
        let mut bytes = HEADER.to_vec();
        bytes.resize(HEADER.len() + 200, 7);
        bytes
    }

    #[test]
    fn the_only_valid_form_is_accepted() {
        let bytes = chunk();
        check(&bytes, &(0..bytes.len()), 100, Form::Plain).unwrap();
        assert!(check(&bytes, &(0..bytes.len()), 99, Form::Plain).is_err(), "other row count");
        assert!(check(&bytes, &(0..bytes.len()), 100, Form::Codes).is_err(), "other encoding");
        assert!(check(&bytes, &(0..bytes.len() - 1), 100, Form::Plain).is_err(), "other length");
    }

    #[test]
    fn a_dictionary_header_has_one_valid_form() {
        // Type 2, 8 bytes twice, two values, PLAIN, not sorted.
        let valid = [0x15, 4, 0x15, 16, 0x15, 16, 0x4c, 0x15, 4, 0x15, 0, 0x12, 0, 0];
        let with_values = |header: &[u8]| [header, &[7; 8]].concat();
        check_dictionary(&with_values(&valid), 0, &(14..22)).unwrap();
        assert!(check_dictionary(&with_values(&valid), 0, &(14..21)).is_err());
        assert!(check_dictionary(&with_values(&valid), 1, &(14..22)).is_err());
        for at in (0..valid.len()).filter(|&at| at != 8) {
            let mut other = valid;
            other[at] ^= 2;
            assert!(check_dictionary(&with_values(&other), 0, &(14..22)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn any_changed_or_missing_header_byte_is_noticed_and_nothing_panics() {
        for at in 0..HEADER.len() {
            for bit in 0..8 {
                let mut bytes = chunk();
                bytes[at] ^= 1 << bit;
                let result = check(&bytes, &(0..bytes.len()), 100, Form::Plain);
                // Counts and lengths of levels are compared with what the column must hold in `pages`.
                let expected = parse(HEADER, PLAIN).unwrap();
                let counts_only = parse(&bytes, PLAIN).is_some_and(|h| {
                    let levels = (expected.definition_bytes, expected.repetition_bytes);
                    let (definition_bytes, repetition_bytes) = levels;
                    PageHeader { num_values: 100, num_nulls: 0, definition_bytes, repetition_bytes, ..h } == expected
                });
                assert!(result.is_err() || counts_only, "byte {at}, bit {bit}");
            }
            assert!(parse(&HEADER[..at], PLAIN).is_none());
        }
    }
}
