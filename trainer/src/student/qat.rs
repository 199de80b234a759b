//! Training for 8-bit integers: how a quantized file rounds, for training with the same rounding and for
//! the file with the trained weights.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};

use super::{
    onnx::{self, ExportOptions},
    state::State,
    weights::Description,
};
use crate::{
    Error, Result,
    cache::to_hex,
    detector::{Detector, DetectorOptions, Quantizable, RoundedTensors, RoundingPlan},
    fsio,
};

/// How a student's quantized file rounds.
#[derive(Debug, Clone)]
pub struct Qat {
    rounding: RoundingPlan,
    /// SHA-256 of the file.
    pub sha256: String,
    /// In the form for the forward pass.
    pub tensors: RoundedTensors,
}

impl Qat {
    /// Reads how `file`, which `quantize` made of an export of a student with this structure, rounds.
    ///
    /// # Errors
    /// [`Error::Model`] where it is not such a file; [`Error::Io`] where it cannot be read.
    pub fn open(file: &Path, state: &State, description: &Description) -> Result<Self> {
        let bytes = fs::read(file).map_err(|error| Error::io(file, "read", error))?;
        let quantizable = quantizable(file, state, description)?;
        let rounding = quantizable.read_back(&bytes).map_err(|found| Error::Model {
            path: file.to_owned(),
            found: format!("it is not a quantized file of the student to be trained: {found}"),
            remedy: "Export the student (`export()`) and quantize that file (`quantize()`).".to_owned(),
        })?;
        let sha256 = to_hex(&Sha256::digest(&bytes));
        Ok(Self { tensors: quantizable.rounded_tensors(&rounding), sha256, rounding })
    }

    /// In words: where activations are rounded, and what stays float.
    pub fn describe(&self) -> String {
        let float = match self.rounding.float_layers.len() {
            0 => String::new(),
            layers => format!(", {} more float32", logitcache::words::counted(layers, "layer")),
        };
        format!("8-bit rounding of weights and activations ({}{float})", self.rounding.placement.as_str())
    }

    /// Writes the student as a file that computes with integers, as it was trained; atomically.
    ///
    /// # Errors
    /// [`Error::Model`] where the weights are not finite; [`Error::Io`] naming the file.
    ///
    /// # Panics
    /// As [`onnx::export`].
    pub fn export(&self, path: &Path, state: &State, description: &Description) -> Result<()> {
        let written = quantizable(path, state, description)?.write_rounded(&self.rounding);
        let bytes = written.map_err(|found| Error::Model {
            path: path.to_owned(),
            found: format!("the student cannot be written with integers: {found}"),
            remedy: "Train again with a lower `lr=`.".to_owned(),
        })?;
        Ok(fsio::write_atomic(path, &bytes)?)
    }
}

/// The student's float32 file, whose layers can be quantized. `path` is for messages.
fn quantizable(path: &Path, state: &State, description: &Description) -> Result<Quantizable> {
    let bytes = onnx::bytes(state, description, &ExportOptions::default())?;
    let detector = Detector::from_bytes(path, bytes.clone(), &DetectorOptions::default())?;
    Quantizable::of_bytes(&detector, &bytes)
}
