//! One pass over the class logits of an image: highest logit and sum of probabilities of each anchor.
//!
//! 672,000 logistic functions for 80 classes at 640 pixels, so the compiler makes a version of the loop for each width
//! of registers and the processor's is chosen at run time. All versions do the same operations in the same order (Rust
//! never fuses a multiplication and an addition by itself), so they give the same bits.

use multiversion::multiversion;

/// What the selection of predictions needs of their class logits, `[N]` each.
#[derive(Debug, Default)]
pub struct ScoreSums {
    /// The highest class logit.
    pub max_logit: Vec<f32>,
    /// Its probability.
    pub scores: Vec<f32>,
    /// The sum of probabilities over the classes.
    pub prob_sum: Vec<f32>,
}

impl ScoreSums {
    /// Empty sums of `n` predictions.
    pub(super) fn reset(&mut self, n: usize) {
        for (values, start) in
            [(&mut self.max_logit, f32::NEG_INFINITY), (&mut self.scores, 0.0), (&mut self.prob_sum, 0.0)]
        {
            values.clear();
            values.resize(n, start);
        }
    }
}

/// Adds one class's logits to the highest logit and the probability sum of each anchor. A logit that is NaN makes the sum NaN.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn add_class(logits: &[f32], max_logit: &mut [f32], prob_sum: &mut [f32]) {
    for ((&logit, max), sum) in logits.iter().zip(max_logit).zip(prob_sum) {
        *max = max.max(logit);
        *sum += logistic(logit);
    }
}

/// `1 / (1 + exp(-x))` without branches; off by less than 2e-7.
#[inline(always)]
fn logistic(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to a whole number, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few enough bits that its multiples are exact (Cody and Waite 1980).
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Beyond this the result is 0 or 1 to float32's precision, and the exponent below stays in range.
    let t = (-x).clamp(-87.0, 87.0);
    let shifted = t * std::f32::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (t - k * LN_2_HIGH) - k * LN_2_LOW;
    // exp(r) for |r| <= ln(2) / 2: Cephes' polynomial (Moshier, expf).
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let exp_r = p * (r * r) + r + 1.0;
    // Times 2^k, by adding k to the exponent.
    let power = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    1.0 / (1.0 + exp_r * power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::HeadKind;

    fn sigmoid(logit: f32) -> f32 {
        HeadKind::Yolov8Dfl.probability(logit)
    }

    #[test]
    fn is_the_logistic_function() {
        for i in -2_000_000..=2_000_000 {
            let x = i as f32 * 6e-5;
            let error = (f64::from(logistic(x)) - f64::from(sigmoid(x))).abs();
            assert!(error < 2e-7, "{x}: {error}");
        }
        assert!(logistic(f32::NAN).is_nan());
        assert_eq!(logistic(f32::INFINITY), 1.0);
        assert!(logistic(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn small_probabilities_are_exact_relative_to_themselves() {
        for i in 0..100_000 {
            let x = -80.0 + i as f32 * 8e-4;
            let error = f64::from(logistic(x)) / (1.0 / (1.0 + (-f64::from(x)).exp())) - 1.0;
            assert!(error.abs() < 3e-7, "{x}: {error}");
        }
    }

    #[test]
    fn every_width_of_registers_gives_the_same_bits() {
        let logits: Vec<f32> = (0..1003).map(|i| (i as f32 * 0.731).sin() * 14.0).collect();
        let (mut max, mut sum) = (vec![0.5; 1003], vec![0.25; 1003]);
        add_class(&logits, &mut max, &mut sum);
        for (i, &logit) in logits.iter().enumerate() {
            assert_eq!(max[i], logit.max(0.5));
            assert_eq!(sum[i].to_bits(), (0.25 + logistic(logit)).to_bits());
        }
    }
}
