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
    /// The lower and the upper half of the channels.
    fn halves(&mut self, x: &Self::Map) -> [Self::Map; 2];
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
}

/// What the head gives at one level, `[B, channels, rows, columns]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LevelOutput<Map> {
    /// 4 x reg_max channels: left, top, right, bottom, reg_max logits each.
    pub dfl_logits: Map,
    /// C channels.
    pub class_logits: Map,
}

/// The head of a student: what its losses, its decoding and its weight files need to know.
#[derive(Debug, Clone, PartialEq)]
pub struct StudentHead {
    /// Input pixels per cell of each level, finest first; anchors follow in this order, row by row.
    pub strides: Vec<u32>,
    /// Bins per box side of the DFL.
    pub reg_max: usize,
    /// Name of the DFL's constant weights 0, 1, .., the last tensor of the state dict.
    pub dfl_name: String,
    /// What the names of the class branch begin with: its shapes depend on the number of classes.
    pub class_branch: String,
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
}

/// One step: an operation on maps that are there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    op: Op,
    inputs: Vec<MapId>,
    /// Maps that no later step needs.
    last_used: Vec<MapId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Conv(ConvId),
    Halves,
    Concat,
    Add,
    /// With so many heads.
    Attention(usize),
    MaxPool5,
    Upsample2,
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
    steps: Vec<Step>,
    levels: Vec<LevelOutput<MapId>>,
}

impl StudentNet {
    /// Takes down what `run` does with the images: it calls the operations and gives the head's levels, finest first.
    pub(super) fn record(
        model: StudentModel,
        num_classes: usize,
        convs: Vec<ConvSpec>,
        head: StudentHead,
        run: impl FnOnce(&mut Recorder, &MapId) -> Vec<LevelOutput<MapId>>,
    ) -> Self {
        let mut recorder = Recorder { steps: Vec::new(), maps: 1 };
        let levels = run(&mut recorder, &0);
        let mut steps = recorder.steps;
        let mut needed: Vec<MapId> = levels.iter().flat_map(|l| [l.dfl_logits, l.class_logits]).collect();
        for step in steps.iter_mut().rev() {
            for &map in &step.inputs {
                if !needed.contains(&map) {
                    needed.push(map);
                    step.last_used.push(map);
                }
            }
        }
        Self { model, num_classes, convs, head, steps, levels }
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
        HeadSpec {
            kind: HeadKind::Yolov8Dfl,
            num_classes: self.num_classes,
            boxes: BoxRule::Bins { reg_max: self.head.reg_max },
            places: Places::Grid(self.grid(input)),
            one_to_one: false,
        }
    }

    /// Carries the network out on `images` (`[B, 3, height, width]`), giving the levels of the head, finest first. A map is dropped
    /// after the last step that needs it.
    pub fn run<O: Ops>(&self, ops: &mut O, images: O::Map) -> Vec<LevelOutput<O::Map>> {
        let mut maps = Maps { all: vec![Some(images)] };
        for step in &self.steps {
            let x = step.inputs.first().map_or(0, |&id| id);
            match step.op {
                Op::Conv(id) => {
                    let map = ops.conv(id, maps.get(x));
                    maps.push(map);
                }
                Op::Halves => {
                    let halves = ops.halves(maps.get(x));
                    halves.into_iter().for_each(|map| maps.push(map));
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
            }
            step.last_used.iter().for_each(|&id| drop(maps.take(id)));
        }
        let level = |level: &LevelOutput<MapId>| LevelOutput {
            dfl_logits: maps.take(level.dfl_logits),
            class_logits: maps.take(level.class_logits),
        };
        self.levels.iter().map(level).collect()
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

    fn halves(&mut self, x: &MapId) -> [MapId; 2] {
        self.two(Op::Halves, *x)
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
}
