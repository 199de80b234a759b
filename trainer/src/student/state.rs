//! The values of a network's tensors as plain numbers: what goes to and comes from files, and the random start.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    net::StudentNet,
    params::{ParamSpec, Role},
};

/// Values of one tensor, the last dimension fastest.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Every tensor but the batch counts.
    F32(Vec<f32>),
    /// Batch counts ([`Role::BatchCount`]).
    I64(Vec<i64>),
}

impl Values {
    /// The floats; empty for integers.
    pub fn as_f32(&self) -> &[f32] {
        match self {
            Self::F32(values) => values,
            Self::I64(_) => &[],
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }
}

/// A network with the values of all its tensors, outside libtorch.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    net: StudentNet,
    params: Vec<ParamSpec>,
    values: Vec<Values>,
}

impl State {
    /// A network with one entry of `values` for each of [`StudentNet::params`], in that order.
    ///
    /// # Panics
    /// If their number, their type or a length does not fit.
    pub fn new(net: StudentNet, values: Vec<Values>) -> Self {
        let params = net.params();
        assert_eq!(params.len(), values.len(), "one entry per tensor");
        for (param, values) in params.iter().zip(&values) {
            let fits =
                values.len() == param.num_elements() && param.role.is_integer() == matches!(values, Values::I64(_));
            assert!(fits, "{} has other values than {:?}", param.name, param.shape);
        }
        Self { net, params, values }
    }

    /// A random start as Ultralytics makes it: PyTorch's default for convolutions, batch
    /// normalisations that change nothing, and the priors of the head's biases; the branches of a
    /// head start alike. The same for the same seed, whatever else happens.
    pub fn random(net: StudentNet, seed: u64) -> Self {
        let params = net.params();
        let values = (0..params.len()).map(|index| random_values(&net, &params, index, seed)).collect();
        Self::new(net, values)
    }

    /// The structure.
    pub fn net(&self) -> &StudentNet {
        &self.net
    }

    /// Every tensor in the order of the state dict.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&ParamSpec, &Values)> {
        self.params.iter().zip(&self.values)
    }

    /// Values of the tensor at this place of the state dict.
    ///
    /// # Panics
    /// If there are not so many.
    pub(super) fn values(&self, index: usize) -> &[f32] {
        self.values[index].as_f32()
    }
}

/// Values of the tensor at `index` of `params`, those of `net`. `nn.Conv2d`:
/// `kaiming_uniform_(a=sqrt(5))`, that is uniform within 1 / sqrt(fan in); biases as
/// [`StudentNet::head`] says.
pub(super) fn random_values(net: &StudentNet, params: &[ParamSpec], index: usize, seed: u64) -> Values {
    let param = &params[index];
    let count = param.num_elements();
    match param.role {
        Role::ConvWeight => {
            let fan_in: usize = param.shape.iter().skip(1).product();
            let bound = 1.0 / (fan_in as f32).sqrt();
            // A stream of its own for each tensor: a head of other classes leaves the others as they were.
            let twin = net.head.twin_of(&param.name).and_then(|twin| params.iter().position(|p| p.name == twin));
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(twin.unwrap_or(index) as u64);
            let uniform = || (rng.next_u32() >> 8) as f32 / (1 << 23) as f32 - 1.0;
            Values::F32(std::iter::repeat_with(uniform).map(|x| x * bound).take(count).collect())
        }
        Role::Bias => {
            let prior = net.head.bias_priors.iter().find(|(name, _)| *name == param.name);
            Values::F32(vec![prior.map_or(0.0, |(_, value)| *value); count])
        }
        Role::NormWeight | Role::RunningVar => Values::F32(vec![1.0; count]),
        Role::RunningMean => Values::F32(vec![0.0; count]),
        Role::BatchCount => Values::I64(vec![0; count]),
        Role::Constant => Values::F32((0..count).map(|bin| bin as f32).collect()),
    }
}
