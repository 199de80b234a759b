//! Detections and scores against pycocotools and other programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[path = "../common/mod.rs"]
mod common;
mod detections;
mod scores;
