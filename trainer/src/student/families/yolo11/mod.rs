//! YOLO11: its convolutions in the order of Ultralytics' state dict, and how they are joined.

pub use super::trunk::Scale;

use super::{
    StudentModel,
    blocks::{BINS, Branch, Builder, head, only_branch},
    trunk::{HEAD, Inside, Shape, Trunk, network_of},
};
use crate::student::{
    net::StudentNet,
    weights::{Refusal, entries::Entries},
};

/// The name as users write it.
pub fn name(scale: Scale) -> &'static str {
    match scale {
        Scale::N => "yolo11n",
        Scale::S => "yolo11s",
        Scale::M => "yolo11m",
        Scale::L => "yolo11l",
        Scale::X => "yolo11x",
    }
}

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let mut list = Builder::default();
    let plain = scale.plain();
    let shape = Shape {
        scale,
        inside: [plain, plain, Inside::C3k, Inside::C3k, plain, plain, plain, Inside::C3k],
        last_repeats: scale.repeats(),
    };
    let trunk = Trunk::new(&mut list, &shape, |list, channels| list.sppf(9, channels));
    let spec = only_branch(HEAD);
    let branch = Branch::light(&mut list, &spec, BINS, shape.levels(), num_classes);
    let head = head(HEAD, BINS, num_classes, vec![spec]);
    StudentNet::record(StudentModel::Yolo11(scale), num_classes, list.convs, head, |ops, images| {
        let maps = trunk.run(ops, images);
        vec![branch.run(ops, &maps)]
    })
}

/// The network whose tensors these should be; `None` where it is no YOLO11.
pub(super) fn of_weights(entries: &Entries<'_>) -> Option<Result<StudentNet, Refusal>> {
    let is_one = entries.names().any(|name| name.starts_with("model.10.m.0.attn."));
    (is_one && entries.names().any(|name| name.starts_with(HEAD))).then(|| network_of(entries, "YOLO11", net))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures in the comments of `yolo11.yaml`.
    #[test]
    fn counts_are_those_of_ultralytics() {
        let counts = Scale::ALL.map(|scale| net(scale, 80).num_parameters());
        assert_eq!(counts, [2_624_080, 9_458_752, 20_114_688, 25_372_160, 56_966_176]);
    }
}
