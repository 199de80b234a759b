//! What lies in a run's folder, and who may write there.

use super::checkpoint::STATE_NAME;
use crate::{
    Result,
    fsio::{self, Lock},
    outputs,
};
use logitcache::run::{
    BEST_ONNX_NAME, BEST_WEIGHTS, CONFIG_NAME, CURVES_NAME, LAST_WEIGHTS, RESULTS_NAME, RUN_WEIGHTS_FOLDER,
};
use std::{
    cell::Cell,
    path::{Path, PathBuf},
};

/// Decoded pictures; gone once the run is complete.
const PIXELS: &str = "pixels";

const FILES: [&str; 5] = [CONFIG_NAME, RESULTS_NAME, CURVES_NAME, BEST_ONNX_NAME, STATE_NAME];
const FOLDERS: [&str; 2] = [RUN_WEIGHTS_FOLDER, PIXELS];

/// Their being there says that something would be lost; settings and decoded pictures alone are of a start that came to nothing.
const RESULTS: [&str; 6] = [RESULTS_NAME, CURVES_NAME, BEST_ONNX_NAME, STATE_NAME, LAST_WEIGHTS, BEST_WEIGHTS];

/// A run's folder, locked to be written. Of a start that fails nothing stays: see [`OwnedRun::keep`].
#[derive(Debug)]
pub struct OwnedRun {
    path: PathBuf,
    lock: Option<Lock>,
    kept: Cell<bool>,
}

impl OwnedRun {
    /// Makes the folder where it is missing and takes its lock. `overwrite` removes the run that is there.
    ///
    /// # Errors
    /// [`crate::Error::Mismatch`] where it holds something that is no part of a run, [`crate::Error::Cache`] where another process
    /// works in it, [`crate::Error::Io`].
    pub fn open(path: &Path, overwrite: bool) -> Result<Self> {
        fsio::create_folder(path)?;
        let lock = Lock::acquire(path)?;
        let run = Self { path: path.to_owned(), lock: Some(lock), kept: Cell::new(true) };
        let own = |name: &str| FILES.contains(&name) || FOLDERS.contains(&name);
        outputs::refuse_foreign_entries(path, "training run", own)?;
        if overwrite {
            for name in FILES {
                fsio::remove_file(&path.join(name))?;
            }
            for name in FOLDERS {
                fsio::remove_folder(&path.join(name))?;
            }
        }
        run.kept.set(run.holds_results());
        fsio::create_folder(&path.join(RUN_WEIGHTS_FOLDER))?;
        Ok(run)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is anything of a run that took time to make.
    pub fn holds_results(&self) -> bool {
        RESULTS.iter().any(|name| self.path.join(name).exists())
    }

    /// From now on the folder stays. Until then, and where it held no results before, it goes with what is in it.
    pub fn keep(&self) {
        self.kept.set(true);
    }

    /// Folder of the decoded pictures of a split.
    pub fn pixels(&self, split: &str) -> PathBuf {
        self.path().join(PIXELS).join(split)
    }

    /// Removes the decoded pictures: a complete run needs them no more.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn remove_pixels(&self) -> Result<()> {
        Ok(fsio::remove_folder(&self.path().join(PIXELS))?)
    }
}

impl Drop for OwnedRun {
    fn drop(&mut self) {
        if self.kept.get() {
            return;
        }
        // The error that led here is told; what cannot be removed does no harm: the next start takes it for its own.
        let _ = fsio::remove_folder(&self.path.join(PIXELS));
        let _ = fsio::remove_file(&self.path.join(CONFIG_NAME));
        fsio::remove_if_empty(&self.path.join(RUN_WEIGHTS_FOLDER));
        drop(self.lock.take());
        fsio::remove_if_empty(&self.path);
    }
}
