//! A detector's file, read and understood.

use super::{
    check::SelfCheck,
    families::{Family, LogitSource},
    head::HeadSpec,
    onnx::{
        graph::{Dim, Ends, GraphIndex, with_outputs},
        proto::ModelProto,
        quantized::Taps,
    },
    own::OwnOutputs,
    read::{image_input, read, refused},
    refuse::Refusal,
};
use crate::{
    Error, Result,
    preprocess::{InputRule, StatedInputRule},
    types::{ImageSize, InputSize, Store},
};
use prost::Message;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Protobuf's own limit; a larger model keeps its weights in a second file.
const MAX_FILE_BYTES: u64 = i32::MAX as u64;

/// The largest batch accepted; every run fills it.
pub const MAX_BATCH: usize = 1024;

/// A step of the own output's probabilities that makes it no measure of the model any more; 8 bits from 0 to 1 have 0.004.
const COARSE_STEP: f32 = 0.02;

/// How a detector's file is to be read.
#[derive(Debug, Clone)]
pub struct DetectorOptions {
    /// Input size. `None`: the model's own, or 640 where the model leaves it free.
    pub imgsz: Option<InputSize>,
    /// What will be stored: a head without DFL has nothing for [`Store::All`].
    pub store: Store,
    /// Class names to use instead of the model's, in the order of the class ids.
    pub names: Option<Vec<String>>,
    /// What the user says of the file.
    pub reading: Reading,
    /// Whether a file without class names will do: classes are then named by their numbers.
    pub unnamed: bool,
}

/// What a user says of a detector's file, where the file leaves it open.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// The family that it belongs to, one of [`super::family_names`]; `None`: found in the graph.
    pub family: Option<String>,
    /// How it takes images; what is not stated is the family's.
    pub input_rule: StatedInputRule,
}

impl Default for DetectorOptions {
    /// Everything as the file says; boxes and class logits are wanted.
    fn default() -> Self {
        Self { imgsz: None, store: Store::Cls, names: None, reading: Reading::default(), unnamed: false }
    }
}

/// How many images one run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchSize {
    /// Exactly so many; a session fills up with grey images.
    Fixed(usize),
    /// Any number.
    Dynamic,
}

/// The narrowest number type that the model computes in or keeps weights in. Sessions take and give float32 whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// IEEE 754 binary32.
    Fp32,
    /// IEEE 754 binary16, with conversions at the ends.
    Fp16,
    /// Quantized: parts of it, weights or activations, are integers of 8 bits.
    Int8,
    /// Quantized to 16 bits and no fewer.
    Int16,
    /// Quantized to 4 bits.
    Int4,
    /// Quantized to floating-point numbers of 8 bits.
    Fp8,
}

impl Precision {
    /// `fp32`, `fp16`, `int8`, ..., as manifests and messages show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int4 => "int4",
            Self::Fp8 => "fp8",
        }
    }
}

/// An ONNX detector, read and understood; no library is needed up to here.
#[derive(Clone)]
pub struct Detector {
    /// The file.
    pub path: PathBuf,
    /// Digest of the file as it lies on disk.
    pub sha256: [u8; 32],
    /// Names in the order of the class ids; as many as the head has classes.
    pub class_names: Vec<String>,
    /// Width and height of what one run takes, in pixels.
    pub input: ImageSize,
    /// How images become its input.
    pub input_rule: InputRule,
    /// Images one run takes.
    pub batch: BatchSize,
    /// What the model computes in.
    pub precision: Precision,
    /// What comes out.
    pub head: HeadSpec,
    /// Where its class logits come from.
    pub logits: LogitSource,
    /// That the names which the user gave differ from the model's own, in words.
    pub replaced_names: Option<String>,
    /// Quantized with scales that are measured over all images of a run: only alone does an image always have the same result.
    pub one_image_a_run: bool,
    /// How it is quantized, for messages: `INT8, QDQ`.
    pub(super) quantized: Option<String>,
    pub(super) family: &'static dyn Family,
    /// What its own outputs hold.
    pub(super) own: OwnOutputs,
    /// The file's graph, and in it what the taps need beside it.
    pub(super) original: ModelProto,
    pub(super) taps: Taps,
    pub(super) ends: Ends,
}

impl Detector {
    /// Whether it takes images of its own size and no other.
    pub fn is_of_fixed_size(&self) -> bool {
        let fixed = |shape: &[Dim]| shape.iter().skip(2).all(|dim| matches!(dim, Dim::Fixed(_)));
        let graph = self.original.graph.as_ref();
        graph.is_some_and(|graph| image_input(&GraphIndex::new(graph), None).is_ok_and(|(_, shape, _)| fixed(&shape)))
    }

    /// Reads an ONNX detector and finds the raw outputs of its head.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Model`] where it is not a model of the supported family
    /// or does not fit the options; the message names what was found, what is supported and what to change.
    pub fn load(path: impl AsRef<Path>, options: &DetectorOptions) -> Result<Self> {
        let path = path.as_ref();
        let metadata = fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
        if !metadata.is_file() {
            let remedy = "Give the .onnx file itself (yolo export model=... format=onnx makes one).";
            return Err(refused(path, Refusal::new("this is not a file.", remedy)));
        }
        let size = metadata.len();
        let too_large = || {
            Refusal::new(
                format!("the file has {size} bytes; an ONNX file has at most {MAX_FILE_BYTES}"),
                "Give a detector exported as one ONNX file.",
            )
        };
        if size > MAX_FILE_BYTES {
            return Err(refused(path, too_large()));
        }
        let bytes = fs::read(path).map_err(|source| Error::io(path, "read", source))?;
        Self::from_bytes(path, bytes, options)
    }

    /// [`Detector::load`] for a file already read; `path` is only for messages and the record.
    ///
    /// # Errors
    /// See [`Detector::load`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>, options: &DetectorOptions) -> Result<Self> {
        let path = path.as_ref();
        read(path, bytes, options).map_err(|refusal| refused(path, refusal))
    }

    /// What it is, for people.
    pub fn family(&self) -> &'static str {
        self.family.title()
    }

    /// Number of weights, as far as layers hold them as constants.
    pub fn num_parameters(&self) -> u64 {
        self.original.graph.as_ref().map_or(0, |graph| GraphIndex::new(graph).num_parameters())
    }

    /// What must be told of a quantized file whose own output is rounded so coarsely that it says nothing.
    pub fn warning(&self) -> Option<String> {
        let (how, step) = (self.quantized.as_ref()?, self.taps.score_step.filter(|step| *step >= COARSE_STEP)?);
        let lost = match step / 2.0 {
            half @ ..1.0 => format!("every probability below {half:.3} is 0 in it"),
            _ => "every probability is 0 in it".to_owned(),
        };
        Some(format!(
            "{} is quantized ({how}), and its own output is rounded too coarsely to be useful: it has steps of \
             {step:.3}, so {lost}. The class logits from before that rounding are used instead. Programs that read the \
             output need the file quantized again, with only the convolutions quantized.",
            self.path.display()
        ))
    }

    /// What a user should know of a quantized file: what the rounding behind its logits costs. `None` where it costs nothing.
    pub fn quantization_note(&self, check: &SelfCheck) -> Option<String> {
        let (how, rounding) = (self.quantized.as_ref()?, check.rounding?);
        (rounding.max_box_px >= 0.01 || rounding.max_score >= 1e-4).then(|| {
            format!(
                "{} is quantized ({how}). Scores and boxes are computed from its logits without more rounding; its own \
                 outputs, which are rounded in between, differ by up to {:.2} px and {:.4} in a probability (on the \
                 image of the self-check).",
                self.path.display(),
                rounding.max_box_px,
                rounding.max_score
            )
        })
    }

    /// The model to run: float32 images in, class logits and DFL logits (or boxes) out, the original's decoding left out.
    pub(crate) fn edited_bytes(&self) -> Vec<u8> {
        self.bytes_with(&[&self.taps.class_logits, &self.taps.box_values])
    }

    /// The model with its own outputs beside the raw ones, for [`Detector::self_check`].
    pub(crate) fn check_bytes(&self) -> Vec<u8> {
        let raw = [&self.taps.class_logits, &self.taps.box_values];
        let all = raw.into_iter().chain(&self.taps.own).chain(&self.taps.float);
        self.bytes_with(&all.map(String::as_str).collect::<Vec<_>>())
    }

    fn bytes_with(&self, outputs: &[&str]) -> Vec<u8> {
        // `read` refuses a file without a graph.
        with_outputs(&self.original, outputs, &self.ends).map(|model| model.encode_to_vec()).unwrap_or_default()
    }
}

impl fmt::Debug for Detector {
    /// Without the weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Detector")
            .field("path", &self.path)
            .field("input", &self.input)
            .field("batch", &self.batch)
            .field("precision", &self.precision)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
