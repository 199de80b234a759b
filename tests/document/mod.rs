//! docs/format.md is normative: its numbers, names, orders and formulae are read out of it here and held against the code.
//! What is missing here: page headers and levels, which `tests/python/check_cache.py` reads by the document's byte map, and the
//! pixels of views, which `tests/python/views.py` computes by its text.

mod digests;
mod files;
mod formula;
mod numbers;
mod views;

use super::root;
use std::fs;

/// The document as it is.
fn document() -> String {
    fs::read_to_string(root().join("docs/format.md")).unwrap()
}

/// The text between two others, lines joined.
fn between(from: &str, to: &str) -> String {
    let text = document().split_whitespace().collect::<Vec<_>>().join(" ");
    let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("docs/format.md lacks {from:?}"));
    rest.split_once(to).unwrap_or_else(|| panic!("docs/format.md lacks {to:?} after {from:?}")).0.to_owned()
}

/// The rows of the table with this heading, each as its cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = document();
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("docs/format.md lacks the table {heading:?}"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "the table {heading:?} has no rows");
    rows
}

/// The texts between backquotes.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
