//! The saved corpora of the fuzz targets in `fuzz/`, given once more to the same readers: no fuzzer is needed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/src/entries.rs"]
mod entries;
#[path = "../fuzz/src/replay.rs"]
mod replay;

#[test]
fn saved_inputs_give_an_answer() {
    replay::all(entries::ENTRIES);
}
