//! What a method found in one image, in numbers of its boxes.

use super::Kind;

/// One suspicion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// Higher is more suspicious, 0..=1.
    pub(super) score: f64,
    /// Number of the label; `None` where one is missing.
    pub(super) label: Option<usize>,
    /// The teacher's row that speaks against it.
    pub(super) row: Option<usize>,
    /// The class that the teacher sees instead.
    pub(super) class_id: Option<u32>,
    /// Of a duplicate, the label that it repeats.
    pub(super) twin: Option<usize>,
}
