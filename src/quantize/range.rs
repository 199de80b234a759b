//! From the distribution of a tensor's values to the range that its 256 levels cover.

use super::histogram::Histogram;
use crate::detector::ActivationRange;
use schemars::JsonSchema;
use serde::Serialize;

/// How the range of a tensor is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Calibration {
    /// The lowest and the highest value seen.
    MinMax,
    /// All but 0.01 % of the values on each side.
    Percentile,
    /// The range whose 256 levels change the distribution least (Kullback-Leibler divergence; Migacz 2017, "8-bit inference
    /// with TensorRT", here with both ends free).
    Entropy,
    /// The range with the least mean squared error (Choukroun et al. 2019, arXiv 1902.06822).
    Mse,
    /// The one of the others with which the model's scores and boxes change least, on images that were not used for the ranges.
    Divergence,
}

impl Calibration {
    /// As on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MinMax => "min-max",
            Self::Percentile => "percentile",
            Self::Entropy => "entropy",
            Self::Mse => "mse",
            Self::Divergence => "divergence",
        }
    }

    /// Those that choose each range by itself.
    pub const SINGLE: [Self; 4] = [Self::MinMax, Self::Percentile, Self::Entropy, Self::Mse];
}

/// Share of the values that [`Calibration::Percentile`] leaves out on each side.
const LEFT_OUT: f64 = 1e-4;

/// The ends of a range are tried at this share of the last one each, down to a tenth of the farthest value.
const STEP: f32 = 0.93;

/// So often.
const STEPS: i32 = 32;

/// Levels of uint8.
const LEVELS: usize = 256;

/// Bins between two looks at whether a range can still be the best.
const AT_ONCE: usize = 64;

/// The range of a tensor. [`Calibration::Divergence`] is no rule for one tensor: the lowest and highest value.
///
/// `before_silu`: what the values are used for is `x * sigmoid(x)`, so the error of that is what counts.
pub(super) fn range(histogram: &Histogram, calibration: Calibration, before_silu: bool) -> ActivationRange {
    let whole = ActivationRange::around(histogram.min, histogram.max);
    match calibration {
        Calibration::MinMax | Calibration::Divergence => whole,
        Calibration::Percentile => percentile(histogram, whole),
        Calibration::Entropy => {
            let bins = histogram.bins();
            let sums = sums(&bins);
            best(whole, |range, _| divergence(&bins, &sums, range))
        }
        Calibration::Mse if before_silu => least_squares(&histogram.bins(), whole, silu),
        Calibration::Mse => least_squares(&histogram.bins(), whole, |x| x),
    }
}

fn percentile(histogram: &Histogram, whole: ActivationRange) -> ActivationRange {
    let bins = histogram.bins();
    let half = histogram.bin_width() / 2.0;
    let total: u64 = bins.iter().map(|(_, count)| count).sum();
    let left_out = (total as f64 * LEFT_OUT) as u64;
    let mut passed = [0u64; 2];
    let mut first_kept = |side: usize, bin: &&(f64, u64)| {
        passed[side] += bin.1;
        passed[side] > left_out
    };
    let low = bins.iter().find(|bin| first_kept(0, bin)).map_or(0.0, |(centre, _)| centre - half) as f32;
    let high = bins.iter().rev().find(|bin| first_kept(1, bin)).map_or(0.0, |(centre, _)| centre + half) as f32;
    ActivationRange::around(low.max(whole.low), high.min(whole.high))
}

/// The range with the least `cost`, of all that cut a share of each side off. `cost` is given the least one so far, too: where it
/// finds that it will not be lower it may give what it has.
fn best(whole: ActivationRange, cost: impl Fn(ActivationRange, f64) -> f64) -> ActivationRange {
    let cut = |end: f32| {
        // Nothing to cut off where a side has no values.
        let steps = if end == 0.0 { 1 } else { STEPS };
        (0..steps).map(move |step| end * STEP.powi(step))
    };
    let mut best = (cost(whole, f64::INFINITY), whole);
    for low in cut(whole.low) {
        for high in cut(whole.high) {
            let range = ActivationRange { low, high };
            let cost = cost(range, best.0);
            if cost < best.0 {
                best = (cost, range);
            }
        }
    }
    best.1
}

/// The range with the least sum of squared differences of `used` of the bins' centres from `used` of the levels that they are
/// rounded to.
fn least_squares(bins: &[(f64, u64)], whole: ActivationRange, used: impl Fn(f64) -> f64) -> ActivationRange {
    let bins: Vec<[f64; 3]> = bins.iter().map(|(value, count)| [*value, used(*value), *count as f64]).collect();
    best(whole, |range, least| {
        let (scale, zero_point) = range.scale_and_zero_point();
        let (scale, zero_point) = (f64::from(scale), f64::from(zero_point));
        let levels: [f64; LEVELS] = std::array::from_fn(|level| used((level as f64 - zero_point) * scale));
        let mut sum = 0.0;
        for bins in bins.chunks(AT_ONCE) {
            for [value, used, count] in bins {
                let level = (value / scale + zero_point).round().clamp(0.0, 255.0);
                let off = used - levels[level as usize];
                sum += off * off * count;
            }
            // It can only grow.
            if sum >= least {
                break;
            }
        }
        sum
    })
}

/// Sums of the counts of all bins before each, and of all.
fn sums(bins: &[(f64, u64)]) -> Vec<u64> {
    let mut sums = vec![0];
    sums.extend(bins.iter().scan(0, |sum, (_, count)| {
        *sum += count;
        Some(*sum)
    }));
    sums
}

/// The divergence of the rounded distribution from the clipped one: each level's share is spread evenly over its bins that
/// hold anything; what lies outside counts to the outermost bin inside. `bins`: in the order of their values; `sums`: [`sums`]
/// of them.
fn divergence(bins: &[(f64, u64)], sums: &[u64], range: ActivationRange) -> f64 {
    let (low, high) = (f64::from(range.low), f64::from(range.high));
    let first = bins.partition_point(|(value, _)| *value < low);
    let end = bins.partition_point(|(value, _)| *value <= high);
    let Some(inside) = bins.get(first..end).filter(|inside| !inside.is_empty()) else { return f64::INFINITY };
    let (below, above, kept) = (sums[first], sums[bins.len()] - sums[end], sums[end] - sums[first]);
    let width = (high - low) / LEVELS as f64;
    let level = |value: f64| (((value - low) / width) as usize).min(LEVELS - 1);
    // Of the rounded distribution: the share of each level, which does not know what was clipped.
    let (mut shares, mut filled) = ([0u64; LEVELS], [0u64; LEVELS]);
    for (value, count) in inside {
        shares[level(*value)] += count;
        filled[level(*value)] += 1;
    }
    let (total, kept) = ((below + above + kept) as f64, kept as f64);
    let shares: [f64; LEVELS] = std::array::from_fn(|level| shares[level] as f64 / filled[level] as f64 / kept);
    let last = inside.len() - 1;
    let mut divergence = 0.0;
    for (i, (value, count)) in inside.iter().enumerate() {
        let clipped = count + if i == 0 { below } else { 0 } + if i == last { above } else { 0 };
        let p = clipped as f64 / total;
        divergence += p * (p / shares[level(*value)]).ln();
    }
    divergence
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::{
        super::histogram::{Counted, Tables},
        *,
    };

    const REPEATED: u32 = 20;

    fn add(histogram: &mut Histogram, values: &[f32]) {
        let mut image = Counted::new(false);
        image.count(values, &mut Tables::new()).unwrap();
        histogram.add(&image);
    }

    fn of(values: &[f32]) -> Histogram {
        let mut histogram = Histogram::new(false);
        add(&mut histogram, values);
        histogram
    }

    /// Nearly all values within -0.3..1, and one far away.
    fn with_outlier() -> Histogram {
        let values: Vec<f32> = (0..200_000).map(|i| (i as f32 * 0.618).fract() * 1.3 - 0.3).collect();
        let mut histogram = of(&[40.0]);
        (0..REPEATED).for_each(|_| add(&mut histogram, &values));
        histogram
    }

    #[test]
    fn an_outlier_is_cut_off_where_that_is_worth_it() {
        let histogram = with_outlier();
        let found = |calibration| range(&histogram, calibration, false);
        assert_eq!(found(Calibration::MinMax).high, 40.0);
        assert!((found(Calibration::MinMax).low + 0.3).abs() < 1e-4);
        for calibration in [Calibration::Percentile, Calibration::Entropy, Calibration::Mse] {
            let found = found(calibration);
            assert!((0.9..8.0).contains(&found.high) && found.low <= -0.25, "{calibration:?}: {found:?}");
        }
    }

    #[test]
    fn the_least_squared_error_is_that_of_rounding_itself() {
        let histogram = with_outlier();
        let error = |range: ActivationRange| {
            let (scale, zero) = range.scale_and_zero_point();
            let rounded =
                |value: f32| ((value / scale + f32::from(zero)).round().clamp(0.0, 255.0) - f32::from(zero)) * scale;
            let squared = |value: f32| f64::from(value - rounded(value)).powi(2);
            let common = (0..200_000).map(|i| (i as f32 * 0.618).fract() * 1.3 - 0.3).map(squared).sum::<f64>();
            f64::from(REPEATED) * common + squared(40.0)
        };
        let chosen = error(range(&histogram, Calibration::Mse, false));
        assert!(chosen < error(range(&histogram, Calibration::MinMax, false)) / 4.0);
        assert!(chosen <= 1.05 * error(range(&histogram, Calibration::Percentile, false)));
    }

    #[test]
    fn no_range_is_given_up_too_early() {
        let bins = with_outlier().bins();
        let whole = ActivationRange { low: -0.3, high: 40.0 };
        for used in [silu, |x| x] {
            let error = |range: ActivationRange, _| {
                let (scale, zero) = range.scale_and_zero_point();
                let (scale, zero) = (f64::from(scale), f64::from(zero));
                let rounded = |value: f64| ((value / scale + zero).round().clamp(0.0, 255.0) - zero) * scale;
                let off = |value: f64| used(value) - used(rounded(value));
                bins.iter().map(|(value, count)| off(*value) * off(*value) * *count as f64).sum()
            };
            assert_eq!(least_squares(&bins, whole, used), best(whole, error));
        }
    }

    #[test]
    fn before_a_silu_the_negative_side_may_be_cut_off() {
        let histogram = of(&(0..10_000).map(|i| i as f32 * 0.003 - 24.0).collect::<Vec<_>>());
        let (plain, silu) = (range(&histogram, Calibration::Mse, false), range(&histogram, Calibration::Mse, true));
        assert!(plain.low < -20.0 && silu.low > -14.0 && silu.high > 5.0, "{plain:?}, {silu:?}");
    }

    #[test]
    fn zero_lies_within_and_is_a_level() {
        let positive = of(&[2.0, 3.0, 5.0]);
        for calibration in Calibration::SINGLE {
            let found = range(&positive, calibration, false);
            assert_eq!((found.low, found.scale_and_zero_point().1), (0.0, 0), "{calibration:?}");
        }
        let (scale, zero) = ActivationRange { low: -0.28, high: 3.0 }.scale_and_zero_point();
        assert_eq!(zero, 22);
        assert!((scale - 3.28 / 255.0).abs() < 1e-6);
        assert_eq!(range(&Histogram::new(false), Calibration::MinMax, false).scale_and_zero_point(), (1.0, 0));
    }
}
