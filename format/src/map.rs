//! The only file of the crate with `unsafe`: a read-only map of a file.
//!
//! # The contract
//! A mapped file's bytes must not change and the file must not shrink while the map lives. The cache keeps to it by
//! construction: a file that a manifest names is never written again; parts are only ever added under new names, a
//! replaced manifest is a new file renamed over the old name, and removing or renaming a file leaves the bytes of its
//! open maps alone. Nothing in this program opens a finished part for writing. The trainer's pixel cache keeps to it in the
//! same way: a new file renamed over the old one.
//!
//! The system cannot stop another program from breaking the rule. One that overwrites a part in place gives readers
//! wrong numbers (`verify` finds them); one that truncates it makes the next access past the new end raise SIGBUS,
//! which ends the process. Neither reaches memory that is not the file's. `verify` therefore hashes files with ordinary
//! reads first and maps only what has passed.
#![allow(unsafe_code)]

use crate::{Error, Result};
use std::{fs::File, ops::Deref, path::Path};

/// The bytes of a whole file.
#[derive(Debug)]
pub struct Map(memmap2::Mmap);

impl Map {
    /// Maps a regular file of exactly `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be opened or mapped, [`Error::Cache`] where it is no file or of another length.
    pub fn open(path: &Path, bytes: u64) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
        if !found.is_file() || found.len() != bytes {
            let found = if found.is_file() {
                format!("it has {} bytes, the manifest says {bytes}", found.len())
            } else {
                "it is not a file".to_owned()
            };
            return Err(Error::Cache { path: path.to_path_buf(), found, remedy: super::REMEDY_VERIFY.to_owned() });
        }
        let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
        // SAFETY: the map is read-only and private to this value; the file is immutable by the contract above.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, "map into memory", e))?;
        Ok(Self(map))
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}
