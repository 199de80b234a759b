//! Many tensors in one buffer, so that a step over all of them is a few large operations.

use std::ops::Range;
use tch::{Kind, Tensor, no_grad};

/// Where a tensor begins in its buffer is a multiple of this many values: 64 bytes, what vector instructions like.
const ALIGN: i64 = 16;

/// One float32 buffer that holds named tensors. Their owners go on using them: they have become views of the buffer.
#[derive(Debug)]
pub struct FlatTensors {
    /// `[n]`, tensor after tensor, each in its own memory order; gaps hold zeros.
    values: Tensor,
    entries: Vec<Entry>,
}

/// Where a tensor lies.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    size: Vec<i64>,
    /// In values: contiguous, channels last or any other order without gaps.
    stride: Vec<i64>,
    offset: i64,
}

impl FlatTensors {
    /// Moves the tensors' values into one buffer and makes the tensors views of it. Each keeps its memory order.
    ///
    /// # Panics
    /// If a tensor is not float32, has gaps between its values, or lies on another device than the others.
    pub fn new(tensors: &[(String, Tensor)]) -> Self {
        let mut offset = 0;
        let entries: Vec<Entry> = tensors
            .iter()
            .map(|(name, tensor)| {
                assert_eq!(tensor.kind(), Kind::Float, "{name}");
                assert!(is_dense(&tensor.size(), &tensor.stride()), "{name} has gaps between its values");
                let entry = Entry { name: name.clone(), size: tensor.size(), stride: tensor.stride(), offset };
                offset += (tensor.numel() as i64 + ALIGN - 1) / ALIGN * ALIGN;
                entry
            })
            .collect();
        let device = tensors.first().map_or(tch::Device::Cpu, |(_, tensor)| tensor.device());
        let flat = Self { values: Tensor::zeros([offset], (Kind::Float, device)), entries };
        no_grad(|| {
            for ((_, mut view), (_, tensor)) in flat.views().zip(tensors) {
                view.copy_(tensor);
            }
        });
        flat.lend(tensors);
        flat
    }

    /// Makes other tensors of the same names and shapes views of this buffer, whose values they then have.
    ///
    /// # Panics
    /// If they are not the same names and shapes in the same order.
    pub fn lend(&self, tensors: &[(String, Tensor)]) {
        assert_eq!(tensors.len(), self.entries.len(), "number of tensors");
        for ((own_name, view), (name, tensor)) in self.views().zip(tensors) {
            assert_eq!((own_name, view.size()), (name.as_str(), tensor.size()));
            tensor.shallow_clone().set_data(&view);
        }
    }

    /// Names and views, in order.
    pub fn views(&self) -> impl Iterator<Item = (&str, Tensor)> {
        self.views_of(&self.values)
    }

    /// `[n]` all values: what changes here changes in every tensor.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// A copy with a buffer of its own.
    pub fn copy(&self) -> Self {
        Self { values: self.values.copy(), entries: self.entries.clone() }
    }

    /// Names, and views of another buffer that is laid out like this one.
    pub(super) fn views_of(&self, buffer: &Tensor) -> impl Iterator<Item = (&str, Tensor)> {
        let buffer = buffer.shallow_clone();
        self.entries
            .iter()
            .map(move |entry| (entry.name.as_str(), buffer.as_strided(&entry.size, &entry.stride, entry.offset)))
    }

    /// Writes named tensors into a buffer that is laid out like this one. Names are looked for with `prefix` before them.
    ///
    /// # Errors
    /// In words, if one is missing or of another shape; the buffer may have been changed by then.
    pub(super) fn read_into(&self, buffer: &Tensor, prefix: &str, from: &[(String, Tensor)]) -> Result<(), String> {
        for (name, mut view) in self.views_of(buffer) {
            let name = format!("{prefix}{name}");
            let Some((_, tensor)) = from.iter().find(|(other, _)| *other == name) else {
                return Err(format!("{name} is missing"));
            };
            if tensor.size() != view.size() {
                return Err(format!("{name} has the shape {:?}, expected {:?}", tensor.size(), view.size()));
            }
            no_grad(|| view.copy_(tensor));
        }
        Ok(())
    }
}

/// Whether the values fill their stretch of memory, each place once.
fn is_dense(size: &[i64], stride: &[i64]) -> bool {
    let mut dims: Vec<(i64, i64)> =
        stride.iter().copied().zip(size.iter().copied()).filter(|&(_, size)| size != 1).collect();
    dims.sort_unstable();
    let mut expected = 1;
    dims.into_iter().all(|(stride, size)| {
        let dense = stride == expected;
        expected *= size;
        dense
    })
}

/// Ultralytics' parameter groups: decay and warm-up differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamGroup {
    /// Weights of convolutions: weight decay.
    Weight = 0,
    /// Weights of normalisations: no decay.
    Norm = 1,
    /// All biases: no decay, their own warm-up.
    Bias = 2,
}

/// The trainable parameters and their gradients in two buffers of the same layout, group after group.
#[derive(Debug)]
pub struct FlatParams {
    params: FlatTensors,
    /// `[n]`; every parameter's `grad` is a view of it, into which `backward` adds.
    grads: Tensor,
    /// Where each group lies.
    groups: [Range<i64>; 3],
}

impl FlatParams {
    /// Moves parameters (leaves that require a gradient) into one buffer; within a group they keep their order. Gradients are zero.
    ///
    /// # Panics
    /// As [`FlatTensors::new`], or if a parameter requires no gradient.
    pub fn new(params: impl IntoIterator<Item = (String, Tensor, ParamGroup)>) -> Self {
        let mut sorted: [Vec<(String, Tensor)>; 3] = Default::default();
        for (name, tensor, group) in params {
            assert!(tensor.requires_grad(), "{name} requires no gradient");
            sorted[group as usize].push((name, tensor));
        }
        let counts = sorted.each_ref().map(Vec::len);
        let all: Vec<_> = sorted.into_iter().flatten().collect();
        let flat = FlatTensors::new(&all);
        let start = |entry: usize| flat.entries.get(entry).map_or(flat.values.numel() as i64, |entry| entry.offset);
        let (first, second) = (counts[0], counts[0] + counts[1]);
        let groups = [0..start(first), start(first)..start(second), start(second)..flat.values.numel() as i64];

        let grads = flat.values.zeros_like();
        for (tensor, (_, view)) in all.iter().map(|(_, tensor)| tensor).zip(flat.views_of(&grads)) {
            // A gradient comes into being by a backward pass alone; from then on passes add into it in place.
            (tensor.sum(None) * 0.0).backward();
            tensor.grad().set_data(&view);
        }
        Self { params: flat, grads, groups }
    }

    /// The parameters.
    pub fn params(&self) -> &FlatTensors {
        &self.params
    }

    /// `[n]` all gradients.
    pub fn grads(&self) -> &Tensor {
        &self.grads
    }

    /// Sets every gradient to zero.
    pub fn zero_grad(&self) {
        let _ = self.grads.shallow_clone().zero_();
    }

    /// Scales all gradients so that their norm is at most `max_norm` (`torch.nn.utils.clip_grad_norm_`). Gives the norm before, a tensor
    /// of one number: reading it waits for the device. It is not finite where any gradient is not.
    pub fn clip_grad_norm(&self, max_norm: f64) -> Tensor {
        no_grad(|| {
            let norm = self.grads.norm();
            let factor = (max_norm / (&norm + 1e-6)).clamp_max(1.0);
            let _ = self.grads.shallow_clone().g_mul_(&factor);
            norm
        })
    }

    /// Each group's part of a buffer that is laid out like the parameters.
    pub(super) fn groups_of(&self, buffer: &Tensor) -> [Tensor; 3] {
        self.groups.each_ref().map(|range| buffer.narrow(0, range.start, range.end - range.start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels_last(size: [i64; 4]) -> Tensor {
        Tensor::arange(size.iter().product::<i64>(), tch::kind::FLOAT_CPU)
            .view([size[0], size[2], size[3], size[1]])
            .permute([0, 3, 1, 2])
    }

    fn named(tensors: Vec<Tensor>) -> Vec<(String, Tensor)> {
        tensors.into_iter().enumerate().map(|(i, tensor)| (format!("t{i}"), tensor)).collect()
    }

    #[test]
    fn tensors_keep_values_and_memory_order_and_follow_the_buffer() {
        let tensors =
            named(vec![channels_last([2, 3, 2, 2]), Tensor::from_slice(&[1.5f32, 2.5]), Tensor::from(7.0f32)]);
        let before: Vec<(Tensor, Vec<i64>)> = tensors.iter().map(|(_, t)| (t.copy(), t.stride())).collect();
        let flat = FlatTensors::new(&tensors);
        for ((copy, stride), (_, tensor)) in before.iter().zip(&tensors) {
            assert_eq!((copy, stride), (tensor, &tensor.stride()));
        }
        let _ = flat.values().shallow_clone().g_mul_scalar_(2.0);
        for ((copy, _), (_, tensor)) in before.iter().zip(&tensors) {
            assert_eq!(&(copy * 2.0), tensor);
        }
        assert_eq!(flat.values().size(), [32 + 16 + 16]);
    }

    #[test]
    fn backward_adds_into_the_buffer_of_gradients() {
        let weight = channels_last([2, 3, 2, 2]).set_requires_grad(true);
        let bias = Tensor::from_slice(&[0.5f32, -0.5]).set_requires_grad(true);
        let norm = Tensor::from_slice(&[1.0f32, 1.0]).set_requires_grad(true);
        let params = FlatParams::new([
            ("bias".to_owned(), bias.shallow_clone(), ParamGroup::Bias),
            ("weight".to_owned(), weight.shallow_clone(), ParamGroup::Weight),
            ("norm".to_owned(), norm.shallow_clone(), ParamGroup::Norm),
        ]);
        let input = Tensor::ones([1, 3, 2, 2], tch::kind::FLOAT_CPU);
        let run = || (input.conv2d(&weight, Some(&bias), 1, 0, 1, 1).view([2]) * &norm).sum(None).backward();
        run();
        run();
        let groups = params.groups_of(params.grads()).map(|group| group.narrow(0, 0, 2));
        assert_eq!(groups[0], Tensor::from_slice(&[2.0f32, 2.0]));
        assert_eq!(groups[1], Tensor::from_slice(&[133.0f32, 419.0])); // twice the sum of twelve weights and the bias
        assert_eq!(groups[2], Tensor::from_slice(&[2.0f32, 2.0]));
        assert_eq!(weight.grad(), Tensor::full([2, 3, 2, 2], 2.0, tch::kind::FLOAT_CPU));
        params.zero_grad();
        assert_eq!(weight.grad().abs().sum(None), Tensor::from(0.0f32));
        run();
        assert_eq!(bias.grad(), Tensor::from_slice(&[1.0f32, 1.0]));
    }

    #[test]
    fn a_tensor_with_gaps_is_told_from_one_without() {
        assert!(is_dense(&[2, 3, 4], &[12, 4, 1]) && is_dense(&[2, 3, 4], &[12, 1, 3]) && is_dense(&[], &[]));
        assert!(is_dense(&[2, 1, 1, 3], &[3, 77, 5, 1]));
        assert!(!is_dense(&[2, 3], &[6, 1]) && !is_dense(&[2, 3], &[0, 1]));
    }
}
