//! YOLO26: its convolutions in the order of Ultralytics' state dict, and how they are joined.
//!
//! The head has distances instead of bins, and two branches. The first gives an object to many
//! anchors, as in YOLOv8; it is the one that is validated and exported, as Ultralytics does unless
//! it is told `nms=False`. The second gives an object to one anchor; it is trained beside the first
//! and sends no gradient to what lies before the head.

mod scale;
mod weights;

pub use scale::Scale;
pub(super) use weights::of_weights;

use super::{
    StudentModel,
    blocks::{Branch, Builder, head},
    trunk::{Inside, Shape, Trunk},
};
use crate::{
    detector::BoxRule,
    student::net::{BranchSpec, Matching, Ops as _, StudentNet},
};

/// Ultralytics' name of the head in its list of layers.
const HEAD: &str = "model.23";

/// Distances: Ultralytics' `reg_max` 1.
const BOXES: BoxRule = BoxRule::Distances;

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let mut list = Builder::default();
    let plain = if scale.has_c3k_everywhere() { Inside::C3k } else { Inside::Bottleneck };
    let c3k = Inside::C3k;
    let shape = Shape {
        channels: [64, 128, 256, 512, 1024].map(|base| scale.channels(base)),
        repeats: scale.repeats(),
        inside: [plain, plain, c3k, c3k, c3k, c3k, c3k, Inside::Attention],
        last_repeats: 1,
    };
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
