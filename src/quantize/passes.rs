//! The passes over the values of a tensor, written so that a processor does many values at once.

use multiversion::multiversion;

/// Values that go through [`bins`] together.
pub(super) const BLOCK: usize = 1024;

/// Values that are taken at once.
const LANES: usize = 16;

/// The bits of infinity; those of numbers that are not finite, without their sign, are not below them.
const INFINITE: u32 = f32::INFINITY.to_bits();

/// The lowest and the highest value; infinity and its negative of none. `None` where a value is not finite.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn ends(values: &[f32]) -> Option<(f32, f32)> {
    let (mut lows, mut highs, mut sizes) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0u32; LANES]);
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            let value = chunk[lane];
            // Not `min`, which has a rule for NaN that no processor has.
            lows[lane] = if value < lows[lane] { value } else { lows[lane] };
            highs[lane] = if value > highs[lane] { value } else { highs[lane] };
            sizes[lane] = sizes[lane].max(value.abs().to_bits());
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        lows[lane] = lows[lane].min(value);
        highs[lane] = highs[lane].max(value);
        sizes[lane] = sizes[lane].max(value.abs().to_bits());
    }
    let low = lows.into_iter().fold(f32::INFINITY, f32::min);
    let high = highs.into_iter().fold(f32::NEG_INFINITY, f32::max);
    sizes.iter().all(|size| *size < INFINITE).then_some((low, high))
}

/// The bin of each value, `0..2 * side`: bins are `1 / per_unit` wide, the one that begins with 0 is `side`. At most [`BLOCK`] values.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn bins(values: &[f32], per_unit: f32, side: f32, bins: &mut [u16; BLOCK]) {
    let last = 2.0 * side - 1.0;
    for (&value, bin) in values.iter().zip(bins) {
        *bin = ((value * per_unit).floor() + side).max(0.0).min(last) as i32 as u16;
    }
}

/// The sum of values; which of them are added first does not depend on the processor.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
pub(super) fn sum(values: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            sums[lane] += f64::from(chunk[lane]);
        }
    }
    sums.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value)).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_those_of_one_value_at_a_time() {
        for length in [0, 1, 15, 16, 17, 1000] {
            let values: Vec<f32> = (0..length).map(|i| ((i as f32) * 0.71).sin() * 3.0 + 0.2).collect();
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(ends(&values), Some((low, high)), "{length}");
            let mut found = [0; BLOCK];
            bins(&values, 512.0, 2048.0, &mut found);
            for (value, bin) in values.iter().zip(found) {
                assert_eq!(i32::from(bin), ((value * 512.0).floor() as i32 + 2048).clamp(0, 4095), "{value}");
            }
            let exact: f64 = values.iter().map(|value| f64::from(*value)).sum();
            assert!((sum(&values) - exact).abs() < 1e-9, "{length}");
        }
    }

    #[test]
    fn what_is_not_finite_is_found_anywhere() {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 5, 31, 32, 36] {
                let mut values = [1.0; 37];
                values[at] = bad;
                assert_eq!(ends(&values), None, "{bad} at {at}");
            }
        }
    }
}
