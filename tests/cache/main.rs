//! The format of the cache: written, read back, damaged, and read by other programs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod archive;
#[path = "../cache_support/mod.rs"]
mod cache_support;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod full_disk;
mod golden;
mod python;
mod roundtrip;
