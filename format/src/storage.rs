//! Where the bytes of a cache come from. Readers ask a [`Storage`] and know of no file: a local folder is one, an object
//! store can be another.

use crate::{
    Error, Result,
    fsio::{Lock, remove_file, set_aside, write_atomic, write_new},
    leftovers::list,
    manifest::{Manifest, PartEntry},
    map::Map,
};
use std::{
    fmt::Debug,
    fs::File,
    io::{ErrorKind, Read},
    ops::Deref,
    path::{Path, PathBuf},
};

/// Takes what is written to a cache in a locked folder to another place, before it counts in the folder.
pub trait Publish: Debug + Send + Sync {
    /// Takes the text of a manifest there, after the files of the parts that it names, which lie in the folder.
    ///
    /// # Errors
    /// Where that cannot be done, or somebody else wrote the cache there; the folder's manifest then stays as it was.
    fn publish(&self, manifest: &Manifest, text: &[u8]) -> Result<()>;

    /// Removes there what would outlive a cache that is replaced: the records of its shards, and files that were set aside. The
    /// cache itself stays until another is published.
    ///
    /// # Errors
    /// Where that cannot be done.
    fn clear(&self) -> Result<()>;
}

/// A place that holds the files of a cache under the names that `docs/format.md` gives: `manifest.json`,
/// `images/part-*.parquet`, `predictions/part-*.parquet`.
pub trait Storage: Debug + Send + Sync {
    /// The place in messages, and what the paths of the manifest's `dataset` are relative to.
    fn folder(&self) -> &Path;

    /// A small file as a whole, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Cache`] where it has more than `most` bytes.
    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>>;

    /// The bytes of a finished file, which never change.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Cache`] where it has another length.
    fn bytes(&self, name: &str, length: u64) -> Result<Bytes>;

    /// Puts a small file where there is none yet, whole and in one step, whoever else tries the same; returns whether it was put.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool>;

    /// Puts a small file, whole and in one step, whatever is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn put(&self, name: &str, bytes: &[u8]) -> Result<()>;

    /// Removes a file; one that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, name: &str) -> Result<()>;

    /// Sets a file aside under its name with [`crate::fsio::STALE_SUFFIX`]; one that is gone already is no error.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn set_aside(&self, name: &str) -> Result<()>;

    /// The names of the files in one of the cache's folders, without the folder; none where there is no such folder.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn names_in(&self, folder: &str) -> Result<Vec<String>>;

    /// Makes the files of finished parts that lie in [`Storage::folder`] visible to whoever uses the same storage.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn hand_out(&self, parts: &[PartEntry]) -> Result<()>;

    /// Makes the files of parts readable in [`Storage::folder`].
    ///
    /// # Errors
    /// [`Error::Cache`] of a file that is not what its entry says, [`Error::Io`].
    fn bring(&self, parts: &[PartEntry]) -> Result<()>;

    /// The right to change the cache, without waiting.
    ///
    /// # Errors
    /// [`Error::Cache`] naming who has it, [`Error::Io`].
    fn lock(&self) -> Result<Lock>;
}

/// The bytes of a file: mapped where they lie on a disk of this machine, else in memory.
#[derive(Debug)]
pub enum Bytes {
    /// A map of the file.
    Mapped(Map),
    /// A copy.
    Owned(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A folder of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(PathBuf);

impl Folder {
    /// A cache in this folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Storage for Folder {
    fn folder(&self) -> &Path {
        &self.0
    }

    fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>> {
        let path = self.0.join(name);
        let file = match File::open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|e| Error::io(&path, "open", e))?,
        };
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(&path, "read", e))?;
        if bytes.len() as u64 > most {
            return Err(Error::Cache {
                path,
                found: format!("the file has more than {most} bytes"),
                remedy: "Restore the file from a copy, or build the cache again with `overwrite=true`.".to_owned(),
            });
        }
        Ok(Some(bytes))
    }

    fn bytes(&self, name: &str, length: u64) -> Result<Bytes> {
        Map::open(&self.0.join(name), length).map(Bytes::Mapped)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        write_new(&self.0.join(name), bytes)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.0.join(name), bytes)
    }

    fn remove(&self, name: &str) -> Result<()> {
        remove_file(&self.0.join(name))
    }

    fn set_aside(&self, name: &str) -> Result<()> {
        set_aside(&self.0.join(name))
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>> {
        let files = list(&self.0.join(folder), |_| true)?;
        Ok(files.iter().filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect())
    }

    fn hand_out(&self, _parts: &[PartEntry]) -> Result<()> {
        Ok(())
    }

    fn bring(&self, _parts: &[PartEntry]) -> Result<()> {
        Ok(())
    }

    fn lock(&self) -> Result<Lock> {
        Lock::acquire(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CacheReader;
    use std::collections::HashMap;

    /// Files in memory, as an object store hands them out.
    #[derive(Debug)]
    struct Memory(HashMap<String, Vec<u8>>);

    impl Storage for Memory {
        fn folder(&self) -> &Path {
            Path::new("memory")
        }

        fn read(&self, name: &str, _most: u64) -> Result<Option<Vec<u8>>> {
            Ok(self.0.get(name).cloned())
        }

        fn bytes(&self, name: &str, length: u64) -> Result<Bytes> {
            let bytes = self.0.get(name).filter(|bytes| bytes.len() as u64 == length).cloned();
            bytes.map(Bytes::Owned).ok_or_else(|| Error::Cache {
                path: name.into(),
                found: "missing or of another length".to_owned(),
                remedy: String::new(),
            })
        }

        fn create(&self, _name: &str, _bytes: &[u8]) -> Result<bool> {
            unreachable!("nothing is written here")
        }

        fn put(&self, _name: &str, _bytes: &[u8]) -> Result<()> {
            unreachable!("nothing is written here")
        }

        fn remove(&self, _name: &str) -> Result<()> {
            unreachable!("nothing is removed here")
        }

        fn set_aside(&self, _name: &str) -> Result<()> {
            unreachable!("nothing is removed here")
        }

        fn names_in(&self, _folder: &str) -> Result<Vec<String>> {
            unreachable!("readers ask for names that they know")
        }

        fn hand_out(&self, _parts: &[PartEntry]) -> Result<()> {
            unreachable!("nothing is written here")
        }

        fn bring(&self, _parts: &[PartEntry]) -> Result<()> {
            unreachable!("readers ask for bytes")
        }

        fn lock(&self) -> Result<Lock> {
            unreachable!("nothing is written here")
        }
    }

    #[test]
    fn a_cache_is_the_same_from_wherever_its_bytes_come() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/cache-v1");
        let mapped = CacheReader::open(&folder).unwrap();
        let names =
            mapped.manifest().parts.iter().flat_map(|part| {
                [format!("images/{}.parquet", part.name), format!("predictions/{}.parquet", part.name)]
            });
        let names: Vec<String> = names.chain([crate::MANIFEST_NAME.to_owned()]).collect();
        let files = names.iter().map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap()));
        let mut memory = Memory(files.collect());
        let copied = CacheReader::open_in(&memory).unwrap();
        let records =
            |reader: &CacheReader| reader.images().map(|image| image.unwrap().to_record()).collect::<Vec<_>>();
        assert!(!mapped.is_empty());
        assert_eq!(records(&copied), records(&mapped));
        memory.0.remove(&names[0]);
        assert!(CacheReader::open_in(&memory).unwrap_err().to_string().contains("missing"));
        memory.0.clear();
        assert!(CacheReader::open_in(&memory).unwrap_err().to_string().contains("not a cache"));
    }
}
