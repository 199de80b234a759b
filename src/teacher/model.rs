//! Reading a teacher file: everything is checked and understood before any session is made.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use prost::{Message, bytes::Bytes};
use sha2::{Digest, Sha256};

use super::{
    check::SelfCheck,
    graph::{Dim, Ends, GraphIndex, declared, show_dims, with_outputs},
    head::{self, HeadTensors},
    metadata::Metadata,
    onnx_proto::{
        GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_proto::DataLocation, tensor_proto::DataType,
    },
    quantized::{self, Taps},
    refuse::Refusal,
};
use crate::{Error, Result, types::Store};

/// Protobuf's own limit; a larger model keeps its weights in a second file.
const MAX_FILE_BYTES: u64 = i32::MAX as u64;

/// Height and width where neither the user nor the model says one: Ultralytics' default.
const DEFAULT_SIZE: u32 = 640;

/// The largest input side accepted, in pixels: the number of anchors and the memory grow with its square.
pub const MAX_SIZE: u32 = 8192;

/// The largest batch accepted; every run fills it.
pub const MAX_BATCH: usize = 1024;

/// A step of the own output's probabilities that makes it no measure of the model any more; 8 bits from 0 to 1 have 0.004.
const COARSE_STEP: f32 = 0.02;

/// Sets of strides that heads of the family have (plain, P2, P6), in the order their anchors are joined.
const STRIDES: [&[u32]; 3] = [&[8, 16, 32], &[4, 8, 16, 32], &[8, 16, 32, 64]];

/// How a teacher file is to be read.
#[derive(Debug, Clone)]
pub struct TeacherOptions {
    /// Height and width in pixels. `None`: the model's own size, or 640 where the model leaves it free.
    pub imgsz: Option<u32>,
    /// What will be stored: a head without DFL has nothing for [`Store::All`].
    pub store: Store,
    /// Class names to use instead of the model's, in the order of the class ids.
    pub names: Option<Vec<String>>,
}

/// Height and width of the model's input, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputSize {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
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

/// What the model's head gives for each image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadSpec {
    /// C, the number of classes.
    pub num_classes: usize,
    /// Bins per box side of the distribution focal loss; `None` for a head that gives distances directly.
    pub reg_max: Option<usize>,
    /// Input pixels per cell of each feature level, finest first; anchors follow in this order, row by row.
    pub strides: Vec<u32>,
    /// A, the cells of all levels together.
    pub num_anchors: usize,
    /// `yolov8-dfl` or `yolov8-direct` (no DFL).
    pub kind: &'static str,
}

/// A teacher file, read and understood; no library is needed up to here.
#[derive(Clone)]
pub struct TeacherModel {
    /// The file.
    pub path: PathBuf,
    /// Digest of the file as it lies on disk.
    pub sha256: [u8; 32],
    /// Names in the order of the class ids; as many as the head has classes.
    pub class_names: Vec<String>,
    /// Height and width one run takes.
    pub input: InputSize,
    /// Images one run takes.
    pub batch: BatchSize,
    /// What the model computes in.
    pub precision: Precision,
    /// What comes out.
    pub head: HeadSpec,
    /// Quantized with scales that are measured over all images of a run: only alone does an image always have the same result.
    pub one_image_a_run: bool,
    /// How it is quantized, for messages: `INT8, QDQ`.
    pub(super) quantized: Option<String>,
    /// The file's graph, and in it what the taps need beside it.
    original: ModelProto,
    pub(super) taps: Taps,
    pub(super) ends: Ends,
}

impl TeacherModel {
    /// Whether it takes images of its own size and no other.
    pub fn is_of_fixed_size(&self) -> bool {
        let fixed = |shape: &[Dim]| shape.iter().skip(2).all(|dim| matches!(dim, Dim::Fixed(_)));
        let graph = self.original.graph.as_ref();
        graph.is_some_and(|graph| image_input(&GraphIndex::new(graph)).is_ok_and(|(_, shape, _)| fixed(&shape)))
    }

    /// Reads an ONNX detector and finds the raw outputs of its head.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be read, [`Error::Model`] where it is not a model of the supported family
    /// or does not fit the options; the message names what was found, what is supported and what to change.
    pub fn load(path: impl AsRef<Path>, options: &TeacherOptions) -> Result<Self> {
        let path = path.as_ref();
        let metadata = fs::metadata(path).map_err(|source| Error::io(path, "open", source))?;
        if !metadata.is_file() {
            let remedy = "Give the .onnx file itself (yolo export model=... format=onnx makes one).";
            return Err(refused(path, Refusal::new("this is no file.", remedy)));
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

    /// [`TeacherModel::load`] for a file already read; `path` is only for messages and the record.
    ///
    /// # Errors
    /// See [`TeacherModel::load`].
    pub fn from_bytes(path: impl AsRef<Path>, bytes: Vec<u8>, options: &TeacherOptions) -> Result<Self> {
        let path = path.as_ref();
        read(path, bytes, options).map_err(|refusal| refused(path, refusal))
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
            "{} is quantized ({how}), and its own output is rounded to nothing: it has steps of {step:.3}, so {lost}. \
             The class logits from before that rounding are used instead. Programs that read the output need the file quantized \
             anew, its convolutions only.",
            self.path.display()
        ))
    }

    /// What a user should know of a quantized file: what the rounding behind its logits costs. `None` where it costs nothing.
    pub fn quantization_note(&self, check: &SelfCheck) -> Option<String> {
        let (how, rounding) = (self.quantized.as_ref()?, check.rounding?);
        (rounding.max_box_px >= 0.01 || rounding.max_score >= 1e-4).then(|| {
            format!(
                "{} is quantized ({how}). Scores and boxes follow from its logits without more rounding; its own outputs, rounded on the \
                 way, are up to {:.2} px and {:.4} in a probability away (on the picture of the self-check).",
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

    /// The model with its own outputs beside the raw ones, for [`TeacherModel::self_check`].
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

impl fmt::Debug for TeacherModel {
    /// Without the weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeacherModel")
            .field("path", &self.path)
            .field("input", &self.input)
            .field("batch", &self.batch)
            .field("precision", &self.precision)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Adds the path to a refusal.
pub(super) fn refused(path: &Path, refusal: Refusal) -> Error {
    Error::Model { path: path.to_owned(), found: refusal.found, remedy: refusal.remedy }
}

fn read(path: &Path, bytes: Vec<u8>, options: &TeacherOptions) -> Result<TeacherModel, Refusal> {
    let sha256 = Sha256::digest(&bytes).into();
    let mut original = parse(Bytes::from(bytes))?;
    let graph = original.graph.as_ref().ok_or_else(|| not_onnx("it holds no graph"))?;
    no_external_data(graph)?;
    let form = quantized::form(graph);
    let precision = match form {
        Some(_) => quantized::precision(graph),
        None => Precision::Fp32,
    };
    let one_image_a_run = quantized::measures_batch(graph);
    let quantized = form.map(|form| format!("{}, {}", precision.as_str().to_uppercase(), form.as_str()));
    let view = form.map(|_| quantized::float_view(graph));
    let mut index = GraphIndex::new(view.as_ref().unwrap_or(graph));
    index.quantized.clone_from(&quantized);
    let metadata = Metadata::read(&original);
    let tensors = head::find(&index, &metadata)?;
    if tensors.reg_max.is_none() && options.store == Store::All {
        return Err(Refusal::new(
            "this model's head has no DFL (reg_max = 1, as YOLO26 has it), so there are no DFL logits to store.",
            "Build with --store cls, which stores class logits and boxes, or use a teacher with DFL (v8, v9, 10, 11, 12).",
        ));
    }
    let (input, shape, elem_type) = image_input(&index)?;
    let batch = batch_size(&shape)?;
    let input_size = input_size(&shape, options)?;
    let (strides, num_anchors) = anchors(input_size, &tensors, &metadata)?;
    let inner_float16 = elem_type == DataType::Float16 || uses_float16(graph);
    let precision = if form.is_none() && inner_float16 { Precision::Fp16 } else { precision };
    let class_names = class_names(metadata.names, tensors.num_classes, options)?;
    let ends = Ends {
        input: input.name().to_owned(),
        size: (i64::from(input_size.height), i64::from(input_size.width)),
        input_is_float16: elem_type == DataType::Float16,
        inner_float16,
    };
    let (nodes, taps) = quantized::taps(graph, view.as_ref(), &tensors);
    if let Some(graph) = &mut original.graph {
        graph.node.extend(nodes);
    }
    Ok(TeacherModel {
        path: path.to_owned(),
        sha256,
        class_names,
        input: input_size,
        batch,
        precision,
        head: HeadSpec {
            num_classes: tensors.num_classes,
            reg_max: tensors.reg_max,
            strides,
            num_anchors,
            kind: if tensors.reg_max.is_some() { "yolov8-dfl" } else { "yolov8-direct" },
        },
        one_image_a_run,
        quantized,
        taps,
        ends,
        original,
    })
}

fn parse(bytes: Bytes) -> Result<ModelProto, Refusal> {
    if bytes.is_empty() {
        return Err(not_onnx("it is empty"));
    }
    if bytes.starts_with(b"PK\x03\x04") {
        return Err(not_onnx("it is a zip archive, as PyTorch checkpoints (.pt) are"));
    }
    let model =
        ModelProto::decode(bytes).map_err(|error| not_onnx(&format!("its protobuf cannot be read ({error})")))?;
    match &model.graph {
        Some(graph) if !graph.node.is_empty() && model.ir_version.is_some() => Ok(model),
        _ => Err(not_onnx("it holds no graph")),
    }
}

fn not_onnx(why: &str) -> Refusal {
    Refusal::new(
        format!("this is not a whole ONNX model: {why}."),
        "Give an ONNX export (yolo export model=... format=onnx), or export or copy it again.",
    )
}

fn no_external_data(graph: &GraphProto) -> Result<(), Refusal> {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
    let external = |tensor: &&TensorProto| tensor.data_location == Some(DataLocation::External as i32);
    let Some(tensor) = graph.initializer.iter().chain(attributes).find(external) else { return Ok(()) };
    let file = tensor
        .external_data
        .iter()
        .find(|entry| entry.key() == "location")
        .map_or("another file", |entry| entry.value());
    Err(Refusal::new(
        format!("its weights lie outside the file (in {file:?}); supported are models in one file."),
        "Save it as one file: python -c \"import onnx; onnx.save(onnx.load('model.onnx'), 'one-file.onnx')\".",
    ))
}

/// The graph's image input `[batch, 3, height, width]` with its declared shape and element type.
fn image_input<'g>(index: &GraphIndex<'g>) -> Result<(&'g ValueInfoProto, Vec<Dim>, DataType), Refusal> {
    const REMEDY: &str = "Export the detector with Ultralytics (yolo export model=... format=onnx), which takes RGB images as float [batch, 3, height, width].";
    let inputs = index.inputs();
    let [input] = inputs.as_slice() else {
        return Err(Refusal::new(
            format!("this model has {} inputs; a detector has one, the images.", inputs.len()),
            REMEDY,
        ));
    };
    let unusable = |found: String| Refusal::new(format!("its input {:?} {found}.", input.name()), REMEDY);
    let Some((elem_type, shape)) = declared(input) else { return Err(unusable("has no declared shape".to_owned())) };
    let rgb = matches!(shape.as_slice(), [_, Dim::Fixed(3) | Dim::Free(_), _, _]);
    if !rgb {
        return Err(unusable(format!("is {}; supported is [batch, 3, height, width]", show_dims(&shape))));
    }
    match DataType::try_from(elem_type) {
        Ok(data_type @ (DataType::Float | DataType::Float16)) => Ok((input, shape, data_type)),
        other => {
            let name =
                other.map_or_else(|_| format!("type {elem_type}"), |data_type| data_type.as_str_name().to_lowercase());
            Err(unusable(format!("takes {name}; supported are float32 and float16")))
        }
    }
}

fn batch_size(shape: &[Dim]) -> Result<BatchSize, Refusal> {
    match shape.first() {
        Some(Dim::Fixed(batch)) => match usize::try_from(*batch) {
            Ok(batch @ 1..=MAX_BATCH) => Ok(BatchSize::Fixed(batch)),
            _ => Err(Refusal::new(
                format!(
                    "this model takes exactly {batch} images at once; supported are 1 to {MAX_BATCH}, or any number."
                ),
                "Export it again with batch=1 or dynamic=True.",
            )),
        },
        _ => Ok(BatchSize::Dynamic),
    }
}

/// The size one run takes: the model's own, or the user's where the model leaves it free.
fn input_size(shape: &[Dim], options: &TeacherOptions) -> Result<InputSize, Refusal> {
    let side = |at: usize| match shape.get(at) {
        Some(Dim::Fixed(size)) => u32::try_from(*size).ok(),
        _ => None,
    };
    let (own_height, own_width) = (side(2), side(3));
    let wanted = options.imgsz;
    let size = InputSize {
        height: own_height.or(wanted).unwrap_or(DEFAULT_SIZE),
        width: own_width.or(wanted).unwrap_or(DEFAULT_SIZE),
    };
    if let Some(wanted) = wanted.filter(|wanted| (size.height, size.width) != (*wanted, *wanted)) {
        return Err(Refusal::new(
            format!(
                "this model takes images of {} x {} pixels (height x width) and no others; --imgsz asks for {wanted}.",
                size.height, size.width
            ),
            format!("Leave --imgsz out, or export the model again with imgsz={wanted} or dynamic=True."),
        ));
    }
    let possible = |side: u32| (1..=MAX_SIZE).contains(&side);
    if !possible(size.height) || !possible(size.width) {
        return Err(Refusal::new(
            format!(
                "an input of {} x {} pixels is not possible; supported are 32 to {MAX_SIZE}.",
                size.height, size.width
            ),
            "Give another --imgsz, such as 640, or export the model again.",
        ));
    }
    Ok(size)
}

/// Strides and the number of anchors, checked against everything the model says of them.
fn anchors(size: InputSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<(Vec<u32>, usize), Refusal> {
    let count = |strides: &[u32]| {
        strides.iter().map(|stride| (size.height / stride) as usize * (size.width / stride) as usize).sum::<usize>()
    };
    let divides = |strides: &[u32]| {
        strides.last().is_some_and(|last| size.height.is_multiple_of(*last) && size.width.is_multiple_of(*last))
    };
    let levels = |strides: &[u32]| tensors.levels.is_none_or(|levels| levels == strides.len());
    let coarsest = |strides: &[u32]| metadata.stride.is_none_or(|stride| strides.last() == Some(&stride));
    let as_declared =
        |strides: &[u32]| tensors.num_anchors.is_none_or(|anchors| usize::try_from(anchors) == Ok(count(strides)));

    let mut fitting = STRIDES.into_iter().filter(|strides| levels(strides) && coarsest(strides));
    let Some(first) = fitting.clone().next() else {
        let levels = tensors.levels.map_or_else(|| "an unknown number of".to_owned(), |levels| levels.to_string());
        let stride = metadata.stride.map_or_else(|| "unknown".to_owned(), |stride| stride.to_string());
        return Err(Refusal::new(
            format!(
                "its head has {levels} feature levels and a coarsest stride of {stride}; supported are strides 8, 16, 32, with 4 or 64 added."
            ),
            "Use a teacher with one of these sets of strides.",
        ));
    };
    if !STRIDES.iter().any(|strides| levels(strides) && coarsest(strides) && divides(strides)) {
        let last = first.last().copied().unwrap_or(32);
        return Err(Refusal::new(
            format!(
                "an input of {} x {} pixels (height x width) is not a multiple of the coarsest stride, {last}.",
                size.height, size.width
            ),
            format!("Use an --imgsz that is a multiple of {last}."),
        ));
    }
    match fitting.find(|strides| divides(strides) && as_declared(strides)) {
        Some(strides) => Ok((strides.to_vec(), count(strides))),
        None => Err(Refusal::new(
            format!(
                "its output has {} anchors, but strides {first:?} at {} x {} pixels give {}.",
                tensors.num_anchors.unwrap_or_default(),
                size.height,
                size.width,
                count(first)
            ),
            "Supported are heads with strides 8, 16, 32 (with 4 or 64 added) and one anchor per cell; use such a teacher.",
        )),
    }
}

/// Whether weights or constants are float16, or something is converted to float16.
fn uses_float16(graph: &GraphProto) -> bool {
    const FLOAT16: i32 = DataType::Float16 as i32;
    graph.initializer.iter().any(|tensor| tensor.data_type == Some(FLOAT16))
        || graph.node.iter().flat_map(|node| &node.attribute).any(|attribute| {
            attribute.t.as_ref().is_some_and(|tensor| tensor.data_type == Some(FLOAT16))
                || (attribute.name() == "to" && attribute.i == Some(i64::from(FLOAT16)))
        })
}

fn class_names(
    own: Option<Result<Vec<String>, String>>,
    num_classes: usize,
    options: &TeacherOptions,
) -> Result<Vec<String>, Refusal> {
    const REMEDY: &str = "Give the names in the order of the class ids with --names FILE.";
    let given = options.names.is_some();
    let names = match (options.names.clone(), own) {
        (Some(names), _) | (None, Some(Ok(names))) => names,
        (None, Some(Err(why))) => {
            return Err(Refusal::new(format!("the class names in its metadata cannot be read: {why}."), REMEDY));
        }
        (None, None) => {
            return Err(Refusal::new(
                format!("this model has {num_classes} classes, but its metadata does not name them."),
                REMEDY,
            ));
        }
    };
    if names.len() != num_classes {
        let source = if given { "--names gives" } else { "its metadata names" };
        return Err(Refusal::new(format!("its head has {num_classes} classes, but {source} {}.", names.len()), REMEDY));
    }
    Ok(names)
}
