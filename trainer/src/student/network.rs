//! A student in libtorch: forward pass and parameters on one device.

use std::sync::Arc;

use tch::{Device, Kind, Tensor};

use super::{
    net::{ConvId, ConvSpec, LevelOutput, NORM_EPS, Ops, StudentNet, Then},
    params::ParamSpec,
    rounded::{Named, Rounded},
    state::{State, Values},
};
use crate::detector::RoundedTensors;

/// Share of the newest batch in the running statistics.
const NORM_MOMENTUM: f64 = 0.03;

/// What a branch of the head gives for a batch of `B` images with `A` anchors, float32.
///
/// Anchors come in the order of the cache: levels in the order of their strides, cells of a level row by row.
#[derive(Debug)]
pub struct HeadOutput {
    /// As [`super::StudentHead::boxes`] says: `[B, 4 * reg_max, A]`, the bins of left, top, right,
    /// bottom before the softmax; or `[B, 4, A]`, their distances in cells.
    pub box_values: Tensor,
    /// `[B, C, A]` before sigmoid.
    pub class_logits: Tensor,
}

/// One tensor of the network.
#[derive(Debug)]
pub struct Param {
    /// Name in the state dict, role and shape.
    pub spec: ParamSpec,
    /// Its values: float32 (int64 for batch counts), convolution weights in channels-last memory. Gradients are asked for where
    /// [`super::Role::is_trained`].
    pub tensor: Tensor,
}

/// A detector.
#[derive(Debug)]
pub struct Network {
    net: StudentNet,
    params: Vec<Param>,
    /// The first tensor of each convolution in `params`.
    first_param: Vec<usize>,
    device: Device,
    /// What is rounded to 8 bits; `None`: nothing.
    rounded: Option<Arc<RoundedTensors>>,
}

impl Network {
    /// A network with random weights: the same for the same seed on every device and with any number of threads.
    pub fn random(net: StudentNet, seed: u64, device: Device) -> Self {
        Self::from_state(&State::random(net, seed), device)
    }

    /// A network with these values.
    pub fn from_state(state: &State, device: Device) -> Self {
        let param = |(spec, values): (&ParamSpec, &Values)| {
            let flat = match values {
                Values::F32(values) => Tensor::from_slice(values),
                Values::I64(values) => Tensor::from_slice(values),
            };
            let shape: Vec<i64> = spec.shape.iter().map(|&dim| dim as i64).collect();
            let tensor = channels_last(&flat.to_device(device).reshape(shape));
            Param { spec: spec.clone(), tensor: tensor.set_requires_grad(spec.role.is_trained()) }
        };
        let net = state.net().clone();
        let first_param = net.first_param();
        Self { params: state.iter().map(param).collect(), net, first_param, device, rounded: None }
    }

    /// The same network, which rounds weights and activations to 8 bits; the statistics of its normalisations no longer change.
    pub fn rounded(self, tensors: Option<RoundedTensors>) -> Self {
        Self { rounded: tensors.map(Arc::new), ..self }
    }

    /// The present values, copied out of libtorch.
    pub fn state(&self) -> State {
        let values = |param: &Param| {
            let flat = param.tensor.detach().to_device(Device::Cpu).contiguous().view([-1]);
            let count = param.spec.num_elements();
            if param.spec.role.is_integer() {
                let mut values = vec![0i64; count];
                flat.copy_data(&mut values, count);
                Values::I64(values)
            } else {
                let mut values = vec![0f32; count];
                flat.copy_data(&mut values, count);
                Values::F32(values)
            }
        };
        State::new(self.net.clone(), self.params.iter().map(values).collect())
    }

    /// A second network with the same values and no gradients (for a moving average of the weights).
    pub fn copy(&self) -> Self {
        let copy =
            |param: &Param| Param { spec: param.spec.clone(), tensor: tch::no_grad(|| param.tensor.detach().copy()) };
        Self {
            net: self.net.clone(),
            params: self.params.iter().map(copy).collect(),
            first_param: self.first_param.clone(),
            device: self.device,
            rounded: self.rounded.clone(),
        }
    }

    /// Size, number of classes and convolutions.
    pub fn net(&self) -> &StudentNet {
        &self.net
    }

    /// Every tensor in the order of Ultralytics' state dict.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The same, to replace or change their tensors; shape and type must stay.
    pub fn params_mut(&mut self) -> &mut [Param] {
        &mut self.params
    }

    /// Where the tensors lie.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Number of parameters as Ultralytics counts them (3,157,200 for `yolov8n` with 80 classes).
    pub fn num_parameters(&self) -> usize {
        self.net.num_parameters()
    }

    /// Runs the network on `images`, `[B, 3, height, width]` float32, RGB, 0..1, height and width multiples of the coarsest stride.
    ///
    /// Gives the first branch of the head: what is validated and exported. With `train` batch
    /// normalisation uses the batch's statistics and updates the running ones, and the output
    /// carries gradients; without it uses the running ones, and no gradients are recorded. May run
    /// under [`super::native::Autocast`].
    ///
    /// # Panics
    /// If the images have another shape or lie on another device; whenever libtorch fails (out of memory).
    pub fn forward(&self, images: &Tensor, train: bool) -> HeadOutput {
        if train { self.run(images, true) } else { tch::no_grad(|| self.run(images, false)) }
    }

    /// Runs the network as [`Network::forward`] does with `train`, and gives every branch of the
    /// head.
    ///
    /// # Panics
    /// As [`Network::forward`].
    pub fn forward_all(&self, images: &Tensor) -> Vec<HeadOutput> {
        let (torch, images) = (Torch { network: self, train: true }, channels_last(images));
        match &self.rounded {
            None => {
                self.net.run_all(&mut { torch }, images).iter().map(|levels| HeadOutput::of_levels(levels)).collect()
            }
            Some(tensors) => {
                let branches = self.net.run_all(&mut Rounded::new(torch, tensors), Named::image(images));
                branches.into_iter().map(|levels| HeadOutput::of_levels(&unnamed(levels))).collect()
            }
        }
    }

    fn run(&self, images: &Tensor, train: bool) -> HeadOutput {
        let (torch, images) = (Torch { network: self, train }, channels_last(images));
        HeadOutput::of_levels(&match &self.rounded {
            None => self.net.run(&mut { torch }, images),
            Some(tensors) => unnamed(self.net.run(&mut Rounded::new(torch, tensors), Named::image(images))),
        })
    }
}

impl HeadOutput {
    fn of_levels(levels: &[LevelOutput<Tensor>]) -> Self {
        // Joined as they lie in memory, `[B, A, channels]`: no value moves, and the rows of an anchor stay together for the losses.
        let join = |part: fn(&LevelOutput<Tensor>) -> &Tensor| {
            let rows = levels.iter().map(|level| part(level).permute([0, 2, 3, 1]).flatten(1, 2));
            Tensor::cat(&rows.collect::<Vec<_>>(), 1).to_kind(Kind::Float).transpose(1, 2)
        };
        Self { box_values: join(|level| &level.box_values), class_logits: join(|level| &level.class_logits) }
    }
}

/// The same tensor with its channels last in memory (shape unchanged); convolutions are fastest so. Other than four dimensions,
/// or already so: the tensor itself.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    match tensor.dim() {
        4 => tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
        _ => tensor.shallow_clone(),
    }
}

fn unnamed(levels: Vec<LevelOutput<Named>>) -> Vec<LevelOutput<Tensor>> {
    let level = |LevelOutput { box_values, class_logits }: LevelOutput<Named>| LevelOutput {
        box_values: box_values.tensor,
        class_logits: class_logits.tensor,
    };
    levels.into_iter().map(level).collect()
}

#[derive(Clone, Copy)]
pub(super) struct Torch<'n> {
    network: &'n Network,
    train: bool,
}

impl<'n> Torch<'n> {
    /// The tensor `offset` places after the first one of a convolution (order: [`StudentNet::params`]).
    fn tensor(&self, id: ConvId, offset: usize) -> &'n Tensor {
        &self.network.params[self.network.first_param[id] + offset].tensor
    }

    pub fn spec(&self, id: ConvId) -> &'n ConvSpec {
        self.network.net.conv(id)
    }

    pub fn convolve(&self, id: ConvId, x: &Tensor, weights: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let &ConvSpec { kernel, stride, groups, .. } = self.spec(id);
        x.conv2d(weights, bias, [stride as i64; 2], [kernel as i64 / 2; 2], [1, 1], groups as i64)
    }

    /// Weights and bias of a convolution with its normalisation, if it has one, in them.
    pub fn folded(&self, id: ConvId) -> (Tensor, Tensor) {
        let part = |offset| self.tensor(id, offset);
        match self.spec(id).then {
            Then::Bias => (part(0).shallow_clone(), part(1).shallow_clone()),
            Then::NormSilu | Then::Norm => {
                let factor = part(1) / (part(4) + NORM_EPS).sqrt();
                (part(0) * factor.view([-1, 1, 1, 1]), part(2) - part(3) * factor)
            }
        }
    }
}

impl Ops for Torch<'_> {
    type Map = Tensor;

    fn conv(&mut self, id: ConvId, x: &Tensor) -> Tensor {
        let then = self.spec(id).then;
        let conv = |bias| self.convolve(id, x, self.tensor(id, 0), bias);
        match then {
            Then::Bias => conv(Some(self.tensor(id, 1))),
            Then::NormSilu | Then::Norm => {
                let [weight, bias, mean, var] = [1, 2, 3, 4].map(|offset| Some(self.tensor(id, offset)));
                if self.train {
                    let _ = self.tensor(id, 5).shallow_clone().g_add_scalar_(1);
                }
                let x = conv(None);
                let x = x.batch_norm(weight, bias, mean, var, self.train, NORM_MOMENTUM, NORM_EPS, true);
                if then == Then::NormSilu { x.silu() } else { x }
            }
        }
    }

    fn split(&mut self, x: &Tensor, first: usize) -> [Tensor; 2] {
        let (channels, first) = (x.size()[1], first as i64);
        [x.narrow(1, 0, first), x.narrow(1, first, channels - first)]
    }

    fn concat(&mut self, maps: &[&Tensor]) -> Tensor {
        Tensor::cat(maps, 1)
    }

    fn add(&mut self, a: &Tensor, b: &Tensor) -> Tensor {
        a + b
    }

    fn attention(&mut self, qkv: &Tensor, heads: usize) -> [Tensor; 2] {
        let (batch, channels, rows, columns) = qkv.size4().unwrap_or_default();
        let (heads, keys) = (heads as i64, channels / (4 * heads as i64));
        let qkv = qkv.reshape([batch, heads, 4 * keys, rows * columns]);
        let [q, k] = [0, 1].map(|part| qkv.narrow(2, part * keys, keys));
        let v = qkv.narrow(2, 2 * keys, 2 * keys);
        let weights = (q.transpose(-2, -1).matmul(&k) * (keys as f64).powf(-0.5)).softmax(-1, None);
        let map = |x: &Tensor| channels_last(&x.reshape([batch, channels / 2, rows, columns]));
        [map(&v.matmul(&weights.transpose(-2, -1))), map(&v)]
    }

    fn max_pool_5(&mut self, x: &Tensor) -> Tensor {
        x.max_pool2d([5, 5], [1, 1], [2, 2], [1, 1], false)
    }

    fn upsample_2(&mut self, x: &Tensor) -> Tensor {
        let size = x.size();
        x.upsample_nearest2d([2 * size[2], 2 * size[3]], 2.0, 2.0)
    }

    fn detach(&mut self, x: &Tensor) -> Tensor {
        x.detach()
    }
}
