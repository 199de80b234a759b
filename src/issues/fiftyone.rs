//! FiftyOne's mistakenness of objects, from the formulae that its documentation names, with
//! confidences (its default) and not logits.
//!
//! A prediction is matched at IoU 0.5 whatever its class, the highest score first, each with the
//! label of the highest overlap that is free. With `m` -1 where the classes agree and 1 where not,
//! `c` the score and `i = 2 * (1 - IoU)`: class `(m * c + 1) / 2`, place `(c * (2 * i - 1) + 1) /
//! 2`. A label without a prediction is spurious (it has no score of its own: 1), a prediction over
//! 0.95 without a label is a missing object. Scores are calibrated per class first, as for
//! ObjectLab.

use super::{Kind, finding::Finding};
use crate::{
    toolkit::iou_px,
    types::{Detection, LabelBox},
};

const MATCH_IOU: f64 = 0.5;
/// An unmatched prediction of more is a missing object.
const MISSING_OVER: f64 = 0.95;

/// Every suspicion in an image.
pub(super) fn findings(labels: &[LabelBox], found: &[Detection], scores: &[f64]) -> Vec<Finding> {
    let mut order: Vec<usize> = (0..found.len().min(scores.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut matched: Vec<Option<usize>> = vec![None; labels.len()];
    let mut findings = Vec::new();
    for row in order {
        let overlap = |at: usize| iou_px(labels[at].box_xyxy_px, found[row].box_xyxy_px);
        let free = (0..labels.len()).filter(|&at| matched[at].is_none() && overlap(at) >= MATCH_IOU);
        match free.reduce(|a, b| if overlap(b) > overlap(a) { b } else { a }) {
            Some(at) => matched[at] = Some(row),
            None if scores[row] > MISSING_OVER => findings.push(Finding {
                kind: Kind::Missing,
                score: scores[row],
                label: None,
                row: Some(row),
                class_id: Some(found[row].class_id),
                twin: None,
            }),
            None => {}
        }
    }
    for (at, (label, row)) in labels.iter().zip(matched).enumerate() {
        let finding = |kind, score, class_id| Finding { kind, score, label: Some(at), row, class_id, twin: None };
        let Some(row) = row else {
            findings.push(finding(Kind::Spurious, 1.0, None));
            continue;
        };
        let (c, found) = (scores[row], found[row]);
        let m = if found.class_id == label.class_id { -1.0 } else { 1.0 };
        findings.push(finding(Kind::Class, (m * c + 1.0) / 2.0, Some(found.class_id)));
        let i = 2.0 * (1.0 - iou_px(label.box_xyxy_px, found.box_xyxy_px));
        findings.push(finding(Kind::Location, (c * (2.0 * i - 1.0) + 1.0) / 2.0, None));
    }
    findings
}
