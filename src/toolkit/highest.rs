//! The N highest of a stream.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

/// Keeps the items of the highest scores; of equal ones the first that came.
pub(crate) struct Highest<T> {
    most: usize,
    count: u64,
    kept: BinaryHeap<Reverse<Ranked<T>>>,
}

struct Ranked<T> {
    score: f64,
    number: u64,
    item: T,
}

impl<T> Highest<T> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, count: 0, kept: BinaryHeap::new() }
    }

    /// Adds an item, which is made only if it is kept for now.
    pub(crate) fn push(&mut self, score: f64, make: impl FnOnce() -> T) {
        self.count += 1;
        let full = self.kept.len() >= self.most;
        let least = self.kept.peek().map(|Reverse(least)| least.score);
        if full && least.is_none_or(|least| score.total_cmp(&least).is_le()) {
            return;
        }
        if full {
            self.kept.pop();
        }
        self.kept.push(Reverse(Ranked { score, number: self.count, item: make() }));
    }

    /// How many came.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The highest first.
    pub(crate) fn into_sorted(self) -> Vec<T> {
        let mut kept: Vec<Ranked<T>> = self.kept.into_iter().map(|Reverse(ranked)| ranked).collect();
        kept.sort_by(|a, b| b.cmp(a));
        kept.into_iter().map(|ranked| ranked.item).collect()
    }
}

impl<T> Ord for Ranked<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.number.cmp(&self.number))
    }
}

impl<T> PartialOrd for Ranked<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Ranked<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Ranked<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_stable_sort_has_them(scores in prop::collection::vec(0u8..10, 0..60), most in 0usize..20) {
            let mut highest = Highest::new(most);
            for (at, &score) in scores.iter().enumerate() {
                highest.push(f64::from(score), || at);
            }
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by_key(|&at| Reverse(scores[at]));
            order.truncate(most);
            prop_assert_eq!(highest.count(), scores.len() as u64);
            prop_assert_eq!(highest.into_sorted(), order);
        }
    }
}
