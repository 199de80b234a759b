//! Training of a student: data, losses, loop.

pub mod data;
