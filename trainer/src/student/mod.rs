//! The student: a network as data, its values, the network in libtorch, weights in and out.
//!
//! [`StudentNet`] is a structure, which a family writes once (`families`); [`State`] is a structure with its values, outside
//! libtorch, and what files hold; [`Network`] is a state in libtorch, which runs and is trained.

mod channels;
mod families;
mod names;
#[cfg(feature = "libtorch")]
pub mod native;
mod net;
#[cfg(feature = "libtorch")]
mod network;
pub mod onnx;
mod params;
mod prune;
mod qat;
#[cfg(feature = "libtorch")]
mod rounded;
mod shortage;
mod state;
pub mod weights;

pub use channels::Widths;
pub use families::{
    StudentModel, yolo11, yolo26,
    yolov8::{Scale, net as yolov8},
};
pub use net::{BranchSpec, ConvId, ConvSpec, LevelOutput, Matching, Ops, StudentHead, StudentNet, Then};
#[cfg(feature = "libtorch")]
pub use network::{HeadOutput, Network, Param, channels_last};
pub use params::{ParamSpec, Role};
pub use prune::{Pruned, prune};
pub use qat::Qat;
pub use shortage::or_shortage;
pub use state::{State, Values};
