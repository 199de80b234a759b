//! What a file's own outputs hold, told by their values.
//!
//! Exports end in many ways: boxes and probabilities joined or apart, anchors first or last, centres or corners, pixels
//! or fractions, all classes or the best alone. Whatever the nodes are that make them, every number must follow from the
//! boxes and probabilities that the raw tensors give; so each way is tried, and one that fits all anchors is a proof.

use super::onnx::quantized::Steps;
use crate::types::ImageSize;

/// Boxes and probabilities of one picture as the raw tensors give them.
pub(super) struct Reference<'a> {
    /// A.
    pub anchors: usize,
    /// `[C, A]`.
    pub probabilities: &'a [f32],
    /// `[4, A]`: centre x, centre y, width, height in input pixels.
    pub boxes: &'a [f32],
    /// Stride of each anchor.
    pub strides: &'a [f32],
    /// Height and width of the model's input.
    pub input: ImageSize,
}

/// Differences that are rounding: `absolute + relative * |value|`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    pub box_absolute_px: f32,
    pub box_relative: f32,
    pub score_absolute: f32,
    pub score_relative: f32,
    /// Constants that were rounded when the file was quantized.
    pub steps: Steps,
}

#[cfg(test)]
impl Tolerance {
    /// Of unquantized float32, for tests.
    pub(super) const STRICT: Self = Self {
        box_absolute_px: 0.02,
        box_relative: 1e-4,
        score_absolute: 1e-6,
        score_relative: 1e-3,
        steps: Steps { dfl: 0.0, others: 0.0 },
    };
}

/// The largest differences between an output and what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Errors {
    /// In input pixels; `None` where the output holds no boxes.
    pub box_px: Option<f32>,
    /// `None` where the output holds no scores.
    pub score: Option<f32>,
}

impl Tolerance {
    /// How far a score may be from this one.
    pub fn of_score(&self, score: f32) -> f32 {
        self.score_absolute + self.score_relative * score.abs()
    }
}

impl Errors {
    /// The larger of each.
    pub fn larger(self, other: Self) -> Self {
        let larger = |a: Option<f32>, b: Option<f32>| a.into_iter().chain(b).reduce(f32::max);
        Self { box_px: larger(self.box_px, other.box_px), score: larger(self.score, other.score) }
    }
}

/// A way in which an output may hold what it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ending {
    parts: &'static [Part],
    anchors_first: bool,
    corners: Corners,
    fractions: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Boxes,
    Probabilities,
    BestScore,
    BestClass,
}

/// What the four numbers of a box are.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Corners {
    CentreSize,
    X1Y1X2Y2,
    Y1X1Y2X2,
    X1Y1Size,
}

use Part::{BestClass, BestScore, Boxes, Probabilities};

/// The parts of one output, in order. As Ultralytics has it comes first: of what does not fit, it is told how that one fails.
const PARTS: [&[Part]; 11] = [
    &[Boxes, Probabilities],
    &[Boxes],
    &[Probabilities],
    &[Boxes, BestScore, BestClass],
    &[BestScore],
    &[BestClass],
    &[Boxes, BestScore],
    &[Boxes, BestClass, BestScore],
    &[Probabilities, Boxes],
    &[BestScore, BestClass],
    &[BestScore, BestClass, Boxes],
];

const CORNERS: [Corners; 4] = [Corners::CentreSize, Corners::X1Y1X2Y2, Corners::Y1X1Y2X2, Corners::X1Y1Size];

/// Finds the way in which `output` holds the reference's boxes, scores or both.
///
/// # Errors
/// The first value that differs from the likeliest way.
pub(super) fn recognise(
    output: &[f32],
    reference: &Reference<'_>,
    tolerance: &Tolerance,
) -> Result<(Ending, Errors), String> {
    let mut first_difference = None;
    for ending in endings(output.len(), reference) {
        match compare(output, &ending, reference, Some(tolerance)) {
            Ok(errors) => return Ok((ending, errors)),
            Err(difference) => first_difference = first_difference.or(Some(difference)),
        }
    }
    Err(first_difference.unwrap_or_else(|| {
        let (len, anchors) = (output.len(), reference.anchors);
        format!("an output of {len} values an image is neither boxes nor scores of {anchors} anchors")
    }))
}

/// The largest differences of an output that ends in this way, however large they are.
pub(super) fn measure(output: &[f32], ending: &Ending, reference: &Reference<'_>) -> Errors {
    compare(output, ending, reference, None).unwrap_or_default()
}

/// All ways that this many values may be meant.
fn endings(len: usize, reference: &Reference<'_>) -> impl Iterator<Item = Ending> {
    let (anchors, classes) = (reference.anchors, reference.classes());
    let fits = move |parts: &&[Part]| parts.iter().map(|part| part.width(classes)).sum::<usize>() * anchors == len;
    PARTS.into_iter().filter(fits).flat_map(|parts| {
        let corners = if parts.contains(&Boxes) { &CORNERS[..] } else { &CORNERS[..1] };
        let fractions = if parts.contains(&Boxes) { &[false, true][..] } else { &[false][..] };
        [false, true].into_iter().flat_map(move |anchors_first| {
            corners.iter().flat_map(move |&corners| {
                fractions.iter().map(move |&fractions| Ending { parts, anchors_first, corners, fractions })
            })
        })
    })
}

/// False for NaN as well.
fn within(error: f32, allowed: f32) -> bool {
    error <= allowed
}

fn larger(largest: &mut Option<f32>, error: f32) {
    *largest = Some(largest.unwrap_or(0.0).max(error));
}

fn compare(
    output: &[f32],
    ending: &Ending,
    reference: &Reference<'_>,
    tolerance: Option<&Tolerance>,
) -> Result<Errors, String> {
    let anchors = reference.anchors;
    let width = output.len() / anchors.max(1);
    let value = |anchor: usize, column: usize| {
        let at = if ending.anchors_first { anchor * width + column } else { column * anchors + anchor };
        output.get(at).copied().unwrap_or(f32::NAN)
    };
    let mut errors = Errors::default();
    let mut first = 0;
    // Scores first: where they differ too, the class logits are wrong, and that is the plainer thing to say.
    let mut columns: Vec<(Part, usize)> = Vec::new();
    for &part in ending.parts {
        columns.push((part, first));
        first += part.width(reference.classes());
    }
    columns.sort_by_key(|(part, _)| *part == Boxes);
    for (part, first) in columns {
        for anchor in 0..anchors {
            match part {
                Boxes => {
                    let own = [0, 1, 2, 3].map(|i| value(anchor, first + i));
                    larger(&mut errors.box_px, ending.compare_box(own, anchor, reference, tolerance)?);
                }
                Probabilities => {
                    for class in 0..reference.classes() {
                        let (own, score) = (value(anchor, first + class), reference.probability(class, anchor));
                        let what = || format!("class {class} of anchor {anchor} has the probability");
                        larger(&mut errors.score, compare_score(own, score, what, tolerance)?);
                    }
                }
                BestScore => {
                    let (own, score) = (value(anchor, first), reference.best(anchor));
                    let what = || format!("anchor {anchor} has the best score");
                    larger(&mut errors.score, compare_score(own, score, what, tolerance)?);
                }
                BestClass => {
                    let own = value(anchor, first);
                    let class = (0..reference.classes()).find(|class| *class as f32 == own);
                    let score = class.map_or(f32::NAN, |class| reference.probability(class, anchor));
                    let best = reference.best(anchor);
                    let allowed = tolerance.map(|t| t.of_score(best));
                    if allowed.is_some_and(|allowed| !within(best - score, allowed)) {
                        return Err(format!(
                            "anchor {anchor} has {own} as its best class, but its logits give another"
                        ));
                    }
                }
            }
        }
    }
    Ok(errors)
}

fn compare_score(
    own: f32,
    score: f32,
    what: impl Fn() -> String,
    tolerance: Option<&Tolerance>,
) -> Result<f32, String> {
    let error = (score - own).abs();
    let allowed = tolerance.map(|t| t.of_score(own));
    match allowed {
        Some(allowed) if !within(error, allowed) => Err(format!("{} {own}, but its logit gives {score}", what())),
        _ => Ok(error),
    }
}

impl Ending {
    /// Boxes alone, as Ultralytics has them.
    pub(super) const CENTRE_SIZE_PX: Self =
        Self { parts: &[Boxes], anchors_first: true, corners: Corners::CentreSize, fractions: false };

    /// Every way that the four numbers of a box may be meant.
    pub(super) fn of_boxes() -> impl Iterator<Item = Self> {
        let of = |corners| [false, true].map(|fractions| Self { corners, fractions, ..Self::CENTRE_SIZE_PX });
        CORNERS.into_iter().flat_map(of)
    }

    /// The largest difference between four numbers that stand for a box and the box of a place, in input pixels.
    ///
    /// # Errors
    /// Which number differs by more than the tolerance.
    pub(super) fn compare_box(
        &self,
        own: [f32; 4],
        anchor: usize,
        reference: &Reference<'_>,
        tolerance: Option<&Tolerance>,
    ) -> Result<f32, String> {
        let [x, y, w, h] = [0, 1, 2, 3].map(|row| reference.box_value(row, anchor));
        let (x1, y1) = (x - w / 2.0, y - h / 2.0);
        let (named, upright) = match self.corners {
            Corners::CentreSize => ([("centre x", x), ("centre y", y), ("width", w), ("height", h)], true),
            Corners::X1Y1X2Y2 => ([("left", x1), ("top", y1), ("right", x1 + w), ("bottom", y1 + h)], true),
            Corners::Y1X1Y2X2 => ([("top", y1), ("left", x1), ("bottom", y1 + h), ("right", x1 + w)], false),
            Corners::X1Y1Size => ([("left", x1), ("top", y1), ("width", w), ("height", h)], true),
        };
        let stride = reference.strides.get(anchor).copied().unwrap_or(f32::NAN);
        let mut largest = 0.0f32;
        for (i, ((side, expected), own)) in named.into_iter().zip(own).enumerate() {
            let horizontal = (i % 2 == 0) == upright;
            let unit = match (self.fractions, horizontal) {
                (false, _) => 1.0,
                (true, true) => reference.input.width as f32,
                (true, false) => reference.input.height as f32,
            };
            let own = own * unit;
            let error = (expected - own).abs();
            if let Some(t) = tolerance {
                let rounded = t.steps.dfl * stride + t.steps.others / 2.0 * (stride + own.abs() / stride);
                if !within(error, t.box_absolute_px + t.box_relative * own.abs() + rounded) {
                    return Err(format!(
                        "the box of anchor {anchor} has the {side} {own} px, but its DFL logits give {expected} px"
                    ));
                }
            }
            largest = largest.max(error);
        }
        Ok(largest)
    }
}

impl Part {
    /// Values for each anchor.
    fn width(self, classes: usize) -> usize {
        match self {
            Boxes => 4,
            Probabilities => classes,
            BestScore | BestClass => 1,
        }
    }
}

impl Reference<'_> {
    pub(super) fn classes(&self) -> usize {
        self.probabilities.len() / self.anchors.max(1)
    }

    pub(super) fn probability(&self, class: usize, anchor: usize) -> f32 {
        self.probabilities.get(class * self.anchors + anchor).copied().unwrap_or(f32::NAN)
    }

    fn best(&self, anchor: usize) -> f32 {
        (0..self.classes()).map(|class| self.probability(class, anchor)).fold(f32::NEG_INFINITY, f32::max)
    }

    pub(super) fn box_value(&self, row: usize, anchor: usize) -> f32 {
        self.boxes.get(row * self.anchors + anchor).copied().unwrap_or(f32::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Tolerance = Tolerance::STRICT;
    const CLASSES: usize = 3;
    const ANCHORS: usize = 21;

    fn with_reference<R>(test: impl FnOnce(&Reference<'_>) -> R) -> R {
        let probabilities: Vec<f32> = (0..CLASSES * ANCHORS).map(|i| ((i * 37) % 101) as f32 / 110.0).collect();
        let boxes: Vec<f32> = (0..4 * ANCHORS).map(|i| 5.0 + ((i * 29) % 97) as f32 * 0.3).collect();
        let strides = [8.0; ANCHORS];
        let input = ImageSize { height: 32, width: 64 };
        test(&Reference { anchors: ANCHORS, probabilities: &probabilities, boxes: &boxes, strides: &strides, input })
    }

    /// The table `[A, K]` of an output, made of what `row` says of each anchor.
    fn output(reference: &Reference<'_>, row: impl Fn([f32; 4], [f32; CLASSES]) -> Vec<f32>) -> Vec<Vec<f32>> {
        let rows = (0..ANCHORS).map(|a| {
            row(
                [0, 1, 2, 3].map(|i| reference.box_value(i, a)),
                std::array::from_fn(|class| reference.probability(class, a)),
            )
        });
        rows.collect()
    }

    fn corners([x, y, w, h]: [f32; 4]) -> [f32; 4] {
        [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
    }

    fn best(scores: [f32; CLASSES]) -> (f32, f32) {
        let class = (0..CLASSES).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        (scores[class], class as f32)
    }

    #[test]
    fn every_ending_is_recognised_in_both_orders() {
        type Row = fn([f32; 4], [f32; CLASSES]) -> Vec<f32>;
        let rows: [(Row, bool, bool); 11] = [
            (|b, s| [&b[..], &s].concat(), true, true),
            (|b, s| [&corners(b)[..], &s].concat(), true, true),
            (|[x, y, w, h], s| [&[x / 64.0, y / 32.0, w / 64.0, h / 32.0][..], &s].concat(), true, true),
            (|b, s| [&corners(b)[..], &[best(s).0, best(s).1]].concat(), true, true),
            (|b, _| b.to_vec(), true, false),
            (
                |b, _| {
                    let [l, t, r, b] = corners(b);
                    vec![t / 32.0, l / 64.0, b / 32.0, r / 64.0]
                },
                true,
                false,
            ),
            (|[x, y, w, h], _| vec![x - w / 2.0, y - h / 2.0, w, h], true, false),
            (|_, s| s.to_vec(), false, true),
            (|_, s| vec![best(s).0], false, true),
            (|_, s| vec![best(s).1], false, false),
            (|b, s| [&s[..], &b].concat(), true, true),
        ];
        with_reference(|reference| {
            for (i, (row, boxes, scores)) in rows.into_iter().enumerate() {
                let table = output(reference, row);
                let transposed: Vec<f32> =
                    (0..table[0].len()).flat_map(|k| table.iter().map(move |row| row[k])).collect();
                for values in [table.concat(), transposed] {
                    let (ending, errors) =
                        recognise(&values, reference, &STRICT).unwrap_or_else(|e| panic!("{i}: {e}"));
                    assert_eq!((errors.box_px.is_some(), errors.score.is_some()), (boxes, scores), "{i}");
                    assert_eq!(measure(&values, &ending, reference), errors, "{i}");
                }
            }
        });
    }

    #[test]
    fn what_differs_is_named() {
        with_reference(|reference| {
            let mut values = output(reference, |b, s| [&b[..], &s].concat()).concat();
            let says = |values: &[f32]| recognise(values, reference, &STRICT).unwrap_err();
            values[5 * 7 + 2] += 1.0;
            assert!(
                says(&values).contains("probability") || says(&values).contains("box of anchor"),
                "{}",
                says(&values)
            );
            let mut best_class = output(reference, |_, s| vec![best(s).1]).concat();
            best_class[4] = 17.0;
            assert!(recognise(&best_class, reference, &STRICT).is_err());
            assert!(says(&[f32::NAN; 7 * ANCHORS]).contains("NaN"));
            assert!(says(&[0.0; 100]).contains("100 values"));
        });
    }

    #[test]
    fn steps_of_rounded_constants_are_allowed_for() {
        with_reference(|reference| {
            let values = output(reference, |[x, y, w, h], _| vec![x, y + 1.5, w, h]).concat();
            assert!(recognise(&values, reference, &STRICT).is_err());
            let rounded = Tolerance { steps: Steps { dfl: 0.1, others: 0.2 }, ..STRICT };
            let (_, errors) = recognise(&values, reference, &rounded).unwrap();
            assert!((errors.box_px.unwrap() - 1.5).abs() < 1e-5);
        });
    }
}
