//! Entries for files of weights, which the package `trainer` reads; `trainer/tests/fuzz_corpus.rs` includes this file.

use logitcache_train::student::weights::load;
use std::{fs, path::Path};

/// What is given the bytes of a file.
pub type Entry = fn(&[u8]);

/// Name and function of every entry; the corpus of each lies in `fuzz/corpus/NAME`.
pub const ENTRIES: &[(&str, Entry)] = &[("pt", pt), ("safetensors", safetensors)];

/// Ultralytics' checkpoint.
pub fn pt(bytes: &[u8]) {
    read("a.pt", bytes);
}

/// A `.safetensors` file.
pub fn safetensors(bytes: &[u8]) {
    read("a.safetensors", bytes);
}

fn read(name: &str, bytes: &[u8]) {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::Builder::new().prefix("logitcache-fuzz-").tempdir_in(place).expect("a temporary folder");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a temporary file");
    match load(&path, Some(3), 0) {
        Ok(start) => {
            assert_eq!(start.state.net().num_classes, 3);
            assert!(start.state.iter().all(|(_, values)| values.as_f32().iter().all(|value| value.is_finite())));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() < 20_000, "a message of {} bytes", text.len());
        }
    }
}
