//! The forward pass with 8-bit rounding, as a quantized file computes it. Gradients pass the rounding as if
//! it were not there, where a value lies within the range (straight-through estimator; Bengio et al. 2013,
//! arXiv 1308.3432; Jacob et al. 2018, arXiv 1712.05877).
//!
//! Batch normalisations are part of their convolutions, as in the file, with the statistics that the
//! student has: they no longer change.

use std::cell::OnceCell;

use tch::Tensor;

use super::{
    names::{self, Unnamed},
    net::{ConvId, Ops, Then},
    network::Torch,
};
use crate::detector::RoundedTensors;

/// Levels of the weights on each side of 0.
const SIDE_LEVELS: i64 = 127;
/// The highest level of an activation.
const LAST_LEVEL: i64 = 255;

/// A map under the name that it has in the exported file.
pub(super) struct Named {
    name: String,
    pub(super) tensor: Tensor,
    rounded: OnceCell<Tensor>,
}

impl Named {
    pub fn image(images: Tensor) -> Self {
        Self::new(names::IMAGES.to_owned(), images)
    }

    fn new(name: String, tensor: Tensor) -> Self {
        Self { name, tensor, rounded: OnceCell::new() }
    }
}

pub(super) struct Rounded<'n> {
    torch: Torch<'n>,
    tensors: &'n RoundedTensors,
    unnamed: Unnamed,
}

impl<'n> Rounded<'n> {
    pub fn new(torch: Torch<'n>, tensors: &'n RoundedTensors) -> Self {
        Self { torch, tensors, unnamed: Unnamed::default() }
    }

    /// The map as the node whose first output is `node` reads it.
    fn read(&self, node: &str, x: &Named) -> Tensor {
        let Some((scale, zero_point)) = self.tensors.read_by(node, &x.name) else { return x.tensor.shallow_clone() };
        let round = || x.tensor.fake_quantize_per_tensor_affine(f64::from(scale), i64::from(zero_point), 0, LAST_LEVEL);
        x.rounded.get_or_init(round).shallow_clone()
    }
}

/// Rounds weights, `[out, ...]`, channel by channel: the largest of each is level 127.
fn round_weights(weights: &Tensor) -> Tensor {
    let largest = weights.detach().abs().amax([1, 2, 3], false);
    let scales = (largest / SIDE_LEVELS as f64).clamp_min(f64::from(f32::MIN_POSITIVE));
    weights.fake_quantize_per_channel_affine(&scales, &scales.zeros_like(), 0, -SIDE_LEVELS, SIDE_LEVELS)
}

impl Ops for Rounded<'_> {
    type Map = Named;

    fn conv(&mut self, id: ConvId, x: &Named) -> Named {
        let spec = self.torch.spec(id);
        let name = spec.output_name();
        let (weights, bias) = self.torch.folded(id);
        let weights = if self.tensors.has_integer_weights(&name) { round_weights(&weights) } else { weights };
        let y = self.torch.convolve(id, &self.read(&name, x), &weights, Some(&bias));
        let y = Named::new(name, y);
        if spec.then != Then::NormSilu {
            return y;
        }
        let (sigmoid, silu) = (spec.sigmoid_name(), spec.silu_name());
        let gate = self.read(&sigmoid, &y).sigmoid();
        let gate = Named::new(sigmoid, gate);
        let product = self.read(&silu, &y) * self.read(&silu, &gate);
        Named::new(silu, product)
    }

    fn split(&mut self, x: &Named, first: usize) -> [Named; 2] {
        let [a, b] = names::halves(&self.unnamed.next("split"));
        let [first, second] = self.torch.split(&self.read(&a, x), first);
        [Named::new(a, first), Named::new(b, second)]
    }

    fn concat(&mut self, maps: &[&Named]) -> Named {
        let name = self.unnamed.next("concat");
        let maps: Vec<Tensor> = maps.iter().map(|map| self.read(&name, map)).collect();
        Named::new(name, Tensor::cat(&maps, 1))
    }

    fn add(&mut self, a: &Named, b: &Named) -> Named {
        let name = self.unnamed.next("add");
        let sum = self.read(&name, a) + self.read(&name, b);
        Named::new(name, sum)
    }

    fn attention(&mut self, qkv: &Named, heads: usize) -> [Named; 2] {
        let [by_head, attended, values] = names::attention(&self.unnamed.next("attention"));
        let [a, b] = self.torch.attention(&self.read(&by_head, qkv), heads);
        [Named::new(attended, a), Named::new(values, b)]
    }

    fn max_pool_5(&mut self, x: &Named) -> Named {
        let name = self.unnamed.next("max_pool");
        let pooled = self.torch.max_pool_5(&self.read(&name, x));
        Named::new(name, pooled)
    }

    fn upsample_2(&mut self, x: &Named) -> Named {
        let name = self.unnamed.next("upsample");
        let larger = self.torch.upsample_2(&self.read(&name, x));
        Named::new(name, larger)
    }

    fn detach(&mut self, x: &Named) -> Named {
        Named::new(x.name.clone(), x.tensor.detach())
    }
}
