//! The proof, on one picture, that the tensors found in a graph are what they are taken for.

use std::time::{Duration, Instant};

use ort::{session::builder::GraphOptimizationLevel, value::TensorRef};

use super::{
    ending::{Errors, Reference, Tolerance, measure, recognise},
    model::{BatchSize, Detector, Precision},
    onnx::quantized::Steps,
    read::refused,
    refuse::{EXPORT_AGAIN, Refusal, USE_FLOAT},
    runtime::{
        self,
        provider::Provider,
        session::{SessionOptions, build},
    },
};
use crate::{Result, preprocess::Colours};

/// How far decoding the raw tensors came from the model's own output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfCheck {
    /// Anchors compared, all of one picture.
    pub anchors: usize,
    /// Largest difference of a box value, in input pixels.
    pub max_box_error_px: f32,
    /// Largest difference of a class probability.
    pub max_score_error: f32,
    /// Of a quantized model: what the rounding behind the raw tensors costs.
    pub rounding: Option<Rounding>,
    /// Time that the run took per image; making the session is not counted.
    pub image_time: Duration,
}

/// How far a quantized model's own outputs, which it rounds once more, are from what its raw tensors give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rounding {
    /// Largest difference of a box value, in input pixels.
    pub max_box_px: f32,
    /// Largest difference of a class probability.
    pub max_score: f32,
}

impl Tolerance {
    fn of(precision: Precision, steps: Steps) -> Self {
        match precision {
            // Of a quantized model everything behind the raw tensors is computed in float32 here.
            Precision::Fp32 | Precision::Fp8 | Precision::Int4 | Precision::Int8 | Precision::Int16 => {
                Self { box_absolute_px: 0.02, box_relative: 1e-4, score_absolute: 1e-6, score_relative: 1e-3, steps }
            }
            // float16 has 11 bits: 0.5 px at 640 px, and a logit of -10 moves its probability by half a per cent.
            Precision::Fp16 => {
                Self { box_absolute_px: 1.0, box_relative: 1e-2, score_absolute: 1e-5, score_relative: 5e-2, steps }
            }
        }
    }
}

impl Detector {
    /// Runs the original model once on a fixed picture of noise, its raw tensors exposed beside its own outputs, and
    /// compares: sigmoid of the class logits with its probabilities, boxes decoded from the DFL logits with its boxes.
    ///
    /// This is what makes finding the tensors by structure safe: a head that is understood wrongly (bins before sides,
    /// another order of anchors, other strides) is refused, not cached. The CPU provider computes.
    ///
    /// Of a quantized model the outputs are computed a second time from its raw tensors, without the rounding in between;
    /// those are the proof, and how far its own outputs are from them is what that rounding costs.
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
        let picture = self.noise(batch);
        let refuse = |why: String| refused(&self.path, self.not_as_found(&why));
        let said = |error: ort::Error| refuse(format!("ONNX Runtime reports: {}", error.message()));
        let input = TensorRef::from_array_view((shape, picture.as_slice())).map_err(said)?;
        let started = Instant::now();
        let outputs = session.run(ort::inputs![input]).map_err(said)?;
        let image_time = started.elapsed() / u32::try_from(batch).unwrap_or(u32::MAX);

        let anchors = self.head.num_places();
        let channels = [self.head.num_classes, self.head.boxes.channels()];
        let own = self.taps.own.len();
        if outputs.len() != channels.len() + own + self.taps.float.len() {
            return Err(refuse(format!("it returns {} tensors", outputs.len())));
        }
        let mut images: Vec<&[f32]> = Vec::new();
        for i in 0..outputs.len() {
            let (shape, data) = outputs[i].try_extract_tensor::<f32>().map_err(said)?;
            if let Some(channels) = channels.get(i)
                && !shape.iter().map(|dim| usize::try_from(*dim).ok()).eq([batch, *channels, anchors].map(Some))
            {
                return Err(refuse(format!(
                    "tensor {i} has the shape {:?}, expected {:?}",
                    &shape[..],
                    [batch, *channels, anchors]
                )));
            }
            images.push(data.get(..data.len() / batch).unwrap_or(&[]));
        }
        let [logits, raw_boxes, outputs @ ..] = images.as_slice() else {
            return Err(refuse("an output is missing".to_owned()));
        };
        let (own, float) = outputs.split_at_checked(own).unwrap_or((outputs, &[]));

        let boxes = self.family.reference_boxes(raw_boxes, &self.head, self.input).map_err(&refuse)?;
        let probabilities: Vec<f32> = logits.iter().map(|&logit| self.head.kind.probability(logit)).collect();
        // Queries have no stride; their boxes are fractions of the input, as if it were one cell.
        let strides: Vec<f32> =
            (0..anchors).map(|place| self.head.stride_at(place).map_or(1.0, |stride| stride as f32)).collect();
        let reference =
            Reference { anchors, probabilities: &probabilities, boxes: &boxes, strides: &strides, input: self.input };
        let tolerance = Tolerance::of(self.precision, self.taps.steps);
        let proof = if self.quantized.is_some() { float } else { own };
        if let Some(compared) = self.own.compare(proof, &reference, &tolerance) {
            let errors = compared.map_err(&refuse)?;
            let measured = self.quantized.as_ref().and_then(|_| {
                // However far the file's own rounding moves them.
                let any = Tolerance { box_absolute_px: f32::MAX, score_absolute: f32::MAX, ..tolerance };
                largest(self.own.compare(own, &reference, &any)?.into_iter())
            });
            return Ok(SelfCheck {
                anchors,
                max_box_error_px: errors.box_px.unwrap_or_default(),
                max_score_error: errors.score.unwrap_or_default(),
                rounding: measured.map(|(max_box_px, max_score)| Rounding { max_box_px, max_score }),
                image_time,
            });
        }
        let recognised: Vec<_> = proof.iter().map(|output| recognise(output, &reference, &tolerance)).collect();
        let (max_box_error_px, max_score_error) = largest(recognised.iter().flatten().map(|(_, errors)| *errors))
            .ok_or_else(|| {
                let difference = recognised.iter().find_map(|result| result.as_ref().err().cloned());
                refuse(difference.unwrap_or_else(|| "its outputs do not hold both boxes and scores".to_owned()))
            })?;
        let measured = own
            .iter()
            .zip(&recognised)
            .filter_map(|(output, result)| result.as_ref().ok().map(|(ending, _)| measure(output, ending, &reference)));
        let rounding = self.quantized.as_ref().and_then(|_| largest(measured));
        let rounding = rounding.map(|(max_box_px, max_score)| Rounding { max_box_px, max_score });
        Ok(SelfCheck { anchors, max_box_error_px, max_score_error, rounding, image_time })
    }

    /// A picture of noise for each image of a batch, as the model takes pictures.
    fn noise(&self, batch: usize) -> Vec<f32> {
        let area = self.input.height as usize * self.input.width as usize;
        let mut picture = noise(batch * 3 * area);
        let rule = self.input_rule;
        if !rule.is_default() {
            for (plane, values) in picture.chunks_exact_mut(area.max(1)).enumerate() {
                let colour = match rule.colours {
                    Colours::Rgb => plane % 3,
                    Colours::Bgr => 2 - plane % 3,
                };
                values.iter_mut().for_each(|value| *value = rule.values.of_unit(*value, colour));
            }
        }
        picture
    }

    /// What is said of a head whose numbers are not what they should be.
    fn not_as_found(&self, why: &str) -> Refusal {
        match &self.quantized {
            Some(how) => Refusal::new(
                format!(
                    "this model is quantized ({how}), and its head, as found in the graph, does not behave like a \
                     detection head: {why}."
                ),
                USE_FLOAT,
            ),
            None => Refusal::new(
                format!("this model's head was found in the graph but does not behave like a detection head: {why}."),
                EXPORT_AGAIN,
            ),
        }
    }
}

/// The largest differences of boxes and of scores; `None` unless there are both.
fn largest(errors: impl Iterator<Item = Errors>) -> Option<(f32, f32)> {
    let all = errors.fold(Errors::default(), Errors::larger);
    all.box_px.zip(all.score)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ImageSize;

    #[test]
    fn a_shifted_probability_and_a_nan_are_noticed() {
        let tolerance = Tolerance::of(Precision::Fp32, Steps::default());
        let (boxes, input) = ([1.0; 8], ImageSize { height: 32, width: 32 });
        let judge = |probabilities: &[f32], own: &[f32]| {
            let reference = Reference { anchors: 2, probabilities, boxes: &boxes, strides: &[8.0; 2], input };
            recognise(&[&boxes[..], own].concat(), &reference, &tolerance)
        };
        assert!(judge(&[0.5, 1.234e-4], &[0.5, 1.2341e-4]).is_ok());
        assert!(judge(&[0.5, 1.234e-4], &[0.5, 1.3e-4]).unwrap_err().contains("0.0001234"));
        assert!(judge(&[0.5, f32::NAN], &[0.5, 1.3e-4]).is_err());
        assert!(judge(&[0.5, 1.3e-4], &[f32::NAN, 1.3e-4]).is_err());
    }
}
