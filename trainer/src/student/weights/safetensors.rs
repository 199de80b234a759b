//! `.safetensors` under Ultralytics' names; what the file says of itself is JSON under the metadata key `logitcache`.
//!
//! One key, because the format's writer puts several in any order, and the same run shall write the same bytes.

use std::{borrow::Cow, path::Path};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::{
    Description, Refusal,
    entries::{Entries, Entry, Kind},
};
use crate::{
    Error, Result, fsio,
    student::{
        channels::Widths,
        families::StudentModel,
        net::StudentNet,
        params::ParamSpec,
        state::{State, Values},
    },
    types::InputSize,
};

const METADATA_KEY: &str = "logitcache";

#[derive(Serialize, Deserialize)]
struct Metadata {
    scale: String,
    names: Vec<String>,
    imgsz: InputSize,
    stride: usize,
    /// Of a pruned network: how wide it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pruned: Option<Widths>,
}

impl Metadata {
    /// The network, where its tensors do not tell which one it is.
    fn net(&self) -> Result<Option<StudentNet>, Refusal> {
        let Some(widths) = &self.pruned else { return Ok(None) };
        let unknown = |found: String| Refusal::new(format!("its metadata {METADATA_KEY:?} is of no student: {found}"));
        let model: StudentModel = self.scale.parse().map_err(unknown)?;
        if self.names.is_empty() {
            return Err(unknown("it has no classes".to_owned()));
        }
        model.net(self.names.len()).with_widths(widths).map(Some).map_err(unknown)
    }
}

/// Reads a whole file, its tensors made a state by `state`.
pub(super) fn read(
    bytes: &[u8],
    state: impl FnOnce(&Entries<'_>, Option<StudentNet>) -> Result<State, Refusal>,
) -> Result<(State, Option<Description>), Refusal> {
    let damaged = |error: safetensors::SafeTensorError| {
        Refusal::new(format!("this is not a complete safetensors file: {error}."))
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let entries = file.iter().map(|(name, view)| {
        let (shape, kind) = (view.shape().to_vec(), kind(view.dtype()));
        (name.to_owned(), Entry { shape, kind, read: Box::new(move || Ok(view.data().to_vec())) })
    });
    let entries = Entries(entries.collect());
    let own = header.metadata().as_ref().and_then(|metadata| metadata.get(METADATA_KEY));
    let Some(text) = own else { return Ok((state(&entries, None)?, None)) };
    // Damaged tensors are told before damaged words about them.
    let metadata = serde_json::from_str::<Metadata>(text)
        .map_err(|error| Refusal::new(format!("its metadata {METADATA_KEY:?} cannot be read: {error}")));
    let state = state(&entries, metadata.as_ref().ok().map_or(Ok(None), Metadata::net)?)?;
    let description = description(metadata?, &state)?;
    Ok((state, Some(description)))
}

fn description(metadata: Metadata, state: &State) -> Result<Description, Refusal> {
    let classes = state.net().num_classes;
    if metadata.names.len() != classes {
        return Err(Refusal::new(format!(
            "its metadata names {} classes, its head has {classes}",
            metadata.names.len()
        )));
    }
    Ok(Description { class_names: metadata.names, imgsz: metadata.imgsz })
}

fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::Bf16,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        Dtype::I64 => Kind::I64,
        Dtype::BOOL => Kind::Other("bool"),
        Dtype::I8 => Kind::Other("int8"),
        Dtype::I16 => Kind::Other("int16"),
        Dtype::I32 => Kind::Other("int32"),
        Dtype::U8 => Kind::Other("uint8"),
        Dtype::U16 => Kind::Other("uint16"),
        Dtype::U32 => Kind::Other("uint32"),
        Dtype::U64 => Kind::Other("uint64"),
        _ => Kind::Other("a type that weights do not have"),
    }
}

/// Writes a state as `.safetensors` under Ultralytics' names, float32, atomically; the same state gives the same bytes.
///
/// # Errors
/// [`Error::Io`] naming the file; what was at `path` is then still there.
///
/// # Panics
/// If there are not as many class names as classes.
pub fn save(path: impl AsRef<Path>, state: &State, description: &Description) -> Result<()> {
    let net = state.net();
    assert_eq!(description.class_names.len(), net.num_classes, "one name per class");
    let metadata = Metadata {
        scale: net.model.to_string(),
        names: description.class_names.clone(),
        imgsz: description.imgsz,
        stride: net.head.coarsest_stride() as usize,
        pruned: net.is_pruned().then(|| net.widths()),
    };
    let path = path.as_ref();
    let impossible = |error: String| Error::io(path, "write to", std::io::Error::other(error));
    let text = serde_json::to_string(&metadata).map_err(|error| impossible(error.to_string()))?;
    let tensors = state.iter().map(|(param, values)| (param.name.as_str(), Written { param, values }));
    let metadata = std::iter::once((METADATA_KEY.to_owned(), text)).collect();
    let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| impossible(error.to_string()))?;
    Ok(fsio::write_atomic(path, &bytes)?)
}

struct Written<'s> {
    param: &'s ParamSpec,
    values: &'s Values,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        match self.values {
            Values::F32(_) => Dtype::F32,
            Values::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.param.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.values {
            Values::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Values::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.param.num_elements() * self.dtype().bitsize() / 8
    }
}
