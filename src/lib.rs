//! logitcache: run a frozen ONNX detector over a data set once, keep its soft outputs in Parquet, distil from the map.
//!
//! Data flows one way; a module never imports one to its right:
//!
//! ```text
//! types, error, fsio -> dataset -> preprocess -> cache -> teacher -> pipeline -> build, inspect -> the executable's cli
//! ```

pub mod build;
pub mod cache;
pub mod dataset;
pub mod draw;
pub mod error;
pub mod eval;
pub mod fsio;
pub mod inspect;
mod pipeline;
pub mod preprocess;
pub mod teacher;
pub mod types;

pub use error::{Error, Result};
