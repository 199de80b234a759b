//! The images that pictures are chosen from, with everybody's boxes in one numbering of the classes.

use super::{DrawnModel, columns::SHOWN};
use crate::{
    Error, Result,
    cache::{MissingLabels, Sha256Bytes},
    dataset::{Dataset, NameMap, Truth},
    eval::{Inference, InferenceOptions, evenly, teacher_boxes},
    pipeline::read_file,
    preprocess::{self, DecodeLimits},
    report::cache_folder::CacheFolder,
    types::{Detection, LabelBox},
    words::counted,
};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::atomic::AtomicBool,
};

/// Images that the models are run on at most, to find those where they disagree.
pub const MAX_CANDIDATES: usize = 200;

/// Class names in the order of the ids that every box here has.
#[derive(Debug, Clone, Default)]
pub struct Names {
    list: Vec<String>,
}

impl Names {
    /// The id of a name, a new one where it has none yet.
    fn id(&mut self, name: &str) -> u32 {
        let at = self.list.iter().position(|known| known == name).unwrap_or_else(|| {
            self.list.push(name.to_owned());
            self.list.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The names.
    pub fn as_slice(&self) -> &[String] {
        &self.list
    }
}

/// One image.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where it lies.
    pub path: PathBuf,
    /// As the cache or the data set calls it.
    pub name: String,
    /// Its place in the cache.
    pub image_id: Option<i64>,
    /// What the file has to be, where a cache says it.
    pub file_sha256: Option<Sha256Bytes>,
    /// Its objects, each with a score of 1; `None` for an unlabelled image.
    pub labels: Option<Vec<Detection>>,
    /// What the teacher found; `None` without a cache.
    pub teacher: Option<Vec<Detection>>,
    /// What each model found.
    pub models: Vec<Vec<Detection>>,
}

/// All images that pictures are chosen from.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// The images, in their order in the cache or the data set.
    pub images: Vec<Candidate>,
    /// Names of the classes.
    pub names: Names,
    /// How many there are in all, where not every one was taken.
    pub available: usize,
    /// What the user should know.
    pub notes: Vec<String>,
}

impl Candidates {
    /// Images of a cache: those of `dataset` (the validation split) where the cache has any of them, else all.
    ///
    /// # Errors
    /// [`Error::Cache`] for a damaged cache.
    pub fn of_cache(cache: &CacheFolder, dataset: Option<&Dataset>) -> Result<Self> {
        let mut views = cache.reader.images().collect::<Result<Vec<_>, _>>()?;
        views.retain(|image| image.view == 0);
        let validation: HashSet<&PathBuf> =
            dataset.map(|dataset| dataset.samples.iter().map(|sample| &sample.path).collect()).unwrap_or_default();
        let mut placed: Vec<_> = views.into_iter().filter_map(|view| Some((cache.image_path(&view)?, view))).collect();
        let mut notes = Vec::new();
        if placed.iter().any(|(path, _)| validation.contains(path)) {
            placed.retain(|(path, _)| validation.contains(path));
        } else if !validation.is_empty() {
            notes.push(
                "the cache holds no image of the validation split: the pictures show images that were trained \
                 on"
                .into(),
            );
        }
        let available = placed.len();
        let as_detection =
            |label: LabelBox| Detection { class_id: label.class_id, score: 1.0, box_xyxy_px: label.box_xyxy_px };
        let images = evenly(placed, MAX_CANDIDATES).into_iter().map(|(path, view)| Candidate {
            path,
            name: view.path.to_owned(),
            image_id: Some(view.image_id),
            file_sha256: Some(view.file_sha256),
            labels: view.labels.map(|labels| labels.iter().map(as_detection).collect()),
            teacher: Some(teacher_boxes(&view, &cache.reader.manifest().teacher, &SHOWN)),
            models: Vec::new(),
        });
        let names = Names { list: cache.reader.manifest().teacher.class_names.clone() };
        Ok(Self { images: images.collect(), names, available, notes })
    }

    /// Images of a data set, without a teacher, its classes under the names of `class_map`. Those whose labels cannot be read are
    /// left out.
    pub fn of_dataset(dataset: &Dataset, class_map: &NameMap) -> Self {
        let available = dataset.samples.len();
        let names = Names { list: class_map.renamed(dataset.class_names.as_deref().unwrap_or_default()) };
        let candidate = |sample: &crate::dataset::Sample| {
            let size = preprocess::size_of(&read_file(&sample.path).ok()?, &DecodeLimits::default()).ok()?;
            let labels = match sample.labels(size).ok()? {
                Truth::Labelled(labels) => Some(labels),
                Truth::Missing => Some(Vec::new()),
                Truth::NoLabels => None,
            };
            let as_detection = |l: LabelBox| Detection { class_id: l.class_id, score: 1.0, box_xyxy_px: l.box_xyxy_px };
            Some(Candidate {
                path: sample.path.clone(),
                name: sample.relative.clone(),
                image_id: None,
                file_sha256: None,
                labels: labels.map(|labels| labels.into_iter().map(as_detection).collect()),
                teacher: None,
                models: Vec::new(),
            })
        };
        let samples = evenly(dataset.samples.iter().collect(), MAX_CANDIDATES);
        Self { images: samples.into_iter().filter_map(candidate).collect(), names, available, notes: Vec::new() }
    }

    /// Runs the models over the images. `on_image(failed)` is called for each image and model; images that a model cannot be run
    /// on are left out.
    ///
    /// # Errors
    /// As [`Inference::open`] and [`Inference::run`]; [`Error::Interrupted`] after `stop`.
    pub fn run_models(
        &mut self,
        models: &[DrawnModel],
        detector: &InferenceOptions,
        stop: &AtomicBool,
        mut on_image: impl FnMut(bool),
    ) -> Result<()> {
        if self.images.is_empty() || models.is_empty() {
            return Ok(());
        }
        let paths: Vec<PathBuf> = self.images.iter().map(|image| image.path.clone()).collect();
        let dataset = Dataset::of_paths(&paths)?;
        for model in models {
            let options = InferenceOptions { model: model.path.clone(), nms: SHOWN, ..detector.clone() };
            let detector = Inference::open(options)?;
            let ids: Vec<u32> = detector.model().class_names.iter().map(|name| self.names.id(name)).collect();
            let mut found: HashMap<&PathBuf, Vec<Detection>> = HashMap::new();
            let mut failed = Vec::new();
            let looked_at = detector.run(&dataset.samples, None, MissingLabels::Unlabelled, stop, |image| {
                on_image(image.is_err());
                match image {
                    Ok(mut image) => {
                        for detection in &mut image.detections {
                            detection.class_id = ids.get(detection.class_id as usize).copied().unwrap_or(u32::MAX);
                        }
                        if let Some(sample) = usize::try_from(image.image_id).ok().and_then(|i| dataset.samples.get(i))
                        {
                            found.insert(&sample.path, image.detections);
                        }
                    }
                    Err(failure) => failed.push(format!("{}: {}", failure.path, failure.reason)),
                }
                Ok(())
            })?;
            if looked_at < dataset.samples.len() {
                return Err(Error::Interrupted { remedy: "nothing was written; run the same command again".into() });
            }
            if let Some(first) = failed.first() {
                self.notes.push(format!(
                    "{} could not be processed for the pictures, the first {first}",
                    counted(failed.len(), "image")
                ));
            }
            self.images.retain_mut(|image| match found.remove(&image.path) {
                Some(detections) => {
                    image.models.push(detections);
                    true
                }
                None => false,
            });
        }
        Ok(())
    }
}
