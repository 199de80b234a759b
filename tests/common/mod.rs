//! What tests of several files need.
#![allow(dead_code, clippy::print_stdout, clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The project's folder, for tests of either package.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    match package.file_name() {
        Some(name) if name == "trainer" => package.parent().unwrap_or(package),
        _ => package,
    }
}

/// The folder of real images and models: `LOGITCACHE_SHARED`, or `../shared` beside the project. `None`, with a line that
/// `make test` counts as a skipped test, when it is not there.
pub fn shared() -> Option<PathBuf> {
    let shared = std::env::var_os("LOGITCACHE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    if shared.is_dir() {
        return Some(shared);
    }
    skip(&format!("{} is not there (LOGITCACHE_SHARED can name another place)", shared.display()));
    None
}

/// A Python with these packages: `LOGITCACHE_PYTHON`, else `.venv/bin/python`. `None`, with a line that counts as a skipped test, where
/// there is none.
pub fn python(packages: &str) -> Option<PathBuf> {
    let python = std::env::var_os("LOGITCACHE_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    let imports = format!("import {packages}");
    let works = Command::new(&python).args(["-c", &imports]).output().is_ok_and(|o| o.status.success());
    if !works {
        skip(&format!("{} lacks one of {packages}", python.display()));
    }
    works.then_some(python)
}

/// Holds a schema against the one in `schemas/`; with `LOGITCACHE_WRITE_SCHEMAS` it writes that first.
pub fn published_schema_is(name: &str, schema: &serde_json::Value) {
    let path = root().join("schemas").join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(schema).unwrap());
    if std::env::var_os("LOGITCACHE_WRITE_SCHEMAS").is_some() {
        std::fs::create_dir_all(root().join("schemas")).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == text,
        "schemas/{name} is not what the code gives; run LOGITCACHE_WRITE_SCHEMAS=1 cargo test --test schemas \
         and look at the difference: a changed schema needs a new format version or feature"
    );
}

/// Says that the running test cannot run here. `scripts/run_tests.py` counts these lines.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}
