//! The library's one error type. Every message names the place, what was found and what to do next.

use std::{io, path::PathBuf};

/// Result of every fallible library function.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can stop a command. A failure of one image is not an [`Error`]: see [`crate::types::Failure`].
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
    /// The disk (or the quota) is full; what was finished before is kept.
    #[error("{}: cannot {action}: no space left ({source})\n  {remedy}", path.display())]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// The system's own words.
        source: io::Error,
        /// What the user can do.
        remedy: String,
    },
    /// The data set as a whole cannot be read.
    #[error("{}: {found}\n  {remedy}", path.display())]
    Dataset {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong: expected and found.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// A model file cannot be used as a detector.
    #[error("{}: {found}\n  {remedy}", path.display())]
    Model {
        /// The model file.
        path: PathBuf,
        /// What was found in it, and what is supported.
        found: String,
        /// What the user can change.
        remedy: String,
    },
    /// The ONNX Runtime library or one of its providers cannot be used.
    #[error("ONNX Runtime: {found}\n  {remedy}")]
    Runtime {
        /// What went wrong.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// The trainer's executable or libtorch cannot be used.
    #[error("{found}\n  {remedy}")]
    Trainer {
        /// What is missing or wrong.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// A cache is damaged, of a newer format, or not a cache.
    #[error("{}: {found}\n  {remedy}", path.display())]
    Cache {
        /// The file of the cache at fault.
        path: PathBuf,
        /// What is wrong: expected and found.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// A training run's folder cannot be read.
    #[error("{}: {found}\n  {remedy}", path.display())]
    Run {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong: expected and found.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// Classes of a data set that a model does not have under these names.
    #[error("{found}\n  {remedy}")]
    Classes {
        /// Which classes, and those of the model.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// Two things that must belong together do not (settings, class names, sizes).
    #[error("{found}\n  {remedy}")]
    Mismatch {
        /// What differs, both sides shown.
        found: String,
        /// What the user can do.
        remedy: String,
    },
    /// What may succeed if it is tried again, without a change: a passing error of a file system, or others have not done their
    /// share of the work yet.
    #[error("{0}")]
    Later(Box<Error>),
    /// The user asked to stop (Ctrl-C); everything finished so far is kept.
    #[error("interrupted; {remedy}")]
    Interrupted {
        /// How to go on.
        remedy: String,
    },
}

impl From<logitcache_format::Error> for Error {
    fn from(error: logitcache_format::Error) -> Self {
        use logitcache_format::Error as E;
        match error {
            E::Io { path, action, source } => Self::Io { path, action, source },
            E::Cache { path, found, remedy } => Self::Cache { path, found, remedy },
            E::Mismatch { found, remedy } => Self::Mismatch { found, remedy },
            other => Self::Mismatch { found: other.to_string(), remedy: "Use programs of one version.".into() },
        }
    }
}

impl Error {
    /// Wraps an I/O error with its path and what was tried (a verb phrase such as "open").
    pub fn io(path: impl Into<PathBuf>, action: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.into(), action, source }
    }

    /// [`Error::Later`] if another try may succeed: a full disk, and what file systems of several machines give now and then.
    /// Every other error as it was.
    pub fn or_later(self) -> Self {
        match self {
            Self::NoSpace { .. } => Self::Later(Box::new(self)),
            Self::Io { ref source, .. } if may_pass(source) => Self::Later(Box::new(self)),
            other => other,
        }
    }

    /// The error that another try may change, or the error itself.
    pub(crate) fn within(&self) -> &Self {
        match self {
            Self::Later(inner) => inner,
            other => other,
        }
    }

    /// A full disk (or quota) as what it is, with what was kept and what to do; every other error as it was.
    pub fn or_no_space(self, remedy: &str) -> Self {
        match self {
            Self::Io { path, action, source }
                if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Self::NoSpace { path, action, source, remedy: remedy.into() }
            }
            other => other,
        }
    }
}

/// Whether an error of the operating system may be gone at the next try.
pub(crate) fn may_pass(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const PASSING: [Errno; 22] = [
        Errno::AGAIN,
        Errno::BUSY,
        Errno::CONNABORTED,
        Errno::CONNREFUSED,
        Errno::CONNRESET,
        Errno::DQUOT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::INTR,
        // A network file system that is mounted `soft` gives this for a server that does not answer.
        Errno::IO,
        Errno::MFILE,
        Errno::NETDOWN,
        Errno::NETRESET,
        Errno::NETUNREACH,
        Errno::NFILE,
        Errno::NOLCK,
        Errno::NOMEM,
        Errno::NOSPC,
        Errno::NOTCONN,
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::TXTBSY,
    ];
    Errno::from_io_error(error).map_or(error.kind() == PASSING_KIND, |code| PASSING.contains(&code))
}

/// The kind of an error that is not the operating system's and may be gone at the next try.
pub(crate) const PASSING_KIND: io::ErrorKind = io::ErrorKind::TimedOut;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_stays() {
        let later = |code: i32| Error::io("a", "read", io::Error::from_raw_os_error(code)).or_later();
        // Linux: EIO, EAGAIN, ENOSPC, ETIMEDOUT, ESTALE, EDQUOT.
        for code in [5, 11, 28, 110, 116, 122] {
            let error = later(code);
            assert!(matches!(error, Error::Later(_)) && error.to_string().starts_with("a: cannot read: "), "{error}");
            assert!(matches!(later(code).or_no_space("Free some.").or_later(), Error::Later(_)));
        }
        let full = Error::io("a", "read", io::Error::from_raw_os_error(28)).or_no_space("Free some.").or_later();
        assert!(matches!(full, Error::Later(_)) && full.to_string().contains("Free some."));
        // ENOENT, EACCES, EROFS, ENAMETOOLONG; no error of the system.
        for code in [2, 13, 30, 36] {
            assert!(matches!(later(code), Error::Io { .. }));
        }
        assert!(matches!(Error::io("a", "read", io::Error::other("x")).or_later(), Error::Io { .. }));
    }
}
