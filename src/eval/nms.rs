//! From the raw outputs of a head to the objects of one image: decoding and non-maximum suppression.
//!
//! Source: `ultralytics.utils.nms.non_max_suppression` and `ultralytics.utils.ops.scale_boxes`, version 8.4.190, and
//! `torchvision.ops.nms`. What decides there decides here, in float32 as there: the order of candidates, strict comparisons, the class
//! offset.

use crate::{
    detector::{ClassScore, HeadView},
    preprocess::LetterboxPlan,
    types::{BoxXyxyPx, Detection},
};

/// Most candidates of one image that suppression looks at, the highest scores (`max_nms`).
const MAX_CANDIDATES: usize = 30_000;

/// Classes are kept apart by moving the boxes of class `c` by `c` times this many pixels (`max_wh`).
const CLASS_OFFSET_PX: f32 = 7680.0;

/// What becomes a detection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NmsOptions {
    /// A class probability must be greater than this, 0..=1.
    pub conf: f32,
    /// A box that overlaps a better one of its class by more than this (intersection over union, 0..=1) is dropped.
    pub iou: f64,
    /// Most detections of one image, the highest scores.
    pub max_detections: usize,
    /// Whether one box may be several detections, one for each class over `conf`; else its best class alone.
    pub multi_label: bool,
}

impl NmsOptions {
    /// For scoring, as Ultralytics' `val`: nearly everything counts, because average precision is an area over all thresholds.
    pub const SCORING: Self = Self { conf: 0.001, iou: 0.7, max_detections: 300, multi_label: true };

    /// For looking at, as Ultralytics' `predict`.
    pub const PREDICTING: Self = Self { conf: 0.25, iou: 0.7, max_detections: 300, multi_label: false };
}

impl NmsOptions {
    /// For the predictions of a head: one that gives each object one prediction needs no suppression.
    pub fn for_head(self, one_to_one: bool) -> Self {
        // No overlap is over 1.
        if one_to_one { Self { iou: 1.0, ..self } } else { self }
    }
}

/// The objects of one image, highest score first, from the raw outputs of a head.
///
/// Equal scores keep the order of anchors, and within an anchor that of classes, as a stable sort gives it.
///
/// # Errors
/// In words, when a value is not finite.
pub fn detect(head: HeadView<'_>, plan: &LetterboxPlan, options: &NmsOptions) -> Result<Vec<Detection>, String> {
    let mut boxes_input_px: Vec<Option<BoxXyxyPx>> = vec![None; head.spec().num_places()];
    let mut suppression = Suppression::new(&options.for_head(head.spec().one_to_one));
    let mut kept: Vec<ClassScore> = Vec::new();
    for candidate in candidates(&head, options)? {
        if kept.len() == options.max_detections {
            break;
        }
        let decoded = boxes_input_px[candidate.place].get_or_insert_with(|| head.box_xyxy_input_px(candidate.place));
        if ![decoded.x1, decoded.y1, decoded.x2, decoded.y2].iter().all(|v| v.is_finite()) {
            return Err(format!("the model's box at anchor {} is not finite", candidate.place));
        }
        if suppression.keeps(decoded, candidate.class_id) {
            kept.push(candidate);
        }
    }
    let found = |candidate: ClassScore| Detection {
        class_id: candidate.class_id,
        score: candidate.score,
        box_xyxy_px: plan.to_image(boxes_input_px[candidate.place].unwrap_or_default()),
    };
    Ok(kept.into_iter().map(found).collect())
}

/// A box before suppression.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Class, score, and the box in pixels of the image, clipped to it.
    pub detection: Detection,
    /// The box in pixels of the model's input, as suppression compares it.
    pub box_xyxy_input_px: BoxXyxyPx,
}

/// The boxes that [`detect`] suppresses, in its order: at most `most` of those with a score over `conf`, each with its best
/// class. Also gives how many are left out.
///
/// # Errors
/// As [`detect`].
pub fn before_suppression(
    head: HeadView<'_>,
    plan: &LetterboxPlan,
    conf: f32,
    most: usize,
) -> Result<(Vec<Candidate>, usize), String> {
    let mut scores = candidates(&head, &NmsOptions { conf, multi_label: false, ..NmsOptions::PREDICTING })?;
    let left_out = scores.len().saturating_sub(most);
    scores.truncate(most);
    let candidate = |ClassScore { place, class_id, score }| {
        let box_xyxy_input_px = head.box_xyxy_input_px(place);
        let detection = Detection { class_id, score, box_xyxy_px: plan.to_image(box_xyxy_input_px) };
        Candidate { detection, box_xyxy_input_px }
    };
    Ok((scores.into_iter().map(candidate).collect(), left_out))
}

/// The objects among boxes that were decoded already (those of a cache), by the rule of [`detect`]; of equal scores the earlier comes first.
pub fn suppress(boxes: &[Detection], options: &NmsOptions) -> Vec<Detection> {
    kept_rows(boxes, options).into_iter().map(|row| boxes[row]).collect()
}

/// As [`suppress`]: the positions of the objects among the boxes, highest score first.
pub fn kept_rows(boxes: &[Detection], options: &NmsOptions) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..boxes.len()).filter(|&row| boxes[row].score > options.conf).collect();
    rows.sort_by(|&a, &b| boxes[b].score.total_cmp(&boxes[a].score));
    rows.truncate(MAX_CANDIDATES);
    let mut suppression = Suppression::new(options);
    rows.retain(|&row| suppression.keeps(&boxes[row].box_xyxy_px, boxes[row].class_id));
    rows.truncate(options.max_detections);
    rows
}

/// The boxes of one image that were kept so far.
struct Suppression {
    kept: Vec<OffsetBox>,
    iou: f64,
}

impl Suppression {
    fn new(options: &NmsOptions) -> Self {
        Self { kept: Vec::new(), iou: options.iou }
    }

    /// Whether the next box, none better than those before it, stays.
    fn keeps(&mut self, box_px: &BoxXyxyPx, class_id: u32) -> bool {
        let offset = OffsetBox::new(box_px, class_id);
        let keeps = !self.kept.iter().any(|better| f64::from(better.iou(&offset)) > self.iou);
        if keeps {
            self.kept.push(offset);
        }
        keeps
    }
}

/// Everything over the threshold, highest score first.
fn candidates(head: &HeadView<'_>, options: &NmsOptions) -> Result<Vec<ClassScore>, String> {
    let mut candidates = head.over(options.conf)?;
    candidates.sort_unstable_by(|a, b| {
        b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)).then(a.class_id.cmp(&b.class_id))
    });
    if !options.multi_label {
        let mut seen = vec![false; head.spec().num_places()];
        candidates.retain(|c| !std::mem::replace(&mut seen[c.place], true));
    }
    candidates.truncate(MAX_CANDIDATES);
    Ok(candidates)
}

/// A box moved by its class, with its area, all rounded as PyTorch rounds them.
#[derive(Debug, Clone, Copy)]
struct OffsetBox {
    corners: BoxXyxyPx,
    area: f32,
}

impl OffsetBox {
    fn new(box_px: &BoxXyxyPx, class_id: u32) -> Self {
        let offset = class_id as f32 * CLASS_OFFSET_PX;
        let corners = BoxXyxyPx {
            x1: box_px.x1 + offset,
            y1: box_px.y1 + offset,
            x2: box_px.x2 + offset,
            y2: box_px.y2 + offset,
        };
        Self { corners, area: (corners.x2 - corners.x1) * (corners.y2 - corners.y1) }
    }

    /// Intersection over union; not a number for two boxes without area.
    fn iou(&self, other: &Self) -> f32 {
        let (a, b) = (&self.corners, &other.corners);
        let width = (a.x2.min(b.x2) - a.x1.max(b.x1)).max(0.0);
        let height = (a.y2.min(b.y2) - a.y1.max(b.y1)).max(0.0);
        let intersection = width * height;
        intersection / (self.area + other.area - intersection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cache::{Grid, HeadKind, Places},
        detector::{BoxRule, HeadSpec},
        types::ImageSize,
    };
    use proptest::prelude::*;

    const ANCHORS: usize = 21;

    fn head(num_classes: usize) -> HeadSpec {
        HeadSpec {
            kind: HeadKind::Yolov8Direct,
            num_classes,
            boxes: BoxRule::CentreSizePx,
            places: Places::Grid(Grid::new(ImageSize { width: 32, height: 32 }, &[8, 16, 32])),
            one_to_one: false,
        }
    }

    fn sigmoid(logit: f32) -> f32 {
        HeadKind::Yolov8Direct.probability(logit)
    }

    fn plan() -> LetterboxPlan {
        LetterboxPlan::fit(ImageSize { width: 64, height: 48 }, 32, 32)
    }

    /// The rule as torchvision's loop has it: every pair of boxes, a flag for each.
    fn by_hand(class_logits: &[f32], xywh: &[f32], options: &NmsOptions) -> Vec<(u32, f32, [f32; 4])> {
        let num_classes = class_logits.len() / ANCHORS;
        let mut all = Vec::new();
        for anchor in 0..ANCHORS {
            let at = |k: usize| xywh[k * ANCHORS + anchor];
            let corners = [at(0) - at(2) / 2.0, at(1) - at(3) / 2.0, at(0) + at(2) / 2.0, at(1) + at(3) / 2.0];
            let mut of_anchor: Vec<(f32, usize, [f32; 4])> = (0..num_classes)
                .map(|class| (sigmoid(class_logits[class * ANCHORS + anchor]), class, corners))
                .filter(|c| c.0 > options.conf)
                .collect();
            if !options.multi_label {
                let best = of_anchor.iter().map(|c| c.0).fold(0.0, f32::max);
                of_anchor = of_anchor.into_iter().find(|c| c.0 == best).into_iter().collect();
            }
            all.extend(of_anchor);
        }
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap());
        let boxes: Vec<[f32; 4]> = all.iter().map(|c| c.2.map(|v| v + c.1 as f32 * 7680.0)).collect();
        let mut suppressed = vec![false; all.len()];
        let mut kept = Vec::new();
        for i in 0..all.len() {
            if suppressed[i] {
                continue;
            }
            kept.push(i);
            let area = |b: &[f32; 4]| (b[2] - b[0]) * (b[3] - b[1]);
            for j in i + 1..all.len() {
                let (a, b) = (&boxes[i], &boxes[j]);
                let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
                let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
                let inter = width * height;
                suppressed[j] |= f64::from(inter / (area(a) + area(b) - inter)) > options.iou;
            }
        }
        kept.truncate(options.max_detections);
        kept.into_iter().map(|i| (all[i].1 as u32, all[i].0, all[i].2)).collect()
    }

    proptest! {
        #[test]
        fn same_as_every_pair_compared(
            // Few distinct logits, so that scores tie.
            logits in prop::collection::vec((-8i8..8).prop_map(|l| f32::from(l) / 2.0), 3 * ANCHORS),
            centres in prop::collection::vec(4.0f32..28.0, 2 * ANCHORS),
            sizes in prop::collection::vec((0u8..14).prop_map(f32::from), 2 * ANCHORS),
            conf in 0.0f32..0.9,
            iou in 0.0f64..1.0,
            max_detections in 0usize..30,
            multi_label: bool,
        ) {
            let options = NmsOptions { conf, iou, max_detections, multi_label };
            let xywh = [centres, sizes].concat();
            let head = head(3);
            let got = detect(HeadView::new(&head, &logits, &xywh).unwrap(), &plan(), &options).unwrap();
            let expected = by_hand(&logits, &xywh, &options);
            prop_assert_eq!(got.len(), expected.len());
            for (d, (class_id, score, [x1, y1, x2, y2])) in got.iter().zip(expected) {
                let box_xyxy_px = plan().to_image(BoxXyxyPx { x1, y1, x2, y2 });
                prop_assert_eq!(*d, Detection { class_id, score, box_xyxy_px });
            }
        }
    }

    proptest! {
        #[test]
        fn boxes_of_a_cache_are_suppressed_by_the_same_rule(
            logits in prop::collection::vec((-8i8..8).prop_map(|l| f32::from(l) / 2.0), ANCHORS),
            centres in prop::collection::vec(4.0f32..28.0, 2 * ANCHORS),
            sizes in prop::collection::vec((0u8..14).prop_map(f32::from), 2 * ANCHORS),
            class_ids in prop::collection::vec(0u32..3, ANCHORS),
            iou in 0.0f64..1.0,
            max_detections in 0usize..30,
        ) {
            let options = NmsOptions { conf: 0.4, iou, max_detections, multi_label: false };
            let xywh = [centres, sizes].concat();
            let mut all_logits = vec![-20.0; 3 * ANCHORS];
            let boxes = (0..ANCHORS).map(|anchor| {
                all_logits[class_ids[anchor] as usize * ANCHORS + anchor] = logits[anchor];
                let [x, y, w, h] = [0, 1, 2, 3].map(|k| xywh[k * ANCHORS + anchor]);
                let box_xyxy_px = BoxXyxyPx { x1: x - w / 2.0, y1: y - h / 2.0, x2: x + w / 2.0, y2: y + h / 2.0 };
                Detection { class_id: class_ids[anchor], score: sigmoid(logits[anchor]), box_xyxy_px }
            });
            let boxes: Vec<Detection> = boxes.collect();
            let expected = by_hand(&all_logits, &xywh, &options).into_iter().map(|(class_id, score, [x1, y1, x2, y2])| {
                Detection { class_id, score, box_xyxy_px: BoxXyxyPx { x1, y1, x2, y2 } }
            });
            prop_assert_eq!(suppress(&boxes, &options), expected.collect::<Vec<_>>());
        }
    }

    fn one_class(logits: &[f32], xywh: &[f32], options: &NmsOptions) -> Result<Vec<Detection>, String> {
        detect(HeadView::new(&head(1), logits, xywh)?, &plan(), options)
    }

    #[test]
    fn thresholds_are_strict() {
        let xywh = vec![8.0; 4 * ANCHORS];
        let mut logits = vec![0.0; ANCHORS];
        let options = NmsOptions { conf: 0.5, iou: 1.0, max_detections: 300, multi_label: true };
        assert_eq!(one_class(&logits, &xywh, &options).unwrap(), [], "a probability of exactly conf is not over it");
        logits[3] = 1.0;
        logits[4] = 1.0;
        assert_eq!(one_class(&logits, &xywh, &options).unwrap().len(), 2, "an overlap of exactly iou is not over it");
        let below = NmsOptions { iou: 0.999, ..options };
        assert_eq!(one_class(&logits, &xywh, &below).unwrap().len(), 1);
        let all = NmsOptions { conf: 0.0, ..options };
        assert_eq!(one_class(&logits, &xywh, &all).unwrap().len(), ANCHORS, "a threshold of 0 takes every anchor");
        let none = NmsOptions { conf: 1.0, ..options };
        assert_eq!(one_class(&logits, &xywh, &none).unwrap(), []);
    }

    #[test]
    fn boxes_are_clipped_to_the_image() {
        let mut xywh = vec![16.0; 4 * ANCHORS];
        xywh[2 * ANCHORS..].fill(100.0);
        let mut logits = vec![-9.0; ANCHORS];
        logits[0] = 2.0;
        let found = one_class(&logits, &xywh, &NmsOptions::PREDICTING).unwrap();
        assert_eq!(found[0].box_xyxy_px, BoxXyxyPx { x1: 0.0, y1: 0.0, x2: 64.0, y2: 48.0 });
    }

    #[test]
    fn what_is_not_finite_or_of_another_size_is_refused() {
        let xywh = vec![8.0; 4 * ANCHORS];
        let refused = |logits: &[f32], xywh: &[f32]| one_class(logits, xywh, &NmsOptions::SCORING).unwrap_err();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut logits = vec![0.0; ANCHORS];
            logits[7] = value;
            assert!(refused(&logits, &xywh).contains("logits that are not finite"), "{value}");
            let mut xywh = xywh.clone();
            xywh[7] = value;
            assert!(refused(&[0.0; ANCHORS], &xywh).contains("box at anchor 7 is not finite"), "{value}");
        }
        assert!(refused(&[0.0; ANCHORS - 1], &xywh).contains("20 class logits, expected 1 for each of 21"));
        assert!(refused(&[0.0; ANCHORS], &xywh[1..]).contains("box values"));
    }
}
