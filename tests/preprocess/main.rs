//! From an image file to the pixels that a detector is given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod coco128;
#[path = "../common/mod.rs"]
mod common;
mod exif;
mod field;
mod formats;
mod hostile;
mod jpeg_ends;
mod letterbox;
