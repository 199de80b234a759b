//! Which YOLOv8 a weights file holds.

use super::{HEAD, Scale, net};
use crate::student::{
    net::StudentNet,
    weights::{Refusal, entries::Entries},
};

/// The network whose tensors these should be, by the shapes of its first two and last convolutions.
pub fn of_weights(entries: &Entries<'_>) -> Result<StudentNet, Refusal> {
    const FIRST: &str = "model.0.conv.weight";
    const SECOND: &str = "model.1.conv.weight";
    let last_name = format!("{HEAD}.cv3.0.2.weight");
    if entries.has("model.0.conv.bias") && !entries.has("model.0.bn.weight") {
        return Err(Refusal::new(
            "its batch normalisations are fused into the convolutions (there is model.0.conv.bias and no model.0.bn.weight), so it cannot be trained further.",
        ));
    }
    let Some(first) = entries.get(FIRST) else {
        let found = match entries.names().next() {
            Some(name) => format!("{} tensors, the first {name:?}", entries.len()),
            None => "no tensors".to_owned(),
        };
        return Err(Refusal::new(format!("this is not a YOLOv8 model: it has no {FIRST}; found: {found}.")));
    };
    if entries.names().any(|name| name.starts_with(&format!("{HEAD}.cv4."))) {
        return Err(Refusal::new(format!(
            "this is a YOLOv8 for another task (segmentation, pose, oriented boxes: it has {HEAD}.cv4); a student is a detector."
        )));
    }
    let of_first = |scale: &Scale| first.shape == [scale.channels(64), 3, 3, 3];
    // The first convolution is the same in f and p; the second tells them apart.
    let of_second =
        |scale: &Scale| entries.get(SECOND).is_some_and(|second| second.shape.first() == Some(&scale.channels(128)));
    let mut scales = Scale::ALL.into_iter().filter(of_first).peekable();
    let first_fit = scales.peek().copied();
    let scale = scales.find(of_second).or(first_fit).ok_or_else(|| {
        Refusal::new(format!(
            "{FIRST} has the shape {:?}; a YOLOv8 has [c, 3, 3, 3] with c of 8 (f, p), 16 (n), 32 (s), 48 (m), 64 (l) or 80 (x)",
            first.shape
        ))
    })?;
    let Some(last) = entries.get(&last_name) else {
        return Err(Refusal::new(format!(
            "this is not a YOLOv8 detector: it has no {last_name}, which gives the number of classes"
        )));
    };
    match last.shape.as_slice() {
        [classes @ 1..=65_536, _, 1, 1] => Ok(net(scale, *classes)),
        shape => Err(Refusal::new(format!(
            "{last_name} has the shape {shape:?}; expected is [C, c, 1, 1] with C classes (1 to 65536)"
        ))),
    }
}
