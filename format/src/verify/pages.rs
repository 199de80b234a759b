//! Headers, levels and codes of every page, checked before the `arrow` reader sees the file.
//!
//! Columns of [`Form::Runs`] are left to the `arrow` reader alone: the mapped one does not read them.

use super::{levels, page_header};
use crate::{
    Manifest,
    columns::{Form, Kind, Table},
    footer::RowGroup,
    pages::CODE_BITS,
    part::MappedPart,
};

/// Everything that is wrong with the pages of one file.
pub fn check(part: &MappedPart, table: Table, manifest: &Manifest) -> Vec<String> {
    let mut problems = Vec::new();
    let shape = manifest.shape();
    for (number, group) in part.table(table).layout().row_groups.iter().enumerate() {
        for (leaf, (kind, form)) in shape.leaves(table).into_iter().zip(shape.forms(table)).enumerate() {
            let list = match kind {
                Kind::ClassLogits => List::Uniform { full: group.class_rows, length: shape.class_len },
                Kind::DflLogits => List::Uniform { full: group.rows, length: shape.dfl_len },
                Kind::Labels => List::Labels,
                _ => List::None,
            };
            if let Err(problem) = check_column(part, table, group, (leaf, form), list) {
                problems.push(format!("row group {number}, column {leaf}: {problem}"));
            }
        }
    }
    problems
}

enum List {
    None,
    /// `full` lists of `length` values, the others empty.
    Uniform {
        full: usize,
        length: usize,
    },
    Labels,
}

fn check_column(
    part: &MappedPart,
    table: Table,
    group: &RowGroup,
    (leaf, form): (usize, Form),
    list: List,
) -> Result<(), String> {
    let bytes = part.table(table).bytes();
    let of_leaf = |ranges: &[std::ops::Range<usize>]| ranges.get(leaf).cloned().ok_or("it has no place in the file");
    let (chunk, values) = (of_leaf(&group.chunks)?, of_leaf(&group.values)?);
    let page = match form {
        Form::Plain => chunk,
        Form::Codes => {
            let dictionary = of_leaf(&group.dictionaries)?;
            page_header::check_dictionary(bytes, chunk.start, &dictionary)?;
            dictionary.end..chunk.end
        }
        Form::Runs => return Ok(()),
    };
    let header = page_header::check(bytes, &page, group.rows, form)?;
    let repetition_start = page.start + header.header_bytes;
    let definition_start = repetition_start + header.repetition_bytes;
    let data_start = definition_start + header.definition_bytes;
    let data = bytes.get(data_start..page.end).ok_or("its levels are longer than its page")?;
    let repetition = bytes.get(repetition_start..definition_start).unwrap_or_default();
    let definition = bytes.get(definition_start..data_start).unwrap_or_default();
    match form {
        Form::Codes => check_codes(data, bytes.get(values).unwrap_or_default())?,
        _ if data_start != values.start => return Err("its page header does not fit the footer".to_owned()),
        _ => {}
    }
    let lengths = match list {
        List::Labels => part.label_counts(group, group.rows)?.collect::<Result<Vec<_>, _>>()?,
        _ => Vec::new(),
    };
    let (expected, nulls) = match list {
        List::None => (group.rows, 0),
        List::Uniform { full, length } => {
            let empty = group.rows.saturating_sub(full);
            (full.saturating_mul(length).saturating_add(empty), empty)
        }
        // The labels lie in the file, so what is decoded of levels is bounded by its length.
        List::Labels => {
            let empty = lengths.iter().filter(|&&length| length == 0).count();
            (group.labels.saturating_add(empty), empty)
        }
    };
    if header.num_values != expected || header.num_nulls != nulls {
        return Err(format!("its page header counts {} values, {} nulls", header.num_values, header.num_nulls));
    }
    match list {
        List::None if repetition.is_empty() && definition.is_empty() => Ok(()),
        List::None => Err("it has levels where none belong".to_owned()),
        List::Uniform { full, length } => levels::check_uniform(repetition, definition, group.rows, full, length),
        List::Labels => levels::check_lists(repetition, definition, expected, &lengths),
    }
}

/// What follows the levels of a page of codes: their number of bits, one bit-packed run of whole groups of eight, zeros up to its end.
fn check_codes(data: &[u8], codes: &[u8]) -> Result<(), String> {
    let groups = codes.len().div_ceil(8);
    let mut expected = vec![CODE_BITS];
    let mut header = (groups as u64) << 1 | 1;
    while groups > 0 && header >= 0x80 {
        expected.push(header as u8 | 0x80);
        header >>= 7;
    }
    if groups > 0 {
        expected.push(header as u8);
    }
    let rest = data.strip_prefix(expected.as_slice()).and_then(|rest| rest.strip_prefix(codes));
    let padded = rest.is_some_and(|rest| rest.len() == groups * 8 - codes.len() && rest.iter().all(|&byte| byte == 0));
    if padded { Ok(()) } else { Err("its codes are not one run of bytes".to_owned()) }
}
