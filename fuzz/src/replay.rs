//! Gives every saved input to its entry: `fuzz/corpus/NAME` and `fuzz/crashes/NAME`, what once ended in a crash.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// What is given the bytes of a file.
pub type Entry = fn(&[u8]);

/// Calls the entries; a panic names the file.
pub fn all(entries: &[(&str, Entry)]) {
    for (name, entry) in entries {
        let corpus = files("corpus", name);
        assert!(!corpus.is_empty(), "fuzz/corpus/{name} has no file");
        for path in corpus.iter().chain(&files("crashes", name)) {
            let bytes = fs::read(path).expect("a saved input");
            let answered = catch_unwind(AssertUnwindSafe(|| entry(&bytes)));
            assert!(answered.is_ok(), "{} makes its reader panic", path.display());
        }
    }
}

/// The files of one folder, sorted; none where there is no such folder.
fn files(kind: &str, name: &str) -> Vec<PathBuf> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = if package.ends_with("trainer") { package.join("..") } else { package.to_owned() };
    let folder = root.join("fuzz").join(kind).join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}
