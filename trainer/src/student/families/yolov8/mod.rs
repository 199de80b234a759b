//! YOLOv8: its convolutions in the order of Ultralytics' state dict, and how they are joined.

mod scale;
mod weights;

pub use scale::Scale;
pub(super) use weights::of_weights;

use super::{
    StudentModel,
    blocks::{BINS, Block, Branch, Builder, Sppf, head, neck, only_branch},
};
use crate::student::net::{BranchSpec, ConvId, ConvSpec, LevelOutput, Ops, StudentNet};

/// Ultralytics' name of the head in its list of layers.
const HEAD: &str = "model.22";

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let branch = only_branch(HEAD);
    let (layers, convs) = Layers::new(scale, &branch, num_classes);
    let head = head(HEAD, BINS, num_classes, vec![branch]);
    StudentNet::record(StudentModel::YoloV8(scale), num_classes, convs, head, |ops, images| {
        vec![layers.run(ops, images)]
    })
}

/// The layers by their convolutions.
struct Layers {
    /// Layers 0, 1, 3, 5, 7 (stride 2 each), 16 and 19.
    down: [ConvId; 7],
    /// Layers 2, 4, 6, 8, 12, 15, 18, 21.
    c2f: [C2f; 8],
    /// Layer 9.
    sppf: Sppf,
    branch: Branch,
}

/// A CSP block: split in two halves, bottlenecks on the second, everything joined.
struct C2f {
    cv1: ConvId,
    cv2: ConvId,
    /// Channels of either half.
    half: usize,
    bottlenecks: Vec<[ConvId; 2]>,
    /// Bottlenecks add their input to their output (in the backbone).
    shortcut: bool,
}

impl Layers {
    /// The layers, and every convolution in the order of the state dict.
    fn new(scale: Scale, branch: &BranchSpec, num_classes: usize) -> (Self, Vec<ConvSpec>) {
        let mut list = Builder::default();
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|base| scale.channels(base));
        let [three, six] = [3, 6].map(|base| scale.repeats(base));
        // In the order of Ultralytics' layers, for that is the order of the state dict.
        let down0 = list.down(0, 3, c64);
        let down1 = list.down(1, c64, c128);
        let c2f2 = C2f::new(&mut list, 2, c128, c128, three, true);
        let down3 = list.down(3, c128, c256);
        let c2f4 = C2f::new(&mut list, 4, c256, c256, six, true);
        let down5 = list.down(5, c256, c512);
        let c2f6 = C2f::new(&mut list, 6, c512, c512, six, true);
        let down7 = list.down(7, c512, c1024);
        let c2f8 = C2f::new(&mut list, 8, c1024, c1024, three, true);
        let sppf = list.sppf(9, c1024);
        let c2f12 = C2f::new(&mut list, 12, c1024 + c512, c512, three, false);
        let c2f15 = C2f::new(&mut list, 15, c512 + c256, c256, three, false);
        let down16 = list.down(16, c256, c256);
        let c2f18 = C2f::new(&mut list, 18, c256 + c512, c512, three, false);
        let down19 = list.down(19, c512, c512);
        let c2f21 = C2f::new(&mut list, 21, c512 + c1024, c1024, three, false);
        let levels = [c256, c512, c1024];
        let branch = Branch::plain(&mut list, branch, BINS, levels, num_classes);
        let layers = Self {
            down: [down0, down1, down3, down5, down7, down16, down19],
            c2f: [c2f2, c2f4, c2f6, c2f8, c2f12, c2f15, c2f18, c2f21],
            sppf,
            branch,
        };
        (layers, list.convs)
    }

    /// The levels of the head, finest first.
    fn run<O: Ops>(&self, ops: &mut O, images: &O::Map) -> Vec<LevelOutput<O::Map>> {
        let [down0, down1, down3, down5, down7, down16, down19] = self.down;
        let [c2f2, c2f4, c2f6, c2f8, c2f12, c2f15, c2f18, c2f21] = &self.c2f;
        let x = ops.conv(down0, images);
        let x = ops.conv(down1, &x);
        let x = c2f2.run(ops, &x);
        let x = ops.conv(down3, &x);
        let p3 = c2f4.run(ops, &x);
        let x = ops.conv(down5, &p3);
        let p4 = c2f6.run(ops, &x);
        let x = ops.conv(down7, &p4);
        let x = c2f8.run(ops, &x);
        let p5 = self.sppf.run(ops, &x);
        let maps = neck(ops, [&p3, &p4, &p5], [c2f12, c2f15, c2f18, c2f21], [down16, down19]);
        self.branch.run(ops, &maps)
    }
}

impl C2f {
    fn new(list: &mut Builder, layer: usize, c_in: usize, c_out: usize, repeats: usize, shortcut: bool) -> Self {
        let half = c_out / 2;
        let cv1 = list.norm(format!("model.{layer}.cv1"), c_in, 2 * half, 1, 1);
        let cv2 = list.norm(format!("model.{layer}.cv2"), (2 + repeats) * half, c_out, 1, 1);
        let bottleneck =
            |i: usize| ["cv1", "cv2"].map(|part| list.norm(format!("model.{layer}.m.{i}.{part}"), half, half, 3, 1));
        Self { cv1, cv2, half, bottlenecks: (0..repeats).map(bottleneck).collect(), shortcut }
    }
}

impl Block for C2f {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.cv1, x);
        let mut maps: Vec<O::Map> = ops.split(&x, self.half).into();
        for pair in &self.bottlenecks {
            if let Some(last) = maps.last() {
                let out = pair[..].run(ops, last);
                let out = if self.shortcut { ops.add(last, &out) } else { out };
                maps.push(out);
            }
        }
        let joined = ops.concat(&maps.iter().collect::<Vec<_>>());
        ops.conv(self.cv2, &joined)
    }
}
