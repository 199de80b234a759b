//! AdamW and SGD over flat buffers, equal to `torch.optim`'s, with their state in the open (`tch`'s optimizers hide it, so that training
//! could not be resumed exactly).

use super::{
    flat::{FlatParams, ParamGroup},
    schedule::Rates,
};
use tch::{Kind, Tensor, no_grad};

/// The rule of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Algorithm {
    /// `torch.optim.AdamW` (Loshchilov & Hutter 2019).
    AdamW {
        /// Decay of the mean of gradients; Ultralytics' `momentum`, 0.9.
        beta1: f64,
        /// Decay of the mean of squared gradients, 0.999.
        beta2: f64,
        /// Added to the divisor, 1e-8.
        eps: f64,
    },
    /// `torch.optim.SGD` with Nesterov's momentum, which the schedule gives.
    Sgd,
}

impl Algorithm {
    /// AdamW as Ultralytics sets it up.
    pub const ADAMW: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8 };

    /// Names of the buffers that a step remembers.
    fn buffers(self) -> &'static [&'static str] {
        match self {
            Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
            Self::Sgd => &["momentum_buffer"],
        }
    }
}

/// An optimizer with its state. The parameters are handed to every step.
#[derive(Debug)]
pub struct Optimizer {
    algorithm: Algorithm,
    /// Of the weights' group alone.
    weight_decay: f64,
    /// Steps made.
    step: i64,
    /// Laid out like the parameters, in order of [`Algorithm::buffers`].
    buffers: Vec<Tensor>,
}

impl Optimizer {
    /// A fresh one. `weight_decay` is for the weights' group alone.
    pub fn new(algorithm: Algorithm, weight_decay: f64, params: &FlatParams) -> Self {
        let buffers = algorithm.buffers().iter().map(|_| params.grads().zeros_like()).collect();
        Self { algorithm, weight_decay, step: 0, buffers }
    }

    /// Changes the parameters by their gradients, which stay as they are.
    pub fn step(&mut self, params: &FlatParams, rates: &Rates) {
        self.step += 1;
        let values = params.groups_of(params.params().values());
        let grads = params.groups_of(params.grads());
        let buffers: Vec<_> = self.buffers.iter().map(|buffer| params.groups_of(buffer)).collect();
        no_grad(|| {
            for (group, ((mut value, grad), lr)) in values.into_iter().zip(grads).zip(rates.lr).enumerate() {
                let decay = if group == ParamGroup::Weight as usize { self.weight_decay } else { 0.0 };
                match (self.algorithm, buffers.as_slice()) {
                    (Algorithm::AdamW { beta1, beta2, eps }, [mean, square]) => {
                        let (mut mean, mut square) = (mean[group].shallow_clone(), square[group].shallow_clone());
                        let step = self.step as f64;
                        let _ = value.g_mul_scalar_(1.0 - lr * decay);
                        let _ = mean.lerp_(&grad, 1.0 - beta1);
                        let _ = square.g_mul_scalar_(beta2).g_add_(&(&grad * &grad * (1.0 - beta2)));
                        let divisor = (square.sqrt().g_div_scalar_((1.0 - beta2.powf(step)).sqrt())).g_add_scalar_(eps);
                        let _ = value.g_add_(&(mean * (-lr / (1.0 - beta1.powf(step)))).g_div_(&divisor));
                    }
                    (Algorithm::Sgd, [momentum]) => {
                        let mut momentum = momentum[group].shallow_clone();
                        let grad = if decay == 0.0 { grad } else { grad + &value * decay };
                        let _ = momentum.g_mul_scalar_(rates.momentum).g_add_(&grad);
                        let _ = value.g_add_(&((grad + momentum * rates.momentum) * -lr));
                    }
                    _ => unreachable!("buffers are made for the algorithm"),
                }
            }
        });
    }

    /// What [`Optimizer::load_state`] needs to go on exactly: views, named `exp_avg.` (or `exp_avg_sq.`, `momentum_buffer.`) and the
    /// parameter, in the parameter's shape, and `step`.
    pub fn state(&self, params: &FlatParams) -> Vec<(String, Tensor)> {
        let named = self.algorithm.buffers().iter().zip(&self.buffers).flat_map(|(buffer, values)| {
            params.params().views_of(values).map(move |(name, view)| (format!("{buffer}.{name}"), view))
        });
        named.chain([("step".to_owned(), Tensor::from(self.step))]).collect()
    }

    /// Goes on from a state, whatever the memory order or the device it was made with.
    ///
    /// # Errors
    /// In words, if a tensor is missing or has another shape; the optimizer is then not to be used.
    pub fn load_state(&mut self, params: &FlatParams, state: &[(String, Tensor)]) -> Result<(), String> {
        let step = state.iter().find(|(name, _)| name == "step").ok_or("step is missing")?;
        if step.1.kind() != Kind::Int64 || step.1.numel() != 1 {
            return Err("step is not one whole number".to_owned());
        }
        for (buffer, values) in self.algorithm.buffers().iter().zip(&self.buffers) {
            params.params().read_into(values, &format!("{buffer}."), state)?;
        }
        self.step = step.1.int64_value(&[]);
        Ok(())
    }
}
