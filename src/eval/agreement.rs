//! How far two lists of boxes on one image are from each other.

use crate::types::{BoxXyxyPx, Detection};

/// Overlap (intersection over union) from which two boxes of a class are the same object.
pub const PAIRED_IOU: f64 = 0.5;

/// From 0 (the same objects) towards 1 (many boxes, none in common): `u / (1 + t)`, where `t` is the sum of the scores of all boxes of
/// both lists and `u` the sum over those without a partner. A partner is a box of the same class in the other list that overlaps by at
/// least [`PAIRED_IOU`]; the highest score chooses first, and takes the one that overlaps most. The 1 keeps an image with a single box from
/// counting as much as one with many.
pub fn disagreement(a: &[Detection], b: &[Detection]) -> f64 {
    let mut order: Vec<&Detection> = a.iter().collect();
    order.sort_by(|x, y| y.score.total_cmp(&x.score));
    let mut taken = vec![false; b.len()];
    let mut unpaired = 0.0;
    for box_a in order {
        let free = b.iter().enumerate().filter(|(i, other)| !taken[*i] && other.class_id == box_a.class_id);
        let best =
            free.map(|(i, other)| (i, iou(&box_a.box_xyxy_px, &other.box_xyxy_px))).max_by(|x, y| x.1.total_cmp(&y.1));
        match best {
            Some((i, overlap)) if overlap >= PAIRED_IOU => taken[i] = true,
            _ => unpaired += f64::from(box_a.score),
        }
    }
    unpaired += b.iter().zip(&taken).filter(|(_, taken)| !**taken).map(|(d, _)| f64::from(d.score)).sum::<f64>();
    let total: f64 = a.iter().chain(b).map(|d| f64::from(d.score)).sum();
    unpaired / (1.0 + total)
}

/// Intersection over union; 0 for boxes without area.
fn iou(a: &BoxXyxyPx, b: &BoxXyxyPx) -> f64 {
    let area = |b: &BoxXyxyPx| f64::from((b.x2 - b.x1).max(0.0)) * f64::from((b.y2 - b.y1).max(0.0));
    let both = BoxXyxyPx { x1: a.x1.max(b.x1), y1: a.y1.max(b.y1), x2: a.x2.min(b.x2), y2: a.y2.min(b.y2) };
    let (common, sum) = (area(&both), area(a) + area(b));
    if sum > common { common / (sum - common) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(class_id: u32, x: f32, score: f32) -> Detection {
        Detection { class_id, score, box_xyxy_px: BoxXyxyPx { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 } }
    }

    #[test]
    fn the_same_boxes_agree_whatever_their_scores_and_order() {
        let a = [found(0, 0.0, 1.0), found(1, 50.0, 1.0)];
        let b = [found(1, 51.0, 0.4), found(0, 1.0, 0.9)];
        assert_eq!(disagreement(&a, &b), 0.0);
        assert_eq!(disagreement(&[], &[]), 0.0);
    }

    #[test]
    fn what_has_no_partner_counts_by_its_score() {
        let a = [found(0, 0.0, 1.0)];
        assert_eq!(disagreement(&a, &[]), 0.5);
        assert_eq!(disagreement(&[], &a), 0.5);
        // Another class; too far apart.
        assert_eq!(disagreement(&a, &[found(1, 0.0, 1.0)]), 2.0 / 3.0);
        assert_eq!(disagreement(&a, &[found(0, 6.0, 0.5)]), 1.5 / 2.5);
        // The second box on the one object.
        assert_eq!(disagreement(&a, &[found(0, 0.0, 0.5), found(0, 1.0, 0.5)]), 0.5 / 3.0);
        assert_eq!(iou(&found(0, 0.0, 1.0).box_xyxy_px, &found(0, 5.0, 1.0).box_xyxy_px), 1.0 / 3.0);
    }
}
