//! What flows through a model: the distribution of its tensors over the calibration images.

use super::histogram::Histogram;
use crate::{
    Error, Result,
    detector::{ActivationSession, Detector, SessionOptions},
    pipeline::{self, ImageSource, Outcome, Prepared, Worker},
    types::{Failure, FailureStage},
};
use std::{num::NonZeroUsize, sync::atomic::AtomicBool};

/// One tensor over all images.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub histogram: Histogram,
    /// `[channels]` the mean of each; dimension 1 of four, else the last one.
    pub channel_means: Vec<f64>,
    /// Of one image.
    pub shape: Vec<usize>,
}

/// Runs the images through the model and observes `tensors`, in their order. Failed images are handed to `on_image`.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is raised; as [`ActivationSession::new`]; [`Error::Dataset`] where no image is left.
pub(super) fn observe(
    detector: &Detector,
    tensors: &[String],
    source: &ImageSource<'_>,
    jobs: NonZeroUsize,
    options: SessionOptions,
    stop: &AtomicBool,
    on_image: &mut dyn FnMut(Option<Failure>),
) -> Result<Vec<Observed>> {
    let sessions = pipeline::num_sessions(options.provider, jobs).min(source.samples.len().max(1));
    let worker = |_| Ok(Observer { session: ActivationSession::new(detector, tensors, &options)?, tensors });
    let workers = (0..sessions).map(worker).collect::<Result<Vec<_>>>()?;
    let keys: Vec<_> = (0..source.samples.len() as i64).map(|image| (image, 0)).collect();
    let mut observed: Vec<Option<Observed>> = vec![None; tensors.len()];
    let (mut images, mut first_reason) = (0u64, None);
    let handed_over = pipeline::run(source, &keys, 1, workers, jobs, stop, |outcome| {
        match outcome {
            Ok(image) => {
                images += 1;
                observed.iter_mut().zip(image).for_each(|(all, one)| merge(all, one));
                on_image(None);
            }
            Err(failure) => {
                first_reason.get_or_insert_with(|| failure.reason.clone());
                on_image(Some(failure));
            }
        }
        Ok(())
    })?;
    if handed_over < keys.len() {
        return Err(Error::Interrupted { remedy: "nothing was written; run the same command again".into() });
    }
    let observed: Option<Vec<Observed>> = observed.into_iter().collect();
    let mut observed = observed.ok_or_else(|| Error::Dataset {
        path: source.samples.first().map(|sample| sample.path.clone()).unwrap_or_default(),
        found: format!(
            "there is no image to calibrate with: {}",
            first_reason.unwrap_or_else(|| "the cache has none".into())
        ),
        remedy: "Give the data set's place with `data=`, or another cache.".into(),
    })?;
    for one in &mut observed {
        one.channel_means.iter_mut().for_each(|mean| *mean /= images as f64);
    }
    Ok(observed)
}

/// In the order of the images, so that sums of floating-point numbers are the same whatever the number of threads.
fn merge(all: &mut Option<Observed>, one: Observed) {
    match all {
        None => *all = Some(one),
        Some(all) => {
            all.histogram.merge(one.histogram);
            all.channel_means.iter_mut().zip(one.channel_means).for_each(|(sum, mean)| *sum += mean);
        }
    }
}

struct Observer<'a> {
    session: ActivationSession,
    tensors: &'a [String],
}

impl Worker for Observer<'_> {
    type Output = Vec<Observed>;

    fn run(&mut self, pixels: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<Vec<Observed>>> {
        let Self { session, tensors } = self;
        let mut observe = |image: Prepared| {
            let mut found: Vec<Option<Observed>> = vec![None; tensors.len()];
            let run = session.run(pixels, |tensor, shape, values| {
                let mut histogram = Histogram::new();
                histogram.add(values).map_err(|why| format!("in tensor {:?} {why}", tensors[tensor]))?;
                found[tensor] =
                    Some(Observed { histogram, channel_means: channel_means(shape, values), shape: shape.to_vec() });
                Ok(())
            });
            let fail = |reason| Failure {
                image_id: image.image_id,
                path: image.path.clone(),
                stage: FailureStage::Teacher,
                reason,
            };
            run.map_err(&fail)?;
            let found: Option<Vec<Observed>> = found.into_iter().collect();
            found.ok_or_else(|| fail("a tensor is missing".into()))
        };
        images.into_iter().map(|image| observe(image?)).collect()
    }
}

fn channel_means(shape: &[usize], values: &[f32]) -> Vec<f64> {
    match shape {
        [_, channels, height, width] => {
            let area = (height * width).max(1);
            let mean = |plane: &[f32]| plane.iter().map(|value| f64::from(*value)).sum::<f64>() / area as f64;
            values.chunks_exact(area).take(*channels).map(mean).collect()
        }
        [.., channels] if *channels > 0 => {
            let mut means = vec![0.0; *channels];
            for row in values.chunks_exact(*channels) {
                means.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let rows = (values.len() / channels).max(1) as f64;
            means.iter_mut().for_each(|mean| *mean /= rows);
            means
        }
        _ => Vec::new(),
    }
}
