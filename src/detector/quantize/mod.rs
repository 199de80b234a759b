//! Writing a detector's file with 8-bit integers: which of its layers can compute with them, where tensors are rounded,
//! and the file itself (QDQ form: `QuantizeLinear`, `DequantizeLinear` around float operators, which the runtime fuses).
//!
//! ```text
//! a detector's file ─ Quantizable::of ─ layers, tensors to observe
//!     └─ with ranges of tensors and a choice of layers ─ Quantizable::write ─ the bytes of the new file
//! ```
//!
//! The tensors that a head gives, and the layers that compute them, are never rounded: scores and boxes of one scale lose
//! both. Weights are int8, symmetric, with a scale for each output channel; activations are uint8 with a zero point.

mod activations;
mod layers;
mod opset;
mod read_back;
mod rounding;
mod weights;
mod write;

pub use activations::{ActivationSession, Observer};
pub use layers::{Layer, LayerKind};
pub use read_back::{RoundedTensors, RoundingPlan};
pub use rounding::{ActivationRange, Placement};
pub use write::QuantizePlan;

use super::{
    model::Detector,
    onnx::{graph::GraphIndex, proto::ModelProto},
    read::refused,
    refuse::Refusal,
};
use crate::{Error, Result};
use prost::Message;
use sha2::{Digest, Sha256};
use std::{collections::HashSet, fs};

/// A detector whose file can be written with integers.
pub struct Quantizable {
    /// As the file has it.
    model: ModelProto,
    /// Layers that can compute with integers, in the order of the graph.
    layers: Vec<Layer>,
    /// Layers that cannot, with the reason.
    left_float: Vec<(String, &'static str)>,
    /// Outputs of the nodes that come before the head's raw tensors and behind no last layer.
    inner: HashSet<String>,
}

impl Quantizable {
    /// Reads the file of `detector` once more and finds its layers.
    ///
    /// # Errors
    /// [`Error::Model`] for a file that is quantized already or of float16, that has an opset below 11 or no layer that can
    /// be quantized, or that has changed since it was loaded; [`Error::Io`] where it cannot be read.
    pub fn of(detector: &Detector) -> Result<Self> {
        let path = detector.path.as_path();
        let bytes = fs::read(path).map_err(|source| Error::io(path, "read", source))?;
        Self::of_bytes(detector, &bytes)
    }

    /// The same for a detector that was loaded from `bytes`.
    ///
    /// # Errors
    /// [`Error::Model`] as [`Quantizable::of`].
    pub fn of_bytes(detector: &Detector, bytes: &[u8]) -> Result<Self> {
        Self::find(detector, bytes).map_err(|refusal| refused(&detector.path, refusal))
    }

    fn find(detector: &Detector, bytes: &[u8]) -> std::result::Result<Self, Refusal> {
        const FLOAT: &str = "Give the float32 file that it was made from.";
        if let Some(how) = &detector.quantized {
            return Err(Refusal::new(format!("this model is quantized already ({how})."), FLOAT));
        }
        if detector.ends.inner_float16 {
            return Err(Refusal::new("this model computes in float16.", FLOAT));
        }
        if <[u8; 32]>::from(Sha256::digest(bytes)) != detector.sha256 {
            return Err(Refusal::new("the file changed while it was read.", "Run the same command again."));
        }
        let mut model = ModelProto::decode(bytes)
            .map_err(|error| Refusal::new(format!("its protobuf cannot be read ({error})"), "Copy the file again."))?;
        opset::to_13(&mut model).map_err(|found| {
            let needed = opset::NEEDED;
            Refusal::new(
                format!("{found}; rounding weights channel by channel needs opset {needed}."),
                format!("Export it again with opset={needed} or later."),
            )
        })?;
        // The head's tensors may be made by nodes that stand in the edited copy alone.
        let (Some(edited), Some(graph)) = (detector.original.graph.as_ref(), model.graph.as_ref()) else {
            return Err(Refusal::new("it holds no graph.", "Give a complete ONNX file."));
        };
        let found =
            layers::find(&GraphIndex::new(edited), graph, &[&detector.taps.class_logits, &detector.taps.box_values]);
        if !found.layers.iter().any(|layer| !layer.is_last) {
            return Err(Refusal::new(
                "no layer of this model can be quantized: none is a convolution or a product with constant weights.",
                "Give a detector with such layers.",
            ));
        }
        Ok(Self { layers: found.layers, left_float: found.left_float, inner: found.inner, model })
    }

    /// The layers that can compute with integers, in the order of the graph; the last ones before the head's outputs are
    /// among them and stay float.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The names of layers that stay float in any case, with the reason.
    pub fn left_float(&self) -> &[(String, &'static str)] {
        &self.left_float
    }

    /// The tensors whose ranges [`Quantizable::write`] needs, whichever layers stay float; and the inputs of all layers, whose
    /// means correct the rounding of weights.
    pub fn to_observe(&self, placement: Placement) -> Vec<String> {
        let none = HashSet::new();
        let rounding = self.rounding(placement, &none);
        let inputs = self.layers.iter().map(|layer| layer.input.clone());
        let mut seen = HashSet::new();
        let all = rounding.measured().map(str::to_owned).chain(inputs);
        all.filter(|name| seen.insert(name.clone())).collect()
    }

    /// The tensors that nothing reads but their SiLU, `x * sigmoid(x)`: what counts is how far rounding moves that.
    pub fn before_silu(&self) -> HashSet<String> {
        self.model.graph.as_ref().map(rounding::before_silu).unwrap_or_default()
    }

    /// The bytes of the file with integers.
    ///
    /// # Errors
    /// In words, where a range that it needs is missing or is no range.
    pub fn write(&self, plan: &QuantizePlan<'_>) -> std::result::Result<Vec<u8>, String> {
        let rounding = self.rounding(plan.placement, plan.float_layers);
        let mut model = self.model.clone();
        write::write(&mut model, &self.layers, &rounding, plan)?;
        Ok(model.encode_to_vec())
    }

    fn rounding(&self, placement: Placement, float_layers: &HashSet<String>) -> rounding::Rounded {
        let graph = self.model.graph.as_ref();
        graph.map_or_else(Default::default, |graph| {
            rounding::rounded(&GraphIndex::new(graph), graph, &self.layers, &self.inner, placement, float_layers)
        })
    }
}
