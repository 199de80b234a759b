//! The folder of a written data set: made beside its final place under another name, and moved
//! there whole.

use crate::{
    Error, Result,
    fsio::{self, TEMP_PREFIX},
    pipeline::read_file,
    remote,
};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

const FULL: &str = "Nothing was written. Free some space, or choose another `out=`, and run the same command again.";

/// A folder under construction: removed when dropped, kept under its final name by
/// [`NewFolder::finish`].
#[derive(Debug)]
pub(crate) struct NewFolder {
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

/// How an image came into a new folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placing {
    Linked,
    Copied,
}

impl NewFolder {
    /// Refuses a place where there is anything.
    ///
    /// # Errors
    /// [`Error::Mismatch`], [`Error::Io`].
    pub(crate) fn refuse_existing(target: &Path) -> Result<()> {
        match fs::symlink_metadata(target) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io(target, "look at", e)),
            Ok(_) => Err(Error::Mismatch {
                found: format!("{} already exists", target.display()),
                remedy: "Choose a new `out=`: nothing is written into a folder that is there already.".into(),
            }),
        }
    }

    /// Makes the folder's temporary sibling.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where `target` is taken, [`Error::Io`].
    pub(crate) fn create(target: &Path) -> Result<Self> {
        Self::refuse_existing(target)?;
        let target = std::path::absolute(target).map_err(|e| Error::io(target, "look at", e))?;
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Error::Mismatch {
                found: format!("{} is no name for a new folder", target.display()),
                remedy: "Give `out=` the name of a folder that is not there yet.".into(),
            });
        };
        fsio::create_folder(parent)?;
        let path = parent.join(format!("{TEMP_PREFIX}{}-{}", name.to_string_lossy(), std::process::id()));
        fs::create_dir(&path).map_err(|e| Error::io(&target, "create the folder", e))?;
        Ok(Self { path, target, kept: false })
    }

    /// Where it is until it is finished.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Flushes all files to the disk and moves the folder to its place.
    ///
    /// # Errors
    /// [`Error::Io`]; the folder is then gone. [`Error::Mismatch`] where another program took its
    /// place meanwhile.
    pub(crate) fn finish(mut self) -> Result<()> {
        let flush = |e| Error::io(&self.target, "flush to the disk", e);
        let folder = File::open(&self.path).map_err(flush)?;
        // One call for all files: to flush each alone takes longer than to write them.
        rustix::fs::syncfs(&folder).map_err(|e| flush(e.into()).or_no_space(FULL))?;
        Self::refuse_existing(&self.target)?;
        fs::rename(&self.path, &self.target).map_err(|e| Error::io(&self.target, "move into place", e))?;
        self.kept = true;
        Ok(fsio::sync_folder(self.target.parent().unwrap_or(Path::new("/")))?)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed is hidden, and named as a temporary one.
            let _ = fsio::remove_folder(&self.path);
        }
    }
}

/// Makes the folder of a file.
pub(crate) fn make_parent(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|e| full(Error::io(folder, "create the folder", e)))
}

/// Writes a small file.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|e| full(Error::io(path, "write to", e)))
}

/// Says what to do where the disk is full.
pub(crate) fn full(error: Error) -> Error {
    error.or_no_space(FULL)
}

/// Copies an image into the new folder, or links it there where that can be and `link` says so. The
/// image itself is never changed.
///
/// # Errors
/// The image cannot be read: words about it. The new file cannot be written: an error that ends the
/// whole.
pub(crate) fn place(image: &Path, target: &Path, link: bool) -> Result<std::result::Result<Placing, String>> {
    if remote::is_link(image) {
        return match read_file(image) {
            Ok(bytes) => write_file(target, &bytes).map(|()| Ok(Placing::Copied)),
            Err(found) => Ok(Err(found)),
        };
    }
    if link {
        // Of a link the file behind it, so that the data set does not depend on the link.
        let file = match image.canonicalize() {
            Ok(file) => file,
            Err(e) => return Ok(Err(format!("cannot read the image: {e}"))),
        };
        if fs::hard_link(file, target).is_ok() {
            return Ok(Ok(Placing::Linked));
        }
    }
    let mut from = match File::open(image) {
        Ok(file) => file,
        Err(e) => return Ok(Err(format!("cannot read the image: {e}"))),
    };
    let mut to = File::create_new(target).map_err(|e| full(Error::io(target, "create", e)))?;
    io::copy(&mut from, &mut to).map_err(|e| full(Error::io(target, "write to", e)))?;
    Ok(Ok(Placing::Copied))
}

/// A file that is written bit by bit.
#[derive(Debug)]
pub(crate) struct Stream {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Stream {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        make_parent(&path)?;
        let file = File::create_new(&path).map_err(|e| full(Error::io(&path, "create", e)))?;
        Ok(Self { file: BufWriter::with_capacity(1 << 18, file), path })
    }

    pub(crate) fn write(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(|e| full(Error::io(&self.path, "write to", e)))
    }

    /// Appends all of another file, which is removed.
    pub(crate) fn take(&mut self, other: Self) -> Result<()> {
        let path = other.path.clone();
        other.finish()?;
        let mut from = File::open(&path).map_err(|e| Error::io(&path, "open", e))?;
        io::copy(&mut from, &mut self.file).map_err(|e| full(Error::io(&self.path, "write to", e)))?;
        Ok(fsio::remove_file(&path)?)
    }

    /// Removes the file.
    pub(crate) fn remove(self) -> Result<()> {
        Ok(fsio::remove_file(&self.path)?)
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|e| full(Error::io(&self.path, "write to", e)))
    }
}
