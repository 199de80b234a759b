//! Process-level tests: exit status, output, and what is on disk afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod audit;
mod caches;
mod changes;
#[path = "../common/mod.rs"]
mod common;
mod convert;
mod damage;
mod data;
mod demo;
mod determinism;
mod estimate;
mod eval;
mod failures;
mod families;
mod field_files;
mod field_graphs;
mod field_text;
mod ignored;
mod interruption;
mod issues;
mod json;
mod label;
mod outputs;
mod predict;
mod quantize;
mod refusals;
mod report;
mod select;
mod serve;
mod shards;
mod support;
mod views;
