//! YOLO26: its convolutions in the order of Ultralytics' state dict, and how they are joined.
//!
//! The head has distances instead of bins, and two branches. The first gives an object to many
//! anchors, as in YOLOv8; it is the one that is validated and exported, as Ultralytics does unless
//! it is told `nms=False`. The second gives an object to one anchor; it is trained beside the first
//! and sends no gradient to what lies before the head.

pub use super::trunk::Scale;

use super::{
    StudentModel,
    blocks::{Branch, Builder, head},
    trunk::{HEAD, Inside, Shape, Trunk, network_of},
};
use crate::{
    detector::BoxRule,
    student::{
        net::{BranchSpec, Matching, Ops as _, StudentNet},
        weights::{Refusal, entries::Entries},
    },
};

/// Distances: Ultralytics' `reg_max` 1.
const BOXES: BoxRule = BoxRule::Distances;

/// The name as users write it.
pub fn name(scale: Scale) -> &'static str {
    match scale {
        Scale::N => "yolo26n",
        Scale::S => "yolo26s",
        Scale::M => "yolo26m",
        Scale::L => "yolo26l",
        Scale::X => "yolo26x",
    }
}

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let mut list = Builder::default();
    let plain = scale.plain();
    let c3k = Inside::C3k;
    let shape = Shape { scale, inside: [plain, plain, c3k, c3k, c3k, c3k, c3k, Inside::Attention], last_repeats: 1 };
    let trunk = Trunk::new(&mut list, &shape, |list, channels| list.sppf_around(9, channels));
    // The names and the order of the state dict. Numbers as in Ultralytics' `E2ELoss`.
    let specs = vec![
        BranchSpec {
            box_names: format!("{HEAD}.cv2."),
            class_names: format!("{HEAD}.cv3."),
            matching: Matching::MANY,
            share: [0.8, 0.1],
        },
        BranchSpec {
            box_names: format!("{HEAD}.one2one_cv2."),
            class_names: format!("{HEAD}.one2one_cv3."),
            matching: Matching { candidates: 7, one_to_one: true },
            share: [0.2, 0.9],
        },
    ];
    let mut branch = |spec| Branch::light(&mut list, spec, BOXES, shape.levels(), num_classes);
    let (many, one) = (branch(&specs[0]), branch(&specs[1]));
    let head = head(HEAD, BOXES, num_classes, specs);
    StudentNet::record(StudentModel::Yolo26(scale), num_classes, list.convs, head, |ops, images| {
        let maps = trunk.run(ops, images);
        let first = many.run(ops, &maps);
        let apart = maps.map(|map| ops.detach(&map));
        vec![first, one.run(ops, &apart)]
    })
}

/// The network whose tensors these should be; `None` where it is no YOLO26.
pub(super) fn of_weights(entries: &Entries<'_>) -> Option<Result<StudentNet, Refusal>> {
    let is_one = entries.names().any(|name| name.starts_with("model.22.m.0.1.attn."));
    (is_one && entries.names().any(|name| name.starts_with(HEAD))).then(|| network_of(entries, "YOLO26", net))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The figures in the comments of `yolo26.yaml`.
    #[test]
    fn counts_are_those_of_ultralytics() {
        let counts = Scale::ALL.map(|scale| net(scale, 80).num_parameters());
        assert_eq!(counts, [2_572_280, 10_009_784, 21_896_248, 26_299_704, 58_993_368]);
    }
}
