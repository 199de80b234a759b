//! The levels of list columns, decoded strictly: they must give every row a list of the length that it is said to have.
//!
//! As with page headers, the `parquet` crate's decoder can panic on hostile levels (a shift by 64 bits and more in a
//! run's length), so it sees a column only after this.

/// Whether the levels of a column make `rows` lists, `full` of them of `list_len` values each and the others empty.
pub fn check_uniform(
    repetition: &[u8],
    definition: &[u8],
    rows: usize,
    full: usize,
    list_len: usize,
) -> Result<(), String> {
    let values = full.checked_mul(list_len).ok_or("it is too large")?;
    let count = rows.checked_sub(full).and_then(|empty| empty.checked_add(values)).ok_or("it is too large")?;
    let (begins, present) = (decode(repetition, count)?, decode(definition, count)?);
    let (mut rest, mut found) = (begins.iter().zip(&present), 0);
    let mut regular = true;
    while let (true, Some((&begins, &present))) = (regular, rest.next()) {
        found += 1;
        let inner = if present == 1 { list_len.saturating_sub(1) } else { 0 };
        let ones = rest.by_ref().take(inner).take_while(|levels| *levels == (&1, &1)).count();
        regular = begins == 0 && ones == inner;
    }
    if regular && found == rows {
        Ok(())
    } else {
        Err(format!("its levels are not {rows} lists, {full} of them of {list_len}"))
    }
}

/// Whether the levels of a column, `count` of each kind, make lists of the lengths `lengths`.
pub fn check_lists(repetition: &[u8], definition: &[u8], count: usize, lengths: &[usize]) -> Result<(), String> {
    let expected: Option<usize> = lengths.iter().try_fold(0usize, |sum, &length| sum.checked_add(length.max(1)));
    if expected != Some(count) {
        return Err(format!("it has {count} levels, its lists need {expected:?}"));
    }
    let (begins, present) = (decode(repetition, count)?, decode(definition, count)?);
    let (mut begins, mut present) = (begins.into_iter(), present.into_iter());
    for (row, &length) in lengths.iter().enumerate() {
        let levels = length.max(1);
        let begins_once = begins.by_ref().take(levels).enumerate().all(|(at, level)| level == u8::from(at > 0));
        let all_present = present.by_ref().take(levels).all(|level| level == u8::from(length > 0));
        if !begins_once || !all_present {
            return Err(format!("its levels are not a list of {length} in row {row}"));
        }
    }
    Ok(())
}

/// Exactly `count` levels of bit width 1 in Parquet's hybrid of runs and bit-packed groups, nothing after them.
fn decode(mut bytes: &[u8], count: usize) -> Result<Vec<u8>, String> {
    let invalid = || "its levels are not validly encoded".to_owned();
    let mut levels = Vec::with_capacity(count);
    while levels.len() < count {
        let (header, rest) = varint(bytes).ok_or_else(invalid)?;
        let missing = count - levels.len();
        let length = usize::try_from(header >> 1).map_err(|_| invalid())?;
        if length == 0 {
            return Err(invalid());
        }
        if header & 1 == 0 {
            let (&level, rest) = rest.split_first().ok_or_else(invalid)?;
            if level > 1 || length > missing {
                return Err(invalid());
            }
            levels.resize(levels.len() + length, level);
            bytes = rest;
        } else {
            if length > missing.div_ceil(8) {
                return Err(invalid());
            }
            let (packed, rest) = rest.split_at_checked(length).ok_or_else(invalid)?;
            let bits = packed.iter().flat_map(|byte| (0..8).map(move |at| byte >> at & 1));
            levels.extend(bits.take(missing));
            bytes = rest;
        }
    }
    if bytes.is_empty() { Ok(levels) } else { Err(invalid()) }
}

/// A varint of at most five bytes.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups_are_decoded_as_the_parquet_format_says() {
        // Encodings.md: a run's header is its length shifted by one; a group's header counts eights, lowest bit first.
        assert_eq!(decode(&[6, 1], 3).unwrap(), [1, 1, 1]);
        assert_eq!(decode(&[3, 0b0000_0110], 4).unwrap(), [0, 1, 1, 0]);
        assert_eq!(decode(&[2, 0, 0x80, 0x02, 1], 129).unwrap(), [vec![0], vec![1; 128]].concat());
        assert!(decode(&[], 0).unwrap().is_empty());
    }

    #[test]
    fn what_is_not_valid_is_refused() {
        let cases: [&[u8]; 9] = [
            &[],
            &[6],
            &[0, 1],
            &[6, 2],
            &[8, 1],
            &[4, 1],
            &[6, 1, 0],
            &[5, 0, 0],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ];
        for bytes in cases {
            assert!(decode(bytes, 3).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn lists_have_the_lengths_they_are_said_to_have() {
        // Lists of 2, 0, 1: repetition 0 1 0 0, definition 1 1 0 1.
        let (repetition, definition) = ([3, 0b0010], [3, 0b1011]);
        check_lists(&repetition, &definition, 4, &[2, 0, 1]).unwrap();
        for lengths in [&[2, 1, 0][..], &[2, 1, 1], &[1, 1, 2], &[2, 2], &[2, 0, 1, 0], &[]] {
            assert!(check_lists(&repetition, &definition, 4, lengths).is_err(), "{lengths:?}");
        }
        // Two lists of two.
        check_uniform(&[3, 0b1010], &[8, 1], 2, 2, 2).unwrap();
        assert!(check_uniform(&[3, 0b1010], &[8, 0], 2, 2, 2).is_err());
        assert!(check_uniform(&[3, 0b0110], &[8, 1], 2, 2, 2).is_err());
        assert!(check_uniform(&[3, 0b1010], &[8, 1], 1, 1, 4).is_err());
        // Two values, none, two values, none.
        let (repetition, definition) = ([3, 0b01_0010], [3, 0b01_1011]);
        check_uniform(&repetition, &definition, 4, 2, 2).unwrap();
        for (rows, full, length) in [(4, 1, 2), (5, 1, 2), (4, 3, 2), (4, 1, 3), (2, 2, 3)] {
            assert!(check_uniform(&repetition, &definition, rows, full, length).is_err(), "{rows} {full} {length}");
        }
        assert!(check_uniform(&repetition, &[3, 0b01_1001], 4, 2, 2).is_err(), "a value missing inside a list");
        assert!(check_uniform(&[3, 0b01_0011], &definition, 4, 2, 2).is_err(), "the first list does not begin");
    }
}
