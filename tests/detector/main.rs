//! ONNX files of detectors: what is taken, what is read from them, what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod families;
mod models;
mod refusals;
