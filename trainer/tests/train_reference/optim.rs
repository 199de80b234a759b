//! Optimizers, clipping, moving average and schedule against `torch.optim` and Ultralytics.

use crate::{Golden, assert_close, noise};
use logitcache_train::train::{
    Decay,
    ema::Ema,
    flat::{FlatParams, FlatTensors, ParamGroup},
    optim::{Algorithm, Optimizer},
    schedule::{Rates, Schedule},
};
use tch::{Tensor, no_grad};

const RELATIVE: f64 = 1e-6;

/// The generator's `Tiny`: its parameters in order.
struct Tiny(Vec<(String, Tensor, ParamGroup)>);

impl Tiny {
    fn new(channels_last: bool) -> Self {
        let shapes: [(&str, &[i64], ParamGroup); 4] = [
            ("conv.weight", &[2, 3, 3, 3], ParamGroup::Weight),
            ("conv.bias", &[2], ParamGroup::Bias),
            ("bn.weight", &[2], ParamGroup::Norm),
            ("bn.bias", &[2], ParamGroup::Bias),
        ];
        let params = shapes.into_iter().zip(0u32..).map(|((name, shape, group), i)| {
            let mut value = noise(shape, 100 * i) - 0.5;
            if channels_last && shape.len() == 4 {
                value = value.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]);
            }
            (name.to_owned(), value.set_requires_grad(true), group)
        });
        Self(params.collect())
    }

    fn flat(&self) -> FlatParams {
        FlatParams::new(self.0.iter().map(|(name, tensor, group)| (name.clone(), tensor.shallow_clone(), *group)))
    }

    fn values(&self) -> Tensor {
        Tensor::cat(&self.0.iter().map(|(_, tensor, _)| tensor.detach().reshape([-1])).collect::<Vec<_>>(), 0)
    }

    fn grads(&self) -> Tensor {
        Tensor::cat(&self.0.iter().map(|(_, tensor, _)| tensor.grad().reshape([-1])).collect::<Vec<_>>(), 0)
    }

    /// Gradients by a backward pass, as in training.
    fn backward(&self, params: &FlatParams, step: u32, scale: f64) {
        params.zero_grad();
        for ((_, tensor, _), i) in self.0.iter().zip(0u32..) {
            (tensor * ((noise(&tensor.size(), 10_000 + 1000 * step + 100 * i) - 0.5) * scale)).sum(None).backward();
        }
    }
}

fn rates(step: u32) -> Rates {
    // The generator's rates are in torch's order of groups: biases, weights, norms.
    let lr = [0.01, 0.02, 0.03].map(|base| base / f64::from(step + 1));
    Rates { lr, momentum: 0.8 + 0.02 * f64::from(step) }
}

#[test]
fn steps_are_those_of_torch() {
    for (name, algorithm) in [("adamw", Algorithm::ADAMW), ("sgd", Algorithm::Sgd)] {
        for channels_last in [false, true] {
            let expected = Golden::load("optim").get(name);
            let tiny = Tiny::new(channels_last);
            let params = tiny.flat();
            let mut optimizer = Optimizer::new(algorithm, 0.05, &params);
            for step in 0..6u32 {
                tiny.backward(&params, step, 2.0);
                optimizer.step(&params, &rates(step));
                assert_close(name, &tiny.values(), &expected.get(i64::from(step)), RELATIVE);
            }
        }
    }
}

/// Interrupted, written out, read into a network of another memory order: the same bits.
#[test]
fn a_state_goes_on_exactly() {
    for algorithm in [Algorithm::ADAMW, Algorithm::Sgd] {
        let tiny = Tiny::new(false);
        let params = tiny.flat();
        let mut optimizer = Optimizer::new(algorithm, 0.05, &params);
        let run = |tiny: &Tiny, params: &FlatParams, optimizer: &mut Optimizer, steps: std::ops::Range<u32>| {
            for step in steps {
                tiny.backward(params, step, 2.0);
                optimizer.step(params, &rates(step));
            }
        };
        run(&tiny, &params, &mut optimizer, 0..3);
        let copy = |(name, tensor): (String, Tensor)| (name, tensor.copy());
        let state: Vec<_> = optimizer.state(&params).into_iter().map(copy).collect();
        let values: Vec<_> = tiny.0.iter().map(|(_, tensor, _)| tensor.detach().copy()).collect();
        run(&tiny, &params, &mut optimizer, 3..6);

        let again = Tiny::new(true);
        for ((_, tensor, _), value) in again.0.iter().zip(&values) {
            no_grad(|| tensor.shallow_clone().copy_(value));
        }
        let params = again.flat();
        let mut optimizer = Optimizer::new(algorithm, 0.05, &params);
        optimizer.load_state(&params, &state).unwrap();
        run(&again, &params, &mut optimizer, 3..6);
        assert_eq!(again.values(), tiny.values());
    }
}

#[test]
fn a_state_of_something_else_is_refused_in_words() {
    let tiny = Tiny::new(false);
    let params = tiny.flat();
    let mut optimizer = Optimizer::new(Algorithm::ADAMW, 0.0, &params);
    let mut state = Optimizer::new(Algorithm::Sgd, 0.0, &params).state(&params);
    assert_eq!(optimizer.load_state(&params, &state).unwrap_err(), "exp_avg.conv.weight is missing");
    state = optimizer.state(&params);
    state[0].1 = Tensor::zeros([3], tch::kind::FLOAT_CPU);
    let error = optimizer.load_state(&params, &state).unwrap_err();
    assert_eq!(error, "exp_avg.conv.weight has the shape [3], expected [2, 3, 3, 3]");
    state.pop();
    assert_eq!(optimizer.load_state(&params, &state).unwrap_err(), "step is missing");
}

#[test]
fn gradients_are_clipped_as_torch_does() {
    let golden = Golden::load("optim");
    for (name, scale) in [("clip_large", 30.0), ("clip_small", 0.5)] {
        let tiny = Tiny::new(true);
        let params = tiny.flat();
        tiny.backward(&params, 50, scale);
        let norm = params.clip_grad_norm(10.0);
        assert_close(name, &norm, &golden.get(&format!("{name}_norm")), RELATIVE);
        assert_close(name, &tiny.grads(), &golden.get(name), RELATIVE);
    }
    let tiny = Tiny::new(false);
    let params = tiny.flat();
    tiny.backward(&params, 50, f64::INFINITY);
    assert!(!params.clip_grad_norm(10.0).double_value(&[]).is_finite());
}

#[test]
fn the_moving_average_is_ultralytics() {
    let expected = Golden::load("optim").get("ema");
    let tiny = Tiny::new(true);
    let params = tiny.flat();
    let running = [("bn.running_mean", 0.0), ("bn.running_var", 1.0)]
        .map(|(name, value)| (name.to_owned(), Tensor::full([2], value, tch::kind::FLOAT_CPU)));
    let buffers = FlatTensors::new(&running);
    let mut ema = Ema::new(params.params(), &buffers);
    let mut halfway = Vec::new();
    let set = |step: u32| {
        let all = tiny.0.iter().map(|(_, tensor, _)| tensor).chain(running.iter().map(|(_, tensor)| tensor));
        for (tensor, i) in all.zip(0u32..) {
            no_grad(|| tensor.shallow_clone().copy_(&noise(&tensor.size(), 20_000 + 1000 * step + 100 * i)));
        }
    };
    // Another network that looks at the averages.
    let other = Tiny::new(true);
    let lent: Vec<_> = ["conv.weight", "bn.weight", "conv.bias", "bn.bias"]
        .map(|name| other.0.iter().find(|(own, ..)| own == name).unwrap())
        .map(|(name, tensor, _)| (name.clone(), tensor.shallow_clone()))
        .into();
    ema.params().lend(&lent);
    for step in 0..5u32 {
        set(step);
        ema.update(params.params(), &buffers);
        let running: Vec<_> = ema.buffers().views().map(|(_, view)| view).collect();
        let got = Tensor::cat(&[other.values(), running[0].shallow_clone(), running[1].shallow_clone()], 0);
        assert_close("ema", &got, &expected.get(i64::from(step)), RELATIVE);
        if step == 2 {
            halfway = ema.state().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        }
    }
    let end = ema.params().values().copy();
    ema.load_state(&halfway).unwrap();
    for step in 3..5 {
        set(step);
        ema.update(params.params(), &buffers);
    }
    assert_eq!(&end, ema.params().values());
    drop(halfway.remove(1));
    assert_eq!(ema.load_state(&halfway).unwrap_err(), "bn.weight is missing");
}

#[test]
fn the_schedule_is_ultralytics() {
    let golden = Golden::load("optim");
    for (name, decay) in [("schedule_cosine", Decay::Cosine), ("schedule_linear", Decay::Linear)] {
        let schedule = Schedule {
            epochs: 6,
            batches_per_epoch: 7,
            lr: 0.02,
            warmup_lr: 0.0,
            warmup_bias_lr: 0.1,
            warmup_epochs: 2.5,
            momentum: 0.937,
            warmup_momentum: 0.8,
            decay,
            final_fraction: 0.01,
        };
        assert_eq!(schedule.warmup_steps(), 18);
        let rows: Vec<f32> = (0..6)
            .flat_map(|epoch| (0..7).map(move |batch| (epoch, batch)))
            .flat_map(|(epoch, batch)| {
                let Rates { lr: [weight, norm, bias], momentum } = schedule.rates(epoch, batch);
                [weight, norm, bias, momentum].map(|value| value as f32)
            })
            .collect();
        assert_close(name, &Tensor::from_slice(&rows).view([-1, 4]), &golden.get(name), RELATIVE);
    }
}

#[test]
fn the_last_epoch_is_no_warmup() {
    let schedule = |epochs, warmup_epochs| Schedule {
        epochs,
        batches_per_epoch: 10,
        lr: 1e-4,
        warmup_lr: 1e-5,
        warmup_bias_lr: 1e-5,
        warmup_epochs,
        momentum: 0.937,
        warmup_momentum: 0.8,
        decay: Decay::Cosine,
        final_fraction: 0.01,
    };
    assert_eq!(schedule(1, 3.0).warmup_steps(), 0);
    assert_eq!(schedule(1, 3.0).rates(0, 0).lr, [1e-4; 3]);
    assert_eq!(schedule(2, 3.0).warmup_steps(), 10);
    assert_eq!(schedule(5, 3.0).rates(0, 0).lr, [1e-5; 3]);
    assert_eq!(schedule(5, 0.0).warmup_steps(), 0);
}
