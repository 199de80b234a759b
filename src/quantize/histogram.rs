//! The distribution of a tensor's values, gathered over many images in a bounded size.

use super::passes::{self, BLOCK};

/// Bins on each side of 0.
const SIDE: usize = 2048;

/// All bins.
const BINS: usize = 2 * SIDE;

/// The widest range that is believed: `2^MOST_EXPONENT`.
const MOST_EXPONENT: i32 = 100;

/// Tables that are counted into in turns, so that one count need not wait for the one before it.
const TABLES: usize = 4;

/// The values of a tensor on one image, to be counted again and again in the same memory.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    exponent: i32,
    /// `[BINS]`, the lowest values first; empty where only the ends are wanted.
    counts: Vec<u32>,
    min: f32,
    max: f32,
}

/// Counts of values in equal bins of a range `-2^exponent..2^exponent`, which grows by powers of two. Two halves of a bin of
/// the wider range are two bins of the narrower one, so the counts do not depend on the order in which values come.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Histogram {
    exponent: i32,
    /// `[BINS]`, the lowest values first; empty where only the ends are wanted.
    counts: Vec<u64>,
    /// The lowest value.
    pub min: f32,
    /// The highest.
    pub max: f32,
}

/// What counting needs; one for all tensors.
pub(super) struct Tables(Vec<u32>);

impl Tables {
    pub fn new() -> Self {
        Self(vec![0; TABLES * BINS])
    }
}

impl Counted {
    /// Of nothing. `only_ends`: the lowest and the highest value are enough.
    pub fn new(only_ends: bool) -> Self {
        let counts = if only_ends { Vec::new() } else { vec![0; BINS] };
        Self { exponent: i32::MIN, counts, min: f32::INFINITY, max: f32::NEG_INFINITY }
    }

    /// Counts values, in place of those before.
    ///
    /// # Errors
    /// In words, where one is not finite.
    pub fn count(&mut self, values: &[f32], tables: &mut Tables) -> Result<(), String> {
        let (min, max) = passes::ends(values).ok_or("a value is not finite")?;
        (self.min, self.max) = (min, max);
        self.exponent = if values.is_empty() { i32::MIN } else { exponent_of(min.abs().max(max.abs())) };
        if values.is_empty() || self.counts.is_empty() {
            return Ok(());
        }
        let per_unit = SIDE as f32 / 2f32.powi(self.exponent);
        let tables = tables.0.as_mut_slice();
        let mut bins = [0u16; BLOCK];
        for block in values.chunks(BLOCK) {
            passes::bins(block, per_unit, SIDE as f32, &mut bins);
            for (i, bin) in bins.iter().take(block.len()).enumerate() {
                tables[(i % TABLES) * BINS + usize::from(*bin)] += 1;
            }
        }
        for (bin, count) in self.counts.iter_mut().enumerate() {
            *count = (0..TABLES).map(|table| tables[table * BINS + bin]).sum();
        }
        tables.fill(0);
        Ok(())
    }
}

impl Histogram {
    /// Of nothing. `only_ends`: the lowest and the highest value are enough.
    pub fn new(only_ends: bool) -> Self {
        let counts = if only_ends { Vec::new() } else { vec![0; BINS] };
        Self { exponent: i32::MIN, counts, min: f32::INFINITY, max: f32::NEG_INFINITY }
    }

    /// Adds the values of an image.
    pub fn add(&mut self, image: &Counted) {
        if image.exponent == i32::MIN {
            return;
        }
        self.min = self.min.min(image.min);
        self.max = self.max.max(image.max);
        self.grow_to(image.exponent);
        // Bins of the image that are one bin here; at least one on each side of 0.
        let wide = 1usize << (self.exponent - image.exponent).clamp(0, SIDE.ilog2() as i32);
        let counts = self.counts.iter_mut().skip(SIDE - SIDE / wide);
        for (count, bins) in counts.zip(image.counts.chunks_exact(wide)) {
            *count += bins.iter().map(|count| u64::from(*count)).sum::<u64>();
        }
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
        if self.exponent == i32::MIN || self.counts.is_empty() {
            self.exponent = self.exponent.max(exponent);
        }
        while self.exponent < exponent {
            self.exponent += 1;
            let old = std::mem::replace(&mut self.counts, vec![0; BINS]);
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

    /// Of images with these values.
    fn of(images: &[&[f32]]) -> Histogram {
        let (mut all, mut one, mut tables) = (Histogram::new(false), Counted::new(false), Tables::new());
        for image in images {
            one.count(image, &mut tables).unwrap();
            all.add(&one);
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
    fn small_values_after_large_ones_are_not_lost() {
        for small in [7.0, 0.3, 1e-3, 1e-9] {
            let values = [small, -small, small, 1e3];
            let (first, last) = (of(&[&values[..3], &values[3..]]), of(&[&values[3..], &values[..3]]));
            assert_eq!(first, last, "{small}");
            assert_eq!(last, of(&[&values]), "{small}");
        }
    }

    #[test]
    fn the_ends_alone_are_those_of_all_values() {
        let (mut all, mut one) = (Histogram::new(true), Counted::new(true));
        for image in [&[-8.0f32, 3.0][..], &[], &[0.5, 9.0]] {
            one.count(image, &mut Tables::new()).unwrap();
            all.add(&one);
        }
        assert_eq!((all.min, all.max, all.bins().len()), (-8.0, 9.0, 0));
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let count = |values: &[f32]| Counted::new(false).count(values, &mut Tables::new());
        assert!(count(&[1.0, f32::NAN]).is_err());
        assert!(count(&[f32::INFINITY]).is_err());
        assert_eq!(of(&[&[]]), Histogram::new(false));
        assert_eq!(of(&[&[0.0; 9]]).bins().len(), 1);
    }
}
