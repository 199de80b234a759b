//! Logistic regression: a few numbers to the probability of a fault.
//!
//! Numbers are scaled to mean 0 and deviation 1; the weights have a ridge, the constant has none.
//! Newton's method, whose steps are halved until the fit gets better, in double precision and a
//! fixed order: the same input gives the same weights.

use crate::cache::sigmoid;

/// Strength of the ridge: that of a normal prior of variance 1/3.
const RIDGE: f64 = 3.0;
const STEPS: usize = 50;
/// Times that a step is halved before it is taken for none.
const HALVINGS: usize = 30;
/// A fit that gets better by less is done.
const DONE: f64 = 1e-9;

/// One case: its numbers, and whether it is a fault.
pub(super) type Example<const N: usize> = ([f64; N], bool);

/// Fitted weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Model<const N: usize> {
    mean: [f64; N],
    deviation: [f64; N],
    weights: [f64; N],
    constant: f64,
}

impl<const N: usize> Model<N> {
    /// `None` without examples of both kinds.
    pub(super) fn fit<'a>(examples: impl Iterator<Item = &'a Example<N>> + Clone) -> Option<Self> {
        let count = examples.clone().count() as f64;
        let faults = examples.clone().filter(|(_, fault)| *fault).count() as f64;
        if faults == 0.0 || faults == count {
            return None;
        }
        let mut mean = [0.0; N];
        let mut deviation = [0.0; N];
        for (x, _) in examples.clone() {
            mean.iter_mut().zip(x).for_each(|(mean, x)| *mean += x / count);
        }
        for (x, _) in examples.clone() {
            let squares = x.iter().zip(&mean).map(|(x, mean)| (x - mean) * (x - mean) / count);
            deviation.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square);
        }
        deviation.iter_mut().for_each(|value| *value = value.sqrt() + 1e-9);
        let mut model = Self { mean, deviation, weights: [0.0; N], constant: log_share(faults, count) };
        let mut best = model.quality(examples.clone());
        for _ in 0..STEPS {
            let mut gradient = vec![0.0; N + 1];
            let mut hessian = vec![vec![0.0; N + 1]; N + 1];
            for (x, fault) in examples.clone() {
                let z = model.scaled(x);
                let p = model.of_scaled(&z);
                let (miss, weight) = (f64::from(u8::from(*fault)) - p, p * (1.0 - p));
                let z: Vec<f64> = z.into_iter().chain([1.0]).collect();
                for (row, (gradient, zi)) in hessian.iter_mut().zip(gradient.iter_mut().zip(&z)) {
                    *gradient += miss * zi;
                    row.iter_mut().zip(&z).for_each(|(cell, zj)| *cell += weight * zi * zj);
                }
            }
            for (i, weight) in model.weights.iter().enumerate() {
                gradient[i] -= RIDGE * weight;
                hessian[i][i] += RIDGE;
            }
            hessian[N][N] += 1e-9;
            let step = solve(hessian, gradient);
            let next = (0..HALVINGS).map(|halving| model.moved(&step, 0.5f64.powi(halving as i32)));
            let mut next = next.map(|next| (next.quality(examples.clone()), next));
            match next.find(|(quality, _)| *quality > best) {
                Some((quality, next)) => {
                    let gain = quality - best;
                    (model, best) = (next, quality);
                    if gain < DONE {
                        break;
                    }
                }
                None => break,
            }
        }
        Some(model)
    }

    /// This model after a part of a step.
    fn moved(&self, step: &[f64], part: f64) -> Self {
        let mut moved = self.clone();
        moved.weights.iter_mut().zip(step).for_each(|(weight, step)| *weight += part * step);
        moved.constant += part * step.get(N).copied().unwrap_or_default();
        moved
    }

    /// What is maximised: the logarithm of the likelihood less the ridge.
    fn quality<'a>(&self, examples: impl Iterator<Item = &'a Example<N>>) -> f64 {
        // ln(sigmoid(z)) without overflow.
        let log_sigmoid = |z: f64| -((-z.abs()).exp().ln_1p() + (-z).max(0.0));
        let of = |(x, fault): &Example<N>| {
            let z = self.linear(&self.scaled(x));
            log_sigmoid(if *fault { z } else { -z })
        };
        examples.map(of).sum::<f64>() - RIDGE / 2.0 * self.weights.iter().map(|weight| weight * weight).sum::<f64>()
    }

    /// Weight and constant of the number itself, not scaled.
    pub(super) fn line(&self, at: usize) -> (f64, f64) {
        let (Some(weight), Some(deviation), Some(mean)) =
            (self.weights.get(at), self.deviation.get(at), self.mean.get(at))
        else {
            return (0.0, self.constant);
        };
        (weight / deviation, self.constant - weight * mean / deviation)
    }

    /// The probability of a fault.
    pub(super) fn probability(&self, x: &[f64; N]) -> f64 {
        self.of_scaled(&self.scaled(x))
    }

    fn scaled(&self, x: &[f64; N]) -> [f64; N] {
        std::array::from_fn(|at| (x[at] - self.mean[at]) / self.deviation[at])
    }

    fn of_scaled(&self, z: &[f64; N]) -> f64 {
        sigmoid(self.linear(z))
    }

    fn linear(&self, z: &[f64; N]) -> f64 {
        self.constant + self.weights.iter().zip(z).map(|(weight, z)| weight * z).sum::<f64>()
    }
}

fn log_share(faults: f64, count: f64) -> f64 {
    (faults / (count - faults)).ln()
}

/// Solves a symmetric positive system by Cholesky's method.
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for j in 0..n {
        for i in j..n {
            let sum: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let rest = a[i][j] - sum;
            a[i][j] = if i == j { rest.max(1e-12).sqrt() } else { rest / a[j][j] };
        }
    }
    for i in 0..n {
        let sum: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| a[k][i] * b[k]).sum();
        b[i] = (b[i] - sum) / a[i][i];
    }
    b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_by_hand() {
        // 4 x + 2 y = 10, 2 x + 3 y = 11
        let x = solve(vec![vec![4.0, 2.0], vec![2.0, 3.0]], vec![10.0, 11.0]);
        assert!((x[0] - 1.0).abs() < 1e-12 && (x[1] - 3.0).abs() < 1e-12, "{x:?}");
    }

    #[test]
    fn what_tells_faults_apart_gets_the_weight() {
        let examples: Vec<Example<2>> = (0..2000)
            .map(|n| {
                let x = f64::from(n % 21) - 10.0;
                ([x, f64::from(n % 7)], f64::from(n % 13) < 6.5 + x / 2.0)
            })
            .collect();
        let model = Model::fit(examples.iter()).unwrap();
        assert!(model.weights[0] > 1.0 && model.weights[1].abs() < 0.1, "{model:?}");
        let share = examples.iter().filter(|(_, fault)| *fault).count() as f64 / 2000.0;
        let mean = examples.iter().map(|(x, _)| model.probability(x)).sum::<f64>() / 2000.0;
        assert!((mean - share).abs() < 1e-6, "the mean probability is the share of faults: {mean} {share}");
        assert!(Model::<2>::fit(examples[..0].iter()).is_none());
    }

    /// A whole step of Newton's method goes too far on such examples, further with each.
    #[test]
    fn rare_faults_far_from_the_rest_are_learned() {
        let mut examples: Vec<Example<2>> =
            (0..2000).map(|n| ([f64::from(n % 50) / 10.0, f64::from(n % 3)], false)).collect();
        examples.extend((0..12).map(|n| ([40.0 + f64::from(n), f64::from(n % 3)], true)));
        let model = Model::fit(examples.iter()).unwrap();
        let of = |x: f64| model.probability(&[x, 1.0]);
        assert!(of(1.0) < 0.01 && of(50.0) > 0.9 && of(30.0) > of(10.0), "{} {} {model:?}", of(1.0), of(50.0));
        assert!(model.weights.iter().all(|weight| weight.abs() < 20.0), "{model:?}");
    }
}
