//! Which layers stay float.

use crate::detector::Layer;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashSet;

/// A layer, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct LayerChoice {
    /// Its name in the graph.
    pub name: String,
    /// Multiply-adds for one image; 0 of a layer that cannot be quantized.
    pub multiply_adds: u64,
    /// Divergence from the float32 model with this layer alone quantized, in nats per expected object; none where it was not
    /// measured.
    pub divergence: Option<f64>,
    /// Why it stays float; none of a layer that computes with integers.
    pub float_because: Option<String>,
}

/// The layers that stay float: those with the most divergence for each multiply-add, until their multiply-adds are `share` of
/// all. A layer that no longer fits is passed over. `divergences`: of each of `layers`, none for the last ones.
pub(super) fn float_layers(
    layers: &[Layer],
    multiply_adds: &[u64],
    divergences: &[Option<f64>],
    share: f64,
) -> HashSet<String> {
    let total: u64 = multiply_adds.iter().sum();
    let mut left = total as f64 * share;
    let mut order: Vec<(f64, usize)> = divergences
        .iter()
        .enumerate()
        .filter_map(|(i, divergence)| Some(((*divergence)? / multiply_adds[i].max(1) as f64, i)))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut chosen = HashSet::new();
    for (_, i) in order {
        if multiply_adds[i] as f64 <= left {
            left -= multiply_adds[i] as f64;
            chosen.insert(layers[i].output.clone());
        }
    }
    chosen
}
