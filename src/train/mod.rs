//! Training a student: data that follows its augmentation, losses, optimizers, the loop.

pub mod data;
pub mod ema;
pub mod flat;
pub mod loss;
pub mod optim;
pub mod schedule;
