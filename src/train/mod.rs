//! Training of a student: losses, optimizers, schedule.

pub mod ema;
pub mod flat;
pub mod loss;
pub mod optim;
pub mod schedule;
