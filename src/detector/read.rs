//! From the bytes of an ONNX file to a [`Detector`]: everything is checked and understood before any session is made.

use super::{
    families::{self, HeadTensors},
    head::{BoxRule, HeadSpec},
    model::{BatchSize, Detector, DetectorOptions, MAX_BATCH, Precision},
    onnx::{
        graph::{Dim, Ends, GraphIndex, declared, show_dims},
        metadata::Metadata,
        proto::{
            GraphProto, ModelProto, TensorProto, ValueInfoProto, tensor_proto::DataLocation, tensor_proto::DataType,
        },
        quantized,
    },
    refuse::Refusal,
};
use crate::{
    Error,
    types::{ImageSize, InputSize, Store},
};
use prost::{Message, bytes::Bytes};
use sha2::{Digest, Sha256};
use std::path::Path;

/// Height and width where neither the user nor the model says one: Ultralytics' default.
const DEFAULT_SIZE: u32 = 640;

/// Adds the path to a refusal.
pub(super) fn refused(path: &Path, refusal: Refusal) -> Error {
    Error::Model { path: path.to_owned(), found: refusal.found, remedy: refusal.remedy }
}

pub(super) fn read(path: &Path, bytes: Vec<u8>, options: &DetectorOptions) -> Result<Detector, Refusal> {
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
    let (family, tensors) = families::find(&index, &metadata, options.reading.family.as_deref())?;
    if tensors.boxes == BoxRule::CentreSizePx && options.store == Store::All {
        return Err(Refusal::new(
            "this model's head has no DFL (as those of YOLO26, YOLOX and RT-DETR), so there are no DFL logits to store.",
            "Build with `store=cls`, which stores class logits and boxes, or use a teacher with DFL (v8, v9, 10, 11, 12).",
        ));
    }
    let (input, shape, elem_type) = image_input(&index, tensors.size_input.as_deref())?;
    let batch = batch_size(&shape)?;
    let input_size = input_size(&shape, options)?;
    let places = family.places(input_size, &tensors, &metadata)?;
    let inner_float16 = elem_type == DataType::Float16 || uses_float16(graph);
    let precision = if form.is_none() && inner_float16 { Precision::Fp16 } else { precision };
    let replaced_names = replaced_names(metadata.names.as_ref(), options);
    let class_names = class_names(metadata.names, &tensors, options)?;
    let ends = Ends {
        input: input.name().to_owned(),
        size: (i64::from(input_size.height), i64::from(input_size.width)),
        input_is_float16: elem_type == DataType::Float16,
        inner_float16,
    };
    let size_input = tensors.size_input.as_deref().and_then(|name| size_constant(graph, name, batch, input_size));
    let (nodes, taps) = quantized::taps(graph, view.as_ref(), &tensors, family, input_size, &places);
    if let Some(graph) = &mut original.graph {
        graph.node.extend(nodes);
        if let Some(constant) = size_input {
            graph.input.retain(|input| input.name() != constant.name());
            graph.initializer.push(constant);
        }
    }
    Ok(Detector {
        path: path.to_owned(),
        sha256,
        class_names,
        input: input_size,
        batch,
        precision,
        head: HeadSpec {
            kind: tensors.kind,
            num_classes: tensors.num_classes,
            boxes: tensors.boxes,
            places,
            one_to_one: tensors.one_to_one,
        },
        input_rule: options.reading.input_rule.of(family.input_rule()),
        logits: tensors.logits,
        own: tensors.own,
        family,
        one_image_a_run,
        replaced_names,
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
    if is_openvino(&bytes) {
        return Err(Refusal::new(
            "this is an OpenVINO file.",
            "Give the ONNX export that it was made from: it runs with `provider=openvino` too.",
        ));
    }
    let model =
        ModelProto::decode(bytes).map_err(|error| not_onnx(&format!("its protobuf cannot be read ({error})")))?;
    match &model.graph {
        Some(graph) if !graph.node.is_empty() && model.ir_version.is_some() => Ok(model),
        _ => Err(not_onnx("it holds no graph")),
    }
}

/// Whether it begins as the .xml of OpenVINO's intermediate representation does.
fn is_openvino(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(bytes.get(..1024).unwrap_or(bytes));
    let head = head.trim_start_matches(['\u{feff}', ' ', '\n', '\r', '\t']);
    head.starts_with("<net ") || (head.starts_with("<?xml") && head.contains("<net "))
}

fn not_onnx(why: &str) -> Refusal {
    Refusal::new(
        format!("this is not a complete ONNX model: {why}."),
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
        format!("its weights are stored outside the file (in {file:?}); supported are models in one file."),
        "Save it as one file: python -c \"import onnx; onnx.save(onnx.load('model.onnx'), 'one-file.onnx')\".",
    ))
}

/// The second input of a model, the size of its pictures (width, height, of each image of a run), as a constant: that of the
/// first input.
fn size_constant(graph: &GraphProto, name: &str, batch: BatchSize, size: ImageSize) -> Option<TensorProto> {
    let (elem_type, _) = graph.input.iter().find(|input| input.name() == name).and_then(declared)?;
    let rows = match batch {
        BatchSize::Fixed(rows) => rows,
        BatchSize::Dynamic => 1,
    };
    let mut constant = TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(elem_type),
        dims: vec![rows as i64, 2],
        ..Default::default()
    };
    let sides = [size.width, size.height].repeat(rows);
    match DataType::try_from(elem_type) {
        Ok(DataType::Int64) => constant.int64_data = sides.into_iter().map(i64::from).collect(),
        Ok(DataType::Int32) => constant.int32_data = sides.into_iter().map(|side| side as i32).collect(),
        Ok(DataType::Float) => constant.float_data = sides.into_iter().map(|side| side as f32).collect(),
        _ => return None,
    }
    Some(constant)
}

/// The graph's image input `[batch, 3, height, width]` with its declared shape and element type; `beside`: an input that is
/// none of images.
pub(super) fn image_input<'g>(
    index: &GraphIndex<'g>,
    beside: Option<&str>,
) -> Result<(&'g ValueInfoProto, Vec<Dim>, DataType), Refusal> {
    const REMEDY: &str = "Export the detector with Ultralytics (yolo export model=... format=onnx), which takes RGB images as float [batch, 3, height, width].";
    let mut inputs = index.inputs();
    inputs.retain(|input| beside != Some(input.name()));
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
fn input_size(shape: &[Dim], options: &DetectorOptions) -> Result<ImageSize, Refusal> {
    let side = |at: usize| match shape.get(at) {
        Some(Dim::Fixed(size)) => u32::try_from(*size).ok(),
        _ => None,
    };
    let (own_height, own_width) = (side(2), side(3));
    let wanted = options.imgsz;
    let size = InputSize {
        height: own_height.or(wanted.map(|wanted| wanted.height)).unwrap_or(DEFAULT_SIZE),
        width: own_width.or(wanted.map(|wanted| wanted.width)).unwrap_or(DEFAULT_SIZE),
    };
    if let Some(wanted) = wanted.filter(|wanted| size != *wanted) {
        let for_export = match wanted {
            InputSize { height, width } if height != width => format!("{height},{width}"),
            square => square.to_string(),
        };
        return Err(Refusal::new(
            format!(
                "this model takes images of {} x {} pixels (height x width) and no others, so not of {} x {}.",
                size.height, size.width, wanted.height, wanted.width
            ),
            format!("Leave `imgsz=` out, or export the model again with imgsz={for_export} or dynamic=True."),
        ));
    }
    if !size.is_possible(1) {
        return Err(Refusal::new(
            format!(
                "an input of {} x {} pixels (height x width) is not possible; supported are 32 to {}.",
                size.height,
                size.width,
                InputSize::MOST_PX
            ),
            "Give another `imgsz=`, such as 640, or export the model again.",
        ));
    }
    Ok(size.into())
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

/// That the user's class names differ from those of the model itself.
fn replaced_names(own: Option<&Result<Vec<String>, String>>, options: &DetectorOptions) -> Option<String> {
    let (own, given) = (own?.as_ref().ok()?, options.names.as_ref()?);
    let differ: Vec<String> = own
        .iter()
        .zip(given)
        .filter(|(own, given)| own != given)
        .map(|(own, given)| format!("{own:?} is {given:?}"))
        .collect();
    let more = if differ.len() > 3 { ", ..." } else { "" };
    (!differ.is_empty()).then(|| {
        format!(
            "class names of the model were replaced by those given: {}{more}",
            differ[..differ.len().min(3)].join(", ")
        )
    })
}

fn class_names(
    own: Option<Result<Vec<String>, String>>,
    tensors: &HeadTensors,
    options: &DetectorOptions,
) -> Result<Vec<String>, Refusal> {
    let num_classes = tensors.num_classes;
    const REMEDY: &str = "Give the names in the order of the class ids with `names=FILE`.";
    let given = options.names.is_some();
    let names = match (options.names.clone(), own) {
        (Some(names), _) | (None, Some(Ok(names))) => names,
        (None, Some(Err(why))) => {
            return Err(Refusal::new(format!("the class names in its metadata cannot be read: {why}."), REMEDY));
        }
        (None, None) if options.unnamed => (0..num_classes).map(|class| class.to_string()).collect(),
        (None, None) => {
            return Err(Refusal::new(
                format!("this model has {num_classes} classes, but its metadata does not name them."),
                REMEDY,
            ));
        }
    };
    if names.len() != num_classes {
        let source = if given { "`names=` gives" } else { "its metadata names" };
        if tensors.may_have_unused_slots() && names.len() < num_classes {
            return Err(Refusal::new(
                format!(
                    "its head has {num_classes} class slots, but {source} {}: which slots have no class of their own \
                     (unused ids of COCO, a slot for \"no object\") is not said in the file.",
                    names.len()
                ),
                "Give a name for each slot, in order, with `names=FILE`; an unused slot can have any name.",
            ));
        }
        return Err(Refusal::new(format!("its head has {num_classes} classes, but {source} {}.", names.len()), REMEDY));
    }
    Ok(names)
}
