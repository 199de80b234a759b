//! Structured pruning: whole channels of a trained student are removed, so that what is left is a
//! smaller dense network.
//!
//! Channels that hang together go together (DepGraph, Fang et al. 2023): what a residual adds, what a
//! depthwise convolution passes on, and every convolution that reads them. They are found from the
//! steps of the network, not from names. The images, the outputs of the head and the channels inside
//! of attention stay whole.
//!
//! A channel counts by the scales of its batch normalisations, |gamma| (Liu et al. 2017), as the mean
//! over all layers that hang together, relative to the mean of its layer. No picture is needed for that.

use super::{
    channels::{Channels, Widths},
    net::{StudentNet, Then},
    params::{ParamSpec, Role},
    state::{State, Values},
};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// A layer keeps at least this share of its channels.
const LEAST_KEPT: f64 = 0.25;

/// Channels of a layer go in steps of an eighth of its width, at most so many: runtimes compute eight at once.
const LARGEST_STEP: usize = 8;

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pruned {
    /// Parameters before and after.
    pub parameters: [usize; 2],
    /// Share of the multiply-adds of the convolutions that is gone, 0..1.
    pub macs_removed: f64,
}

/// Channels that hang together, in every layer that has them.
type Group = usize;

/// Layers whose channels go together, one for one.
struct Layer {
    /// Least important first.
    groups: Vec<Group>,
    /// Relative to the mean of the layer, as `groups`.
    importance: Vec<f64>,
    /// How many of them are gone.
    gone: usize,
}

impl Layer {
    fn step(&self) -> usize {
        (self.groups.len() / 8).clamp(1, LARGEST_STEP)
    }

    /// What the next step removes; `None` where the layer has given what it may.
    fn next(&self) -> Option<std::ops::Range<usize>> {
        let until = self.gone + self.step();
        let least = (self.groups.len() as f64 * LEAST_KEPT).ceil().max(1.0) as usize;
        (self.groups.len().checked_sub(until)? >= least).then_some(self.gone..until)
    }

    /// The importance of what the next step removes: the mean of its channels.
    fn price(&self) -> Option<f64> {
        let next = self.next()?;
        let count = next.len() as f64;
        Some(self.importance[next].iter().sum::<f64>() / count)
    }
}

/// Removes at least the share `share` of the multiply-adds that the convolutions of the exported network
/// need; the least important channels go first. The same network and share give the same result.
///
/// # Errors
/// [`Error::Mismatch`] where the share is not between 0 and 1, where no layer may give more, or where the
/// network has not been trained: its normalisations are all alike.
pub fn prune(state: &State, share: f64) -> Result<(State, Pruned)> {
    let refuse = |found: String, remedy: &str| Err(Error::Mismatch { found, remedy: remedy.to_owned() });
    if !(share > 0.0 && share < 1.0) {
        return refuse(
            format!("a share of {share} cannot be pruned"),
            "Give `prune=` a number between 0 and 1, such as 0.3.",
        );
    }
    let net = state.net();
    let channels = net.channels();
    let Some(mut layers) = layers(state, &channels) else {
        return refuse(
            "there is nothing to choose by: the scales of its batch normalisations are all alike, as before any training"
                .to_owned(),
            "Prune trained weights: give the .safetensors or .pt file of a trained student as `model=`.",
        );
    };
    let mut kept = vec![true; channels.num_groups];
    let whole = net.macs();
    let goal = whole * (1.0 - share);
    let mut smaller = net.clone();
    while smaller.macs() > goal {
        let cheapest = layers.iter().enumerate().filter_map(|(at, layer)| Some((at, layer.price()?)));
        let Some((at, _)) = cheapest.min_by(|(_, a), (_, b)| a.total_cmp(b)) else {
            return refuse(
                format!(
                    "{:.0} % of the multiply-adds is the most that can be pruned: every layer keeps a quarter of its channels",
                    100.0 * (1.0 - smaller.macs() / whole)
                ),
                "Give a lower `prune=`, or take a smaller student.",
            );
        };
        let layer = &mut layers[at];
        let next = layer.next().unwrap_or(0..0);
        layer.groups[next.clone()].iter().for_each(|&group| kept[group] = false);
        layer.gone = next.end;
        smaller = narrowed(net, &channels, &kept)?;
    }
    let pruned = Pruned {
        parameters: [net.num_parameters(), smaller.num_parameters()],
        macs_removed: 1.0 - smaller.macs() / whole,
    };
    let values = narrowed_values(state, &channels, &kept);
    Ok((State::new(smaller, values), pruned))
}

/// The layers that may be pruned; `None` where nothing tells their channels apart.
fn layers(state: &State, channels: &Channels) -> Option<Vec<Layer>> {
    let net = state.net();
    let first_param = net.first_param();
    let mut scales: Vec<Vec<f64>> = vec![Vec::new(); channels.num_groups];
    // Which convolutions give and read a group: groups of the same ones are a layer. Of a map that is split, the parts have
    // other readers, so either keeps its share.
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); channels.num_groups];
    let mut readers = members.clone();
    for (id, groups) in channels.inputs.iter().enumerate() {
        groups.iter().for_each(|&group| readers[group].push(id));
    }
    let mut any_differs = false;
    for (id, spec) in net.convs.iter().enumerate() {
        let gamma = match spec.then {
            Then::NormSilu | Then::Norm => state.values(first_param[id] + 1),
            Then::Bias => continue,
        };
        let mean = gamma.iter().map(|g| f64::from(g.abs())).sum::<f64>() / gamma.len().max(1) as f64;
        any_differs |= gamma.iter().any(|g| g != &gamma[0]);
        for (&group, gamma) in channels.outputs[id].iter().zip(gamma) {
            scales[group].push(f64::from(gamma.abs()) / mean.max(f64::MIN_POSITIVE));
            members[group].push(id);
        }
    }
    if !any_differs {
        return None;
    }
    let mut by_members: BTreeMap<(&[usize], &[usize]), Vec<Group>> = BTreeMap::new();
    for group in (0..channels.num_groups).filter(|&group| !channels.fixed[group] && !members[group].is_empty()) {
        by_members.entry((&members[group], &readers[group])).or_default().push(group);
    }
    let layer = |mut groups: Vec<Group>| {
        let importance = |group: Group| scales[group].iter().sum::<f64>() / scales[group].len() as f64;
        groups.sort_by(|&a, &b| importance(a).total_cmp(&importance(b)).then(a.cmp(&b)));
        Layer { importance: groups.iter().map(|&group| importance(group)).collect(), groups, gone: 0 }
    };
    Some(by_members.into_values().map(layer).collect())
}

/// The network of the channels that are kept.
fn narrowed(net: &StudentNet, channels: &Channels, kept: &[bool]) -> Result<StudentNet> {
    let count = |groups: &[Group]| groups.iter().filter(|&&group| kept[group]).count();
    let widths = Widths {
        outputs: channels.outputs.iter().map(|groups| count(groups)).collect(),
        first_parts: channels.first_parts.iter().map(|groups| count(groups)).collect(),
    };
    net.with_widths(&widths).map_err(|found| Error::Mismatch {
        found: format!("{} cannot be pruned: {found}", net.model),
        remedy: "Take another student.".to_owned(),
    })
}

/// The values of the channels that are kept.
fn narrowed_values(state: &State, channels: &Channels, kept: &[bool]) -> Vec<Values> {
    let net = state.net();
    let all: Vec<(&ParamSpec, &Values)> = state.iter().collect();
    let mut values = Vec::with_capacity(all.len());
    let first_param = net.first_param();
    for (id, spec) in net.convs.iter().enumerate() {
        let outputs: Vec<bool> = channels.outputs[id].iter().map(|&group| kept[group]).collect();
        let inputs: Vec<bool> = match spec.groups {
            1 => channels.inputs[id].iter().map(|&group| kept[group]).collect(),
            _ => vec![true],
        };
        let next =
            first_param.get(id + 1).copied().unwrap_or(first_param[id] + if spec.then == Then::Bias { 2 } else { 6 });
        values.extend(all[first_param[id]..next].iter().map(|(param, old)| match (param.role, old) {
            (Role::ConvWeight, Values::F32(old)) => {
                let per_input = spec.kernel * spec.kernel;
                let rows = old.chunks(inputs.len() * per_input).zip(&outputs).filter(|(_, kept)| **kept);
                let columns = rows.flat_map(|(row, _)| row.chunks(per_input).zip(&inputs).filter(|(_, kept)| **kept));
                Values::F32(columns.flat_map(|(values, _)| values.iter().copied()).collect())
            }
            (Role::BatchCount, old) => (*old).clone(),
            (_, Values::F32(old)) => {
                Values::F32(old.iter().zip(&outputs).filter(|(_, kept)| **kept).map(|(value, _)| *value).collect())
            }
            (_, old) => (*old).clone(),
        }));
    }
    // The DFL's constants.
    let done = values.len();
    values.extend(all[done..].iter().map(|(_, values)| (*values).clone()));
    values
}
