//! The trainer of logitcache: a YOLOv8 student, distilled from the memory-mapped cache with libtorch.
//!
//! Beside the library `logitcache` and after it in the flow of data: `... cache, eval -> student -> train -> cli`.
#![cfg(feature = "libtorch")]

#[doc(hidden)]
pub mod cli;
pub mod student;
pub mod train;

use logitcache::{
    Error, Result, augment, cache, dataset, eval, fsio, outputs, pipeline, preprocess, report, teacher, types, words,
};
