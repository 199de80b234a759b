//! The only file that prints: results to stdout, everything else to stderr; of a command that was called, to its caller.

use super::{call, flags::as_flags};
use crate::{
    Error,
    remote::{copy_at_fault, with_urls},
    types::{Failure, PassedOver},
    words,
};
use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

/// Files that were passed over, named on the terminal.
const PASSED_OVER_SHOWN: usize = 3;

/// Writes a command's result to stdout. A reader that went away (`| head`) is not an error.
///
/// # Errors
/// When stdout cannot be written to for another reason (a full disk).
pub fn result(text: &str) -> io::Result<()> {
    let text = &with_urls(text);
    if call::report(text) {
        return Ok(());
    }
    let mut out = io::stdout().lock();
    match out
        .write_all(printable(&as_flags(text)).as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush())
    {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line for the user to stderr; a closed stderr is nobody's loss.
pub fn note(text: &str) {
    if call::note(text) {
        return;
    }
    line(&with_urls(text));
}

/// Writes what ended a command to stderr.
pub fn error(error: &Error) {
    match copy_at_fault(error) {
        // The path of the copy, not its URL.
        Some(remedy) => line(&format!("error: {error}\n  {remedy}")),
        None => note(&format!("error: {error}")),
    }
}

fn line(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(&as_flags(text)));
}

/// Names of files and classes come from anywhere: what would command the terminal (escape sequences) is shown as `\u{1b}`.
fn printable(text: &str) -> Cow<'_, str> {
    let commands = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(commands) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if commands(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// Whether stderr is a terminal: a progress bar makes sense.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether stdout is a terminal: lines of results are then progress enough.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Images that failed, a line each; none where none did. Beyond the first few, `--json` has them.
pub fn failures(failures: &[Failure], what: &str) -> Vec<String> {
    if failures.is_empty() {
        return Vec::new();
    }
    let head = format!("{} {what}:", words::counted(failures.len(), "image"));
    [vec![head], words::reasons(failures, " (--json has all)")].concat()
}

/// Files that were passed over, in one line; none where none was.
pub fn passed_over(passed_over: &PassedOver) -> Option<String> {
    let shown: Vec<&str> = passed_over.files.iter().take(PASSED_OVER_SHOWN).map(|file| file.path.as_str()).collect();
    let more = if passed_over.files.len() > shown.len() { ", ... (--json has all)" } else { "" };
    (passed_over.count > 0).then(|| {
        format!(
            "passed over: {} of formats that are not supported: {}{more}",
            words::counted(passed_over.count, "file"),
            shown.join(", ")
        )
    })
}

/// A table with aligned columns: the first column to the left, the others to the right where `right` says so.
pub fn table(head: &[&str], right: &[bool], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells = cells
            .zip(&widths)
            .zip(right)
            .map(|((cell, &width), &right)| if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_command_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\rc\u{9b}1m\n\td"), "a\\u{1b}[2Jb\\rc\\u{9b}1m\n\td");
        assert!(matches!(printable("Brötchen 图.jpg\n"), Cow::Borrowed(_)));
    }
}
