//! ONNX detectors: a file is read, the raw outputs of its head are found, and it is run. "Teacher" and "student" are
//! roles that a detector has elsewhere.
//!
//! An export gives decoded boxes and probabilities; the cache needs the logits before them. [`Detector::load`] finds
//! those tensors in the graph with the help of the family that the graph belongs to (`families`), makes them the outputs
//! of an edited copy in memory and refuses by name what it does not understand. [`Detector::self_check`] proves on one
//! picture that the tensors found are what they are taken for. [`DetectorSession`] runs the edited model, and
//! [`HeadView`] reads one image's outputs by the rules of the head.

mod check;
mod ending;
mod families;
mod head;
mod model;
#[doc(hidden)]
pub mod onnx;
mod own;
mod quantize;
mod read;
mod reduce;
mod refuse;
pub mod runtime;
#[cfg(test)]
mod tests;

pub use check::{Rounding, SelfCheck};
pub use families::{LogitSource, family_names};
pub use head::{BoxRule, ClassScore, HeadSpec, HeadView, prior_class_logit};
pub use model::{BatchSize, Detector, DetectorOptions, MAX_BATCH, Precision, Reading};
pub use quantize::{
    ActivationRange, ActivationSession, Layer, LayerKind, Observer, Placement, Quantizable, QuantizePlan,
    RoundedTensors, RoundingPlan,
};
pub use reduce::ScoreSums;
pub use runtime::{
    provider::Provider,
    session::{DetectorSession, HeadOutputs, RunError, SessionOptions},
};
