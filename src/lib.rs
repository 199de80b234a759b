//! logitcache: run a frozen ONNX detector over a data set once, keep its soft outputs in Parquet, distil from the map.
//!
//! Data flows one way; a module never imports one to its right:
//!
//! ```text
//! types, error, words, install, fsio, outputs, text -> remote -> dataset -> preprocess -> augment -> draw, cache -> detector -> run
//!     -> pipeline -> eval -> targets -> training, teach, audit -> inspect, predict, convert -> report -> issues
//!     -> caches, label, quantize, select -> serve -> cli
//!     (toolkit: beside augment, on preprocess and dataset alone); and in the package `trainer`: student (libtorch) -> train -> its cli
//! ```

pub mod audit;
#[doc(hidden)]
pub mod augment;
pub mod cache;
pub mod caches;
#[doc(hidden)]
pub mod cli;
pub mod convert;
pub mod dataset;
pub mod detector;
pub mod draw;
pub mod error;
pub mod eval;
pub use logitcache_format::fsio;
#[doc(hidden)]
pub mod fuzzing;
pub mod inspect;
#[doc(hidden)]
pub mod install;
pub mod issues;
pub mod label;
pub mod outputs;
#[doc(hidden)]
pub mod pipeline;
pub mod predict;
pub mod preprocess;
pub mod quantize;
pub mod remote;
pub mod report;
pub mod run;
pub mod select;
pub mod serve;
pub mod targets;
pub mod teach;
pub mod text;
pub mod toolkit;
#[doc(hidden)]
pub mod training;
pub mod types;
pub mod words;

pub use error::{Error, Result};
