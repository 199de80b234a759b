//! YOLO11: its convolutions in the order of Ultralytics' state dict, and how they are joined.

mod scale;
mod weights;

pub use scale::Scale;
pub(super) use weights::of_weights;

use super::{
    StudentModel,
    blocks::{BINS, Branch, Builder, head, only_branch},
    trunk::{Inside, Shape, Trunk},
};
use crate::student::net::StudentNet;

/// Ultralytics' name of the head in its list of layers.
const HEAD: &str = "model.23";

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let mut list = Builder::default();
    let plain = if scale.has_c3k_everywhere() { Inside::C3k } else { Inside::Bottleneck };
    let shape = Shape {
        channels: [64, 128, 256, 512, 1024].map(|base| scale.channels(base)),
        repeats: scale.repeats(),
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
