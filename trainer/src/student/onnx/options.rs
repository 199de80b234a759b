//! What may differ between the files that one student is written as.

use crate::{Error, Result};

/// The opsets that can be written. The lowest has everything the graph needs (`Shape` with a start
/// and an end); the highest is the newest whose operators here were compared.
pub const OPSETS: std::ops::RangeInclusive<i64> = 15..=22;

/// ONNX 1.12 (2022): what it adds to its forerunners is not used, and every runtime of today reads it.
pub const OPSET: i64 = 17;

/// How a student is written as ONNX.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExportOptions {
    /// Weights and feature maps in float16. Input and outputs stay float32, and so does the decoding
    /// of boxes: float16 has steps of half a pixel from 512 pixels on.
    pub half: bool,
    /// Batch, height and width are free, as in an Ultralytics export with `dynamic=True`.
    pub dynamic: bool,
    /// Overlapping boxes are suppressed in the file.
    pub nms: Option<NmsInside>,
    /// The version of ONNX's operators, within [`OPSETS`].
    pub opset: i64,
}

/// The suppression inside of a file: that of [`logitcache::eval::detect`] with one class for a box.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NmsInside {
    /// The probability of a box's best class must be greater, 0..=1.
    pub conf: f32,
    /// A box that overlaps a better one of its class by more than this is dropped, 0..=1.
    pub iou: f32,
    /// Rows of the output for an image.
    pub max_det: usize,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { half: false, dynamic: false, nms: None, opset: OPSET }
    }
}

impl ExportOptions {
    /// The version of the file format that came with the opset (ONNX's `helper.OP_SET_ID_VERSION_MAP`).
    pub(super) fn ir_version(&self) -> i64 {
        match self.opset {
            ..=18 => 8,
            19 | 20 => 9,
            _ => 10,
        }
    }

    /// # Errors
    /// [`Error::Mismatch`] where the opset is not one of [`OPSETS`].
    pub(super) fn check(&self) -> Result<()> {
        if OPSETS.contains(&self.opset) {
            return Ok(());
        }
        let (first, last) = (OPSETS.start(), OPSETS.end());
        Err(Error::Mismatch {
            found: format!("opset {} cannot be written", self.opset),
            remedy: format!("Give `opset=` a number from {first} to {last}; every runtime reads {OPSET}."),
        })
    }
}
