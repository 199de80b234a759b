//! The distribution of a tensor's values, gathered over many images in a bounded size.

/// Bins on each side of 0.
const SIDE: usize = 2048;

/// The widest range that is believed: `2^MOST_EXPONENT`.
const MOST_EXPONENT: i32 = 100;

/// Counts of values in equal bins of a range `-2^exponent..2^exponent`, which grows by powers of two. Two halves of a bin of
/// the wider range are two bins of the narrower one, so the counts do not depend on the order in which values come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    exponent: i32,
    /// `[2 * SIDE]`, the lowest values first.
    counts: Vec<u64>,
    /// The lowest value.
    pub min: f32,
    /// The highest.
    pub max: f32,
}

impl Histogram {
    /// Of nothing.
    pub fn new() -> Self {
        Self { exponent: i32::MIN, counts: vec![0; 2 * SIDE], min: f32::INFINITY, max: f32::NEG_INFINITY }
    }

    /// Adds values.
    ///
    /// # Errors
    /// In words, where one is not finite.
    pub fn add(&mut self, values: &[f32]) -> Result<(), String> {
        let (mut min, mut max, mut finite) = (f32::INFINITY, f32::NEG_INFINITY, true);
        for &value in values {
            min = min.min(value);
            max = max.max(value);
            finite &= value.is_finite();
        }
        if !finite {
            return Err("a value is not finite".into());
        }
        if values.is_empty() {
            return Ok(());
        }
        self.min = self.min.min(min);
        self.max = self.max.max(max);
        self.grow_to(exponent_of(min.abs().max(max.abs())));
        let per_unit = SIDE as f32 / 2f32.powi(self.exponent);
        let last = (2 * SIDE - 1) as i32;
        // Four tables, so that one count need not wait for the one before it.
        let mut tables = vec![0u32; 4 * 2 * SIDE];
        // As many values as a count of 32 bits holds.
        for values in values.chunks(1 << 30) {
            for (i, value) in values.iter().enumerate() {
                let bin = ((value * per_unit).floor() as i32 + SIDE as i32).clamp(0, last) as usize;
                tables[(i % 4) * 2 * SIDE + bin] += 1;
            }
            for (bin, count) in self.counts.iter_mut().enumerate() {
                *count += (0..4).map(|table| u64::from(tables[table * 2 * SIDE + bin])).sum::<u64>();
            }
            tables.fill(0);
        }
        Ok(())
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, mut other: Self) {
        if other.exponent == i32::MIN {
            return;
        }
        self.grow_to(other.exponent);
        other.grow_to(self.exponent);
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The bins that hold anything: `(centre, count)`, the lowest first.
    pub fn bins(&self) -> Vec<(f64, u64)> {
        let width = self.bin_width();
        let centre = |bin: usize| (bin as f64 - SIDE as f64 + 0.5) * width;
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bin, &count)| (centre(bin), count)).collect()
    }

    /// The width of a bin.
    pub fn bin_width(&self) -> f64 {
        2f64.powi(self.exponent.max(-MOST_EXPONENT)) / SIDE as f64
    }

    fn grow_to(&mut self, exponent: i32) {
        if self.exponent == i32::MIN {
            self.exponent = exponent;
        }
        while self.exponent < exponent {
            self.exponent += 1;
            let old = std::mem::replace(&mut self.counts, vec![0; 2 * SIDE]);
            for (pair, counts) in old.chunks_exact(2).enumerate() {
                self.counts[SIDE / 2 + pair] = counts.iter().sum();
            }
        }
    }
}

/// The smallest exponent of 2 that covers a size.
fn exponent_of(size: f32) -> i32 {
    // Not `log2`, which rounds: 2^k itself must lie within -2^k..2^k or be its border.
    let mut exponent = -MOST_EXPONENT;
    while exponent < MOST_EXPONENT && 2f32.powi(exponent) < size {
        exponent += 1;
    }
    exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[f32]]) -> Histogram {
        let mut all = Histogram::new();
        for part in parts {
            all.add(part).unwrap();
        }
        all
    }

    #[test]
    fn the_order_of_values_does_not_matter() {
        let values: Vec<f32> = (0..5000).map(|i| ((i as f32) * 0.37).sin() * 2f32.powi(i % 9 - 4)).collect();
        let whole = of(&[&values]);
        let mut reversed = values.clone();
        reversed.reverse();
        let pieces: Vec<&[f32]> = reversed.chunks(7).collect();
        assert_eq!(whole, of(&pieces));
        let mut merged = Histogram::new();
        for piece in reversed.chunks(700) {
            merged.merge(of(&[piece]));
        }
        merged.merge(Histogram::new());
        assert_eq!(whole, merged);
        assert_eq!(whole.bins().iter().map(|(_, count)| count).sum::<u64>(), 5000);
    }

    #[test]
    fn values_lie_in_their_bins() {
        let values = [-8.0f32, -0.003, 0.0, 0.7, 3.999, 7.99];
        let histogram = of(&[&values]);
        assert_eq!((histogram.min, histogram.max), (-8.0, 7.99));
        let half = histogram.bin_width() / 2.0;
        for value in values.map(f64::from) {
            assert!(histogram.bins().iter().any(|(centre, _)| (value - centre).abs() <= half), "{value} is in no bin");
        }
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        assert!(Histogram::new().add(&[1.0, f32::NAN]).is_err());
        assert!(Histogram::new().add(&[f32::INFINITY]).is_err());
        assert_eq!(of(&[&[]]), Histogram::new());
        assert_eq!(of(&[&[0.0; 9]]).bins().len(), 1);
    }
}
