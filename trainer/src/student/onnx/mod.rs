//! Export to ONNX in the form of an Ultralytics export: `images` `[1, 3, H, W]` in, `output0` `[1, 4 + C, A]` out (boxes as
//! centre x, centre y, width, height in input pixels, then class probabilities), batch normalisations fused, and the
//! metadata that Ultralytics reads. [`ExportOptions`] says what may differ. No libtorch is needed.

mod graph;
mod head;
mod metadata;
mod operators;
mod options;

pub use self::options::{ExportOptions, NmsInside, OPSET, OPSETS};

use std::path::Path;

use prost::Message;

use self::graph::{Dim, Graph};
use super::{
    state::State,
    weights::{self, Description},
};
use crate::{
    Error, Result,
    detector::onnx::proto::{ModelProto, OperatorSetIdProto},
    fsio,
    outputs::ONNX_PRODUCER,
    types::InputSize,
};

/// Writes the network as an ONNX file, atomically; the same state and options give the same bytes.
///
/// # Errors
/// [`Error::Mismatch`] where a side of `imgsz` is no multiple of 32 up to 8192, the opset is not one of [`OPSETS`], or a weight
/// is too large for float16; [`Error::Io`] naming the file, which is then as it was.
///
/// # Panics
/// If there are not as many class names as classes.
pub fn export(path: impl AsRef<Path>, state: &State, description: &Description, options: &ExportOptions) -> Result<()> {
    Ok(fsio::write_atomic(path.as_ref(), &bytes(state, description, options)?)?)
}

/// The bytes of the file that [`export`] writes.
///
/// # Errors
/// As [`export`], without writing.
///
/// # Panics
/// As [`export`].
pub fn bytes(state: &State, description: &Description, options: &ExportOptions) -> Result<Vec<u8>> {
    let coarsest = state.net().head.coarsest_stride();
    let size = description.imgsz;
    options.check()?;
    if !size.is_possible(coarsest) {
        let most = InputSize::MOST_PX;
        return Err(Error::Mismatch {
            found: format!("an ONNX model for images of {} pixels is not possible", size.in_words()),
            remedy: format!(
                "Give a multiple of {coarsest} from {coarsest} to {most} as `imgsz=`, such as 640, or two, such as 480x640."
            ),
        });
    }
    Ok(model(state, description, options)?.encode_to_vec())
}

/// A weights file and what is to be said of it in a file made from it.
///
/// # Errors
/// Those of [`weights::load`]; [`Error::Mismatch`] where the file names no classes and none are given, or not as many as its head
/// has.
pub fn source(
    weights: impl AsRef<Path>,
    class_names: Option<Vec<String>>,
    imgsz: Option<InputSize>,
) -> Result<(State, Description)> {
    let path = weights.as_ref();
    let start = weights::load(path, None, 0)?;
    let own_size = start.description.as_ref().map(|own| own.imgsz);
    let class_names =
        class_names.or_else(|| start.description.map(|own| own.class_names)).ok_or_else(|| Error::Mismatch {
            found: format!("{} does not name its classes", path.display()),
            remedy: "Give their names in the order of the class ids: `names=`.".to_owned(),
        })?;
    let classes = start.state.net().num_classes;
    if class_names.len() != classes {
        return Err(Error::Mismatch {
            found: format!("{} has {classes} classes, {} names are given", path.display(), class_names.len()),
            remedy: "Give as many names as there are classes, in the order of the class ids.".to_owned(),
        });
    }
    let description = Description { class_names, imgsz: imgsz.or(own_size).unwrap_or(InputSize::square(640)) };
    Ok((start.state, description))
}

/// [`export`] of a weights file. Class names and size are the file's own where it has them and none are given.
///
/// # Errors
/// Those of [`source`] and [`export`].
pub fn export_file(
    weights: impl AsRef<Path>,
    class_names: Option<Vec<String>>,
    imgsz: Option<InputSize>,
    out: impl AsRef<Path>,
    options: &ExportOptions,
) -> Result<()> {
    let (state, description) = source(weights, class_names, imgsz)?;
    export(out, &state, &description, options)
}

/// The model in memory.
fn model(state: &State, description: &Description, options: &ExportOptions) -> Result<ModelProto> {
    let net = state.net();
    assert_eq!(description.class_names.len(), net.num_classes, "one name per class");
    let size = description.imgsz;
    let mut graph = Graph::new(state, options);
    let grid = (!options.dynamic).then(|| net.grid(size.into()));
    let free = |name, size: usize| if options.dynamic { Dim::Free(name) } else { Dim::Fixed(size) };
    let batch = free("batch", 1);
    let images =
        graph.images(&[batch, Dim::Fixed(3), free("height", size.height as usize), free("width", size.width as usize)]);
    let levels = net.run(&mut graph, images);
    let decoded = head::decode(&mut graph, &net.head, &levels, grid.as_ref());
    let (output, shape) = match &options.nms {
        Some(nms) => (head::suppressed(&mut graph, &decoded, nms), [batch, Dim::Fixed(nms.max_det), Dim::Fixed(6)]),
        None => {
            let anchors = grid.map_or(Dim::Free("anchors"), |grid| Dim::Fixed(grid.num_anchors()));
            (head::plain(&mut graph, &decoded), [batch, Dim::Fixed(4 + net.num_classes), anchors])
        }
    };
    if let Some(name) = graph.too_large() {
        return Err(Error::Mismatch {
            found: format!("{name} holds a value that is too large for float16 (over 65504)"),
            remedy: "Export it in float32: leave `half=` out.".to_owned(),
        });
    }
    Ok(ModelProto {
        ir_version: Some(options.ir_version()),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(options.opset) }],
        producer_name: Some(ONNX_PRODUCER.to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        graph: Some(graph.finish(&output, &shape)),
        metadata_props: metadata::entries(net, description, options),
        ..Default::default()
    })
}
