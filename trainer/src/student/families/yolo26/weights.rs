//! Which YOLO26 a weights file holds.

use super::{HEAD, Scale, net};
use crate::student::{
    families::weights::{classes_of, first_shape, refuse_fused, refuse_other_task},
    net::StudentNet,
    weights::{Refusal, entries::Entries},
};

/// The network whose tensors these should be, by the shape of its first convolution and its depth;
/// `None` where it is no YOLO26.
pub fn of_weights(entries: &Entries<'_>) -> Option<Result<StudentNet, Refusal>> {
    let is_one = entries.names().any(|name| name.starts_with("model.22.m.0.1.attn."));
    (is_one && entries.names().any(|name| name.starts_with(HEAD))).then(|| network(entries))
}

fn network(entries: &Entries<'_>) -> Result<StudentNet, Refusal> {
    refuse_fused(entries)?;
    let first = first_shape(entries, "YOLO26")?;
    refuse_other_task(entries, HEAD, "YOLO26")?;
    let is_deep = entries.names().any(|name| name.starts_with("model.2.m.1."));
    let fits = |scale: &Scale| first == [scale.channels(64), 3, 3, 3] && (scale.repeats() > 1) == is_deep;
    let scale = Scale::ALL.into_iter().find(fits).ok_or_else(|| {
        Refusal::new(format!(
            "model.0.conv.weight has the shape {first:?}; a YOLO26 has [c, 3, 3, 3] with c of 16 (n), 32 (s), \
             64 (m, l) or 96 (x)"
        ))
    })?;
    Ok(net(scale, classes_of(entries, HEAD, "YOLO26")?))
}
