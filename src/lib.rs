//! logitcache: run a frozen ONNX detector over a data set once, keep its soft outputs in Parquet, distil from the map.
//!
//! Data flows one way; a module never imports one to its right:
//!
//! ```text
//! types, error, fsio -> dataset -> preprocess -> cache -> teacher -> pipeline -> build, inspect
//!                                                                 -> student (libtorch) -> train -> cli
//! ```

pub mod build;
pub mod cache;
#[doc(hidden)]
pub mod cli;
pub mod dataset;
pub mod draw;
pub mod error;
pub mod eval;
pub mod fsio;
pub mod inspect;
mod pipeline;
pub mod predict;
pub mod preprocess;
#[cfg(feature = "train")]
pub mod student;
pub mod teacher;
#[cfg(feature = "train")]
pub mod train;
pub mod types;

pub use error::{Error, Result};
