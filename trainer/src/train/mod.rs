//! Training a student: what it learns from, losses, optimizers, the loop.
//!
//! ```text
//! TrainOptions ── Run::prepare ── cache, data set, first weights, pixels, checkpoint
//!                     │
//!                  Run::train ── Loader ── Trainer::step ── Validator ── checkpoint, weights, results
//! ```

mod checkpoint;
pub mod ema;
pub mod flat;
mod folder;
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
mod upload;
mod validate;

pub use logitcache::run::{ClsLoss, Decay, Distill, EpochRow, OptimizerKind, Precision, RunConfig, Settings};
pub use logitcache::training as data;
use logitcache::training::images;
pub use options::{Start, TrainOptions, default_precision};
pub use plan::Plan;
pub use prepare::Run;
pub use run::{Event, TrainReport};
pub use step::{Measured, StepError, StepLosses, Trainer};
