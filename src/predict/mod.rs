//! `predict`: what a model sees on pictures, counted, drawn and written down.

mod folder;
mod report;

pub use folder::{DETECTIONS_FILE, LABELS_FOLDER};
pub(crate) use report::count;
pub use report::{ClassCount, PredictReport, PredictedImage};

use crate::{
    Error, Result,
    cache::MissingLabels,
    dataset::{Dataset, paths},
    eval::{DetectedImage, Inference, InferenceOptions},
    types::Failure,
};
use folder::Folder;
use rayon::{
    ThreadPool, ThreadPoolBuilder,
    iter::{IntoParallelIterator, ParallelIterator},
};
use std::{path::PathBuf, sync::atomic::AtomicBool};

/// Everything that decides what a prediction does.
#[derive(Debug, Clone)]
pub struct PredictOptions {
    /// The model and how it runs.
    pub detector: InferenceOptions,
    /// Pictures, and folders of pictures.
    pub pictures: Vec<PathBuf>,
    /// Where drawn pictures, label files and COCO results go; `None`: nowhere.
    pub out: Option<PathBuf>,
    /// Whether label files have the score as a sixth column.
    pub save_conf: bool,
    /// Whether the folder may be one of something else.
    pub overwrite: bool,
}

/// A prediction that may start: everything was opened and checked.
pub struct Predict {
    options: PredictOptions,
    dataset: Dataset,
    detector: Inference,
    output: Option<Output>,
}

/// Where results go, and the threads that draw.
struct Output {
    folder: Folder,
    drawers: ThreadPool,
}

/// What became of one picture.
type Outcome = std::result::Result<DetectedImage, Failure>;

impl Predict {
    /// Opens and checks everything; creates the output folder.
    ///
    /// # Errors
    /// Whatever would make the prediction wrong or impossible: no pictures, a model that is no detector, an output folder that
    /// holds other things or any of the pictures.
    pub fn prepare(options: PredictOptions) -> Result<Self> {
        let mut dataset = Dataset::of_pictures(&options.pictures)?;
        let folder = options.out.as_deref().map(|out| Folder::check(out, &dataset, &options)).transpose()?;
        let detector = Inference::open(options.detector.clone())?;
        dataset.notes.extend(detector.notes());
        let output = folder.map(|folder| Output::new(folder, &options)).transpose()?;
        Ok(Self { options, dataset, detector, output })
    }

    /// Pictures to look at.
    pub fn num_images(&self) -> u64 {
        self.dataset.samples.len() as u64
    }

    /// What a user should be told about the pictures and the model, a line each.
    pub fn notes(&self) -> &[String] {
        &self.dataset.notes
    }

    /// What a user must be told about the model.
    pub fn warning(&self) -> Option<String> {
        self.detector.model().warning()
    }

    /// Runs the model over every picture. `on_image` is called for each, in the order of their paths, once its files are
    /// written. Raising `stop` ends it early; what is in flight is finished and reported.
    ///
    /// # Errors
    /// The first error of `on_image`, a file that cannot be written, a library that fails.
    pub fn run(
        self,
        stop: &AtomicBool,
        mut on_image: impl FnMut(std::result::Result<&PredictedImage, &Failure>) -> Result<()>,
    ) -> Result<PredictReport> {
        let Self { options, dataset, detector, output } = self;
        let class_names = detector.model().class_names.clone();
        let mut report = PredictReport {
            model: paths::to_column(&options.detector.model),
            conf: options.detector.nms.conf,
            iou: options.detector.nms.iou,
            class_names,
            out: options.out.as_deref().map(paths::to_column),
            samples: dataset.samples.len() as u64,
            complete: false,
            images: Vec::new(),
            totals: Vec::new(),
            failures: Vec::new(),
            passed_over: dataset.passed_over.clone(),
            notes: dataset.notes.clone(),
        };
        // Drawn some at a time, by as many threads as there are jobs; the model goes on meanwhile.
        let at_a_time = output.as_ref().map_or(1, |output| output.drawers.current_num_threads());
        let mut waiting: Vec<Outcome> = Vec::with_capacity(at_a_time);
        let mut finish = |waiting: &mut Vec<Outcome>, report: &mut PredictReport| {
            let outcomes = std::mem::take(waiting);
            let finished = match &output {
                Some(output) => output.write(outcomes, &dataset, &report.class_names)?,
                None => outcomes,
            };
            finished.into_iter().try_for_each(|outcome| on_image(report.add(outcome)))
        };
        let samples = &dataset.samples;
        detector.run(samples, None, MissingLabels::Unlabelled, stop, |outcome| {
            waiting.push(outcome);
            if waiting.len() == at_a_time { finish(&mut waiting, &mut report) } else { Ok(()) }
        })?;
        finish(&mut waiting, &mut report)?;
        report.complete = report.images.len() + report.failures.len() == samples.len();
        report.sum_up();
        if let Some(output) = &output {
            output.folder.write_detections(&report.images)?;
        }
        Ok(report)
    }
}

impl Output {
    fn new(folder: Folder, options: &PredictOptions) -> Result<Self> {
        let jobs = options.detector.jobs;
        let drawers = ThreadPoolBuilder::new().num_threads(jobs.get()).thread_name(|i| format!("draw-{i}")).build();
        let drawers = drawers.map_err(|e| Error::Runtime {
            found: format!("cannot start {jobs} threads: {e}"),
            remedy: "Give a smaller `jobs=`.".into(),
        })?;
        folder.create()?;
        Ok(Self { folder, drawers })
    }

    /// Writes each picture's files; a picture that cannot be drawn becomes a failure.
    fn write(&self, outcomes: Vec<Outcome>, dataset: &Dataset, class_names: &[String]) -> Result<Vec<Outcome>> {
        let write_one = |outcome: Outcome| match outcome {
            Ok(image) => self.folder.write_image(image, dataset, class_names),
            Err(failure) => Ok(Err(failure)),
        };
        self.drawers.install(|| outcomes.into_par_iter().map(write_one).collect())
    }
}
