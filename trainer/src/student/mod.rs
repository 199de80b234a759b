//! The student: YOLOv8 in libtorch, its weights in and out.
//!
//! [`Architecture`] is the structure, written once; [`State`] is a structure with its values, outside libtorch, and what files
//! hold; [`YoloV8`] is a state in libtorch, which runs and is trained.

mod architecture;
#[cfg(feature = "libtorch")]
pub mod native;
pub mod onnx;
mod params;
mod scale;
mod shortage;
mod state;
pub mod weights;
#[cfg(feature = "libtorch")]
mod yolov8;

pub use architecture::{Architecture, ConvId, ConvSpec, Ops, REG_MAX, STRIDES, Then};
pub use params::{ParamSpec, Role};
pub use scale::Scale;
pub use shortage::or_shortage;
pub use state::{State, Values};
#[cfg(feature = "libtorch")]
pub use yolov8::{HeadOutput, Param, YoloV8, channels_last};
