//! Learning rates and momentum of every step, as Ultralytics sets them.

use logitcache::run::Decay;
use std::f64::consts::PI;

/// What a step is made with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate of each group, in order of [`ParamGroup`](super::flat::ParamGroup): weights, norms, biases.
    pub lr: [f64; 3],
    /// Momentum of SGD.
    pub momentum: f64,
}

/// The plan of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Epochs of the run.
    pub epochs: usize,
    /// Steps of an epoch.
    pub batches_per_epoch: usize,
    /// Learning rate at the end of the warm-up, but for the decay until then.
    pub lr: f64,
    /// Learning rate of the first step (Ultralytics: 0).
    pub warmup_lr: f64,
    /// The same for biases, which may begin higher (Ultralytics: 0.1 with SGD, 0 with AdamW).
    pub warmup_bias_lr: f64,
    /// Length of the warm-up; the last epoch is never part of it.
    pub warmup_epochs: f64,
    /// Momentum of SGD after the warm-up.
    pub momentum: f64,
    /// Momentum of the first step.
    pub warmup_momentum: f64,
    /// How the learning rate falls.
    pub decay: Decay,
    /// What is left of the learning rate in the end.
    pub final_fraction: f64,
}

impl Schedule {
    /// Steps of the warm-up.
    pub fn warmup_steps(&self) -> usize {
        let epochs = self.warmup_epochs.min(self.epochs.saturating_sub(1) as f64).max(0.0);
        (epochs * self.batches_per_epoch as f64).round_ties_even() as usize
    }

    /// For one step; `epoch` and `batch` count from 0.
    pub fn rates(&self, epoch: usize, batch: usize) -> Rates {
        let lr = self.lr * self.fraction(epoch);
        let (step, warmup) = (epoch * self.batches_per_epoch + batch, self.warmup_steps());
        if warmup == 0 || step > warmup {
            return Rates { lr: [lr; 3], momentum: self.momentum };
        }
        let rise = |from: f64, to: f64| from + (to - from) * step as f64 / warmup as f64;
        Rates {
            lr: [rise(self.warmup_lr, lr), rise(self.warmup_lr, lr), rise(self.warmup_bias_lr, lr)],
            momentum: rise(self.warmup_momentum, self.momentum),
        }
    }

    /// What is left of the learning rate in an epoch.
    fn fraction(&self, epoch: usize) -> f64 {
        let done = epoch as f64 / self.epochs as f64;
        match self.decay {
            Decay::Cosine => ((1.0 - (done * PI).cos()) / 2.0).max(0.0) * (self.final_fraction - 1.0) + 1.0,
            Decay::Linear => (1.0 - done).max(0.0) * (1.0 - self.final_fraction) + self.final_fraction,
        }
    }
}
