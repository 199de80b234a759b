//! The state of a network: every tensor under the name, and in the order, of Ultralytics' state dict.

use super::net::{ConvId, StudentNet, Then};

/// What a tensor is to the network; an optimizer's groups follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Weight of a convolution `[c_out, c_in / groups, kernel, kernel]`: trained, with weight decay.
    ConvWeight,
    /// Scale of a batch normalisation `[c]`: trained, without decay.
    NormWeight,
    /// Shift of a batch normalisation, or bias of a convolution, `[c]`: trained, without decay.
    Bias,
    /// Running mean of a batch normalisation `[c]`: updated by the forward pass in training.
    RunningMean,
    /// Running (unbiased) variance of a batch normalisation `[c]`: updated by the forward pass in training.
    RunningVar,
    /// How many batches a batch normalisation has seen, an int64 without dimensions.
    BatchCount,
    /// A constant that Ultralytics counts as a parameter and never trains (the DFL's weights).
    Constant,
}

impl Role {
    /// Whether gradients flow to it.
    pub fn is_trained(self) -> bool {
        matches!(self, Self::ConvWeight | Self::NormWeight | Self::Bias)
    }

    /// Whether it is a parameter and no buffer, in PyTorch's words.
    pub fn is_parameter(self) -> bool {
        self.is_trained() || self == Self::Constant
    }

    /// Whether it holds integers.
    pub fn is_integer(self) -> bool {
        self == Self::BatchCount
    }
}

/// Name, role and shape of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// Ultralytics' name, e.g. `model.0.conv.weight`.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl ParamSpec {
    /// Number of values.
    pub fn num_elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl StudentNet {
    /// Every tensor of the state dict, in its order.
    pub fn params(&self) -> Vec<ParamSpec> {
        let mut params = Vec::with_capacity(6 * self.convs.len() + 1);
        for spec in &self.convs {
            let mut push = |name: &str, role: Role, shape: &[usize]| {
                params.push(ParamSpec { name: format!("{}.{name}", spec.name), role, shape: shape.to_vec() });
            };
            let weight = [spec.c_out, spec.c_in / spec.groups, spec.kernel, spec.kernel];
            match spec.then {
                Then::NormSilu | Then::Norm => {
                    push("conv.weight", Role::ConvWeight, &weight);
                    push("bn.weight", Role::NormWeight, &[spec.c_out]);
                    push("bn.bias", Role::Bias, &[spec.c_out]);
                    push("bn.running_mean", Role::RunningMean, &[spec.c_out]);
                    push("bn.running_var", Role::RunningVar, &[spec.c_out]);
                    push("bn.num_batches_tracked", Role::BatchCount, &[]);
                }
                Then::Bias => {
                    push("weight", Role::ConvWeight, &weight);
                    push("bias", Role::Bias, &[spec.c_out]);
                }
            }
        }
        params.extend(self.head.dfl_name.iter().map(|name| {
            let shape = vec![1, self.head.reg_max(), 1, 1];
            ParamSpec { name: name.clone(), role: Role::Constant, shape }
        }));
        params
    }

    /// Where the tensors of each convolution begin in [`StudentNet::params`], by [`ConvId`].
    pub(super) fn first_param(&self) -> Vec<usize> {
        let count = |id: ConvId| match self.convs[id].then {
            Then::NormSilu | Then::Norm => 6,
            Then::Bias => 2,
        };
        (0..self.convs.len())
            .scan(0, |next, id| {
                let first = *next;
                *next += count(id);
                Some(first)
            })
            .collect()
    }

    /// Number of parameters as Ultralytics counts them: with the DFL's constants, without the buffers.
    pub fn num_parameters(&self) -> usize {
        self.params().iter().filter(|param| param.role.is_parameter()).map(ParamSpec::num_elements).sum()
    }
}

#[cfg(test)]
mod tests {
    use crate::student::{Scale, yolov8};

    #[test]
    fn counts_are_those_of_ultralytics() {
        let counts = |num_classes| Scale::ALL.map(|scale| yolov8(scale, num_classes).num_parameters());
        // f and p are ours; the others as in the comments of yolov8.yaml, n and s also in its documentation.
        assert_eq!(counts(80), [501_608, 842_728, 3_157_200, 11_166_560, 25_902_640, 43_691_520, 68_229_648]);
        assert_eq!(counts(6)[..2], [269_738, 609_034]);
    }
}
