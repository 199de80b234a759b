//! Which YOLOv8 a weights file holds.

use super::{HEAD, Scale, net};
use crate::student::{
    families::weights::{classes_of, first_shape, refuse_fused, refuse_other_task},
    net::StudentNet,
    weights::{Refusal, entries::Entries},
};

/// The network whose tensors these should be, by the shapes of its first two and last convolutions.
pub fn of_weights(entries: &Entries<'_>) -> Result<StudentNet, Refusal> {
    const SECOND: &str = "model.1.conv.weight";
    refuse_fused(entries)?;
    let first = first_shape(entries, "YOLOv8")?;
    refuse_other_task(entries, HEAD, "YOLOv8")?;
    let of_first = |scale: &Scale| first == [scale.channels(64), 3, 3, 3];
    // The first convolution is the same in f and p; the second tells them apart.
    let of_second =
        |scale: &Scale| entries.get(SECOND).is_some_and(|second| second.shape.first() == Some(&scale.channels(128)));
    let mut scales = Scale::ALL.into_iter().filter(of_first).peekable();
    let first_fit = scales.peek().copied();
    let scale = scales.find(of_second).or(first_fit).ok_or_else(|| {
        Refusal::new(format!(
            "model.0.conv.weight has the shape {first:?}; a YOLOv8 has [c, 3, 3, 3] with c of 8 (f, p), 16 (n), 32 (s), 48 (m), 64 (l) or 80 (x)"
        ))
    })?;
    Ok(net(scale, classes_of(entries, HEAD, "YOLOv8")?))
}
