//! The trainer of logitcache: a student, distilled from the memory-mapped cache with libtorch.
//!
//! Beside the library `logitcache` and after it in the flow of data: `... cache, eval -> student -> train -> cli`. Without the
//! feature `libtorch` only what reads and writes weights is there.

#[cfg(feature = "libtorch")]
#[doc(hidden)]
pub mod cli;
pub mod student;
#[cfg(feature = "libtorch")]
pub mod train;

use logitcache::{Error, Result, cache, detector, fsio, outputs, types};
#[cfg(feature = "libtorch")]
use logitcache::{dataset, eval, preprocess, words};
