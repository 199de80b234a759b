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

mod layers;
mod opset;
mod read_back;
mod rounding;
mod weights;
mod write;

pub use layers::{Layer, LayerKind};
pub use read_back::{RoundedTensors, RoundingPlan};
pub use rounding::{ActivationRange, Placement};
pub use write::QuantizePlan;

use super::{
    model::Detector,
    onnx::{
        graph::{GraphIndex, with_outputs},
        proto::ModelProto,
    },
    read::refused,
    refuse::Refusal,
    runtime::{
        init,
        session::{SessionOptions, build},
    },
};
use crate::{Error, Result};
use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
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

/// A session that gives tensors from inside a detector. Belongs to one thread at a time.
pub struct ActivationSession {
    session: Session,
    shape: [usize; 4],
    /// Which of the tensors come out of the session; the others are the image itself.
    computed: Vec<usize>,
    images: Vec<usize>,
}

impl ActivationSession {
    /// A session of `detector` that computes `tensors`, of one image.
    ///
    /// # Errors
    /// As [`super::DetectorSession::new`].
    pub fn new(detector: &Detector, tensors: &[String], options: &SessionOptions) -> Result<Self> {
        let (images, computed): (Vec<usize>, Vec<usize>) =
            (0..tensors.len()).partition(|&i| tensors[i] == detector.ends.input);
        let names: Vec<&str> = computed.iter().map(|&i| tensors[i].as_str()).collect();
        let edited = with_outputs(&detector.original, &names, &detector.ends);
        let bytes = edited.map(|model| model.encode_to_vec()).unwrap_or_default();
        let session = build(init(None)?, detector, &bytes, options, GraphOptimizationLevel::All)?;
        let shape = [1, 3, detector.input.height as usize, detector.input.width as usize];
        Ok(Self { session, shape, computed, images })
    }

    /// Runs one image, `[3, H, W]` as the detector takes it, and hands `(number of the tensor, shape, values)` of each tensor to
    /// `observe`.
    ///
    /// # Errors
    /// What ONNX Runtime says, or the first error of `observe`.
    pub fn run(
        &mut self,
        pixels: &[f32],
        mut observe: impl FnMut(usize, &[usize], &[f32]) -> std::result::Result<(), String>,
    ) -> std::result::Result<(), String> {
        let said = |error: ort::Error| format!("ONNX Runtime: {}", error.message());
        let input = TensorRef::from_array_view((self.shape, pixels)).map_err(said)?;
        let outputs = self.session.run(ort::inputs![input]).map_err(said)?;
        for &tensor in &self.images {
            observe(tensor, &self.shape, pixels)?;
        }
        for (i, &tensor) in self.computed.iter().enumerate().take(outputs.len()) {
            let (shape, values) = outputs[i].try_extract_tensor::<f32>().map_err(said)?;
            let shape: Vec<usize> = shape.iter().map(|dim| usize::try_from(*dim).unwrap_or_default()).collect();
            observe(tensor, &shape, values)?;
        }
        Ok(())
    }
}
