//! The header before a column chunk's only page, read strictly: one form is valid, everything else is a problem.
//!
//! The `parquet` crate's reader of page headers trusts the lengths it finds and can panic on hostile ones, so `verify`
//! lets it near a file only after this. The mapped reader needs no page headers at all.

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

/// Checks the page of a column chunk; `chunk` and `values` are where the footer says they lie in `file`.
pub fn check(file: &[u8], chunk: &Range<usize>, values: &Range<usize>, rows: usize) -> Result<PageHeader, String> {
    let bytes = file.get(chunk.clone()).ok_or("it lies outside the file")?;
    let header = parse(bytes).ok_or("its page header is not that of one PLAIN, uncompressed v2 page")?;
    let levels = header.definition_bytes + header.repetition_bytes;
    let fits = header.header_bytes + header.page_bytes == bytes.len()
        && levels + values.len() == header.page_bytes
        && header.num_rows == rows
        && header.num_nulls <= header.num_values;
    if fits { Ok(header) } else { Err(format!("its page header does not fit the footer: {header:?}")) }
}

/// Thrift's compact encoding of `PageHeader { 1: DATA_PAGE_V2, 2: size, 3: size, 8: DataPageHeaderV2 { 1: num_values,
/// 2: num_nulls, 3: num_rows, 4: PLAIN, 5: definition bytes, 6: repetition bytes, 7: is_compressed = false } }`.
fn parse(bytes: &[u8]) -> Option<PageHeader> {
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
    (encoding == 0 && uncompressed == page_bytes).then_some(PageHeader {
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
        let values = HEADER.len()..bytes.len();
        check(&bytes, &(0..bytes.len()), &values, 100).unwrap();
        assert!(check(&bytes, &(0..bytes.len()), &values, 99).is_err(), "other row count");
        assert!(check(&bytes, &(0..bytes.len()), &(values.start + 1..values.end), 100).is_err(), "other value bytes");
    }

    #[test]
    fn any_changed_or_missing_header_byte_is_noticed_and_nothing_panics() {
        for at in 0..HEADER.len() {
            for bit in 0..8 {
                let mut bytes = chunk();
                bytes[at] ^= 1 << bit;
                let values = HEADER.len()..bytes.len();
                let result = check(&bytes, &(0..bytes.len()), &values, 100);
                // The two counts are compared with what the column must hold in `pages`.
                let expected = parse(HEADER).unwrap();
                let counts_only =
                    parse(&bytes).is_some_and(|h| PageHeader { num_values: 100, num_nulls: 0, ..h } == expected);
                assert!(result.is_err() || counts_only, "byte {at}, bit {bit}");
            }
            assert!(parse(&HEADER[..at]).is_none());
        }
    }
}
