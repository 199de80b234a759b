//! What flows through a model: the distribution of its tensors over the calibration images.

use super::{
    histogram::{Counted, Histogram, Tables},
    lock, passes,
};
use crate::{
    Error, Result,
    detector::{ActivationSession, Detector, Provider},
    pipeline::{self, ImageSource, Outcome, Prepared, Worker},
    types::{Failure, FailureStage},
};
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

/// A tensor to observe.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub name: String,
    /// Whether the means of its channels are wanted.
    pub means: bool,
}

/// One tensor over all images.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub histogram: Histogram,
    /// `[channels]` the mean of each; dimension 1 of four, else the last one. Empty where they were not wanted.
    pub channel_means: Vec<f64>,
    /// Of one image.
    pub shape: Vec<usize>,
}

/// Runs the images through the model and observes `tensors`, in their order. Failed images are handed to `on_image`.
/// `only_ends`: the lowest and the highest value of each are enough.
///
/// # Errors
/// [`Error::Interrupted`] once `stop` is raised; as [`ActivationSession::new`]; [`Error::Dataset`] where no image is left.
pub(super) fn observe(
    detector: &Detector,
    tensors: &[Wanted],
    only_ends: bool,
    source: &ImageSource<'_>,
    jobs: NonZeroUsize,
    stop: &AtomicBool,
    on_image: &mut dyn FnMut(Option<Failure>),
) -> Result<Vec<Observed>> {
    let sessions = pipeline::num_sessions(Provider::Cpu, jobs).min(source.samples.len().max(1));
    let nothing = Observed { histogram: Histogram::new(only_ends), channel_means: Vec::new(), shape: Vec::new() };
    let all = Mutex::new(vec![nothing; tensors.len()]);
    let workers = (0..sessions).map(|_| Images::new(detector, tensors, only_ends, &all)).collect::<Result<Vec<_>>>()?;
    let keys: Vec<_> = (0..source.samples.len() as i64).map(|image| (image, 0)).collect();
    let mut sums: Vec<Vec<f64>> = vec![Vec::new(); tensors.len()];
    let (mut images, mut first_reason) = (0u64, None);
    let handed_over = pipeline::run(source, &keys, 1, workers, jobs, stop, |outcome| {
        match outcome {
            Ok(means) => {
                images += 1;
                // In the order of the images: sums of floating-point numbers are then the same whatever the number of threads.
                sums.iter_mut().zip(means).for_each(|(sum, means)| add(sum, &means));
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
    if images == 0 {
        return Err(Error::Dataset {
            path: source.samples.first().map(|sample| sample.path.clone()).unwrap_or_default(),
            found: format!(
                "there is no image to calibrate with: {}",
                first_reason.unwrap_or_else(|| "the cache has none".into())
            ),
            remedy: "Give the data set's place with `data=`, or another cache.".into(),
        });
    }
    let mut observed = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (one, sum) in observed.iter_mut().zip(sums) {
        one.channel_means = sum.into_iter().map(|sum| sum / images as f64).collect();
    }
    Ok(observed)
}

fn add(sum: &mut Vec<f64>, means: &[f64]) {
    if sum.is_empty() {
        sum.resize(means.len(), 0.0);
    }
    sum.iter_mut().zip(means).for_each(|(sum, mean)| *sum += mean);
}

/// One worker's session, and what it saw on the image in hand. Only whole images are added to `all`; counts are whole numbers,
/// so that it does not matter which image comes first.
struct Images<'a> {
    session: ActivationSession,
    image: Arc<Mutex<OneImage>>,
    all: &'a Mutex<Vec<Observed>>,
}

struct OneImage {
    wanted: Vec<Wanted>,
    tensors: Vec<Counted>,
    means: Vec<Vec<f64>>,
    /// None of a tensor that was not seen yet.
    shapes: Vec<Option<Vec<usize>>>,
    tables: Tables,
}

impl<'a> Images<'a> {
    fn new(detector: &Detector, tensors: &[Wanted], only_ends: bool, all: &'a Mutex<Vec<Observed>>) -> Result<Self> {
        let image = Arc::new(Mutex::new(OneImage {
            wanted: tensors.to_vec(),
            tensors: vec![Counted::new(only_ends); tensors.len()],
            means: vec![Vec::new(); tensors.len()],
            shapes: vec![None; tensors.len()],
            tables: Tables::new(),
        }));
        let names: Vec<String> = tensors.iter().map(|tensor| tensor.name.clone()).collect();
        let seen = image.clone();
        let observer = move |tensor: usize, shape: &[usize], values: &[f32]| lock(&seen).see(tensor, shape, values);
        Ok(Self { session: ActivationSession::new(detector, &names, Box::new(observer))?, image, all })
    }

    /// The means of the channels of each tensor.
    fn run(&mut self, pixels: &[f32]) -> std::result::Result<Vec<Vec<f64>>, String> {
        lock(&self.image).shapes.fill(None);
        self.session.run(pixels)?;
        let image = lock(&self.image);
        let shapes: Option<Vec<&Vec<usize>>> = image.shapes.iter().map(Option::as_ref).collect();
        let shapes = shapes.ok_or("a tensor is missing")?;
        let mut all = lock(self.all);
        for ((all, counted), shape) in all.iter_mut().zip(&image.tensors).zip(shapes) {
            all.histogram.add(counted);
            if all.shape.is_empty() {
                all.shape.clone_from(shape);
            }
        }
        Ok(image.means.clone())
    }
}

impl OneImage {
    fn see(&mut self, tensor: usize, shape: &[usize], values: &[f32]) -> std::result::Result<(), String> {
        let wanted = &self.wanted[tensor];
        let counted = self.tensors[tensor].count(values, &mut self.tables);
        counted.map_err(|why| format!("in tensor {:?} {why}", wanted.name))?;
        if wanted.means {
            self.means[tensor] = channel_means(shape, values);
        }
        self.shapes[tensor] = Some(shape.to_vec());
        Ok(())
    }
}

impl Worker for Images<'_> {
    type Output = Vec<Vec<f64>>;

    fn run(&mut self, pixels: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<Self::Output>> {
        let mut observe = |image: Prepared| {
            self.run(pixels).map_err(|reason| Failure {
                image_id: image.image_id,
                path: image.path.clone(),
                stage: FailureStage::Teacher,
                reason,
            })
        };
        images.into_iter().map(|image| observe(image?)).collect()
    }
}

fn channel_means(shape: &[usize], values: &[f32]) -> Vec<f64> {
    match shape {
        [_, channels, height, width] => {
            let area = (height * width).max(1);
            values.chunks_exact(area).take(*channels).map(|plane| passes::sum(plane) / area as f64).collect()
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
