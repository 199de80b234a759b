//! What the families of Ultralytics' detectors have in common.

use crate::{
    detector::BoxRule,
    student::net::{BranchSpec, ConvId, ConvSpec, LevelOutput, Matching, Ops, StudentHead, Then},
};
use logitcache::{detector::prior_class_logit, training::STUDENT_STRIDES};

/// DFL with 16 bins.
pub const BINS: BoxRule = BoxRule::Bins { reg_max: 16 };

/// Convolutions in the order of the state dict.
#[derive(Default)]
pub struct Builder {
    pub convs: Vec<ConvSpec>,
}

impl Builder {
    pub fn push(&mut self, spec: ConvSpec) -> ConvId {
        self.convs.push(spec);
        self.convs.len() - 1
    }

    /// Ultralytics' `Conv`.
    pub fn norm(&mut self, name: String, c_in: usize, c_out: usize, kernel: usize, stride: usize) -> ConvId {
        self.push(ConvSpec { name, c_in, c_out, kernel, stride, groups: 1, then: Then::NormSilu })
    }

    /// `Conv` with a kernel of its own for each channel.
    pub fn depthwise(&mut self, name: String, channels: usize, then: Then) -> ConvId {
        self.push(ConvSpec { name, c_in: channels, c_out: channels, kernel: 3, stride: 1, groups: channels, then })
    }

    /// A 1x1 convolution that ends a branch or a block without SiLU.
    pub fn point(&mut self, name: String, c_in: usize, c_out: usize, then: Then) -> ConvId {
        self.push(ConvSpec { name, c_in, c_out, kernel: 1, stride: 1, groups: 1, then })
    }

    /// Layer `layer`: half the size.
    pub fn down(&mut self, layer: usize, c_in: usize, c_out: usize) -> ConvId {
        self.norm(format!("model.{layer}"), c_in, c_out, 3, 2)
    }

    /// Layer `layer`: 1x1 convolutions around three max-pools of 5x5.
    pub fn sppf(&mut self, layer: usize, channels: usize) -> Sppf {
        let half = channels / 2;
        let cv1 = self.norm(format!("model.{layer}.cv1"), channels, half, 1, 1);
        Sppf { cv1, cv2: self.norm(format!("model.{layer}.cv2"), 4 * half, channels, 1, 1), shortcut: false }
    }

    /// The same, its first convolution without SiLU, its input added to its output.
    pub fn sppf_around(&mut self, layer: usize, channels: usize) -> Sppf {
        let half = channels / 2;
        let cv1 = self.point(format!("model.{layer}.cv1"), channels, half, Then::Norm);
        Sppf { cv1, cv2: self.norm(format!("model.{layer}.cv2"), 4 * half, channels, 1, 1), shortcut: true }
    }
}

pub struct Sppf {
    cv1: ConvId,
    cv2: ConvId,
    /// It adds its input to its output.
    shortcut: bool,
}

/// A part with one input and one output.
pub trait Block {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map;
}

impl Block for Sppf {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let inside = ops.conv(self.cv1, x);
        let once = ops.max_pool_5(&inside);
        let twice = ops.max_pool_5(&once);
        let thrice = ops.max_pool_5(&twice);
        let joined = ops.concat(&[&inside, &once, &twice, &thrice]);
        let out = ops.conv(self.cv2, &joined);
        if self.shortcut { ops.add(&out, x) } else { out }
    }
}

/// Convolutions one after the other.
impl Block for [ConvId] {
    fn run<O: Ops>(&self, ops: &mut O, x: &O::Map) -> O::Map {
        let (first, rest) = self.split_first().unwrap_or_else(|| unreachable!("a row of no convolution"));
        let out = ops.conv(*first, x);
        rest.iter().fold(out, |out, &id| ops.conv(id, &out))
    }
}

/// The neck: from the finest and the two coarser maps of the backbone to those of the head, finest first. Blocks in the order
/// in which they run: two on the way up, two on the way down.
pub fn neck<O: Ops, B: Block>(
    ops: &mut O,
    [p3, p4, p5]: [&O::Map; 3],
    blocks: [&B; 4],
    down: [ConvId; 2],
) -> [O::Map; 3] {
    let x = ops.upsample_2(p5);
    let x = ops.concat(&[&x, p4]);
    let up4 = blocks[0].run(ops, &x);
    let x = ops.upsample_2(&up4);
    let x = ops.concat(&[&x, p3]);
    let n3 = blocks[1].run(ops, &x);
    let x = ops.conv(down[0], &n3);
    let x = ops.concat(&[&x, &up4]);
    let n4 = blocks[2].run(ops, &x);
    let x = ops.conv(down[1], &n4);
    let x = ops.concat(&[&x, p5]);
    let n5 = blocks[3].run(ops, &x);
    [n3, n4, n5]
}

/// A branch of `Detect`: what leads from the maps of the neck to boxes and classes, level by level,
/// finest first.
pub struct Branch {
    /// To the box values.
    pub boxes: [Vec<ConvId>; 3],
    /// To C class logits.
    pub classes: [Vec<ConvId>; 3],
}

impl Branch {
    /// With the plain convolutions of YOLOv8 to the classes: 3x3, 3x3, 1x1.
    pub fn plain(
        list: &mut Builder,
        spec: &BranchSpec,
        boxes: BoxRule,
        levels: [usize; 3],
        num_classes: usize,
    ) -> Self {
        let boxes = box_convs(list, spec, boxes, levels);
        let width = class_width(levels, num_classes);
        let classes = [0, 1, 2].map(|level| {
            let part = |part: usize| format!("{}{level}.{part}", spec.class_names);
            let first = list.norm(part(0), levels[level], width, 3, 1);
            let second = list.norm(part(1), width, width, 3, 1);
            vec![first, second, list.point(part(2), width, num_classes, Then::Bias)]
        });
        Self { boxes, classes }
    }

    /// With the lighter convolutions of later families to the classes: twice depthwise 3x3 and 1x1,
    /// then 1x1.
    pub fn light(
        list: &mut Builder,
        spec: &BranchSpec,
        boxes: BoxRule,
        levels: [usize; 3],
        num_classes: usize,
    ) -> Self {
        let boxes = box_convs(list, spec, boxes, levels);
        let width = class_width(levels, num_classes);
        let classes = [0, 1, 2].map(|level| {
            let part = |part: &str| format!("{}{level}.{part}", spec.class_names);
            vec![
                list.depthwise(part("0.0"), levels[level], Then::NormSilu),
                list.norm(part("0.1"), levels[level], width, 1, 1),
                list.depthwise(part("1.0"), width, Then::NormSilu),
                list.norm(part("1.1"), width, width, 1, 1),
                list.point(part("2"), width, num_classes, Then::Bias),
            ]
        });
        Self { boxes, classes }
    }

    pub fn run<O: Ops>(&self, ops: &mut O, maps: &[O::Map; 3]) -> Vec<LevelOutput<O::Map>> {
        let branches = self.boxes.iter().zip(&self.classes).zip(maps);
        let level = |((boxes, classes), map): ((&Vec<ConvId>, &Vec<ConvId>), &O::Map)| LevelOutput {
            box_values: boxes.run(ops, map),
            class_logits: classes.run(ops, map),
        };
        branches.map(level).collect()
    }
}

/// To the boxes: 3x3, 3x3, 1x1.
fn box_convs(list: &mut Builder, spec: &BranchSpec, boxes: BoxRule, levels: [usize; 3]) -> [Vec<ConvId>; 3] {
    let width = 16.max(levels[0] / 4).max(boxes.channels());
    [0, 1, 2].map(|level| {
        let part = |part: usize| format!("{}{level}.{part}", spec.box_names);
        let first = list.norm(part(0), levels[level], width, 3, 1);
        let second = list.norm(part(1), width, width, 3, 1);
        vec![first, second, list.point(part(2), width, boxes.channels(), Then::Bias)]
    })
}

/// Channels inside of the convolutions to the classes.
fn class_width(levels: [usize; 3], num_classes: usize) -> usize {
    levels[0].max(num_classes.min(100))
}

/// The one branch of the head `name` of Ultralytics' list of layers: an object goes to many
/// anchors.
pub fn only_branch(name: &str) -> BranchSpec {
    BranchSpec {
        box_names: format!("{name}.cv2."),
        class_names: format!("{name}.cv3."),
        matching: Matching::MANY,
        share: [1.0, 1.0],
    }
}

/// The head `name` of Ultralytics' list of layers.
///
/// Biases start as `Detect.bias_init` has them (Ultralytics 8.4): boxes 2, classes by [`prior_class_logit`].
pub fn head(name: &str, boxes: BoxRule, num_classes: usize, branches: Vec<BranchSpec>) -> StudentHead {
    let priors = |branch: &BranchSpec| {
        let levels = STUDENT_STRIDES.iter().enumerate().flat_map(|(level, &stride)| {
            [
                (format!("{}{level}.2.bias", branch.box_names), 2.0),
                (format!("{}{level}.2.bias", branch.class_names), prior_class_logit(num_classes, stride)),
            ]
        });
        levels.collect::<Vec<_>>()
    };
    let has_bins = matches!(boxes, BoxRule::Bins { .. });
    StudentHead {
        strides: STUDENT_STRIDES.to_vec(),
        boxes,
        dfl_name: has_bins.then(|| format!("{name}.dfl.conv.weight")),
        bias_priors: branches.iter().flat_map(priors).collect(),
        branches,
    }
}
