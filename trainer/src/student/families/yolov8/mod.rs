//! YOLOv8: its convolutions in the order of Ultralytics' state dict, and how they are joined.

mod scale;
mod weights;

pub use scale::Scale;
pub(super) use weights::of_weights;

use super::StudentModel;
use crate::student::net::{ConvId, ConvSpec, LevelOutput, Ops, StudentHead, StudentNet, Then};

/// Bins per box side of the DFL.
const REG_MAX: usize = 16;

/// Input pixels per cell of the three feature levels.
const STRIDES: [u32; 3] = [8, 16, 32];

/// Ultralytics' name of the head in its list of layers.
const HEAD: &str = "model.22";

/// The network of a scale for so many classes.
pub fn net(scale: Scale, num_classes: usize) -> StudentNet {
    let (layers, convs) = Layers::new(scale, num_classes);
    let model = StudentModel::YoloV8(scale);
    StudentNet::record(model, num_classes, convs, head(num_classes), |ops, images| layers.run(ops, images))
}

/// Biases start as `Detect.bias_init` has them (Ultralytics 8.4): boxes 2, classes log(5 / C / (640 / stride)^2), which is some
/// 5 objects in an image.
fn head(num_classes: usize) -> StudentHead {
    let priors = STRIDES.iter().enumerate().flat_map(|(level, &stride)| {
        let cells = (640.0 / f64::from(stride)).powi(2);
        let class = (5.0 / num_classes as f64 / cells).ln() as f32;
        [(format!("{HEAD}.cv2.{level}.2.bias"), 2.0), (format!("{HEAD}.cv3.{level}.2.bias"), class)]
    });
    StudentHead {
        strides: STRIDES.to_vec(),
        reg_max: REG_MAX,
        dfl_name: format!("{HEAD}.dfl.conv.weight"),
        class_branch: format!("{HEAD}.cv3."),
        bias_priors: priors.collect(),
    }
}

/// The layers by their convolutions.
struct Layers {
    /// Layers 0, 1, 3, 5, 7 (stride 2 each), 16 and 19.
    down: [ConvId; 7],
    /// Layers 2, 4, 6, 8, 12, 15, 18, 21.
    c2f: [C2f; 8],
    /// Layer 9: 1x1 convolutions around three max-pools of 5x5.
    sppf: [ConvId; 2],
    /// Per level: 3x3, 3x3, 1x1 to 4 x 16 DFL logits.
    boxes: [[ConvId; 3]; 3],
    /// Per level: 3x3, 3x3, 1x1 to C class logits.
    classes: [[ConvId; 3]; 3],
}

/// A CSP block: split in two halves, bottlenecks on the second, everything joined.
struct C2f {
    cv1: ConvId,
    cv2: ConvId,
    bottlenecks: Vec<[ConvId; 2]>,
    /// Bottlenecks add their input to their output (in the backbone).
    shortcut: bool,
}

impl Layers {
    /// The layers, and every convolution in the order of the state dict.
    fn new(scale: Scale, num_classes: usize) -> (Self, Vec<ConvSpec>) {
        let mut list = Builder { scale, convs: Vec::new() };
        let [c64, c128, c256, c512, c1024] = [64, 128, 256, 512, 1024].map(|base| scale.channels(base));
        // In the order of Ultralytics' layers, for that is the order of the state dict.
        let down0 = list.down(0, 3, c64);
        let down1 = list.down(1, c64, c128);
        let c2f2 = list.c2f(2, c128, c128, 3, true);
        let down3 = list.down(3, c128, c256);
        let c2f4 = list.c2f(4, c256, c256, 6, true);
        let down5 = list.down(5, c256, c512);
        let c2f6 = list.c2f(6, c512, c512, 6, true);
        let down7 = list.down(7, c512, c1024);
        let c2f8 = list.c2f(8, c1024, c1024, 3, true);
        let sppf = [
            list.norm("model.9.cv1".into(), c1024, c1024 / 2, 1, 1),
            list.norm("model.9.cv2".into(), c1024 / 2 * 4, c1024, 1, 1),
        ];
        let c2f12 = list.c2f(12, c1024 + c512, c512, 3, false);
        let c2f15 = list.c2f(15, c512 + c256, c256, 3, false);
        let down16 = list.down(16, c256, c256);
        let c2f18 = list.c2f(18, c256 + c512, c512, 3, false);
        let down19 = list.down(19, c512, c512);
        let c2f21 = list.c2f(21, c512 + c1024, c1024, 3, false);
        let levels = [c256, c512, c1024];
        let box_width = 16.max(c256 / 4).max(4 * REG_MAX);
        let class_width = c256.max(num_classes.min(100));
        let boxes = list.branch("cv2", levels, box_width, 4 * REG_MAX);
        let classes = list.branch("cv3", levels, class_width, num_classes);
        let layers = Self {
            down: [down0, down1, down3, down5, down7, down16, down19],
            c2f: [c2f2, c2f4, c2f6, c2f8, c2f12, c2f15, c2f18, c2f21],
            sppf,
            boxes,
            classes,
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
        let p5 = self.sppf(ops, &x);

        let x = ops.upsample_2(&p5);
        let x = ops.concat(&[&x, &p4]);
        let n4 = c2f12.run(ops, &x);
        let x = ops.upsample_2(&n4);
        let x = ops.concat(&[&x, &p3]);
        let n3 = c2f15.run(ops, &x);
        let x = ops.conv(down16, &n3);
        let x = ops.concat(&[&x, &n4]);
        let n4 = c2f18.run(ops, &x);
        let x = ops.conv(down19, &n4);
        let x = ops.concat(&[&x, &p5]);
        let n5 = c2f21.run(ops, &x);

        let level = |ops: &mut O, i: usize, map: &O::Map| LevelOutput {
            dfl_logits: in_a_row(ops, self.boxes[i], map),
            class_logits: in_a_row(ops, self.classes[i], map),
        };
        vec![level(ops, 0, &n3), level(ops, 1, &n4), level(ops, 2, &n5)]
    }

    fn sppf<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.sppf[0], x);
        let once = ops.max_pool_5(&x);
        let twice = ops.max_pool_5(&once);
        let thrice = ops.max_pool_5(&twice);
        let joined = ops.concat(&[&x, &once, &twice, &thrice]);
        ops.conv(self.sppf[1], &joined)
    }
}

impl C2f {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let x = ops.conv(self.cv1, x);
        let mut maps: Vec<O::Map> = ops.halves(&x).into();
        for pair in &self.bottlenecks {
            if let Some(last) = maps.last() {
                let out = in_a_row(ops, *pair, last);
                let out = if self.shortcut { ops.add(last, &out) } else { out };
                maps.push(out);
            }
        }
        let joined = ops.concat(&maps.iter().collect::<Vec<_>>());
        ops.conv(self.cv2, &joined)
    }
}

fn in_a_row<O: Ops, const N: usize>(ops: &mut O, convs: [ConvId; N], x: &O::Map) -> O::Map {
    let mut out = ops.conv(convs[0], x);
    for &id in &convs[1..] {
        out = ops.conv(id, &out);
    }
    out
}

struct Builder {
    scale: Scale,
    convs: Vec<ConvSpec>,
}

impl Builder {
    fn push(&mut self, spec: ConvSpec) -> ConvId {
        self.convs.push(spec);
        self.convs.len() - 1
    }

    fn norm(&mut self, name: String, c_in: usize, c_out: usize, kernel: usize, stride: usize) -> ConvId {
        self.push(ConvSpec { name, c_in, c_out, kernel, stride, then: Then::NormSilu })
    }

    fn down(&mut self, layer: usize, c_in: usize, c_out: usize) -> ConvId {
        self.norm(format!("model.{layer}"), c_in, c_out, 3, 2)
    }

    fn c2f(&mut self, layer: usize, c_in: usize, c_out: usize, base_repeats: usize, shortcut: bool) -> C2f {
        let (half, repeats) = (c_out / 2, self.scale.repeats(base_repeats));
        let cv1 = self.norm(format!("model.{layer}.cv1"), c_in, 2 * half, 1, 1);
        let cv2 = self.norm(format!("model.{layer}.cv2"), (2 + repeats) * half, c_out, 1, 1);
        let bottleneck =
            |i: usize| ["cv1", "cv2"].map(|part| self.norm(format!("model.{layer}.m.{i}.{part}"), half, half, 3, 1));
        C2f { cv1, cv2, bottlenecks: (0..repeats).map(bottleneck).collect(), shortcut }
    }

    fn branch(&mut self, name: &str, levels: [usize; 3], width: usize, c_out: usize) -> [[ConvId; 3]; 3] {
        [0, 1, 2].map(|level| {
            let name = |part: usize| format!("{HEAD}.{name}.{level}.{part}");
            let first = self.norm(name(0), levels[level], width, 3, 1);
            let second = self.norm(name(1), width, width, 3, 1);
            let last = ConvSpec { name: name(2), c_in: width, c_out, kernel: 1, stride: 1, then: Then::Bias };
            [first, second, self.push(last)]
        })
    }
}
