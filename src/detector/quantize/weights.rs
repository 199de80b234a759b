//! Weights as integers of 8 bits.

use super::layers::{Layer, LayerKind};

/// Levels on each side of 0: the same on both, so that the zero point is 0 (-128 is not used).
const SIDE_LEVELS: f32 = 127.0;

/// Weights as integers: value = scale of the channel * level.
pub(super) struct IntegerWeights {
    /// In the order of the tensor.
    pub levels: Vec<i8>,
    /// `[out]`, above 0.
    pub scales: Vec<f32>,
}

/// Rounds the weights of each output channel by its own scale: the largest of its weights is level 127. `least_scales`, `[out]`
/// or empty, are lower bounds of the scales.
pub(super) fn round(layer: &Layer, weights: &[f32], least_scales: &[f32]) -> IntegerWeights {
    let channels = layer.weight_shape.get(layer.channel_axis).copied().unwrap_or(1).max(1);
    let channel_of = channel_of(layer);
    let mut scales = vec![0.0f32; channels];
    for (i, weight) in weights.iter().enumerate() {
        let scale = &mut scales[channel_of(i)];
        *scale = scale.max(weight.abs());
    }
    for (channel, scale) in scales.iter_mut().enumerate() {
        let least = least_scales.get(channel).copied().unwrap_or(0.0);
        *scale = (*scale / SIDE_LEVELS).max(least);
        if *scale < f32::MIN_POSITIVE {
            // Nothing but zeros.
            *scale = 1.0;
        }
    }
    let level = |(i, weight): (usize, &f32)| {
        (weight / scales[channel_of(i)]).round_ties_even().clamp(-SIDE_LEVELS, SIDE_LEVELS) as i8
    };
    IntegerWeights { levels: weights.iter().enumerate().map(level).collect(), scales }
}

/// By how much rounding changes the mean of each output channel of a convolution, `[out]`, given the mean of each channel of
/// its input: the bias takes it back (Nagel et al. 2019, arXiv 1906.04721, section 4.2). Padding is left out of account.
pub(super) fn bias_correction(
    layer: &Layer,
    weights: &[f32],
    rounded: &IntegerWeights,
    input_means: &[f64],
) -> Option<Vec<f32>> {
    let [out, read, ..] = layer.weight_shape.as_slice() else { return None };
    let groups = input_means.len() / (*read).max(1);
    if layer.kind != LayerKind::Conv || groups == 0 || groups * read != input_means.len() || out % groups != 0 {
        return None;
    }
    let window = weights.len() / (out * read).max(1);
    let correct = |channel: usize| {
        let first = channel / (out / groups) * read;
        let scale = f64::from(rounded.scales[channel]);
        let lost = |i: usize| {
            let at = (channel * read + i) * window..(channel * read + i + 1) * window;
            let lost = weights[at.clone()].iter().zip(&rounded.levels[at]);
            let lost: f64 = lost.map(|(weight, level)| f64::from(*weight) - scale * f64::from(*level)).sum();
            lost * input_means[first + i]
        };
        (0..*read).map(lost).sum::<f64>() as f32
    };
    Some((0..*out).map(correct).collect())
}

/// The output channel of each weight.
fn channel_of(layer: &Layer) -> impl Fn(usize) -> usize {
    let channels = layer.weight_shape.get(layer.channel_axis).copied().unwrap_or(1).max(1);
    let inner: usize = layer.weight_shape.iter().skip(layer.channel_axis + 1).product::<usize>().max(1);
    move |i| i / inner % channels
}
