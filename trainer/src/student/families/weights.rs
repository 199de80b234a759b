//! What the families ask of a weights file alike.

use crate::student::weights::{Refusal, entries::Entries};

/// The first convolution of every family.
const FIRST: &str = "model.0.conv.weight";

pub fn refuse_fused(entries: &Entries<'_>) -> Result<(), Refusal> {
    if entries.has("model.0.conv.bias") && !entries.has("model.0.bn.weight") {
        return Err(Refusal::new(
            "its batch normalisations are fused into the convolutions (there is model.0.conv.bias and no model.0.bn.weight), so it cannot be trained further.",
        ));
    }
    Ok(())
}

/// The shape of the first convolution of a `model`.
pub fn first_shape<'e>(entries: &'e Entries<'_>, model: &str) -> Result<&'e [usize], Refusal> {
    entries.get(FIRST).map(|first| first.shape.as_slice()).ok_or_else(|| {
        let found = match entries.names().next() {
            Some(name) => format!("{} tensors, the first {name:?}", entries.len()),
            None => "no tensors".to_owned(),
        };
        Refusal::new(format!("this is not a {model} model: it has no {FIRST}; found: {found}."))
    })
}

/// `head` is its name in the list of layers.
pub fn refuse_other_task(entries: &Entries<'_>, head: &str, model: &str) -> Result<(), Refusal> {
    if entries.names().any(|name| name.starts_with(&format!("{head}.cv4."))) {
        return Err(Refusal::new(format!(
            "this is a {model} for another task (segmentation, pose, oriented boxes: it has {head}.cv4); a student is a detector."
        )));
    }
    Ok(())
}

/// The number of classes, by the last convolution.
pub fn classes_of(entries: &Entries<'_>, head: &str, model: &str) -> Result<usize, Refusal> {
    let name = format!("{head}.cv3.0.2.weight");
    let Some(last) = entries.get(&name) else {
        return Err(Refusal::new(format!(
            "this is not a {model} detector: it has no {name}, which gives the number of classes"
        )));
    };
    match last.shape.as_slice() {
        [classes @ 1..=65_536, _, 1, 1] => Ok(*classes),
        shape => Err(Refusal::new(format!(
            "{name} has the shape {shape:?}; expected is [C, c, 1, 1] with C classes (1 to 65536)"
        ))),
    }
}
