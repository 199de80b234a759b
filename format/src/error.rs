//! The crate's one error type. Every message names the place, what was found and what to do next.

use std::{io, path::PathBuf};

/// Result of every fallible function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a cache cannot be read, written or verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as a verb phrase: "open", "write to".
        action: &'static str,
        /// The system's own words.
        source: io::Error,
    },
    /// A cache is damaged, of a newer format, locked by another process, or not a cache.
    #[error("{}: {found}\n  {remedy}", path.display())]
    Cache {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong: expected and found.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// Two things that must belong together do not: a record and the cache that it is written to.
    #[error("{found}\n  {remedy}")]
    Mismatch {
        /// What differs, both sides shown.
        found: String,
        /// What the user can do.
        remedy: String,
    },
}

impl Error {
    /// Wraps an I/O error with its path and what was tried (a verb phrase such as "open").
    pub fn io(path: impl Into<PathBuf>, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }
}
