//! The moving average of the student's weights that is evaluated and shipped: Ultralytics' `ModelEMA`.

use super::flat::FlatTensors;
use tch::{Kind, Tensor, no_grad};

/// The highest share of the average that a step keeps.
const DECAY: f64 = 0.9999;
/// Steps over which the share rises: early averages follow the weights closely.
const TAU: f64 = 2000.0;

/// Averages of the parameters and of the running statistics of normalisations.
#[derive(Debug)]
pub struct Ema {
    params: FlatTensors,
    buffers: FlatTensors,
    updates: i64,
}

impl Ema {
    /// Begins with a copy of the student.
    pub fn new(params: &FlatTensors, buffers: &FlatTensors) -> Self {
        Self { params: params.copy(), buffers: buffers.copy(), updates: 0 }
    }

    /// Takes in the student's values after a step: `average = d * average + (1 - d) * value` with `d = 0.9999 * (1 - e^(-updates / 2000))`.
    ///
    /// # Panics
    /// If the student is not laid out as the one that this began with.
    pub fn update(&mut self, params: &FlatTensors, buffers: &FlatTensors) {
        self.updates += 1;
        let rest = 1.0 - DECAY * (1.0 - (-(self.updates as f64) / TAU).exp());
        no_grad(|| {
            let _ = self.params.values().shallow_clone().lerp_(params.values(), rest);
            let _ = self.buffers.values().shallow_clone().lerp_(buffers.values(), rest);
        });
    }

    /// The averaged parameters: [`FlatTensors::lend`] makes another network's parameters views of them.
    pub fn params(&self) -> &FlatTensors {
        &self.params
    }

    /// The averaged running statistics.
    pub fn buffers(&self) -> &FlatTensors {
        &self.buffers
    }

    /// What [`Ema::load_state`] needs: views under the tensors' own names, and `updates`.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let named = self.params.views().chain(self.buffers.views()).map(|(name, view)| (name.to_owned(), view));
        named.chain([("updates".to_owned(), Tensor::from(self.updates))]).collect()
    }

    /// Goes on from a state.
    ///
    /// # Errors
    /// In words, if a tensor is missing or has another shape; the average is then not to be used.
    pub fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), String> {
        let updates = state.iter().find(|(name, _)| name == "updates").ok_or("updates is missing")?;
        if updates.1.kind() != Kind::Int64 || updates.1.numel() != 1 {
            return Err("updates is not one whole number".to_owned());
        }
        self.params.read_into(self.params.values(), "", state)?;
        self.buffers.read_into(self.buffers.values(), "", state)?;
        self.updates = updates.1.int64_value(&[]);
        Ok(())
    }
}
