//! Models over a data set, then their scores side by side.

use super::{
    bootstrap::{self, COVERAGE, NUM_DRAWS},
    frontier::tell_who_is_beaten,
    inference::{DetectedImage, Inference, InferenceOptions},
    latency::{Latency, latency},
    matches::Matches,
    memory::memory_of_session,
    report::{EvalReport, EvalSettings, ModelReport},
    score::{ScoredImage, score_and_matches},
};
use crate::{
    Error, Result,
    cache::{self, MissingLabels},
    dataset::{ClassMap, DataSource, Dataset, NameMap, Sample, refuse_meaning_without_label_files},
    detector::{self, Detector},
    types::{Failure, FailureStage},
    words::{self, counted},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
    time::Instant,
};

/// Everything that decides what an evaluation does.
#[derive(Debug, Clone)]
pub struct EvalOptions {
    /// The ONNX files; the others are compared with the first.
    pub models: Vec<PathBuf>,
    /// The data set and its split.
    pub source: DataSource,
    /// Classes of the data set that the models have under other names; they are scored under those.
    pub class_map: NameMap,
    /// What an image without a label file means.
    pub missing_labels: MissingLabels,
    /// How the models are run; the file is that of each model in turn.
    pub detector: InferenceOptions,
    /// Timed runs of the bare session; 0: none.
    pub latency_runs: u32,
}

/// An evaluation that may start: library, data set, labels, models and class names fit together.
pub struct Eval {
    options: EvalOptions,
    dataset: Dataset,
    /// What is scored: the data set's classes under the models' names.
    class_names: Vec<String>,
    /// From the data set's class ids to those of `class_names`.
    to_scored: ClassMap,
    models: Vec<LoadedModel>,
    runtime: String,
}

struct LoadedModel {
    model: Detector,
    /// The scored class id for each of the model's, where it has that class.
    to_scored: Vec<Option<u32>>,
    file_bytes: u64,
}

/// One model's images in the order of the samples; nothing for those that failed or have no labels.
struct ModelRun {
    images: Vec<Option<ScoredImage>>,
    latency: Vec<Latency>,
    memory_bytes: Option<u64>,
    images_per_s: f64,
}

impl Eval {
    /// Opens and checks everything but the models' arithmetic, which is checked when each is started.
    ///
    /// # Errors
    /// [`Error::Dataset`] for data without labels, [`Error::Classes`] for classes that a model does not know; as [`Inference::open`].
    pub fn prepare(options: EvalOptions) -> Result<Self> {
        detector::runtime::init(options.detector.ort_lib.as_deref())?;
        let load = |path: &PathBuf| {
            let model = Inference::load(&InferenceOptions { model: path.clone(), ..options.detector.clone() })?;
            Ok((model, std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?.len()))
        };
        let models = options.models.iter().map(load).collect::<Result<Vec<_>>>()?;
        Self::of_models(options, models)
    }

    /// [`Eval::prepare`] of models that are loaded already, each with the size of its file in bytes.
    ///
    /// # Errors
    /// As [`Eval::prepare`].
    pub fn of_models(options: EvalOptions, models: Vec<(Detector, u64)>) -> Result<Self> {
        let runtime = detector::runtime::init(options.detector.ort_lib.as_deref())?;
        let mut dataset = Dataset::open(&options.source)?;
        let Some(names) = dataset.class_names.clone() else {
            return Err(no_labels(&options, &dataset, "this data set has no labels".into()));
        };
        refuse_meaning_without_label_files(&dataset, options.missing_labels)?;
        // Classes that are the same to the models are one class of the scores.
        let renamed = options.class_map.renamed(&names);
        let mut class_names = renamed.clone();
        if !options.class_map.is_empty() {
            let mut seen = BTreeSet::new();
            class_names.retain(|name| seen.insert(name.clone()));
        }
        let to_scored = ClassMap::new(&renamed, &class_names)?;
        let mut notes = Vec::new();
        let mut loaded = |(model, file_bytes): (Detector, u64)| {
            let path = &model.path;
            let found = ClassMap::of(&dataset, &model.class_names, &options.class_map);
            let (class_map, found) = found.map_err(|error| with_model(path, error))?;
            notes.extend(found);
            notes.extend(model.replaced_names.iter().map(|note| format!("{}: {note}", path.display())));
            let of_model = class_map.inverse(model.class_names.len());
            let to_scored = of_model.into_iter().map(|id| to_scored.apply(id?)).collect();
            Ok(LoadedModel { to_scored, model, file_bytes })
        };
        let models = models.into_iter().map(&mut loaded).collect::<Result<Vec<_>>>()?;
        // Several models mostly have the same to say.
        notes.sort();
        notes.dedup();
        dataset.notes.extend(notes);
        Ok(Self { runtime: runtime.version.clone(), options, dataset, class_names, to_scored, models })
    }

    /// Images to run, all models together.
    pub fn num_images(&self) -> u64 {
        (self.dataset.samples.len() * self.models.len()) as u64
    }

    /// Those of the data set.
    pub(crate) fn samples(&self) -> &[Sample] {
        &self.dataset.samples
    }

    /// What a user should know of the data set.
    pub fn notes(&self) -> &[String] {
        &self.dataset.notes
    }

    /// What a user must know of the models.
    pub fn warnings(&self) -> Vec<String> {
        self.models.iter().filter_map(|loaded| loaded.model.warning()).collect()
    }

    /// Runs every model over every image and scores them. `on_image(failed)` is called for each. Raising `stop` ends it early.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after `stop`; [`Error::Dataset`] where no image is left to be scored or none shows an object; as
    /// [`Inference::open`] and [`Inference::run`].
    pub fn run(self, stop: &AtomicBool, on_image: impl FnMut(bool)) -> Result<EvalReport> {
        self.run_with_matches(stop, on_image).map(|(report, _)| report)
    }

    /// [`Eval::run`], and of each model which detections are right.
    ///
    /// # Errors
    /// As [`Eval::run`].
    pub fn run_with_matches(
        self,
        stop: &AtomicBool,
        mut on_image: impl FnMut(bool),
    ) -> Result<(EvalReport, Vec<Matches>)> {
        let started = Instant::now();
        let mut failures = BTreeMap::new();
        let mut unlabelled = BTreeSet::new();
        let mut runs = Vec::with_capacity(self.models.len());
        for loaded in &self.models {
            let run = self.run_model(loaded, stop, |image| {
                on_image(image.is_err());
                match image {
                    Ok(image) if image.truth.is_none() => drop(unlabelled.insert(image.image_id)),
                    Ok(_) => {}
                    Err(failure) => drop(failures.entry(failure.image_id).or_insert_with(|| failure.clone())),
                }
            })?;
            runs.push(run);
        }
        let failures: Vec<Failure> = failures.into_values().collect();

        let scoring = Instant::now();
        let scored: Vec<usize> =
            (0..self.dataset.samples.len()).filter(|&i| runs.iter().all(|run| run.images[i].is_some())).collect();
        if scored.is_empty() {
            return Err(self.nothing_to_score(&failures));
        }
        let mut models: Vec<ModelReport> = Vec::with_capacity(runs.len());
        let mut all_matches: Vec<Matches> = Vec::with_capacity(runs.len());
        for (loaded, mut run) in self.models.iter().zip(runs) {
            let images: Vec<ScoredImage> = scored.iter().filter_map(|&i| run.images[i].take()).collect();
            if images.iter().all(|image| image.truth.iter().all(|truth| truth.is_crowd)) {
                let found = format!("the labels of {} show no object", counted(images.len(), "image"));
                return Err(no_labels(&self.options, &self.dataset, found));
            }
            let (scores, matches) = score_and_matches(&images, &self.class_names)?;
            let against_first = all_matches.first().map(|first| bootstrap::compare(first, &matches)).transpose()?;
            all_matches.push(matches);
            let Detector { path, sha256, class_names, input, precision, .. } = &loaded.model;
            models.push(ModelReport {
                name: self.name_of(path),
                path: path.clone(),
                sha256: cache::to_hex(sha256),
                file_bytes: loaded.file_bytes,
                parameters: loaded.model.num_parameters(),
                num_classes: class_names.len(),
                input_width: input.width,
                input_height: input.height,
                precision: precision.as_str().to_owned(),
                latency: run.latency,
                memory_bytes: run.memory_bytes,
                beaten_by: None,
                images_per_s: run.images_per_s,
                scores,
                against_first,
            });
        }
        tell_who_is_beaten(&mut models);
        let InferenceOptions { nms, provider, .. } = self.options.detector;
        let found_late = self.dataset.boxes_without_area();
        let report = EvalReport {
            images: scored.len() as u64,
            unlabelled_images: unlabelled.len() as u64,
            failures,
            passed_over: self.dataset.passed_over,
            notes: self.dataset.notes.into_iter().chain(found_late).collect(),
            settings: EvalSettings {
                conf: nms.conf,
                iou: nms.iou,
                max_detections: nms.max_detections,
                runtime: format!("onnxruntime {}", self.runtime),
                provider: provider.as_str().to_owned(),
                bootstrap_draws: NUM_DRAWS,
                bootstrap_coverage: COVERAGE,
            },
            models,
            scoring_s: scoring.elapsed().as_secs_f64(),
            elapsed_s: started.elapsed().as_secs_f64(),
            data: self.options.source.data,
            split: self.options.source.split,
        };
        Ok((report, all_matches))
    }

    fn run_model(
        &self,
        loaded: &LoadedModel,
        stop: &AtomicBool,
        mut on_image: impl FnMut(&std::result::Result<DetectedImage, Failure>),
    ) -> Result<ModelRun> {
        let Self { options, dataset, .. } = self;
        let detector = Inference::start(loaded.model.clone(), options.detector.clone())?;
        let (provider, jobs) = (options.detector.provider, options.detector.jobs);
        let (latency, memory_bytes) = match detector.first_input(&dataset.samples) {
            Some(pixels) if options.latency_runs > 0 => {
                let memory_bytes = memory_of_session(&loaded.model, provider, &pixels)?;
                (latency(&loaded.model, provider, &pixels, jobs, options.latency_runs)?, memory_bytes)
            }
            _ => (Vec::new(), None),
        };
        let name = self.name_of(&loaded.model.path);
        let mut images = Vec::with_capacity(dataset.samples.len());
        let started = Instant::now();
        let handed_over =
            detector.run(&dataset.samples, Some(&self.to_scored), options.missing_labels, stop, |mut image| {
                if let Err(failure @ Failure { stage: FailureStage::Teacher, .. }) = &mut image {
                    failure.reason = format!("{name}: {}", failure.reason);
                }
                on_image(&image);
                images.push(image.ok().and_then(|image| loaded.scored(image)));
                Ok(())
            })?;
        if handed_over < dataset.samples.len() {
            return Err(Error::Interrupted { remedy: "nothing was written; run the same command again".into() });
        }
        Ok(ModelRun {
            images,
            latency,
            memory_bytes,
            images_per_s: handed_over as f64 / started.elapsed().as_secs_f64(),
        })
    }

    /// The file's name, or its path where another model's file has the same name.
    fn name_of(&self, path: &Path) -> String {
        let alone = self.models.iter().filter(|other| other.model.path.file_name() == path.file_name()).count() == 1;
        let name = path.file_name().filter(|_| alone);
        name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
    }

    fn nothing_to_score(&self, failures: &[Failure]) -> Error {
        let samples = self.dataset.samples.len();
        if failures.is_empty() {
            return no_labels(
                &self.options,
                &self.dataset,
                format!("none of {} has labels", counted(samples, "image")),
            );
        }
        let reasons = words::reasons(failures, "").join("\n");
        Error::Dataset {
            path: self.options.source.data.clone(),
            found: format!("{} of {} failed:\n{reasons}", failures.len(), counted(samples, "image")),
            remedy: "There is no image left to score. Fix the images or their labels.".into(),
        }
    }
}

impl LoadedModel {
    /// With the ids of the scored classes; detections of classes that the data set does not have are left out.
    fn scored(&self, image: DetectedImage) -> Option<ScoredImage> {
        let mut detections = image.detections;
        detections.retain_mut(|found| match self.to_scored.get(found.class_id as usize) {
            Some(&Some(class_id)) => {
                found.class_id = class_id;
                true
            }
            _ => false,
        });
        Some(ScoredImage { image_id: image.image_id, truth: image.truth?, detections })
    }
}

fn no_labels(options: &EvalOptions, dataset: &Dataset, found: String) -> Error {
    let unread = dataset.unread_labels.as_ref().map(|unread| format!("\n  {unread}")).unwrap_or_default();
    Error::Dataset {
        path: options.source.data.clone(),
        found: found + &unread,
        remedy: "Scores need labelled objects. Give a data.yaml, a COCO instances.json or a folder of Pascal VOC XML with them, and the \
                 `split=` that has them."
            .into(),
    }
}

/// Says which of several models it is.
fn with_model(path: &Path, error: Error) -> Error {
    match error {
        Error::Classes { found, remedy } => Error::Classes {
            found: format!("{}: {found}", path.display()),
            remedy: format!("{remedy} Where the model's own names are wrong: `names=FILE`. See docs/classes.md."),
        },
        other => other,
    }
}
