//! Running the edited model with ONNX Runtime.

use ort::{
    session::{
        Session, SessionOutputs,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::TensorRef,
};

use super::{
    super::{
        head::{HeadSpec, HeadView},
        model::{BatchSize, Detector},
    },
    Runtime, init,
    provider::Provider,
};
use crate::{Error, Result};

/// The grey of the letterbox, for images that only fill up a fixed batch.
const GREY: f32 = 114.0 / 255.0;

/// How a session is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionOptions {
    /// Who computes.
    pub provider: Provider,
    /// Threads that one run uses, the calling one included; at least 1.
    pub intra_threads: usize,
}

/// A detector ready to run. Belongs to one thread at a time; several sessions of one model run side by side.
pub struct DetectorSession {
    session: Session,
    batch: BatchSize,
    /// `[batch, 3, height, width]` without the batch.
    image: [usize; 3],
    head: HeadSpec,
    filled_up: Vec<f32>,
}

/// Why one run gave nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RunError(pub String);

impl DetectorSession {
    /// Makes a session of the edited model; loads the library if that has not happened yet.
    ///
    /// # Errors
    /// [`Error::Runtime`] where the library or the provider cannot be had (never a fallback to another provider),
    /// [`Error::Model`] where ONNX Runtime refuses the graph.
    pub fn new(model: &Detector, options: &SessionOptions) -> Result<Self> {
        let runtime = init(None)?;
        let session = build(runtime, model, &model.edited_bytes(), options, GraphOptimizationLevel::All)?;
        Ok(Self {
            session,
            batch: model.batch,
            image: [3, model.input.height as usize, model.input.width as usize],
            head: model.head.clone(),
            filled_up: Vec::new(),
        })
    }

    /// Runs `batch` images: `pixels` is `[batch, 3, height, width]`, red, green, blue, 0 to 1.
    ///
    /// A model of fixed batch takes at most that many; the rest is filled up with grey and dropped again.
    ///
    /// # Errors
    /// Says what is wrong with the input, what ONNX Runtime says, or which output has an unexpected shape.
    pub fn run(&mut self, batch: usize, pixels: &[f32]) -> Result<HeadOutputs<'_>, RunError> {
        let [channels, height, width] = self.image;
        let per_image = channels * height * width;
        if batch == 0 || pixels.len() != batch.saturating_mul(per_image) {
            return Err(RunError(format!(
                "{batch} images of 3 x {height} x {width} are {} values, {} were given",
                batch.saturating_mul(per_image),
                pixels.len()
            )));
        }
        let (run_batch, pixels) = match self.batch {
            BatchSize::Fixed(fixed) if batch > fixed => {
                return Err(RunError(format!("the model takes {fixed} images at once, {batch} were given")));
            }
            BatchSize::Fixed(fixed) if batch < fixed => {
                self.filled_up.clear();
                self.filled_up.extend_from_slice(pixels);
                self.filled_up.resize(fixed * per_image, GREY);
                (fixed, self.filled_up.as_slice())
            }
            _ => (batch, pixels),
        };
        let input = TensorRef::from_array_view(([run_batch, channels, height, width], pixels)).map_err(said)?;
        let outputs = self.session.run(ort::inputs![input]).map_err(said)?;
        let places = self.head.num_places();
        let shapes = [[run_batch, self.head.num_classes, places], [run_batch, self.head.boxes.channels(), places]];
        if outputs.len() != shapes.len() {
            return Err(RunError(format!("the model gave {} outputs, expected {}", outputs.len(), shapes.len())));
        }
        for (i, expected) in shapes.iter().enumerate() {
            let (shape, _) = outputs[i].try_extract_tensor::<f32>().map_err(said)?;
            if !shape.iter().map(|dim| usize::try_from(*dim).ok()).eq(expected.iter().map(|dim| Some(*dim))) {
                return Err(RunError(format!("output {i} has the shape {:?}, expected {expected:?}", &shape[..])));
            }
        }
        Ok(HeadOutputs { outputs, batch, head: &self.head })
    }
}

/// The raw outputs of one run, borrowed from ONNX Runtime.
pub struct HeadOutputs<'s> {
    outputs: SessionOutputs<'s>,
    batch: usize,
    head: &'s HeadSpec,
}

impl HeadOutputs<'_> {
    /// Images in this run (without those that filled up a fixed batch).
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What the head gives for image `i`.
    ///
    /// # Errors
    /// In words, when an output is not of the size that [`DetectorSession::run`] has checked.
    ///
    /// # Panics
    /// If `i` is not below [`HeadOutputs::batch`].
    pub fn view(&self, i: usize) -> Result<HeadView<'_>, String> {
        let places = self.head.num_places();
        let class_logits = self.image(0, i, self.head.num_classes * places);
        HeadView::new(self.head, class_logits, self.image(1, i, self.head.boxes.channels() * places))
    }

    fn image(&self, output: usize, i: usize, values: usize) -> &[f32] {
        assert!(i < self.batch, "image {i} of a batch of {}", self.batch);
        // `run` has checked type and shape.
        let data = self.outputs[output].try_extract_tensor::<f32>().map(|(_, data)| data).unwrap_or(&[]);
        &data[i * values..(i + 1) * values]
    }
}

fn said(error: ort::Error) -> RunError {
    RunError(format!("ONNX Runtime: {}", error.message()))
}

/// A session of `bytes` on the provider asked for, or an error that says what to install.
pub(in crate::detector) fn build(
    runtime: &Runtime,
    model: &Detector,
    bytes: &[u8],
    options: &SessionOptions,
    optimize: GraphOptimizationLevel,
) -> Result<Session> {
    build_with(runtime, model, bytes, options, optimize, Ok)
}

/// [`build`] with what `more` sets.
pub(in crate::detector) fn build_with(
    runtime: &Runtime,
    model: &Detector,
    bytes: &[u8],
    options: &SessionOptions,
    optimize: GraphOptimizationLevel,
    more: impl FnOnce(SessionBuilder) -> ort::Result<SessionBuilder>,
) -> Result<Session> {
    let provider = options.provider;
    if !provider.is_in_library().unwrap_or(false) {
        return Err(Error::Runtime {
            found: format!(
                "the library {} (version {}) has no {} provider.",
                runtime.path.display(),
                runtime.version,
                provider.as_str()
            ),
            remedy: format!(
                "Install the wheel that has it (pip install {}) and name its library with `ort_lib=`, or use `provider=cpu`.",
                provider.wheel()
            ),
        });
    }
    let configured = configure(runtime, options, optimize);
    let configured = configured.and_then(|builder| more(builder).map_err(|error| error.message().to_owned()));
    let mut builder = configured.map_err(|why| Error::Runtime {
        found: format!("the {} provider of {} cannot be used: {why}.", provider.as_str(), runtime.path.display()),
        remedy: format!(
            "Install what it needs (pip install {}, its drivers and libraries), or use `provider=cpu`.",
            provider.wheel()
        ),
    })?;
    builder.commit_from_memory(bytes).map_err(|error| Error::Model {
        path: model.path.clone(),
        found: format!(
            "ONNX Runtime {} ({} provider) refuses this model: {}",
            runtime.version,
            provider.as_str(),
            error.message()
        ),
        remedy: "Try `provider=cpu`, a newer ONNX Runtime, or export the model again with a lower opset.".to_owned(),
    })
}

fn configure(
    runtime: &Runtime,
    options: &SessionOptions,
    optimize: GraphOptimizationLevel,
) -> Result<SessionBuilder, String> {
    let threads = options.intra_threads.max(1);
    let why = |error: ort::Error<SessionBuilder>| error.message().to_owned();
    let builder = Session::builder(&runtime.environment)
        .map_err(|error| error.message().to_owned())?
        .with_execution_providers([options.provider.dispatch(threads)])
        .map_err(why)?
        .with_optimization_level(optimize)
        .map_err(why)?
        .with_intra_threads(threads)
        .map_err(why)?
        .with_inter_threads(1)
        .map_err(why)?
        .with_parallel_execution(false)
        .map_err(why)?
        .with_deterministic_compute(true)
        .map_err(why)?
        // Threads that spin while they wait take the time of those that decode and write.
        .with_intra_op_spinning(false)
        .map_err(why)?;
    match options.provider {
        // OpenVINO takes whole graphs: a node left to the CPU kernels would be a fallback nobody asked for. CUDA and
        // TensorRT leave the arithmetic of shapes to the CPU by design.
        Provider::Openvino => builder.with_disable_cpu_fallback().map_err(why),
        Provider::Cpu | Provider::Cuda | Provider::Tensorrt => Ok(builder),
    }
}
