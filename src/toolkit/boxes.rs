//! Comparing boxes.

use crate::{dataset::RawBox, types::BoxXyxyPx};

/// Two boxes of a class that share this much are one object that was labelled twice.
pub(super) const SAME_IOU: f64 = 0.95;

/// Area that two boxes share, divided by the area of both together.
pub(super) fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let along = |low: usize, high: usize| (a[high].min(b[high]) - a[low].max(b[low])).max(0.0);
    let shared = along(0, 2) * along(1, 3);
    let area = |c: [f64; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    let both = area(a) + area(b) - shared;
    if both > 0.0 { shared / both } else { 0.0 }
}

/// [`iou`] of two boxes.
pub(crate) fn iou_px(a: BoxXyxyPx, b: BoxXyxyPx) -> f64 {
    let corners = |b: BoxXyxyPx| [b.x1, b.y1, b.x2, b.y2].map(f64::from);
    iou(corners(a), corners(b))
}

/// Whether a box, which is to have this class, repeats one of those kept before.
pub(super) fn repeats(raw: &RawBox, kept: &[RawBox], class: Option<u32>) -> bool {
    kept.iter().any(|other| {
        Some(other.class_id) == class && other.mark == raw.mark && iou(other.xyxy_px, raw.xyxy_px) >= SAME_IOU
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap() {
        let a = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(iou(a, a), 1.0);
        assert_eq!(iou(a, [1.0, 0.0, 3.0, 2.0]), 1.0 / 3.0);
        assert_eq!(iou(a, [5.0, 5.0, 6.0, 6.0]), 0.0);
        assert_eq!(iou([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]), 0.0);
    }
}
