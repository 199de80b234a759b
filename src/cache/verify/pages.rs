//! Headers and levels of every page, checked before the `arrow` reader sees the file.

use super::{levels, page_header};
use crate::cache::{
    Manifest,
    columns::{Kind, Table},
    footer::RowGroup,
    part::MappedPart,
};
use std::ops::Range;

/// Everything that is wrong with the pages of one file.
pub fn check(part: &MappedPart, table: Table, manifest: &Manifest) -> Vec<String> {
    let mut problems = Vec::new();
    let kinds = table.leaves(manifest.settings.store);
    for (number, group) in part.table(table).layout().row_groups.iter().enumerate() {
        for (leaf, (&kind, (chunk, values))) in kinds.iter().zip(group.chunks.iter().zip(&group.values)).enumerate() {
            let list = match kind {
                Kind::ClassLogits => List::Uniform(manifest.class_len()),
                Kind::DflLogits => List::Uniform(manifest.dfl_len()),
                Kind::Labels => List::Labels,
                _ => List::None,
            };
            if let Err(problem) = check_page(part, table, group, chunk, values, list) {
                problems.push(format!("row group {number}, column {leaf}: {problem}"));
            }
        }
    }
    problems
}

enum List {
    None,
    Uniform(usize),
    Labels,
}

fn check_page(
    part: &MappedPart,
    table: Table,
    group: &RowGroup,
    chunk: &Range<usize>,
    values: &Range<usize>,
    list: List,
) -> Result<(), String> {
    let bytes = part.table(table).bytes();
    let header = page_header::check(bytes, chunk, values, group.rows)?;
    let repetition_end = chunk.start + header.header_bytes + header.repetition_bytes;
    let repetition = bytes.get(chunk.start + header.header_bytes..repetition_end).unwrap_or_default();
    let definition = bytes.get(repetition_end..values.start).unwrap_or_default();
    let (expected, nulls) = match list {
        List::None => (group.rows, 0),
        List::Uniform(length) => (group.rows.saturating_mul(length), 0),
        List::Labels => (header.num_values, header.num_values.saturating_sub(group.labels)),
    };
    if header.num_values != expected || header.num_nulls != nulls {
        return Err(format!("its page header counts {} values, {} nulls", header.num_values, header.num_nulls));
    }
    match list {
        List::None if repetition.is_empty() && definition.is_empty() => Ok(()),
        List::None => Err("it has levels where none belong".to_owned()),
        List::Uniform(length) => levels::check_uniform(repetition, definition, group.rows, length),
        List::Labels => {
            let lengths = part.label_counts(group, group.rows)?.collect::<Result<Vec<_>, _>>()?;
            levels::check_lists(repetition, definition, expected, &lengths)
        }
    }
}
