//! The channels of a network's maps: how many there are, which hang together, and networks with fewer.

use super::net::{Op, StudentNet};
use serde::{Deserialize, Serialize};

/// How wide the layers of a pruned network are; everything else follows from these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Widths {
    /// Channels out of each convolution, in the order of [`StudentNet::convs`].
    pub outputs: Vec<usize>,
    /// Channels of the first part of each map that is split in two, in the order of the steps.
    pub first_parts: Vec<usize>,
}

/// Which channels can only be removed together: those of the same group.
pub(super) struct Channels {
    pub num_groups: usize,
    /// Groups of which no channel may be removed.
    pub fixed: Vec<bool>,
    /// `[conv][channel]` the groups of what a convolution reads.
    pub inputs: Vec<Vec<usize>>,
    /// `[conv][channel]` the groups of what it gives.
    pub outputs: Vec<Vec<usize>>,
    /// `[split][channel]` the groups of the first part.
    pub first_parts: Vec<Vec<usize>>,
}

/// Channels and the sets they were joined to.
#[derive(Default)]
struct Sets {
    parent: Vec<usize>,
    fixed: Vec<usize>,
}

impl Sets {
    fn new_channels(&mut self, count: usize) -> Vec<usize> {
        let first = self.parent.len();
        self.parent.extend(first..first + count);
        (first..first + count).collect()
    }

    fn root(&self, mut channel: usize) -> usize {
        while self.parent[channel] != channel {
            channel = self.parent[channel];
        }
        channel
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b)] = a.min(b);
    }
}

impl StudentNet {
    /// Finds which channels hang together.
    pub(super) fn channels(&self) -> Channels {
        let mut sets = Sets::default();
        let mut inputs = vec![Vec::new(); self.convs.len()];
        let mut outputs = inputs.clone();
        let mut first_parts = Vec::new();
        let images = sets.new_channels(3);
        sets.fixed.extend(&images);
        let mut maps: Vec<Vec<usize>> = vec![images];
        for step in &self.steps {
            let x = maps[step.inputs[0]].clone();
            match step.op {
                Op::Conv(id) => {
                    let spec = self.conv(id);
                    // A depthwise convolution passes each channel on by itself.
                    let out = if spec.groups == 1 { sets.new_channels(spec.c_out) } else { x.clone() };
                    (inputs[id], outputs[id]) = (x, out.clone());
                    maps.push(out);
                }
                Op::Split(first) => {
                    first_parts.push(x[..first].to_vec());
                    maps.extend([x[..first].to_vec(), x[first..].to_vec()]);
                }
                Op::Concat => maps.push(step.inputs.iter().flat_map(|&map| maps[map].clone()).collect()),
                Op::Add => {
                    let other = maps[step.inputs[1]].clone();
                    x.iter().zip(other).for_each(|(&a, b)| sets.join(a, b));
                    maps.push(x);
                }
                Op::Attention(_) => {
                    // Queries, keys and values belong to heads of a size; what comes out stays whole too.
                    sets.fixed.extend(&x);
                    for _ in 0..2 {
                        let out = sets.new_channels(x.len() / 2);
                        sets.fixed.extend(&out);
                        maps.push(out);
                    }
                }
                Op::MaxPool5 | Op::Upsample2 | Op::Detach => maps.push(x),
            }
        }
        for level in self.levels.iter().flatten() {
            sets.fixed.extend(maps[level.box_values].iter().chain(&maps[level.class_logits]));
        }
        let mut number = vec![usize::MAX; sets.parent.len()];
        let mut num_groups = 0;
        for channel in 0..sets.parent.len() {
            let root = sets.root(channel);
            if number[root] == usize::MAX {
                number[root] = num_groups;
                num_groups += 1;
            }
            number[channel] = number[root];
        }
        let mut fixed = vec![false; num_groups];
        sets.fixed.iter().for_each(|&channel| fixed[number[channel]] = true);
        let numbered = |lists: Vec<Vec<usize>>| -> Vec<Vec<usize>> {
            lists.into_iter().map(|list| list.into_iter().map(|channel| number[channel]).collect()).collect()
        };
        let [inputs, outputs, first_parts] = [inputs, outputs, first_parts].map(numbered);
        Channels { num_groups, fixed, inputs, outputs, first_parts }
    }

    /// How wide its layers are.
    pub fn widths(&self) -> Widths {
        let first = |op: &Op| if let Op::Split(first) = op { Some(*first) } else { None };
        Widths {
            outputs: self.convs.iter().map(|spec| spec.c_out).collect(),
            first_parts: self.steps.iter().filter_map(|step| first(&step.op)).collect(),
        }
    }

    /// Whether it is narrower than its model is.
    pub fn is_pruned(&self) -> bool {
        self.widths() != self.model.net(self.num_classes).widths()
    }

    /// The same network with narrower layers.
    ///
    /// # Errors
    /// In words, where they do not fit together or a layer that must stay whole does not.
    pub(super) fn with_widths(&self, widths: &Widths) -> Result<Self, String> {
        let splits = self.widths().first_parts.len();
        if (widths.outputs.len(), widths.first_parts.len()) != (self.convs.len(), splits) {
            return Err(format!(
                "{} widths of convolutions and {} of splits are given, it has {} and {splits}",
                widths.outputs.len(),
                widths.first_parts.len(),
                self.convs.len()
            ));
        }
        let mut net = self.clone();
        let mut first_parts = widths.first_parts.iter();
        // Channels of each map, before and after.
        let mut maps = vec![(3, 3)];
        for step in &mut net.steps {
            let (before, after) = maps[step.inputs[0]];
            match &mut step.op {
                Op::Conv(id) => {
                    let spec = &mut net.convs[*id];
                    let whole = spec.c_out;
                    spec.c_in = after;
                    if spec.groups == 1 {
                        spec.c_out = widths.outputs[*id];
                    } else {
                        (spec.c_out, spec.groups) = (after, after);
                    }
                    if !(1..=whole).contains(&spec.c_out) {
                        return Err(format!("{} cannot have {} channels of {whole}", spec.name, spec.c_out));
                    }
                    maps.push((whole, spec.c_out));
                }
                Op::Split(first) => {
                    let whole = *first;
                    *first = first_parts.next().copied().unwrap_or(0);
                    let second = after.saturating_sub(*first);
                    if *first == 0 || second == 0 {
                        return Err(format!("a map of {after} channels cannot be split at {first}"));
                    }
                    maps.extend([(whole, *first), (before - whole, second)]);
                }
                Op::Concat => {
                    let sum = step.inputs.iter().fold((0, 0), |sum, &map| (sum.0 + maps[map].0, sum.1 + maps[map].1));
                    maps.push(sum);
                }
                Op::Add => {
                    let other = maps[step.inputs[1]].1;
                    if after != other {
                        return Err(format!("maps of {after} and {other} channels cannot be added"));
                    }
                    maps.push((before, after));
                }
                Op::Attention(_) => {
                    if before != after {
                        return Err(format!("attention over {before} channels cannot have {after}"));
                    }
                    maps.extend([(before / 2, after / 2); 2]);
                }
                Op::MaxPool5 | Op::Upsample2 | Op::Detach => maps.push((before, after)),
            }
        }
        let whole = |map: usize| maps[map].0 == maps[map].1;
        match net.levels.iter().flatten().all(|level| whole(level.box_values) && whole(level.class_logits)) {
            true => Ok(net),
            false => Err("the outputs of its head do not have their channels".to_owned()),
        }
    }

    /// Multiply-adds of the convolutions of the exported branch for each input pixel; a share of it is the same at every input size.
    pub fn macs(&self) -> f64 {
        // Cells of each map for each input pixel.
        let mut cells = vec![1.0];
        let mut macs = 0.0;
        for (at, step) in self.steps.iter().enumerate() {
            let x: f64 = cells[step.inputs[0]];
            match step.op {
                Op::Conv(id) => {
                    let spec = self.conv(id);
                    let out = x / (spec.stride * spec.stride) as f64;
                    if at < self.steps_to_first {
                        macs += out * (spec.c_out * (spec.c_in / spec.groups) * spec.kernel * spec.kernel) as f64;
                    }
                    cells.push(out);
                }
                Op::Upsample2 => cells.push(4.0 * x),
                op => cells.extend(vec![x; op.num_maps()]),
            }
        }
        macs
    }
}
