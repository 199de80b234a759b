//! What a training run leaves in its folder: the trainer writes by this module, the report reads by it.

mod config;
mod data;
pub mod results;

pub use config::{ClsLoss, Decay, Distill, OptimizerKind, Precision, RunConfig, Settings};
pub use data::RunData;
pub use logitcache_format::RUN_WEIGHTS_FOLDER;
pub use results::{EpochRow, Results};

/// How the run was made: [`RunConfig`].
pub const CONFIG_NAME: &str = logitcache_format::RUN_CONFIG_NAME;
/// A row per epoch: [`results`].
pub const RESULTS_NAME: &str = "results.csv";
/// Losses and metrics over the epochs.
pub const CURVES_NAME: &str = "curves.svg";
/// The best averaged weights as ONNX.
pub const BEST_ONNX_NAME: &str = "best.onnx";
/// Averaged weights of the last epoch, relative to the run's folder.
pub const LAST_WEIGHTS: &str = "weights/last.safetensors";
/// Averaged weights of the best epoch, relative to the run's folder.
pub const BEST_WEIGHTS: &str = "weights/best.safetensors";
