//! The frozen teacher: ONNX graph editing, ONNX Runtime sessions, head decoding, selection of anchors.
//!
//! A teacher is an Ultralytics export. Such a file gives decoded boxes and probabilities; the cache needs the logits
//! before them. [`TeacherModel::load`] finds those tensors in the graph, makes them the outputs of an edited copy in
//! memory and refuses by name what it does not understand. [`TeacherModel::self_check`] proves on one picture that the
//! tensors found are what they are taken for. [`TeacherSession`] runs the edited model, [`Selector`] keeps of its
//! outputs what the cache stores.

mod boxes;
mod check;
mod embedded;
mod ending;
mod graph;
mod head;
mod metadata;
mod model;
#[doc(hidden)]
pub mod onnx_proto;
mod quantized;
mod reduce;
mod refuse;
pub mod runtime;
mod select;
mod session;
#[cfg(test)]
mod tests;

pub use boxes::{BoxSource, Cell, Grid};
pub use check::{Rounding, SelfCheck};
pub use embedded::EMBEDDED;
pub use model::{BatchSize, HeadSpec, InputSize, MAX_BATCH, MAX_SIZE, Precision, TeacherModel, TeacherOptions};
pub use select::{HeadView, Selected, Selection, Selector, sigmoid};
pub use session::{HeadOutputs, Provider, RunError, SessionOptions, TeacherSession};
