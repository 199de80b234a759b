//! What YOLO11 and YOLO26 have in common: backbone and neck of C3k2 blocks with attention at the
//! coarsest level, and their sizes.

use super::{
    blocks::{Block, Builder, Sppf, neck},
    weights::{classes_of, first_shape, refuse_fused, refuse_other_task},
};
use crate::student::{
    net::{ConvId, Ops, StudentNet, Then},
    weights::{Refusal, entries::Entries},
};

/// Ultralytics' name of the head in its list of layers.
pub const HEAD: &str = "model.23";

/// Channels of a head of attention.
const HEAD_CHANNELS: usize = 64;

/// A size of YOLO11 or YOLO26, whose tables of scales are the same (Ultralytics'
/// `cfg/models/11/yolo11.yaml` and `cfg/models/26/yolo26.yaml`, `scales`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// 2.6 million parameters with 80 classes.
    N,
    /// 9.5 million as YOLO11, 10.0 million as YOLO26.
    S,
    /// 20.1 and 21.9 million.
    M,
    /// 25.4 and 26.3 million.
    L,
    /// 57.0 and 59.0 million.
    X,
}

impl Scale {
    /// All sizes, smallest first.
    pub const ALL: [Self; 5] = [Self::N, Self::S, Self::M, Self::L, Self::X];

    /// Inner blocks where the table gives 2: `max(round(2 * depth), 1)`.
    pub(super) fn repeats(self) -> usize {
        match self {
            Self::N | Self::S | Self::M => 1,
            Self::L | Self::X => 2,
        }
    }

    /// Inside of the C3k2 blocks of which the table does not say that it is C3k.
    pub(super) fn plain(self) -> Inside {
        match self {
            Self::N | Self::S => Inside::Bottleneck,
            Self::M | Self::L | Self::X => Inside::C3k,
        }
    }

    /// Channels of a layer that the table gives `base` of: `min(base, max_channels) * width`,
    /// rounded up to a multiple of 8.
    pub(super) fn channels(self, base: usize) -> usize {
        let (width_quarters, max_channels) = match self {
            Self::N => (1, 1024),
            Self::S => (2, 1024),
            Self::M | Self::L => (4, 512),
            Self::X => (6, 512),
        };
        (base.min(max_channels) * width_quarters).div_ceil(4).next_multiple_of(8)
    }
}

/// The network of a family whose tensors these should be, by the shape of the first convolution and
/// the depth.
///
/// # Errors
/// Why it is none of its sizes, or no detector. `model` is the family's name for that.
pub fn network_of(
    entries: &Entries<'_>,
    model: &str,
    net: impl FnOnce(Scale, usize) -> StudentNet,
) -> Result<StudentNet, Refusal> {
    refuse_fused(entries)?;
    let first = first_shape(entries, model)?;
    refuse_other_task(entries, HEAD, model)?;
    let is_deep = entries.names().any(|name| name.starts_with("model.2.m.1."));
    let fits = |scale: &Scale| first == [scale.channels(64), 3, 3, 3] && (scale.repeats() > 1) == is_deep;
    let scale = Scale::ALL.into_iter().find(fits).ok_or_else(|| {
        Refusal::new(format!(
            "model.0.conv.weight has the shape {first:?}; a {model} has [c, 3, 3, 3] with c of 16 (n), 32 (s), \
             64 (m, l) or 96 (x)"
        ))
    })?;
    Ok(net(scale, classes_of(entries, HEAD, model)?))
}

/// What a C3k2 block has inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inside {
    /// Two convolutions around their input.
    Bottleneck,
    /// A smaller CSP block of two bottlenecks.
    C3k,
    /// A bottleneck, then attention.
    Attention,
}

/// What a size of the family makes of the table of layers.
pub struct Shape {
    /// The size.
    pub scale: Scale,
    /// Inside of the C3k2 blocks: layers 2, 4, 6, 8, 13, 16, 19, 22.
    pub inside: [Inside; 8],
    /// Inner blocks of layer 22.
    pub last_repeats: usize,
}

impl Shape {
    /// Channels of the maps that [`Trunk::run`] gives.
    pub fn levels(&self) -> [usize; 3] {
        [256, 512, 1024].map(|base| self.scale.channels(base))
    }
}

/// Layers 0 to 22, by their convolutions.
pub struct Trunk {
    /// Layers 0, 1, 3, 5, 7 (stride 2 each), 17 and 20.
    down: [ConvId; 7],
    /// Layers 2, 4, 6, 8, 13, 16, 19, 22.
    c3k2: [C3k2; 8],
    /// Layer 9.
    sppf: Sppf,
    /// Layer 10.
    attention: C2psa,
}

impl Trunk {
    /// `sppf` makes layer 9 for so many channels.
    pub fn new(list: &mut Builder, shape: &Shape, sppf: impl FnOnce(&mut Builder, usize) -> Sppf) -> Self {
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|base| shape.scale.channels(base));
        let (repeats, inside) = (shape.scale.repeats(), shape.inside);
        // In the order of Ultralytics' layers, for that is the order of the state dict.
        let down0 = list.down(0, 3, c64);
        let down1 = list.down(1, c64, c128);
        let c3k2_2 = C3k2::new(list, 2, [c128, c256 / 4, c256], repeats, inside[0]);
        let down3 = list.down(3, c256, c256);
        let c3k2_4 = C3k2::new(list, 4, [c256, c512 / 4, c512], repeats, inside[1]);
        let down5 = list.down(5, c512, c512);
        let c3k2_6 = C3k2::new(list, 6, [c512, c512 / 2, c512], repeats, inside[2]);
        let down7 = list.down(7, c512, c1024);
        let c3k2_8 = C3k2::new(list, 8, [c1024, c1024 / 2, c1024], repeats, inside[3]);
        let sppf = sppf(list, c1024);
        let attention = C2psa::new(list, 10, c1024, repeats);
        let c3k2_13 = C3k2::new(list, 13, [c1024 + c512, c512 / 2, c512], repeats, inside[4]);
        let c3k2_16 = C3k2::new(list, 16, [c512 + c512, c256 / 2, c256], repeats, inside[5]);
        let down17 = list.down(17, c256, c256);
        let c3k2_19 = C3k2::new(list, 19, [c256 + c512, c512 / 2, c512], repeats, inside[6]);
        let down20 = list.down(20, c512, c512);
        let c3k2_22 = C3k2::new(list, 22, [c512 + c1024, c1024 / 2, c1024], shape.last_repeats, inside[7]);
        Self {
            down: [down0, down1, down3, down5, down7, down17, down20],
            c3k2: [c3k2_2, c3k2_4, c3k2_6, c3k2_8, c3k2_13, c3k2_16, c3k2_19, c3k2_22],
            sppf,
            attention,
        }
    }

    /// The maps that the head takes, finest first.
    pub fn run<O: Ops>(&self, ops: &mut O, images: &O::Map) -> [O::Map; 3] {
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
        neck(ops, [&p3, &p4, &p5], [c3k2_13, c3k2_16, c3k2_19, c3k2_22], [down17, down20])
    }
}

/// A CSP block as C2f of YOLOv8, with other inner blocks.
struct C3k2 {
    cv1: ConvId,
    cv2: ConvId,
    half: usize,
    inner: Vec<Inner>,
}

enum Inner {
    Bottleneck([ConvId; 2]),
    C3k { cv1: ConvId, cv2: ConvId, cv3: ConvId, bottlenecks: [[ConvId; 2]; 2] },
    Attention([ConvId; 2], Psa),
}

/// Half of the channels goes through blocks of attention.
struct C2psa {
    cv1: ConvId,
    cv2: ConvId,
    half: usize,
    blocks: Vec<Psa>,
}

/// Attention over all cells, then two convolutions, each around its input.
struct Psa {
    qkv: ConvId,
    proj: ConvId,
    /// What tells the places: a convolution of the values.
    pe: ConvId,
    ffn: [ConvId; 2],
    heads: usize,
}

impl C3k2 {
    /// `[c_in, inside, c_out]` channels.
    fn new(list: &mut Builder, layer: usize, channels: [usize; 3], repeats: usize, inside: Inside) -> Self {
        let [c_in, half, c_out] = channels;
        let cv1 = list.norm(format!("model.{layer}.cv1"), c_in, 2 * half, 1, 1);
        let cv2 = list.norm(format!("model.{layer}.cv2"), (2 + repeats) * half, c_out, 1, 1);
        let inner = |i: usize| Inner::new(list, &format!("model.{layer}.m.{i}"), half, inside);
        Self { cv1, cv2, half, inner: (0..repeats).map(inner).collect() }
    }
}

impl Block for C3k2 {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.cv1, x);
        let mut maps: Vec<O::Map> = ops.split(&x, self.half).into();
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
    fn new(list: &mut Builder, name: &str, channels: usize, inside: Inside) -> Self {
        let half = channels / 2;
        let bottleneck = |list: &mut Builder, name: &str| {
            let cv1 = list.norm(format!("{name}.cv1"), channels, half, 3, 1);
            [cv1, list.norm(format!("{name}.cv2"), half, channels, 3, 1)]
        };
        match inside {
            Inside::Bottleneck => Self::Bottleneck(bottleneck(list, name)),
            Inside::Attention => {
                let first = bottleneck(list, &format!("{name}.0"));
                Self::Attention(first, Psa::new(list, &format!("{name}.1"), channels))
            }
            Inside::C3k => {
                let cv1 = list.norm(format!("{name}.cv1"), channels, half, 1, 1);
                let cv2 = list.norm(format!("{name}.cv2"), channels, half, 1, 1);
                let cv3 = list.norm(format!("{name}.cv3"), 2 * half, channels, 1, 1);
                let bottlenecks = [0, 1]
                    .map(|i| ["cv1", "cv2"].map(|part| list.norm(format!("{name}.m.{i}.{part}"), half, half, 3, 1)));
                Self::C3k { cv1, cv2, cv3, bottlenecks }
            }
        }
    }
}

impl Block for Inner {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        match self {
            Self::Bottleneck(pair) => around(ops, pair, x),
            Self::Attention(pair, attention) => {
                let x = around(ops, pair, x);
                attention.run(ops, &x)
            }
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
        let block = |i: usize| Psa::new(list, &format!("model.{layer}.m.{i}"), half);
        Self { cv1, cv2, half, blocks: (0..repeats).map(block).collect() }
    }
}

impl Block for C2psa {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.cv1, x);
        let [beside, inside] = ops.split(&x, self.half);
        let inside = self.blocks.iter().fold(inside, |x, block| block.run(ops, &x));
        let joined = ops.concat(&[&beside, &inside]);
        ops.conv(self.cv2, &joined)
    }
}

impl Psa {
    fn new(list: &mut Builder, name: &str, channels: usize) -> Self {
        let part = |part: &str| format!("{name}.{part}");
        Self {
            // Keys and queries have half of the values' channels each.
            qkv: list.point(part("attn.qkv"), channels, 2 * channels, Then::Norm),
            proj: list.point(part("attn.proj"), channels, channels, Then::Norm),
            pe: list.depthwise(part("attn.pe"), channels, Then::Norm),
            ffn: [
                list.norm(part("ffn.0"), channels, 2 * channels, 1, 1),
                list.point(part("ffn.1"), 2 * channels, channels, Then::Norm),
            ],
            heads: (channels / HEAD_CHANNELS).max(1),
        }
    }
}

impl Block for Psa {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let qkv = ops.conv(self.qkv, x);
        let [attended, values] = ops.attention(&qkv, self.heads);
        let place = ops.conv(self.pe, &values);
        let sum = ops.add(&attended, &place);
        let out = ops.conv(self.proj, &sum);
        let x = ops.add(x, &out);
        around(ops, &self.ffn, &x)
    }
}

/// Convolutions whose input is added to their output.
fn around<O: Ops>(ops: &mut O, pair: &[ConvId; 2], x: &O::Map) -> O::Map {
    let out = pair[..].run(ops, x);
    ops.add(x, &out)
}
