//! The saved corpora of the fuzz targets that read weights, given once more to the same reader.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../fuzz/src/weights.rs"]
mod weights;

#[test]
fn saved_inputs_give_an_answer() {
    replay::all(weights::ENTRIES);
}
