//! The proof, on one picture, that the tensors found in a graph are what they are taken for.

use std::time::{Duration, Instant};

use ort::{session::builder::GraphOptimizationLevel, value::TensorRef};

use super::{
    model::{BatchSize, HeadSpec, InputSize, Precision, TeacherModel, refused},
    refuse::Refusal,
    runtime,
    session::{Provider, SessionOptions, build},
};
use crate::Result;

/// How far decoding the raw tensors came from the model's own output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfCheck {
    /// Anchors compared, all of one picture.
    pub anchors: usize,
    /// Largest difference of a box value, in input pixels.
    pub max_box_error_px: f32,
    /// Largest difference of a class probability.
    pub max_score_error: f32,
    /// Time that the run took per image; making the session is not counted.
    pub image_time: Duration,
}

/// Differences that are rounding: `absolute + relative * |value|`.
struct Tolerance {
    box_absolute_px: f32,
    box_relative: f32,
    score_absolute: f32,
    score_relative: f32,
}

impl Tolerance {
    fn of(precision: Precision) -> Self {
        match precision {
            Precision::Fp32 => {
                Self { box_absolute_px: 0.02, box_relative: 1e-4, score_absolute: 1e-6, score_relative: 1e-3 }
            }
            // float16 has 11 bits: 0.5 px at 640 px, and a logit of -10 moves its probability by half a per cent.
            Precision::Fp16 => {
                Self { box_absolute_px: 1.0, box_relative: 1e-2, score_absolute: 1e-5, score_relative: 5e-2 }
            }
        }
    }
}

impl TeacherModel {
    /// Runs the original model once on a fixed picture of noise, its raw tensors exposed beside its own output, and
    /// compares: sigmoid of the class logits with its probabilities, boxes decoded from the DFL logits with its boxes.
    ///
    /// This is what makes finding the tensors by structure safe: a head that is understood wrongly (bins before sides,
    /// another order of anchors, other strides) is refused, not cached. The CPU provider computes.
    ///
    /// # Errors
    /// [`crate::Error::Model`] naming the first value that does not match, or what ONNX Runtime says of the graph;
    /// [`crate::Error::Runtime`] where the library cannot be had.
    pub fn self_check(&self, options: &SessionOptions) -> Result<SelfCheck> {
        let options = SessionOptions { provider: Provider::Cpu, ..*options };
        let runtime = runtime::init(None)?;
        let mut session = build(runtime, self, &self.check_bytes(), &options, GraphOptimizationLevel::Level1)?;
        let batch = match self.batch {
            BatchSize::Fixed(batch) => batch,
            BatchSize::Dynamic => 1,
        };
        let shape = [batch, 3, self.input.height as usize, self.input.width as usize];
        let picture = noise(shape.iter().product());
        let refuse = |why: String| {
            refused(
                &self.path,
                Refusal::new(
                    format!("this model's head was found in the graph but does not behave as such a head: {why}."),
                    "Export the detector with Ultralytics, without changes to its head: yolo export model=... format=onnx.",
                ),
            )
        };
        let said = |error: ort::Error| refuse(format!("ONNX Runtime says {}", error.message()));
        let input = TensorRef::from_array_view((shape, picture.as_slice())).map_err(said)?;
        let started = Instant::now();
        let outputs = session.run(ort::inputs![input]).map_err(said)?;
        let image_time = started.elapsed() / u32::try_from(batch).unwrap_or(u32::MAX);

        let (classes, anchors) = (self.head.num_classes, self.head.num_anchors);
        let channels = [classes, 4 * self.head.reg_max.unwrap_or(1), 4 + classes];
        let mut images: Vec<&[f32]> = Vec::new();
        if outputs.len() != channels.len() {
            return Err(refuse(format!("it gives {} tensors, expected {}", outputs.len(), channels.len())));
        }
        for (i, channels) in channels.into_iter().enumerate() {
            let (shape, data) = outputs[i].try_extract_tensor::<f32>().map_err(said)?;
            if !shape.iter().map(|dim| usize::try_from(*dim).ok()).eq([batch, channels, anchors].map(Some)) {
                return Err(refuse(format!(
                    "tensor {i} has the shape {:?}, expected {:?}",
                    &shape[..],
                    [batch, channels, anchors]
                )));
            }
            images.push(data.get(..channels * anchors).unwrap_or(&[]));
        }
        let [logits, raw_boxes, own] = images.as_slice() else { return Err(refuse("an output is missing".to_owned())) };
        let (own_boxes, own_scores) = own.split_at_checked(4 * anchors).unwrap_or((own, &[]));
        let tolerance = Tolerance::of(self.precision);

        let max_score_error = compare_scores(logits, own_scores, anchors, &tolerance).map_err(&refuse)?;
        let max_box_error_px = match self.head.reg_max {
            Some(reg_max) => {
                let decoded = decode(raw_boxes, reg_max, &self.head, self.input);
                compare_boxes(&decoded, own_boxes, anchors, &tolerance).map_err(&refuse)?
            }
            None => {
                plausible_boxes(own_boxes, &self.head, self.input).map_err(&refuse)?;
                0.0
            }
        };
        Ok(SelfCheck { anchors, max_box_error_px, max_score_error, image_time })
    }
}

/// Values in 0..1 that look random, from a formula (a Fibonacci hash with two rounds of mixing); the generator of the
/// test models repeats it.
pub(super) fn noise(len: usize) -> Vec<f32> {
    (0..len as u32)
        .map(|i| {
            let mut h = i.wrapping_mul(2_654_435_761).wrapping_add(12_345);
            h ^= h >> 16;
            h = h.wrapping_mul(2_246_822_519);
            h ^= h >> 13;
            (h >> 8) as f32 / (1u32 << 24) as f32
        })
        .collect()
}

/// False for NaN as well.
fn within(error: f32, allowed: f32) -> bool {
    error <= allowed
}

fn compare_scores(logits: &[f32], own: &[f32], anchors: usize, tolerance: &Tolerance) -> Result<f32, String> {
    let mut largest = 0.0f32;
    for (at, (logit, own)) in logits.iter().zip(own).enumerate() {
        let score = 1.0 / (1.0 + (-logit).exp());
        let error = (score - own).abs();
        if !within(error, tolerance.score_absolute + tolerance.score_relative * own.abs()) {
            return Err(format!(
                "class {} of anchor {} has the probability {own}, its logit gives {score}",
                at / anchors.max(1),
                at % anchors.max(1)
            ));
        }
        largest = largest.max(error);
    }
    Ok(largest)
}

fn compare_boxes(decoded: &[f32], own: &[f32], anchors: usize, tolerance: &Tolerance) -> Result<f32, String> {
    let mut largest = 0.0f32;
    for (at, (decoded, own)) in decoded.iter().zip(own).enumerate() {
        let error = (decoded - own).abs();
        if !within(error, tolerance.box_absolute_px + tolerance.box_relative * own.abs()) {
            let side = ["centre x", "centre y", "width", "height"].get(at / anchors.max(1)).unwrap_or(&"value");
            return Err(format!(
                "the box of anchor {} has the {side} {own} px, its DFL logits give {decoded} px",
                at % anchors.max(1)
            ));
        }
        largest = largest.max(error);
    }
    Ok(largest)
}

/// Boxes `[4, A]` (centre x, centre y, width, height in input pixels) from DFL logits `[4 * reg_max, A]`.
///
/// Ultralytics' `DFL` and `dist2bbox`: the distance to each side is the expectation of the bins, in cells, from the
/// cell's centre. Slow and plain on purpose: it judges the graph.
fn decode(dfl_logits: &[f32], reg_max: usize, head: &HeadSpec, input: InputSize) -> Vec<f32> {
    let anchors = head.num_anchors;
    let mut boxes = vec![0.0; 4 * anchors];
    for (anchor, (cell_x, cell_y, stride)) in cells(head, input).enumerate() {
        let distance = |side: usize| {
            let bins = (0..reg_max)
                .map(|bin| dfl_logits.get((side * reg_max + bin) * anchors + anchor).copied().unwrap_or(f32::NAN));
            let highest = bins.clone().fold(f32::NEG_INFINITY, f32::max);
            let (sum, weighted) = bins.enumerate().fold((0.0, 0.0), |(sum, weighted), (bin, logit)| {
                let weight = (logit - highest).exp();
                (sum + weight, weighted + weight * bin as f32)
            });
            weighted / sum
        };
        let [left, top, right, bottom] = [0, 1, 2, 3].map(distance);
        let values = [cell_x + (right - left) / 2.0, cell_y + (bottom - top) / 2.0, left + right, top + bottom];
        for (row, value) in values.into_iter().enumerate() {
            if let Some(slot) = boxes.get_mut(row * anchors + anchor) {
                *slot = value * stride;
            }
        }
    }
    boxes
}

/// Centre (in cells) and stride of every anchor, in order.
fn cells(head: &HeadSpec, input: InputSize) -> impl Iterator<Item = (f32, f32, f32)> {
    head.strides.iter().flat_map(move |&stride| {
        let (rows, columns) = (input.height / stride, input.width / stride);
        (0..rows)
            .flat_map(move |row| (0..columns).map(move |column| (column as f32 + 0.5, row as f32 + 0.5, stride as f32)))
    })
}

/// Without DFL there is no second way to the boxes; what can be told is whether they are centres and sizes in input
/// pixels near their anchors, and not corners or fractions of the picture.
fn plausible_boxes(boxes: &[f32], head: &HeadSpec, input: InputSize) -> Result<(), String> {
    let anchors = head.num_anchors;
    let row = |row: usize| boxes.get(row * anchors..(row + 1) * anchors).unwrap_or(&[]);
    let (xs, ys, widths, heights) = (row(0), row(1), row(2), row(3));
    let near = cells(head, input).zip(xs.iter().zip(ys)).filter(|((cell_x, cell_y, stride), (x, y))| {
        (cell_x * stride - *x).abs() <= 8.0 * stride && (cell_y * stride - *y).abs() <= 8.0 * stride
    });
    if near.count() * 10 < anchors * 9 {
        return Err("its boxes do not lie near their anchors, in input pixels".to_owned());
    }
    let corners = xs.iter().zip(widths).all(|(x, w)| w >= x) && ys.iter().zip(heights).all(|(y, h)| h >= y);
    if corners {
        return Err("its boxes look like corners (x1, y1, x2, y2); supported are centre and size".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(reg_max: usize) -> (HeadSpec, InputSize) {
        let head = HeadSpec {
            num_classes: 1,
            reg_max: Some(reg_max),
            strides: vec![8, 16, 32],
            num_anchors: 84,
            kind: "yolov8-dfl",
        };
        (head, InputSize { height: 64, width: 64 })
    }

    #[test]
    fn one_hot_bins_decode_to_their_distances() {
        let (head, input) = head(16);
        let mut logits = vec![-100.0; 64 * 84];
        // Anchor 64 is the first of stride 16, its centre at (8, 8) px: left 1, top 2, right 3, bottom 6 cells.
        for (side, bin) in [1, 2, 3, 6].into_iter().enumerate() {
            logits[(side * 16 + bin) * 84 + 64] = 100.0;
        }
        let boxes = decode(&logits, 16, &head, input);
        let at = [0, 1, 2, 3].map(|row| boxes[row * 84 + 64]);
        // x: 8 - 16 .. 8 + 48, y: 8 - 32 .. 8 + 96.
        assert_eq!(at, [24.0, 40.0, 64.0, 128.0]);
    }

    #[test]
    fn a_shifted_probability_and_a_nan_are_noticed() {
        let tolerance = Tolerance::of(Precision::Fp32);
        assert!(compare_scores(&[0.0, -9.0], &[0.5, 1.234e-4], 2, &tolerance).is_ok());
        assert!(compare_scores(&[0.0, -9.0], &[0.5, 1.3e-4], 2, &tolerance).is_err());
        assert!(compare_scores(&[f32::NAN], &[0.5], 1, &tolerance).is_err());
        assert!(compare_boxes(&[1.0], &[1.5], 1, &tolerance).is_err());
        assert!(compare_boxes(&[f32::NAN], &[1.5], 1, &tolerance).is_err());
    }

    #[test]
    fn corners_and_fractions_are_told_from_centres() {
        let head = HeadSpec {
            num_classes: 1,
            reg_max: None,
            strides: vec![8, 16, 32],
            num_anchors: 8400,
            kind: "yolov8-direct",
        };
        let input = InputSize { height: 640, width: 640 };
        let cells: Vec<(f32, f32, f32)> = cells(&head, input).collect();
        assert_eq!(cells.len(), 8400);
        let rows = |of: fn(f32, f32, f32) -> [f32; 4]| {
            let boxes: Vec<[f32; 4]> = cells.iter().map(|(x, y, s)| of(x * s, y * s, *s)).collect();
            (0..4).flat_map(|row| boxes.iter().map(move |b| b[row]).collect::<Vec<_>>()).collect::<Vec<f32>>()
        };
        let judge = |of| plausible_boxes(&rows(of), &head, input);
        assert!(judge(|x, y, s| [x, y, 2.0 * s, 2.0 * s]).is_ok());
        assert!(judge(|x, y, s| [x - s, y - s, x + s, y + s]).unwrap_err().contains("corners"));
        assert!(judge(|x, y, _| [x / 640.0, y / 640.0, 0.1, 0.1]).unwrap_err().contains("near their anchors"));
        assert!(judge(|_, _, _| [f32::NAN; 4]).is_err());
    }
}
