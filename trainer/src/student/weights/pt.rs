//! Ultralytics' checkpoints: a pickled dictionary with the model under `ema` (preferred, as Ultralytics does) or `model`.

use std::{collections::BTreeMap, path::Path};

use pytorch_reader::{DType, PytorchReader, Tensor};

use super::{
    Refusal,
    entries::{Entries, Entry, Kind},
};

/// Parses the file's pickle; no code in it is run.
pub(super) fn open(path: &Path) -> Result<Entries<'static>, Refusal> {
    let reader = PytorchReader::new(path).map_err(|error| {
        Refusal::new(format!("this is not a complete PyTorch checkpoint: {}.", error.to_string().trim_end_matches('.')))
    })?;
    let tensors = reader.into_tensors();
    // The module's own layers are in its attribute `model`; a bare state dict has `model.0.conv.weight` at once.
    let prefix = ["ema.", "model.", ""]
        .into_iter()
        .find(|prefix| tensors.contains_key(&format!("{prefix}model.0.conv.weight")))
        .unwrap_or_default();
    let entries: BTreeMap<String, Entry<'static>> = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), entry(tensor))))
        .collect();
    Ok(Entries(entries))
}

fn entry(tensor: Tensor) -> Entry<'static> {
    let kind = match tensor.dtype() {
        DType::F16 => Kind::F16,
        DType::BF16 => Kind::Bf16,
        DType::F32 => Kind::F32,
        DType::F64 => Kind::F64,
        DType::I64 => Kind::I64,
        DType::I32 => Kind::Other("int32"),
        DType::I16 => Kind::Other("int16"),
        DType::I8 => Kind::Other("int8"),
        DType::U64 => Kind::Other("uint64"),
        DType::U32 => Kind::Other("uint32"),
        DType::U16 => Kind::Other("uint16"),
        DType::U8 => Kind::Other("uint8"),
        DType::Bool => Kind::Other("bool"),
    };
    let shape = tensor.shape().to_vec();
    Entry { shape, kind, read: Box::new(move || tensor.read().map_err(|error| error.to_string())) }
}
