//! What lies in a run's folder, and who may write there.

use super::{checkpoint::STATE_NAME, options::CONFIG_NAME};
use crate::{
    Error, Result,
    fsio::{self, Lock, TEMP_PREFIX},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A row per epoch.
pub const RESULTS_NAME: &str = "results.csv";
/// Losses and metrics over the epochs.
pub const CURVES_NAME: &str = "curves.svg";
/// The best averaged weights as ONNX.
pub const BEST_ONNX_NAME: &str = "best.onnx";
/// Averaged weights of the last and of the best epoch, relative to the run.
pub const LAST_WEIGHTS: &str = "weights/last.safetensors";
/// See [`LAST_WEIGHTS`].
pub const BEST_WEIGHTS: &str = "weights/best.safetensors";
/// Decoded pictures; gone once the run is complete.
const PIXELS: &str = "pixels";

const FILES: [&str; 5] = [CONFIG_NAME, RESULTS_NAME, CURVES_NAME, BEST_ONNX_NAME, STATE_NAME];
const FOLDERS: [&str; 2] = ["weights", PIXELS];

/// A run's folder, locked.
#[derive(Debug)]
pub struct RunFolder {
    lock: Lock,
}

impl RunFolder {
    /// Makes the folder where it is missing and takes its lock. `overwrite` removes the run that is there.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where it holds something that is no part of a run, [`Error::Cache`] where another process works in
    /// it, [`Error::Io`].
    pub fn open(path: &Path, overwrite: bool) -> Result<Self> {
        fsio::create_folder(path)?;
        let run = Self { lock: Lock::acquire(path)? };
        run.refuse_foreign()?;
        if overwrite {
            for name in FILES {
                fsio::remove_file(&path.join(name))?;
            }
            for name in FOLDERS {
                fsio::remove_folder(&path.join(name))?;
            }
        }
        fsio::create_folder(&path.join("weights"))?;
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.lock.folder()
    }

    /// Folder of the decoded pictures of a split.
    pub fn pixels(&self, split: &str) -> PathBuf {
        self.path().join(PIXELS).join(split)
    }

    /// Removes the decoded pictures: a complete run needs them no more.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_pixels(&self) -> Result<()> {
        fsio::remove_folder(&self.path().join(PIXELS))
    }

    fn refuse_foreign(&self) -> Result<()> {
        let words = |e| Error::io(self.path(), "list", e);
        for entry in fs::read_dir(self.path()).map_err(words)? {
            let name = entry.map_err(words)?.file_name();
            let name = name.to_string_lossy();
            let own = FILES.contains(&&*name) || FOLDERS.contains(&&*name) || name == Lock::FILE_NAME;
            if !own && !name.starts_with(TEMP_PREFIX) {
                return Err(Error::Mismatch {
                    found: format!("{} holds {name}, which is no part of a training run", self.path().display()),
                    remedy: "Choose a folder of its own for --out.".into(),
                });
            }
        }
        Ok(())
    }
}
