//! The student against Ultralytics' own YOLOv8 (`tests/fixtures/student/generate.py`), its weights in and out of files, and
//! its ONNX export in ONNX Runtime, as a teacher, and as Python sees it.
#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

#[path = "../../../tests/common/mod.rs"]
mod common;
mod export;
mod golden;
mod pruning;
mod qat;
mod refusals;
mod support;
mod variants;
mod weights;
