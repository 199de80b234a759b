//! The tensors of a file under Ultralytics' names, whatever the file's format, and what network they are.

use std::collections::BTreeMap;

use super::Refusal;
use crate::student::{
    Scale,
    architecture::{Architecture, REG_MAX},
    params::{ParamSpec, Role},
    state::Values,
};

/// How a tensor's values lie in a file, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
pub(super) struct Entry<'f> {
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// The values' bytes, or why they cannot be had.
    pub read: Box<dyn Fn() -> Result<Vec<u8>, String> + 'f>,
}

/// All tensors of a file.
pub(super) struct Entries<'f>(pub BTreeMap<String, Entry<'f>>);

impl Entries<'_> {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The network whose tensors these should be, by the shapes of its first two and last convolutions.
    pub fn architecture(&self) -> Result<Architecture, Refusal> {
        const FIRST: &str = "model.0.conv.weight";
        const SECOND: &str = "model.1.conv.weight";
        const LAST: &str = "model.22.cv3.0.2.weight";
        if self.has("model.0.conv.bias") && !self.has("model.0.bn.weight") {
            return Err(Refusal::new(
                "its batch normalisations are fused into the convolutions (there is model.0.conv.bias and no model.0.bn.weight), so it cannot be trained further.",
            ));
        }
        let Some(first) = self.0.get(FIRST) else {
            let found = match self.names().next() {
                Some(name) => format!("{} tensors, the first {name:?}", self.0.len()),
                None => "no tensors".to_owned(),
            };
            return Err(Refusal::new(format!("this is no YOLOv8 model: it has no {FIRST}; found: {found}.")));
        };
        if self.names().any(|name| name.starts_with("model.22.cv4.")) {
            return Err(Refusal::new(
                "this is a YOLOv8 for another task (segmentation, pose, oriented boxes: it has model.22.cv4); a student is a detector.",
            ));
        }
        let of_first = |scale: &Scale| first.shape == [scale.channels(64), 3, 3, 3];
        // The first convolution is the same in f and p; the second tells them apart.
        let of_second =
            |scale: &Scale| self.0.get(SECOND).is_some_and(|second| second.shape.first() == Some(&scale.channels(128)));
        let mut scales = Scale::ALL.into_iter().filter(of_first).peekable();
        let first_fit = scales.peek().copied();
        let scale = scales.find(of_second).or(first_fit).ok_or_else(|| {
            Refusal::new(format!(
                "{FIRST} has the shape {:?}; a YOLOv8 has [c, 3, 3, 3] with c of 8 (f, p), 16 (n), 32 (s), 48 (m), 64 (l) or 80 (x)",
                first.shape
            ))
        })?;
        let Some(last) = self.0.get(LAST) else {
            return Err(Refusal::new(format!(
                "this is no YOLOv8 detector: it has no {LAST}, which tells the number of classes"
            )));
        };
        match last.shape.as_slice() {
            [classes @ 1..=65_536, _, 1, 1] => Ok(Architecture::new(scale, *classes)),
            shape => Err(Refusal::new(format!(
                "{LAST} has the shape {shape:?}; expected is [C, c, 1, 1] with C classes (1 to 65536)"
            ))),
        }
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
            let expected = (0..REG_MAX).map(|bin| bin as f32);
            (!expected.eq(values.iter().copied())).then(|| "is not 0, 1, .., 15".to_owned())
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
