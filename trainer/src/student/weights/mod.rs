//! Weights in and out of files.
//!
//! In: Ultralytics' `.pt` (parsed, never executed) and `.safetensors`. Out: `.safetensors` under Ultralytics' names. What a file
//! holds is found from the names and shapes of its tensors alone, and everything is checked before any value is used.

pub(super) mod entries;
mod pt;
mod safetensors;

use std::{fs, path::Path};

use self::entries::Entries;
use super::{
    families::StudentModel,
    net::StudentNet,
    state::{State, Values, random_values},
};
use crate::{Error, Result, types::InputSize};

pub use self::safetensors::save;

/// The largest file read, in bytes; `yolov8x` has 0.3 GB.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// What a weights file says besides its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Class names in the order of the class ids.
    pub class_names: Vec<String>,
    /// The input size it was trained for.
    pub imgsz: InputSize,
}

/// A file's weights, ready to start from.
#[derive(Debug, Clone)]
pub struct Start {
    /// The network and its values.
    pub state: State,
    /// What the file says of itself: only files of [`save`] do.
    pub description: Option<Description>,
    /// The file's number of classes where it is not the one asked for: the class branch then has random
    /// weights, all else comes from the file.
    pub class_branch_replaced: Option<usize>,
}

/// Reads `.pt` or `.safetensors` weights of a YOLOv8, YOLO11 or YOLO26 detector of any size.
///
/// With `num_classes`, a head of another number of classes gets a new class branch, random by `seed`; without, the file's own
/// number is kept.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read; [`Error::Model`] where it is no whole detector of these families with its batch
/// normalisations: the message names the tensor, the shape expected and the one found, and what to give instead.
pub fn load(path: impl AsRef<Path>, num_classes: Option<usize>, seed: u64) -> Result<Start> {
    let path = path.as_ref();
    let refuse = |refusal: Refusal| Error::Model {
        path: path.to_owned(),
        found: refusal.found,
        remedy: refusal.remedy.unwrap_or(REMEDY).to_owned(),
    };
    let size = fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    if !size.is_file() || size.len() > MAX_FILE_BYTES {
        return Err(refuse(Refusal::new(format!("this is not a file of at most {MAX_FILE_BYTES} bytes"))));
    }
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let (state, description) = match extension.as_str() {
        "pt" | "pth" => (pt::open(path).and_then(|entries| state(&entries, None)).map_err(refuse)?, None),
        "safetensors" => {
            let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
            safetensors::read(&bytes, state).map_err(refuse)?
        }
        "onnx" => return Err(refuse(onnx())),
        _ => return Err(refuse(Refusal::new(format!("weights of the type {extension:?} are not supported")))),
    };
    let found = state.net().num_classes;
    match num_classes.filter(|wanted| *wanted != found) {
        None => Ok(Start { state, description, class_branch_replaced: None }),
        Some(wanted) => {
            let state = with_other_classes(state, wanted, seed).map_err(refuse)?;
            Ok(Start { state, description, class_branch_replaced: Some(found) })
        }
    }
}

const REMEDY: &str = "Give the checkpoint of a YOLOv8, YOLO11 or YOLO26 detector (.pt of Ultralytics, .safetensors of a run), or start from random weights (yolov8n).";

/// Why a file is no start.
pub(super) struct Refusal {
    found: String,
    remedy: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(found: impl Into<String>) -> Self {
        Self { found: found.into(), remedy: None }
    }
}

fn onnx() -> Refusal {
    Refusal {
        found:
            "an ONNX export has its batch normalisations fused into the convolutions, so it cannot be trained further."
                .into(),
        remedy: Some("Give the .pt or .safetensors that it was exported from, or start from random weights (yolov8n)."),
    }
}

/// Finds the size and the number of classes, where the file does not say which network it is; then reads every tensor of that
/// network and refuses any other.
fn state(entries: &Entries<'_>, said: Option<StudentNet>) -> Result<State, Refusal> {
    let net = said.map_or_else(|| StudentModel::of_weights(entries), Ok)?;
    let params = net.params();
    if let Some(other) = entries.names().find(|name| params.iter().all(|param| param.name != *name)) {
        return Err(Refusal::new(format!(
            "this is not a YOLOv8, YOLO11 or YOLO26 detector: {} has no tensor {other}, which the file holds",
            net.model
        )));
    }
    let values: Result<Vec<Values>, Refusal> = params.iter().map(|param| entries.values(param)).collect();
    Ok(State::new(net, values?))
}

/// The same network for another number of classes, its class branch random.
fn with_other_classes(state: State, num_classes: usize, seed: u64) -> Result<State, Refusal> {
    let mut net = state.net().model.net(num_classes);
    if state.net().is_pruned() {
        // The class branch is as wide as its model has it.
        let mut widths = state.net().widths();
        for (width, spec) in widths.outputs.iter_mut().zip(&net.convs) {
            if net.head.is_of_classes(&spec.name) {
                *width = spec.c_out;
            }
        }
        net = net.with_widths(&widths).map_err(Refusal::new)?;
    }
    let params = net.params();
    let values = state.iter().zip(&params).enumerate().map(|(index, ((_, old), param))| {
        if net.head.is_of_classes(&param.name) { random_values(&net, &params, index, seed) } else { old.clone() }
    });
    let values = values.collect();
    Ok(State::new(net, values))
}
