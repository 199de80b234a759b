//! The tensors of a file under Ultralytics' names, whatever the file's format, and what network they are.

use std::collections::BTreeMap;

use super::Refusal;
use crate::student::{
    params::{ParamSpec, Role},
    state::Values,
};

/// How a tensor's values lie in a file, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::student) enum Kind {
    F16,
    Bf16,
    F32,
    F64,
    I64,
    /// Anything else.
    Other(&'static str),
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I64 => "int64",
            Self::Other(name) => name,
        })
    }
}

/// One tensor of a file, not read yet.
pub(in crate::student) struct Entry<'f> {
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// The values' bytes, or why they cannot be had.
    pub read: Box<dyn Fn() -> Result<Vec<u8>, String> + 'f>,
}

/// All tensors of a file.
pub(in crate::student) struct Entries<'f>(pub BTreeMap<String, Entry<'f>>);

impl Entries<'_> {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn get(&self, name: &str) -> Option<&Entry<'_>> {
        self.0.get(name)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads the values of one tensor of the network.
    pub fn values(&self, param: &ParamSpec) -> Result<Values, Refusal> {
        let ParamSpec { name, shape, role } = param;
        let entry = self.0.get(name).ok_or_else(|| Refusal::new(format!("the tensor {name} {shape:?} is missing")))?;
        if entry.shape != *shape {
            return Err(Refusal::new(format!("{name} has the shape {:?}, expected {shape:?}", entry.shape)));
        }
        let bytes = (entry.read)().map_err(|why| Refusal::new(format!("{name} cannot be read: {why}")))?;
        let values = decode(entry.kind, &bytes, role.is_integer()).ok_or_else(|| {
            let expected = if role.is_integer() { "int64" } else { "float16, bfloat16, float32 or float64" };
            Refusal::new(format!("{name} holds {}, expected {expected}", entry.kind))
        })?;
        let count = match &values {
            Values::F32(values) => values.len(),
            Values::I64(values) => values.len(),
        };
        if count != param.num_elements() {
            return Err(Refusal::new(format!(
                "{name} holds {count} values, its shape {shape:?} says {}",
                param.num_elements()
            )));
        }
        if let Some(why) = nonsense(*role, values.as_f32()) {
            return Err(Refusal::new(format!("{name} {why}")));
        }
        Ok(values)
    }
}

/// What no network has.
fn nonsense(role: Role, values: &[f32]) -> Option<String> {
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Some(format!("holds the value {value}; the training that wrote it had failed"));
    }
    match role {
        Role::RunningVar => {
            values.iter().find(|value| **value < 0.0).map(|value| format!("holds a negative variance, {value}"))
        }
        Role::Constant => {
            let expected = (0..values.len()).map(|bin| bin as f32);
            let last = values.len().saturating_sub(1);
            (!expected.eq(values.iter().copied())).then(|| format!("is not 0, 1, .., {last}"))
        }
        _ => None,
    }
}

fn decode(kind: Kind, bytes: &[u8], integer: bool) -> Option<Values> {
    let floats = match (kind, integer) {
        (Kind::I64, true) => {
            return Some(Values::I64(bytes.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()));
        }
        (Kind::F32, false) => bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        (Kind::F16, false) => {
            bytes.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect()
        }
        (Kind::Bf16, false) => {
            bytes.as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect()
        }
        (Kind::F64, false) => bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        _ => return None,
    };
    Some(Values::F32(floats))
}
