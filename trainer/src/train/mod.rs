//! Training a student: what it learns from, losses, optimizers, the loop.
//!
//! ```text
//! TrainOptions ── Run::prepare ── cache, data set, first weights, pixels, checkpoint
//!                     │
//!                  Run::train ── Loader ── Trainer::step ── Validator ── checkpoint, weights, results
//! ```

mod checkpoint;
pub mod data;
pub mod ema;
pub mod flat;
mod folder;
mod images;
pub mod loss;
mod memory;
pub mod optim;
mod options;
mod plan;
mod prepare;
mod results;
mod run;
pub mod schedule;
mod step;
mod validate;

pub use folder::{BEST_ONNX_NAME, BEST_WEIGHTS, LAST_WEIGHTS};
pub use loss::ClsLoss;
pub use options::{Distill, OptimizerKind, Precision, RunConfig, Settings, Start, TrainOptions};
pub use plan::Plan;
pub use prepare::Run;
pub use results::EpochRow;
pub use run::{Event, TrainReport};
pub use schedule::Decay;
pub use step::{StepError, StepLosses, Trainer};
