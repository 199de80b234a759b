//! YOLO11: its convolutions in the order of Ultralytics' state dict, and how they are joined.

mod scale;
mod weights;

pub use scale::Scale;
pub(super) use weights::of_weights;

use super::{
    StudentModel,
    blocks::{Block, Branches, Builder, Sppf, box_branches, class_width, head, neck},
};
use crate::student::net::{ConvId, ConvSpec, LevelOutput, Ops, StudentNet, Then};

/// Ultralytics' name of the head in its list of layers.
const HEAD: &str = "model.23";

/// Channels of a head of attention.
const HEAD_CHANNELS: usize = 64;

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let (layers, convs) = Layers::new(scale, num_classes);
    let model = StudentModel::Yolo11(scale);
    StudentNet::record(model, num_classes, convs, head(HEAD, num_classes), |ops, images| layers.run(ops, images))
}

/// The layers by their convolutions.
struct Layers {
    /// Layers 0, 1, 3, 5, 7 (stride 2 each), 17 and 20.
    down: [ConvId; 7],
    /// Layers 2, 4, 6, 8, 13, 16, 19, 22.
    c3k2: [C3k2; 8],
    /// Layer 9.
    sppf: Sppf,
    /// Layer 10.
    attention: C2psa,
    branches: Branches,
}

/// A CSP block as C2f of YOLOv8, with other inner blocks.
struct C3k2 {
    cv1: ConvId,
    cv2: ConvId,
    inner: Vec<Inner>,
}

enum Inner {
    /// Two convolutions around their input.
    Bottleneck([ConvId; 2]),
    C3k {
        cv1: ConvId,
        cv2: ConvId,
        cv3: ConvId,
        bottlenecks: [[ConvId; 2]; 2],
    },
}

/// Half of the channels goes through blocks of attention.
struct C2psa {
    cv1: ConvId,
    cv2: ConvId,
    blocks: Vec<Psa>,
    heads: usize,
}

/// Attention over all cells, then two convolutions, each around its input.
struct Psa {
    qkv: ConvId,
    proj: ConvId,
    /// What tells the places: a convolution of the values.
    pe: ConvId,
    ffn: [ConvId; 2],
}

impl Layers {
    /// The layers, and every convolution in the order of the state dict.
    fn new(scale: Scale, num_classes: usize) -> (Self, Vec<ConvSpec>) {
        let mut list = Builder::default();
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|base| scale.channels(base));
        let (repeats, c3k) = (scale.repeats(), scale.has_c3k_everywhere());
        // In the order of Ultralytics' layers, for that is the order of the state dict.
        let down0 = list.down(0, 3, c64);
        let down1 = list.down(1, c64, c128);
        let c3k2_2 = C3k2::new(&mut list, 2, [c128, c256 / 4, c256], repeats, c3k);
        let down3 = list.down(3, c256, c256);
        let c3k2_4 = C3k2::new(&mut list, 4, [c256, c512 / 4, c512], repeats, c3k);
        let down5 = list.down(5, c512, c512);
        let c3k2_6 = C3k2::new(&mut list, 6, [c512, c512 / 2, c512], repeats, true);
        let down7 = list.down(7, c512, c1024);
        let c3k2_8 = C3k2::new(&mut list, 8, [c1024, c1024 / 2, c1024], repeats, true);
        let sppf = list.sppf(9, c1024);
        let attention = C2psa::new(&mut list, 10, c1024, repeats);
        let c3k2_13 = C3k2::new(&mut list, 13, [c1024 + c512, c512 / 2, c512], repeats, c3k);
        let c3k2_16 = C3k2::new(&mut list, 16, [c512 + c512, c256 / 2, c256], repeats, c3k);
        let down17 = list.down(17, c256, c256);
        let c3k2_19 = C3k2::new(&mut list, 19, [c256 + c512, c512 / 2, c512], repeats, c3k);
        let down20 = list.down(20, c512, c512);
        let c3k2_22 = C3k2::new(&mut list, 22, [c512 + c1024, c1024 / 2, c1024], repeats, true);
        let levels = [c256, c512, c1024];
        let boxes = box_branches(&mut list, HEAD, levels);
        let width = class_width(levels, num_classes);
        let classes = [0, 1, 2].map(|level| {
            let part = |part: &str| format!("{HEAD}.cv3.{level}.{part}");
            vec![
                list.depthwise(part("0.0"), levels[level], Then::NormSilu),
                list.norm(part("0.1"), levels[level], width, 1, 1),
                list.depthwise(part("1.0"), width, Then::NormSilu),
                list.norm(part("1.1"), width, width, 1, 1),
                list.point(part("2"), width, num_classes, Then::Bias),
            ]
        });
        let layers = Self {
            down: [down0, down1, down3, down5, down7, down17, down20],
            c3k2: [c3k2_2, c3k2_4, c3k2_6, c3k2_8, c3k2_13, c3k2_16, c3k2_19, c3k2_22],
            sppf,
            attention,
            branches: Branches { boxes, classes },
        };
        (layers, list.convs)
    }

    /// The levels of the head, finest first.
    fn run<O: Ops>(&self, ops: &mut O, images: &O::Map) -> Vec<LevelOutput<O::Map>> {
        let [down0, down1, down3, down5, down7, down17, down20] = self.down;
        let [c3k2_2, c3k2_4, c3k2_6, c3k2_8, c3k2_13, c3k2_16, c3k2_19, c3k2_22] = &self.c3k2;
        let x = ops.conv(down0, images);
        let x = ops.conv(down1, &x);
        let x = c3k2_2.run(ops, &x);
        let x = ops.conv(down3, &x);
        let p3 = c3k2_4.run(ops, &x);
        let x = ops.conv(down5, &p3);
        let p4 = c3k2_6.run(ops, &x);
        let x = ops.conv(down7, &p4);
        let x = c3k2_8.run(ops, &x);
        let x = self.sppf.run(ops, &x);
        let p5 = self.attention.run(ops, &x);
        let maps = neck(ops, [&p3, &p4, &p5], [c3k2_13, c3k2_16, c3k2_19, c3k2_22], [down17, down20]);
        self.branches.run(ops, &maps)
    }
}

impl C3k2 {
    /// `[c_in, inside, c_out]` channels.
    fn new(list: &mut Builder, layer: usize, [c_in, half, c_out]: [usize; 3], repeats: usize, c3k: bool) -> Self {
        let cv1 = list.norm(format!("model.{layer}.cv1"), c_in, 2 * half, 1, 1);
        let cv2 = list.norm(format!("model.{layer}.cv2"), (2 + repeats) * half, c_out, 1, 1);
        let inner = |i: usize| Inner::new(list, &format!("model.{layer}.m.{i}"), half, c3k);
        Self { cv1, cv2, inner: (0..repeats).map(inner).collect() }
    }
}

impl Block for C3k2 {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.cv1, x);
        let mut maps: Vec<O::Map> = ops.halves(&x).into();
        for inner in &self.inner {
            if let Some(last) = maps.last() {
                let out = inner.run(ops, last);
                maps.push(out);
            }
        }
        let joined = ops.concat(&maps.iter().collect::<Vec<_>>());
        ops.conv(self.cv2, &joined)
    }
}

impl Inner {
    fn new(list: &mut Builder, name: &str, channels: usize, c3k: bool) -> Self {
        let half = channels / 2;
        if !c3k {
            let cv1 = list.norm(format!("{name}.cv1"), channels, half, 3, 1);
            return Self::Bottleneck([cv1, list.norm(format!("{name}.cv2"), half, channels, 3, 1)]);
        }
        let cv1 = list.norm(format!("{name}.cv1"), channels, half, 1, 1);
        let cv2 = list.norm(format!("{name}.cv2"), channels, half, 1, 1);
        let cv3 = list.norm(format!("{name}.cv3"), 2 * half, channels, 1, 1);
        let bottlenecks =
            [0, 1].map(|i| ["cv1", "cv2"].map(|part| list.norm(format!("{name}.m.{i}.{part}"), half, half, 3, 1)));
        Self::C3k { cv1, cv2, cv3, bottlenecks }
    }
}

impl Block for Inner {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        match self {
            Self::Bottleneck(pair) => around(ops, pair, x),
            Self::C3k { cv1, cv2, cv3, bottlenecks } => {
                let inside = ops.conv(*cv1, x);
                let inside = bottlenecks.iter().fold(inside, |x, pair| around(ops, pair, &x));
                let beside = ops.conv(*cv2, x);
                let joined = ops.concat(&[&inside, &beside]);
                ops.conv(*cv3, &joined)
            }
        }
    }
}

impl C2psa {
    fn new(list: &mut Builder, layer: usize, channels: usize, repeats: usize) -> Self {
        let half = channels / 2;
        let cv1 = list.norm(format!("model.{layer}.cv1"), channels, 2 * half, 1, 1);
        let cv2 = list.norm(format!("model.{layer}.cv2"), 2 * half, channels, 1, 1);
        let block = |i: usize| {
            let part = |part: &str| format!("model.{layer}.m.{i}.{part}");
            Psa {
                // Keys and queries have half of the values' channels each.
                qkv: list.point(part("attn.qkv"), half, 2 * half, Then::Norm),
                proj: list.point(part("attn.proj"), half, half, Then::Norm),
                pe: list.depthwise(part("attn.pe"), half, Then::Norm),
                ffn: [
                    list.norm(part("ffn.0"), half, 2 * half, 1, 1),
                    list.point(part("ffn.1"), 2 * half, half, Then::Norm),
                ],
            }
        };
        Self { cv1, cv2, blocks: (0..repeats).map(block).collect(), heads: half / HEAD_CHANNELS }
    }
}

impl Block for C2psa {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.cv1, x);
        let [beside, inside] = ops.halves(&x);
        let inside = self.blocks.iter().fold(inside, |x, block| {
            let qkv = ops.conv(block.qkv, &x);
            let [attended, values] = ops.attention(&qkv, self.heads);
            let place = ops.conv(block.pe, &values);
            let sum = ops.add(&attended, &place);
            let out = ops.conv(block.proj, &sum);
            let x = ops.add(&x, &out);
            around(ops, &block.ffn, &x)
        });
        let joined = ops.concat(&[&beside, &inside]);
        ops.conv(self.cv2, &joined)
    }
}

/// Convolutions whose input is added to their output.
fn around<O: Ops>(ops: &mut O, pair: &[ConvId; 2], x: &O::Map) -> O::Map {
    let out = pair[..].run(ops, x);
    ops.add(x, &out)
}
