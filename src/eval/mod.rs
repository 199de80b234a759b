//! What a detector is worth: detections from raw head outputs, scores against the ground truth.
//!
//! [`detect`] decodes one image's head outputs and suppresses doubles, exactly as Ultralytics does; it needs no ONNX Runtime, so a
//! student in training is judged by the same code as a finished file. [`Detector`] runs an ONNX file over images through the pipeline that
//! `build` uses.

mod detector;
mod nms;

pub use detector::{DetectedImage, Detector, DetectorOptions};
pub use nms::{NmsOptions, detect};
