//! What tests of several files need.
#![allow(dead_code, clippy::print_stdout)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The folder of real images and models: `LOGITCACHE_SHARED`, or `../shared` beside the project. `None`, with a line that
/// `make test` counts as a skipped test, when it is not there.
pub fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("LOGITCACHE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    if shared.is_dir() {
        return Some(shared);
    }
    skip(&format!("{} is not there (LOGITCACHE_SHARED can name another place)", shared.display()));
    None
}

/// A Python with these packages: `LOGITCACHE_PYTHON`, else `.venv/bin/python`. `None`, with a line that counts as a skipped test, where
/// there is none.
pub fn python(packages: &str) -> Option<PathBuf> {
    let python = std::env::var_os("LOGITCACHE_PYTHON")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"), PathBuf::from);
    let imports = format!("import {packages}");
    let works = Command::new(&python).args(["-c", &imports]).output().is_ok_and(|o| o.status.success());
    if !works {
        skip(&format!("{} lacks one of {packages}", python.display()));
    }
    works.then_some(python)
}

/// Says that the running test cannot run here. `scripts/run_tests.py` counts these lines.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}
