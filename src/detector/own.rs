//! A file's own outputs of other forms than `ending.rs` knows: the best predictions alone, and those with an objectness.

use super::ending::{Ending, Errors, Reference, Tolerance};

/// What the outputs of a file hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnOutputs {
    /// Boxes, scores or both of every place, in some order (`ending.rs`).
    Dense,
    /// Rows of the best predictions in one output: box, score, class.
    Ranked,
    /// The same in three outputs, at these positions.
    RankedApart {
        /// `[B, K]` class ids.
        labels: usize,
        /// `[B, K, 4]`.
        boxes: usize,
        /// `[B, K]`.
        scores: usize,
    },
    /// Box, objectness and a probability of each class under the condition that there is an object.
    Objectness {
        /// Whether the boxes are centre and size in input pixels; else offsets in cells and logarithms of sizes.
        decoded: bool,
    },
    /// `[B, N, C + 1]` logits of a softmax whose last slot is "no object", in the output at this position. Boxes are a raw tensor.
    Softmax {
        /// Position of the logits.
        logits: usize,
    },
    /// The raw tensors themselves: there is nothing to compare.
    Raw,
}

impl OwnOutputs {
    /// The largest differences between the outputs and what they should hold; `None` where they are compared otherwise.
    ///
    /// # Errors
    /// The first value that differs, in words.
    pub fn compare(
        self,
        outputs: &[&[f32]],
        reference: &Reference<'_>,
        tolerance: &Tolerance,
    ) -> Option<Result<Errors, String>> {
        let output = |at: usize| outputs.get(at).copied().unwrap_or(&[]);
        match self {
            Self::Dense => None,
            Self::Raw => Some(Ok(Errors { box_px: Some(0.0), score: Some(0.0) })),
            Self::Ranked => {
                let rows = output(0).as_chunks::<6>().0;
                let rows: Vec<Row> = rows
                    .iter()
                    .map(|&[a, b, c, d, score, class]| Row { corners: [a, b, c, d], score, class })
                    .collect();
                Some(compare_rows(&rows, reference, tolerance))
            }
            Self::RankedApart { labels, boxes, scores } => {
                let boxes = output(boxes).as_chunks::<4>().0;
                let rows = boxes.iter().zip(output(scores)).zip(output(labels));
                let rows: Vec<Row> = rows.map(|((&corners, &score), &class)| Row { corners, score, class }).collect();
                Some(compare_rows(&rows, reference, tolerance))
            }
            Self::Softmax { logits } => Some(with_softmax(output(logits), reference, tolerance)),
            Self::Objectness { decoded } => Some(with_objectness(output(0), decoded, reference, tolerance)),
        }
    }
}

/// One of the best predictions.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    /// Four numbers that stand for a box, in some way.
    corners: [f32; 4],
    score: f32,
    class: f32,
}

/// Every row is a prediction of the reference, and no better prediction is left out.
fn compare_rows(rows: &[Row], reference: &Reference<'_>, tolerance: &Tolerance) -> Result<Errors, String> {
    if rows.is_empty() {
        return Err("its output has no rows of box, score and class".to_owned());
    }
    let lowest = rows.iter().map(|row| row.score).fold(f32::INFINITY, f32::min);
    let better = reference.probabilities.iter().filter(|p| **p > lowest + tolerance.of_score(lowest)).count();
    if better >= rows.len() {
        return Err(format!("its lowest score is {lowest}, but {better} predictions have a higher one"));
    }
    let mut first_difference = None;
    for reading in Ending::of_boxes() {
        match rows.iter().try_fold(Errors::default(), |largest, row| {
            row.compare(&reading, reference, tolerance).map(|errors| largest.larger(errors))
        }) {
            Ok(errors) => return Ok(errors),
            Err(difference) => first_difference = first_difference.or(Some(difference)),
        }
    }
    Err(first_difference.unwrap_or_default())
}

impl Row {
    /// The nearest prediction of the row's class whose score and box are the row's.
    fn compare(&self, reading: &Ending, reference: &Reference<'_>, tolerance: &Tolerance) -> Result<Errors, String> {
        let class = (0..reference.classes()).find(|class| *class as f32 == self.class);
        let class = class.ok_or_else(|| format!("a row has the class {}", self.class))?;
        let mut nearest: Option<Errors> = None;
        for place in 0..reference.anchors {
            let score = (reference.probability(class, place) - self.score).abs();
            // False for NaN as well.
            let same = score <= tolerance.of_score(self.score);
            if !same {
                continue;
            }
            if let Ok(box_px) = reading.compare_box(self.corners, place, reference, Some(tolerance))
                && nearest.is_none_or(|nearest| nearest.box_px > Some(box_px))
            {
                nearest = Some(Errors { box_px: Some(box_px), score: Some(score) });
            }
        }
        nearest.ok_or_else(|| {
            let Self { corners, score, .. } = self;
            format!("no prediction has class {class} with the score {score} and the box {corners:?} of its output")
        })
    }
}

/// `[N, 5 + C]` or `[5 + C, N]`: box, objectness, classes.
fn with_objectness(
    output: &[f32],
    decoded: bool,
    reference: &Reference<'_>,
    tolerance: &Tolerance,
) -> Result<Errors, String> {
    let (places, classes) = (reference.anchors, reference.classes());
    let width = 5 + classes;
    if output.len() != width * places {
        return Err(format!("an output of {} values is not {width} for each of {places} anchors", output.len()));
    }
    let compare = |value: &dyn Fn(usize, usize) -> f32| {
        let mut largest = Errors { box_px: Some(0.0), score: Some(0.0) };
        for place in 0..places {
            for class in 0..classes {
                let (own, score) = (value(place, 4) * value(place, 5 + class), reference.probability(class, place));
                let error = (own - score).abs();
                let same = error <= tolerance.of_score(own);
                if !same {
                    return Err(format!(
                        "class {class} of anchor {place} has the probability {own}, but its logits give {score}"
                    ));
                }
                largest = largest.larger(Errors { box_px: None, score: Some(error) });
            }
            if decoded {
                let own = [0, 1, 2, 3].map(|column| value(place, column));
                let box_px = Ending::CENTRE_SIZE_PX.compare_box(own, place, reference, Some(tolerance))?;
                largest = largest.larger(Errors { box_px: Some(box_px), score: None });
            }
        }
        Ok(largest)
    };
    let at = |index: usize| output.get(index).copied().unwrap_or(f32::NAN);
    compare(&|place, column| at(place * width + column))
        .or_else(|difference| compare(&|place, column| at(column * places + place)).map_err(|_| difference))
}

/// `[N, C + 1]`: logits of a softmax.
fn with_softmax(logits: &[f32], reference: &Reference<'_>, tolerance: &Tolerance) -> Result<Errors, String> {
    let (places, slots) = (reference.anchors, reference.classes() + 1);
    if logits.len() != slots * places {
        return Err(format!("an output of {} values is not {slots} for each of {places} queries", logits.len()));
    }
    let mut largest = 0.0f32;
    for (place, logits) in logits.chunks_exact(slots).enumerate() {
        let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: &f32| f64::from(logit - highest).exp();
        let sum: f64 = logits.iter().map(weight).sum();
        for (class, logit) in logits[..slots - 1].iter().enumerate() {
            let (own, score) = ((weight(logit) / sum) as f32, reference.probability(class, place));
            let error = (own - score).abs();
            // False for NaN as well.
            let same = error <= tolerance.of_score(own);
            if !same {
                return Err(format!("class {class} of query {place} has the probability {own}, not {score}"));
            }
            largest = largest.max(error);
        }
    }
    Ok(Errors { box_px: Some(0.0), score: Some(largest) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageSize;

    const STRICT: Tolerance = Tolerance::STRICT;
    const PLACES: usize = 5;

    fn with_reference<R>(test: impl FnOnce(&Reference<'_>) -> R) -> R {
        let probabilities: Vec<f32> = (0..2 * PLACES).map(|i| ((i * 37) % 101) as f32 / 110.0).collect();
        let boxes: Vec<f32> = (0..4 * PLACES).map(|i| 5.0 + ((i * 29) % 97) as f32 * 0.3).collect();
        let (strides, input) = ([1.0; PLACES], ImageSize { height: 32, width: 64 });
        test(&Reference { anchors: PLACES, probabilities: &probabilities, boxes: &boxes, strides: &strides, input })
    }

    /// The best `count` predictions, centre and size as fractions.
    fn best(reference: &Reference<'_>, count: usize) -> Vec<f32> {
        let mut order: Vec<usize> = (0..2 * PLACES).collect();
        order.sort_by(|&a, &b| reference.probabilities[b].total_cmp(&reference.probabilities[a]));
        let row = |&i: &usize| {
            let at = |row: usize| reference.box_value(row, i % PLACES);
            let score = reference.probabilities[i];
            [at(0) / 64.0, at(1) / 32.0, at(2) / 64.0, at(3) / 32.0, score, (i / PLACES) as f32]
        };
        order[..count].iter().flat_map(row).collect()
    }

    #[test]
    fn the_best_rows_are_recognised_and_others_are_not() {
        with_reference(|reference| {
            let compare = |values: &[f32]| OwnOutputs::Ranked.compare(&[values], reference, &STRICT).unwrap();
            let rows = best(reference, 4);
            assert!(compare(&rows).unwrap().box_px.unwrap() < 0.02);
            // Without its first row: a better prediction is missing.
            assert!(compare(&rows[6..]).unwrap_err().contains("have a higher one"));
            for (at, change) in [(0, 0.1), (4, 0.01), (5, 1.0), (5, 7.0)] {
                let mut wrong = rows.clone();
                wrong[at] += change;
                assert!(compare(&wrong).is_err(), "{at}");
            }
            assert!(compare(&[]).is_err() && compare(&[f32::NAN; 12]).is_err());
            let column = |from: usize, to: usize| rows.chunks(6).flat_map(|r| r[from..to].to_vec()).collect::<Vec<_>>();
            let (labels, boxes, scores) = (column(5, 6), column(0, 4), column(4, 5));
            let apart = OwnOutputs::RankedApart { labels: 0, boxes: 1, scores: 2 };
            assert!(apart.compare(&[&labels, &boxes, &scores], reference, &STRICT).unwrap().is_ok());
            assert!(apart.compare(&[&labels, &boxes, &labels], reference, &STRICT).unwrap().is_err());
        });
    }

    #[test]
    fn objectness_times_class_is_the_score() {
        with_reference(|reference| {
            let rows: Vec<Vec<f32>> = (0..PLACES)
                .map(|place| {
                    let scores = (0..2).map(|class| reference.probability(class, place) / 0.95);
                    (0..4).map(|row| reference.box_value(row, place)).chain([0.95]).chain(scores).collect()
                })
                .collect();
            let transposed: Vec<f32> = (0..7).flat_map(|k| rows.iter().map(move |row| row[k])).collect();
            let compare = |values: &[f32], decoded: bool| {
                OwnOutputs::Objectness { decoded }.compare(&[values], reference, &STRICT).unwrap()
            };
            assert!(compare(&rows.concat(), true).is_ok() && compare(&transposed, true).is_ok());
            let mut wrong = rows.concat();
            wrong[1] += 1.0;
            assert!(compare(&wrong, true).unwrap_err().contains("top") || compare(&wrong, true).is_err());
            assert!(compare(&wrong, false).is_ok());
            wrong[4] = 0.5;
            assert!(compare(&wrong, false).unwrap_err().contains("probability"));
        });
    }
}
