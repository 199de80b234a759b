//! The values that a logit of 8 bits can have (`docs/format.md`, "Logits of 8 bits").
//!
//! Steps are fine where a loss feels them and coarse where it does not: a class logit around 0, where the sigmoid is steep, and the DFL
//! logits close to their side's highest, which make up the softmax.

use super::columns::MAX_CODES;
use crate::types::LogitType;
use half::f16;
use std::sync::LazyLock;

/// 256 values in increasing order, each of them a float16.
pub struct Codebook {
    values: [f32; MAX_CODES],
    /// The code of each of the 65,536 float16 bit patterns that is a value of the book; 0 for all others.
    codes: Vec<u8>,
}

/// First value, number of values and step of one stretch.
type Stretch = (f32, usize, f32);

impl Codebook {
    /// For logits before a sigmoid: -24 to 11.5.
    pub fn class() -> &'static Self {
        static BOOK: LazyLock<Codebook> = LazyLock::new(|| {
            Codebook::new(&[(-24.0, 16, 0.5), (-16.0, 32, 0.25), (-8.0, 192, 0.0625), (4.0, 16, 0.5)])
        });
        &BOOK
    }

    /// For logits before a softmax, less the highest of their side: -31.75 to 0.
    pub fn dfl() -> &'static Self {
        static BOOK: LazyLock<Codebook> =
            LazyLock::new(|| Codebook::new(&[(-31.75, 63, 0.25), (-16.0, 64, 0.125), (-8.0, 129, 0.0625)]));
        &BOOK
    }

    /// What class logits of this type are rounded to; `None`: to float16.
    pub fn of_class(logits: LogitType) -> Option<&'static Self> {
        match logits {
            LogitType::Bits8 => Some(Self::class()),
            LogitType::Bits8Dfl | LogitType::Float16 => None,
        }
    }

    /// What DFL logits of this type are rounded to; `None`: to float16.
    pub fn of_dfl(logits: LogitType) -> Option<&'static Self> {
        match logits {
            LogitType::Bits8 | LogitType::Bits8Dfl => Some(Self::dfl()),
            LogitType::Float16 => None,
        }
    }

    fn new(stretches: &[Stretch]) -> Self {
        let mut values = [0.0; MAX_CODES];
        let all = stretches.iter().flat_map(|&(first, count, step)| (0..count).map(move |i| first + i as f32 * step));
        values.iter_mut().zip(all).for_each(|(slot, value)| *slot = value);
        let mut codes = vec![0; 1 << 16];
        for (code, &value) in (0..=u8::MAX).zip(&values) {
            codes[usize::from(f16::from_f32(value).to_bits())] = code;
        }
        Self { values, codes }
    }

    /// The nearest value, the lower of two that are equally near; beyond the ends, the last. `logit` is not NaN.
    pub fn round(&self, logit: f32) -> f16 {
        let above = self.values.partition_point(|&value| value < logit).clamp(1, MAX_CODES - 1);
        let (low, high) = (self.values[above - 1], self.values[above]);
        f16::from_f32(if logit - low <= high - logit { low } else { high })
    }

    /// The code of a value of the book.
    pub fn code(&self, logit: f16) -> Option<u8> {
        let code = self.codes[usize::from(logit.to_bits())];
        (f16::from_f32(self.values[usize::from(code)]).to_bits() == logit.to_bits()).then_some(code)
    }

    /// What rounds to a value of the book: from here to there, without end at its ends; `None` for another value.
    pub fn cell(&self, logit: f16) -> Option<(f32, f32)> {
        let at = usize::from(self.code(logit)?);
        let middle = |a: usize, b: usize| Some((self.values.get(a)? + self.values.get(b)?) / 2.0);
        let low = at.checked_sub(1).and_then(|below| middle(below, at)).unwrap_or(f32::NEG_INFINITY);
        Some((low, middle(at, at + 1).unwrap_or(f32::INFINITY)))
    }

    /// The values as float16, in order.
    pub fn values(&self) -> impl Iterator<Item = f16> {
        self.values.iter().map(|&value| f16::from_f32(value))
    }
}

/// Lowers the logits of each of the four sides of one anchor, `[4 * reg_max]`, by the side's highest: what `Codebook::dfl` rounds. No softmax
/// notices.
pub fn lower_sides(dfl_logits: &mut [f32]) {
    let bins = (dfl_logits.len() / 4).max(1);
    for side in dfl_logits.chunks_mut(bins) {
        let highest = side.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        side.iter_mut().for_each(|logit| *logit -= highest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn books_have_256_increasing_float16_values() {
        for (book, first, last) in [(Codebook::class(), -24.0, 11.5), (Codebook::dfl(), -31.75, 0.0)] {
            assert!(book.values.is_sorted_by(|a, b| a < b));
            assert_eq!((book.values[0], book.values[255]), (first, last));
            for (code, value) in book.values().enumerate() {
                assert_eq!(value.to_f32(), book.values[code]);
                assert_eq!(book.code(value), Some(code as u8));
                assert_eq!(book.round(value.to_f32()), value);
            }
        }
        let cell = |logit| Codebook::class().cell(f16::from_f32(logit));
        assert_eq!(cell(-8.0), Some((-8.125, -7.96875)));
        assert_eq!((cell(-24.0), cell(11.5)), (Some((f32::NEG_INFINITY, -23.75)), Some((11.25, f32::INFINITY))));
        assert_eq!(cell(0.01), None);
        assert_eq!(Codebook::class().code(f16::from_f32(0.01)), None);
        assert_eq!(Codebook::dfl().code(f16::from_f32(0.5)), None);
    }

    #[test]
    fn the_highest_of_each_side_becomes_0() {
        let mut logits = [1.0, 3.0, -2.0, -5.0, 0.0, 0.5, 7.0, 7.0];
        lower_sides(&mut logits);
        assert_eq!(logits, [-2.0, 0.0, 0.0, -3.0, -0.5, 0.0, 0.0, 0.0]);
        lower_sides(&mut []);
    }

    proptest! {
        #[test]
        fn rounding_takes_the_nearest(logit in -50.0f32..50.0) {
            for book in [Codebook::class(), Codebook::dfl()] {
                let nearest = book.values.iter().map(|v| (v - logit).abs()).fold(f32::INFINITY, f32::min);
                prop_assert_eq!((book.round(logit).to_f32() - logit).abs(), nearest);
            }
        }
    }
}
