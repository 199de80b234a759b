//! A student as data: its convolutions in the order of the state dict, the steps that join them, its head.
//!
//! A family writes its network once, against [`Ops`] (`families`); [`StudentNet::record`] takes the steps down, and
//! [`StudentNet::run`] carries them out for whoever asks: libtorch for training, the ONNX writer, the estimate of memory.

use super::families::StudentModel;
use crate::types::ImageSize;
use logitcache::{
    cache::{Grid, HeadKind, Places},
    detector::{BoxRule, HeadSpec},
};

/// What a batch normalisation adds to its variance (Ultralytics' `initialize_weights`).
pub(super) const NORM_EPS: f64 = 1e-3;

/// A convolution by its place in [`StudentNet::convs`].
pub type ConvId = usize;

/// A map by the order in which maps come to be; 0 is the images.
pub(super) type MapId = usize;

/// One convolution, padded to keep the size at stride 1 (kernels are odd, padding is `kernel / 2`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvSpec {
    /// The module's name in the state dict: `model.0`.
    pub name: String,
    /// Channels in.
    pub c_in: usize,
    /// Channels out.
    pub c_out: usize,
    /// Height and width of the kernel: 1 or 3.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Groups of channels that are convolved by themselves: 1, or `c_in` (depthwise).
    pub groups: usize,
    /// What follows: batch normalisation and SiLU, or a bias (the head's last convolutions).
    pub then: Then,
}

/// What follows a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Ultralytics' `Conv`: no bias, batch normalisation, SiLU.
    NormSilu,
    /// Ultralytics' `Conv` without activation: no bias, batch normalisation.
    Norm,
    /// `nn.Conv2d` with bias.
    Bias,
}

/// The operations that a network is made of.
pub trait Ops {
    /// A picture or feature map `[B, channels, height, width]`.
    type Map;
    /// The convolution and what follows it ([`ConvSpec::then`]).
    fn conv(&mut self, id: ConvId, x: &Self::Map) -> Self::Map;
    /// The first `first` channels, and the others.
    fn split(&mut self, x: &Self::Map, first: usize) -> [Self::Map; 2];
    /// Joined along the channels.
    fn concat(&mut self, maps: &[&Self::Map]) -> Self::Map;
    /// Sum of two maps of the same shape.
    fn add(&mut self, a: &Self::Map, b: &Self::Map) -> Self::Map;
    /// Ultralytics' `Attention` between its convolutions. `qkv` has `2 C` channels: of each of `heads` heads a quarter queries, a
    /// quarter keys, half values; every cell attends to all. Gives the attended values and the values, `C` channels each.
    fn attention(&mut self, qkv: &Self::Map, heads: usize) -> [Self::Map; 2];
    /// Maximum over 5 x 5, same size.
    fn max_pool_5(&mut self, x: &Self::Map) -> Self::Map;
    /// Every cell becomes 2 x 2 equal cells.
    fn upsample_2(&mut self, x: &Self::Map) -> Self::Map;
    /// The same map, through which no gradient flows back.
    fn detach(&mut self, x: &Self::Map) -> Self::Map;
}

/// What a branch of the head gives at one level, `[B, channels, rows, columns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelOutput<Map> {
    /// As [`StudentHead::boxes`] says.
    pub box_values: Map,
    /// C channels.
    pub class_logits: Map,
}

/// Which anchors learn an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Matching {
    /// An object gets so many of the best anchors for it.
    pub candidates: i64,
    /// Once every anchor has one object at most, an object keeps the best alone.
    pub one_to_one: bool,
}

impl Matching {
    /// Ten anchors an object.
    pub const MANY: Self = Self { candidates: 10, one_to_one: false };
}

/// A branch of the head: it gives boxes and classes at every anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchSpec {
    /// What the names of its box tensors begin with.
    pub box_names: String,
    /// What the names of its class tensors begin with: their shapes depend on the number of
    /// classes.
    pub class_names: String,
    /// Which anchors learn an object.
    pub matching: Matching,
    /// Its share in the loss in the first and in the last epoch; linear between them.
    pub share: [f64; 2],
}

impl BranchSpec {
    /// Its share in the loss of an epoch, from 0.
    pub fn share(&self, epoch: usize, epochs: usize) -> f64 {
        let [first, last] = self.share;
        let left = (1.0 - epoch as f64 / epochs.saturating_sub(1).max(1) as f64).max(0.0);
        left * (first - last) + last
    }
}

/// The head of a student: what its losses, its decoding and its weight files need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentHead {
    /// Input pixels per cell of each level, finest first; anchors follow in this order, row by row.
    pub strides: Vec<u32>,
    /// What its box values are: bins or distances.
    pub boxes: BoxRule,
    /// Name of the DFL's constant weights 0, 1, .., the last tensor of the state dict; `None`
    /// without bins.
    pub dfl_name: Option<String>,
    /// The branch that is validated and exported, then those that are trained beside it.
    pub branches: Vec<BranchSpec>,
    /// Where the biases of the last convolutions start: name of the tensor, value.
    pub bias_priors: Vec<(String, f32)>,
}

impl StudentHead {
    /// Sides of an input are multiples of this, in pixels.
    pub fn coarsest_stride(&self) -> u32 {
        self.strides.iter().copied().max().unwrap_or(1)
    }

    /// Objects under this side, in input pixels, are hardly learned: the finest cells have as many.
    pub fn finest_stride(&self) -> u32 {
        self.strides.iter().copied().min().unwrap_or(1)
    }

    /// Bins per box side of the DFL; 0 where its box values are distances.
    pub fn reg_max(&self) -> usize {
        match self.boxes {
            BoxRule::Bins { reg_max } => reg_max,
            BoxRule::Distances | BoxRule::CentreSizePx => 0,
        }
    }

    /// Whether a branch gives each object one anchor.
    pub fn has_one_to_one(&self) -> bool {
        self.branches.iter().any(|branch| branch.matching.one_to_one)
    }

    /// Whether a tensor's shape depends on the number of classes.
    pub fn is_of_classes(&self, name: &str) -> bool {
        self.branches.iter().any(|branch| name.starts_with(&branch.class_names))
    }

    /// The tensor of the first branch in whose place this one of another branch stands.
    pub(super) fn twin_of(&self, name: &str) -> Option<String> {
        let (first, others) = self.branches.split_first()?;
        others.iter().find_map(|other| {
            let boxes = name.strip_prefix(&other.box_names).map(|rest| format!("{}{rest}", first.box_names));
            boxes.or_else(|| name.strip_prefix(&other.class_names).map(|rest| format!("{}{rest}", first.class_names)))
        })
    }
}

/// One step: an operation on maps that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) op: Op,
    pub(super) inputs: Vec<MapId>,
    /// Maps that no later step needs.
    last_used: Vec<MapId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Conv(ConvId),
    /// With so many channels in the first part.
    Split(usize),
    Concat,
    Add,
    /// With so many heads.
    Attention(usize),
    MaxPool5,
    Upsample2,
    Detach,
}

impl Op {
    /// Maps that it gives.
    pub(super) fn num_maps(self) -> usize {
        match self {
            Self::Split(_) | Self::Attention(_) => 2,
            _ => 1,
        }
    }
}

/// The network of a student for one number of classes.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentNet {
    /// Which one it is.
    pub model: StudentModel,
    /// C.
    pub num_classes: usize,
    /// Every convolution, in the order of the state dict.
    pub convs: Vec<ConvSpec>,
    /// Its head.
    pub head: StudentHead,
    pub(super) steps: Vec<Step>,
    /// How many of the steps lead to the first branch of the head.
    pub(super) steps_to_first: usize,
    /// Of each branch of the head.
    pub(super) levels: Vec<Vec<LevelOutput<MapId>>>,
}

impl StudentNet {
    /// Takes down what `run` does with the images: it calls the operations and gives the levels of
    /// each branch of the head, finest first. The steps of the first branch come before those of
    /// the others.
    pub(super) fn record(
        model: StudentModel,
        num_classes: usize,
        convs: Vec<ConvSpec>,
        head: StudentHead,
        run: impl FnOnce(&mut Recorder, &MapId) -> Vec<Vec<LevelOutput<MapId>>>,
    ) -> Self {
        let mut recorder = Recorder { steps: Vec::new(), maps: 1 };
        let levels = run(&mut recorder, &0);
        let mut steps = recorder.steps;
        let mut needed: Vec<MapId> = levels.iter().flatten().flat_map(|l| [l.box_values, l.class_logits]).collect();
        for step in steps.iter_mut().rev() {
            for &map in &step.inputs {
                if !needed.contains(&map) {
                    needed.push(map);
                    step.last_used.push(map);
                }
            }
        }
        let of_first = levels.first().into_iter().flatten().flat_map(|l| [l.box_values, l.class_logits]);
        let last = of_first.max().unwrap_or(0);
        let made = steps.iter().scan(1, |made, step| {
            let first = *made;
            *made += step.op.num_maps();
            Some(first)
        });
        let steps_to_first = made.take_while(|&map| map <= last).count();
        Self { model, num_classes, convs, head, steps, steps_to_first, levels }
    }

    /// A convolution by its id.
    ///
    /// # Panics
    /// If `id` is of another network.
    pub fn conv(&self, id: ConvId) -> &ConvSpec {
        &self.convs[id]
    }

    /// The anchors of an input.
    pub fn grid(&self, input: ImageSize) -> Grid {
        Grid::new(input, &self.head.strides)
    }

    /// What the network gives for an input, as [`logitcache::detector::HeadView`] reads it.
    pub fn head_spec(&self, input: ImageSize) -> HeadSpec {
        let kind = match self.head.boxes {
            BoxRule::Bins { .. } => HeadKind::Yolov8Dfl,
            BoxRule::Distances | BoxRule::CentreSizePx => HeadKind::Yolov8Direct,
        };
        HeadSpec {
            kind,
            num_classes: self.num_classes,
            boxes: self.head.boxes,
            places: Places::Grid(self.grid(input)),
            one_to_one: false,
        }
    }

    /// Carries the network out on `images` (`[B, 3, height, width]`), giving the levels of the
    /// first branch of the head, finest first: what is validated and exported. A map is dropped
    /// after the last step that needs it.
    pub fn run<O: Ops>(&self, ops: &mut O, images: O::Map) -> Vec<LevelOutput<O::Map>> {
        let mut levels = self.run_steps(ops, images, self.steps_to_first, 1);
        levels.pop().unwrap_or_default()
    }

    /// The same with all branches, in their order: what is trained.
    pub fn run_all<O: Ops>(&self, ops: &mut O, images: O::Map) -> Vec<Vec<LevelOutput<O::Map>>> {
        self.run_steps(ops, images, self.steps.len(), self.levels.len())
    }

    fn run_steps<O: Ops>(
        &self,
        ops: &mut O,
        images: O::Map,
        steps: usize,
        branches: usize,
    ) -> Vec<Vec<LevelOutput<O::Map>>> {
        let mut maps = Maps { all: vec![Some(images)] };
        for step in &self.steps[..steps] {
            let x = step.inputs.first().map_or(0, |&id| id);
            match step.op {
                Op::Conv(id) => {
                    let map = ops.conv(id, maps.get(x));
                    maps.push(map);
                }
                Op::Split(first) => {
                    let parts = ops.split(maps.get(x), first);
                    parts.into_iter().for_each(|map| maps.push(map));
                }
                Op::Concat => {
                    let map = ops.concat(&step.inputs.iter().map(|&id| maps.get(id)).collect::<Vec<_>>());
                    maps.push(map);
                }
                Op::Add => {
                    let map = ops.add(maps.get(x), maps.get(step.inputs[1]));
                    maps.push(map);
                }
                Op::Attention(heads) => {
                    let both = ops.attention(maps.get(x), heads);
                    both.into_iter().for_each(|map| maps.push(map));
                }
                Op::MaxPool5 => {
                    let map = ops.max_pool_5(maps.get(x));
                    maps.push(map);
                }
                Op::Upsample2 => {
                    let map = ops.upsample_2(maps.get(x));
                    maps.push(map);
                }
                Op::Detach => {
                    let map = ops.detach(maps.get(x));
                    maps.push(map);
                }
            }
            step.last_used.iter().for_each(|&id| drop(maps.take(id)));
        }
        let mut level = |level: &LevelOutput<MapId>| LevelOutput {
            box_values: maps.take(level.box_values),
            class_logits: maps.take(level.class_logits),
        };
        self.levels.iter().take(branches).map(|levels| levels.iter().map(&mut level).collect()).collect()
    }
}

/// The maps that are still needed.
struct Maps<Map> {
    all: Vec<Option<Map>>,
}

impl<Map> Maps<Map> {
    fn push(&mut self, map: Map) {
        self.all.push(Some(map));
    }

    fn get(&self, id: MapId) -> &Map {
        // `record` has seen to it that no map is used before it is made or after it was dropped.
        self.all[id].as_ref().unwrap_or_else(|| unreachable!("map {id} was dropped"))
    }

    fn take(&mut self, id: MapId) -> Map {
        self.all[id].take().unwrap_or_else(|| unreachable!("map {id} was dropped"))
    }
}

/// Takes steps down.
pub(super) struct Recorder {
    steps: Vec<Step>,
    maps: usize,
}

impl Recorder {
    fn step(&mut self, op: Op, inputs: Vec<MapId>) -> MapId {
        self.steps.push(Step { op, inputs, last_used: Vec::new() });
        self.maps += 1;
        self.maps - 1
    }
}

impl Recorder {
    /// A step that gives two maps.
    fn two(&mut self, op: Op, input: MapId) -> [MapId; 2] {
        let first = self.step(op, vec![input]);
        self.maps += 1;
        [first, first + 1]
    }
}

impl Ops for Recorder {
    type Map = MapId;

    fn conv(&mut self, id: ConvId, x: &MapId) -> MapId {
        self.step(Op::Conv(id), vec![*x])
    }

    fn split(&mut self, x: &MapId, first: usize) -> [MapId; 2] {
        self.two(Op::Split(first), *x)
    }

    fn attention(&mut self, qkv: &MapId, heads: usize) -> [MapId; 2] {
        self.two(Op::Attention(heads), *qkv)
    }

    fn concat(&mut self, maps: &[&MapId]) -> MapId {
        self.step(Op::Concat, maps.iter().map(|map| **map).collect())
    }

    fn add(&mut self, a: &MapId, b: &MapId) -> MapId {
        self.step(Op::Add, vec![*a, *b])
    }

    fn max_pool_5(&mut self, x: &MapId) -> MapId {
        self.step(Op::MaxPool5, vec![*x])
    }

    fn upsample_2(&mut self, x: &MapId) -> MapId {
        self.step(Op::Upsample2, vec![*x])
    }

    fn detach(&mut self, x: &MapId) -> MapId {
        self.step(Op::Detach, vec![*x])
    }
}
