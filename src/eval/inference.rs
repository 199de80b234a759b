//! An ONNX model over images, through the pipeline that `build` uses.

use super::nms::{NmsOptions, detect};
use crate::{
    Result,
    augment::Views,
    cache::{ImageKey, MissingLabels},
    dataset::{ClassMap, Sample},
    detector::{self, Detector, DetectorOptions, DetectorSession, Provider, Reading, SelfCheck},
    pipeline::{self, ImageSource, Outcome, Prepared, Worker},
    types::{Detection, Failure, FailureStage, ImageSize, InputSize, Store, TruthBox},
};
use std::{num::NonZeroUsize, path::PathBuf, sync::atomic::AtomicBool};

/// Everything that decides what a detector does.
#[derive(Debug, Clone)]
pub struct InferenceOptions {
    /// The ONNX file.
    pub model: PathBuf,
    /// Class names for a model without metadata.
    pub names: Option<Vec<String>>,
    /// What the user says of the file.
    pub reading: Reading,
    /// Input size; `None`: the model's own, 640 for a dynamic one.
    pub imgsz: Option<InputSize>,
    /// Worker threads.
    pub jobs: NonZeroUsize,
    /// Where the model runs.
    pub provider: Provider,
    /// The ONNX Runtime library, where the user names one.
    pub ort_lib: Option<PathBuf>,
    /// What becomes a detection.
    pub nms: NmsOptions,
}

/// A model ready to run over images: everything that can be refused before the first one was.
pub struct Inference {
    model: Detector,
    sessions: Vec<DetectorSession>,
    batch: usize,
    options: InferenceOptions,
    check: SelfCheck,
}

/// What a model found on one image.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectedImage {
    /// Position in the list of samples.
    pub image_id: i64,
    /// The sample's `relative` path.
    pub path: String,
    /// After EXIF orientation.
    pub size: ImageSize,
    /// Ground truth in the model's class ids, crowd regions included; `None` for an unlabelled image.
    pub truth: Option<Vec<TruthBox>>,
    /// Highest score first.
    pub detections: Vec<Detection>,
}

impl Inference {
    /// Loads and checks the model, makes its sessions.
    ///
    /// # Errors
    /// [`crate::Error::Runtime`] without a usable library, [`crate::Error::Model`] for a file that is no detector of the family, [`crate::Error::Mismatch`]
    /// where its inputs would fill the memory.
    pub fn open(options: InferenceOptions) -> Result<Self> {
        let model = Self::load(&options)?;
        Self::start(model, options)
    }

    /// The first half of [`Inference::open`]: what can be told from the file.
    pub(super) fn load(options: &InferenceOptions) -> Result<Detector> {
        detector::runtime::init(options.ort_lib.as_deref())?;
        // Boxes are all that is wanted, so a head without DFL will do.
        let teacher_options = DetectorOptions {
            imgsz: options.imgsz,
            store: Store::Cls,
            names: options.names.clone(),
            reading: options.reading.clone(),
            ..DetectorOptions::default()
        };
        Detector::load(&options.model, &teacher_options)
    }

    /// The second half: the sessions.
    pub(crate) fn start(model: Detector, mut options: InferenceOptions) -> Result<Self> {
        options.jobs = pipeline::useful_jobs(options.jobs);
        let batch = pipeline::batch_size(&model, options.provider, None)?;
        pipeline::refuse_if_memory_is_short(options.provider, options.jobs, batch, model.input)?;
        let (check, sessions) = pipeline::start_sessions(&model, options.provider, options.jobs)?;
        Ok(Self { model, sessions, batch, options, check })
    }

    /// The model.
    pub fn model(&self) -> &Detector {
        &self.model
    }

    /// What a user should know of the model.
    pub fn notes(&self) -> impl Iterator<Item = String> {
        self.model.quantization_note(&self.check).into_iter().chain(self.model.replaced_names.clone())
    }

    /// The model and its sessions, for one who runs images as they come; at most one image is run at once where a session is
    /// used alone.
    pub(crate) fn into_parts(self) -> (Detector, Vec<DetectorSession>) {
        (self.model, self.sessions)
    }

    /// The model input of the first of `samples` that can be read, `[3, H, W]`.
    pub(super) fn first_input(&self, samples: &[Sample]) -> Option<Vec<f32>> {
        source(samples, &self.model, None, MissingLabels::Unlabelled).first_input()
    }

    /// Runs over `samples` and calls `sink` in their order; an image's id is its position. With a `class_map` the labels are read too.
    /// Raising `stop` ends it early: what is in flight is finished and handed to `sink`. Returns how many images were handed over.
    ///
    /// # Errors
    /// The first error of `sink`; [`crate::Error::Runtime`] where threads cannot be had.
    pub fn run(
        self,
        samples: &[Sample],
        class_map: Option<&ClassMap>,
        missing_labels: MissingLabels,
        stop: &AtomicBool,
        sink: impl FnMut(std::result::Result<DetectedImage, Failure>) -> Result<()>,
    ) -> Result<usize> {
        let Self { model, sessions, batch, options, .. } = self;
        let worker = |session| InferenceWorker { session, batch, nms: options.nms };
        let workers = sessions.into_iter().map(worker).collect();
        let source = source(samples, &model, class_map, missing_labels);
        let keys: Vec<ImageKey> = (0..samples.len() as i64).map(|image_id| (image_id, 0)).collect();
        pipeline::run(&source, &keys, batch, workers, options.jobs, stop, sink)
    }
}

fn source<'a>(
    samples: &'a [Sample],
    model: &Detector,
    class_map: Option<&'a ClassMap>,
    missing_labels: MissingLabels,
) -> ImageSource<'a> {
    let (input, rule) = (model.input, model.input_rule);
    ImageSource { samples, image_ids: None, input, rule, class_map, missing_labels, views: Views::default() }
}

/// One session; owned by one thread.
struct InferenceWorker {
    session: DetectorSession,
    batch: usize,
    nms: NmsOptions,
}

impl Worker for InferenceWorker {
    type Output = DetectedImage;

    fn run(&mut self, pixels: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<DetectedImage>> {
        let Self { session, batch, nms } = self;
        let heads = session.run(*batch, pixels);
        let detect_one = |(i, image): (usize, Outcome<Prepared>)| {
            let Prepared { image_id, plan, path, truth, .. } = image?;
            let detections = match &heads {
                Ok(heads) => heads.view(i).and_then(|head| detect(head, &plan, nms)),
                Err(error) => Err(error.to_string()),
            };
            match detections {
                Ok(detections) => Ok(DetectedImage { image_id, path, size: plan.image, truth, detections }),
                Err(reason) => Err(Failure { image_id, path, stage: FailureStage::Teacher, reason }),
            }
        };
        images.into_iter().enumerate().map(detect_one).collect()
    }
}
