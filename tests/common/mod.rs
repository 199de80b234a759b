//! What tests of several files need.
#![allow(dead_code, clippy::print_stdout)]

use std::path::{Path, PathBuf};

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

/// Says that the running test cannot run here. `scripts/run_tests.py` counts these lines.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}
