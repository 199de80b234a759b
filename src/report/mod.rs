//! `report`: runs and caches on one page of HTML that needs nothing but itself.
//!
//! ```text
//! RUN folders ─ config.json, results.csv ─ Comparison, curves ───────────┐
//!     best.onnx ─ Eval (eval's own scorer) ─ precision over recall, APs ─┤
//! EVAL folders ─ accuracy over latency, size and memory ─────────────────┤
//! CACHE folders ─ labels and kept anchors ─ the teacher's calibration ───┼─ page (HTML, SVG, JPEG in it)
//!     images of most disagreement ─ pictures, class distributions ───────┘
//! ```
//!
//! The same input gives the same bytes. What is missing leaves a gap and a note that says how to fill it.

mod cache_folder;
mod comparison;
mod eval_folder;
mod html;
mod pictures;
mod plot;
mod run_folder;

use crate::{
    Error, Result,
    cache::{MANIFEST_NAME, MissingLabels},
    dataset::{DataSource, Dataset, NameMap, paths},
    eval::{Eval, EvalOptions, EvalReport, InferenceOptions, NmsOptions, PrecisionRecall},
    types::Failure,
};
use cache_folder::CacheFolder;
use comparison::Comparison;
use eval_folder::EvalFolder;
use pictures::{Candidates, DrawnModel, Pictures};
use run_folder::RunFolder;
use std::{
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};
pub(crate) use {html::STYLE, plot::theme};

/// Most bytes of a page.
pub const MAX_BYTES: usize = 5_000_000;

/// Title of the student before distillation.
const TITLE_BEFORE: &str = "student before";

/// The split that is scored where neither user nor run names one.
const DEFAULT_SPLIT: &str = "val";

/// What a report is made of.
#[derive(Debug, Clone)]
pub struct ReportOptions {
    /// Folders of runs, of caches and of `eval`.
    pub folders: Vec<PathBuf>,
    /// The student before distillation, an ONNX file.
    pub before: Option<PathBuf>,
    /// The data set to score on; `None`: what the first run was validated on, or the first cache's.
    pub data: Option<PathBuf>,
    /// Where its pictures lie, for COCO and VOC.
    pub images_dir: Option<PathBuf>,
    /// The split to score on; `None`: the run's, else `val`.
    pub split: Option<String>,
    /// Whether models are run at all.
    pub run_models: bool,
    /// Images drawn at most.
    pub max_pictures: usize,
    /// How models run; the file is that of each in turn.
    pub detector: InferenceOptions,
}

/// A report that may be made: everything that can be refused was opened and checked.
pub struct Report {
    options: ReportOptions,
    runs: Vec<RunFolder>,
    caches: Vec<CacheFolder>,
    evals: Vec<EvalFolder>,
    scoring: Option<Scoring>,
    /// Models that are drawn: the student before, the student after.
    drawn: Vec<DrawnModel>,
    candidates: Candidates,
    notes: Vec<String>,
}

/// Scores that are still to be computed.
struct Scoring {
    eval: Eval,
    models: Vec<ScoredModel>,
}

/// A model that is scored: a run's, or the student before.
#[derive(Debug, Clone)]
struct ScoredModel {
    name: String,
    series: usize,
}

/// Scores of all models on the same images.
struct Scored {
    report: EvalReport,
    curves: Vec<PrecisionRecall>,
    models: Vec<ScoredModel>,
}

/// The finished page.
#[derive(Debug, Clone)]
pub struct Page {
    /// The file's text.
    pub html: String,
    /// Runs on it.
    pub runs: usize,
    /// Caches on it.
    pub caches: usize,
    /// Images drawn.
    pub pictures: usize,
    /// Images that could not be scored.
    pub failures: Vec<Failure>,
    /// What is missing or worth knowing, a line each.
    pub notes: Vec<String>,
}

impl Report {
    /// Opens and checks everything.
    ///
    /// # Errors
    /// [`Error::Run`] for a folder that is neither a run nor a cache; [`Error::Cache`] for a damaged cache that was named;
    /// [`Error::Model`] for a model that is no detector; [`Error::Dataset`] and [`Error::Mismatch`] for a data set that was named and
    /// does not fit; [`Error::Runtime`] without a usable library where models are to be run.
    pub fn prepare(options: ReportOptions) -> Result<Self> {
        let mut notes = Vec::new();
        let (runs, caches, evals) = open_folders(&options.folders, &mut notes)?;
        let before = options.before.as_ref().map(|path| DrawnModel { title: TITLE_BEFORE.into(), path: path.clone() });
        let mut report = Self {
            options,
            runs,
            caches,
            evals,
            scoring: None,
            drawn: Vec::new(),
            candidates: Candidates::default(),
            notes,
        };
        if report.runs.is_empty() && report.options.data.is_some() {
            report.notes.push("no run was given, so no model is scored and `data=` is not used".into());
        }
        let source = report.source();
        let dataset = report.prepare_scoring(source.as_ref())?;
        if report.options.run_models {
            report.drawn.extend(before);
            let after = report.runs.iter().find_map(|run| Some((run, run.model.clone()?)));
            report.drawn.extend(after.map(|(run, path)| DrawnModel { title: student_after(run), path }));
        }
        if report.options.max_pictures > 0 {
            report.candidates = match (report.caches.first(), &dataset) {
                (Some(cache), dataset) => Candidates::of_cache(cache, dataset.as_ref())?,
                (None, Some(dataset)) if !report.drawn.is_empty() => {
                    Candidates::of_dataset(dataset, &report.class_map())
                }
                _ => Candidates::default(),
            };
        }
        if report.options.before.is_none() && report.runs.iter().any(|run| run.model.is_some()) {
            report.notes.push(
                "the student before distillation is not shown: give its ONNX file with `before=` (one trained from \
                 labels alone, for example)"
                    .into(),
            );
        }
        Ok(report)
    }

    /// Images to run models on, all models together.
    pub fn num_images(&self) -> u64 {
        let scored = self.scoring.as_ref().map_or(0, |scoring| scoring.eval.num_images());
        scored + (self.candidates.images.len() * self.drawn.len()) as u64
    }

    /// Runs the models and makes the page. `on_image(failed)` is called for each image and model.
    ///
    /// # Errors
    /// [`Error::Interrupted`] after `stop`; as [`Eval::run`] and the detector.
    pub fn make(mut self, stop: &AtomicBool, mut on_image: impl FnMut(bool)) -> Result<Page> {
        let scored = match self.scoring.take() {
            Some(scoring) => Some(scoring.run(stop, &mut on_image)?),
            None => None,
        };
        let failures = scored.as_ref().map(|scored| scored.report.failures.clone()).unwrap_or_default();
        self.draw_the_best(scored.as_ref());
        self.candidates.run_models(&self.drawn, &self.options.detector, stop, &mut on_image)?;
        let comparison = Comparison::of(&self.runs);
        let page = |pictures: &Pictures, notes: &[String]| {
            html::page(&html::Content {
                runs: &self.runs,
                caches: &self.caches,
                evals: &self.evals,
                comparison: &comparison,
                scored: scored.as_ref(),
                pictures,
                notes,
            })
        };
        let bare = page(&Pictures::default(), &self.notes)?.len();
        if bare > MAX_BYTES {
            return Err(Error::Mismatch {
                found: format!("the page would have {bare} bytes without any picture, more than {MAX_BYTES}"),
                remedy: "Give fewer runs and caches, and make several pages.".into(),
            });
        }
        let candidates = std::mem::take(&mut self.candidates);
        let (cache, most) = (self.caches.first(), self.options.max_pictures);
        let mut pictures =
            pictures::draw(candidates, cache, &self.drawn, &self.options.detector, most, MAX_BYTES - bare)?;
        self.notes.append(&mut pictures.notes);
        let mut html = page(&pictures, &self.notes)?;
        // Names of unusual length take more than what was reckoned with.
        while html.len() > MAX_BYTES && pictures.rows.pop().is_some() {
            if !self.notes.contains(&no_more_pictures()) {
                self.notes.push(no_more_pictures());
            }
            html = page(&pictures, &self.notes)?;
        }
        Ok(Page {
            html,
            runs: self.runs.len(),
            caches: self.caches.len(),
            pictures: pictures.rows.len(),
            failures,
            notes: self.notes,
        })
    }

    /// What to score on, where it is known.
    fn source(&self) -> Option<DataSource> {
        let split = self.options.split.clone();
        if let Some(data) = &self.options.data {
            let images_dir = self.options.images_dir.clone();
            return Some(DataSource {
                data: data.clone(),
                images_dir,
                split: split.unwrap_or_else(|| DEFAULT_SPLIT.into()),
            });
        }
        let of_run = self.runs.iter().find_map(|run| run.data.validation(&run.path));
        let found = of_run.or_else(|| self.caches.iter().find_map(|cache| cache.source(DEFAULT_SPLIT)))?;
        Some(DataSource { split: split.unwrap_or_else(|| found.split.clone()), ..found })
    }

    /// The names that the students have for the data set's classes, as a run or a cache keeps them.
    fn class_map(&self) -> NameMap {
        let of_runs = self.runs.iter().map(|run| &run.data.class_map);
        let of_caches = self.caches.iter().map(|cache| &cache.reader.manifest().dataset.class_map);
        of_runs.chain(of_caches).find(|map| !map.is_empty()).cloned().unwrap_or_default()
    }

    /// Gets the scoring ready, with a note where it cannot be done. Gives the data set.
    fn prepare_scoring(&mut self, source: Option<&DataSource>) -> Result<Option<Dataset>> {
        let mut models = Vec::new();
        let mut paths = Vec::new();
        for (series, run) in self.runs.iter().enumerate() {
            if let Some(model) = &run.model {
                models.push(ScoredModel { name: run.name.clone(), series });
                paths.push(model.clone());
            }
        }
        if let Some(before) = &self.options.before {
            models.push(ScoredModel { name: "before".into(), series: self.runs.len() });
            paths.push(before.clone());
        }
        if models.is_empty() {
            return Ok(None);
        }
        if !self.options.run_models {
            self.notes.push("no model was run (`models=false`): there are no scores, and no boxes of students".into());
            return Ok(None);
        }
        let Some(source) = source else {
            self.notes.push(
                "the models are not scored: no run records its validation data set. Give the data set with `data=`"
                    .into(),
            );
            return Ok(None);
        };
        let options = EvalOptions {
            models: paths,
            source: source.clone(),
            class_map: self.class_map(),
            missing_labels: MissingLabels::Background,
            detector: InferenceOptions { nms: NmsOptions::SCORING, ..self.options.detector.clone() },
            latency_runs: 0,
        };
        // The library first: without it no model runs, whatever the data.
        crate::detector::runtime::init(self.options.detector.ort_lib.as_deref())?;
        match Eval::prepare(options).and_then(|eval| Ok((eval, Dataset::open(source)?))) {
            Ok((eval, dataset)) => {
                self.note_trained_on(&dataset)?;
                self.scoring = Some(Scoring { eval, models });
                Ok(Some(dataset))
            }
            Err(error) if self.options.data.is_some() => Err(with_the_students_classes(error)),
            Err(error) => {
                let error = with_the_students_classes(error);
                let error = error.to_string().replace("\n  ", ". ");
                self.notes.push(format!(
                    "the models are not scored: {error} (looked for the split {} of {}; choose another with `data=` \
                     and `split=`)",
                    source.split,
                    source.data.display()
                ));
                Ok(None)
            }
        }
    }

    /// Says where scores are of images that the students have seen.
    fn note_trained_on(&mut self, dataset: &Dataset) -> Result<()> {
        let mut cached = std::collections::HashSet::new();
        for cache in &self.caches {
            for image in cache.reader.images() {
                cached.extend(cache.image_path(&image?));
            }
        }
        let seen = dataset.samples.iter().filter(|sample| cached.contains(&sample.path)).count();
        if seen > 0 {
            self.notes.push(format!(
                "{seen} of the {} images used for scoring are in a cache: a student that was trained from it has seen \
                 them, so its scores on new images may be lower",
                dataset.samples.len()
            ));
        }
        Ok(())
    }

    /// Of several students the one with the highest score is drawn.
    fn draw_the_best(&mut self, scored: Option<&Scored>) {
        let Some(scored) = scored else { return };
        let ap = |i: usize| scored.report.models.get(i).and_then(|model| model.scores.coco.ap).unwrap_or(-1.0);
        let of_runs = (0..scored.models.len()).filter(|&i| scored.models[i].series < self.runs.len());
        // The first of equals: `max_by` gives the last, so the order is turned.
        let Some(best) = of_runs.rev().max_by(|&a, &b| ap(a).total_cmp(&ap(b))) else { return };
        let Some(run) = self.runs.get(scored.models[best].series) else { return };
        if let (Some(last), Some(path)) = (self.drawn.last_mut(), run.model.clone()) {
            *last = DrawnModel { title: student_after(run), path };
        }
    }
}

impl Scoring {
    fn run(self, stop: &AtomicBool, on_image: impl FnMut(bool)) -> Result<Scored> {
        let (mut report, matches) = self.eval.run_with_matches(stop, on_image)?;
        for (model, scored) in report.models.iter_mut().zip(&self.models) {
            model.name = scored.name.clone();
        }
        Ok(Scored { report, curves: matches.iter().map(PrecisionRecall::of).collect(), models: self.models })
    }
}

fn no_more_pictures() -> String {
    format!("more pictures would make the file larger than {} MB", MAX_BYTES / 1_000_000)
}

fn student_after(run: &RunFolder) -> String {
    format!("student after ({})", run.name)
}

/// Tells runs from caches; those caches that the runs name are opened too.
fn open_folders(
    folders: &[PathBuf],
    notes: &mut Vec<String>,
) -> Result<(Vec<RunFolder>, Vec<CacheFolder>, Vec<EvalFolder>)> {
    let (mut runs, mut caches, mut evals) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen: Vec<PathBuf> = Vec::new();
    let names = names(folders);
    for (folder, name) in folders.iter().zip(names) {
        let place = paths::absolute(folder);
        if seen.contains(&place) {
            notes.push(format!("{} was given twice and is shown once", folder.display()));
            continue;
        }
        seen.push(place);
        if folder.join(MANIFEST_NAME).is_file() {
            caches.push(CacheFolder::open(folder, name)?);
        } else if RunFolder::is_one(folder) {
            runs.push(RunFolder::open(folder, name, notes)?);
        } else if EvalFolder::is_one(folder) {
            evals.push(EvalFolder::open(folder, name)?);
        } else {
            return Err(neither(folder));
        }
    }
    for run in &runs {
        let Some(place) = run.data.cache_folder(&run.path).filter(|place| !seen.contains(place)) else { continue };
        match CacheFolder::open(&place, name_of(&place)) {
            Ok(cache) => caches.push(cache),
            Err(error) => {
                let error = error.to_string().replace("\n  ", ". ");
                notes.push(format!("the cache of {} cannot be shown: {error}", run.name));
            }
        }
        seen.push(place);
    }
    Ok((runs, caches, evals))
}

fn neither(folder: &Path) -> Error {
    let found = match folder.is_dir() {
        true => {
            "this folder is neither a training run (config.json, results.csv) nor a cache (manifest.json) nor one of `eval` (eval.json)"
        }
        false => "there is no such folder",
    };
    Error::Run {
        path: folder.to_owned(),
        found: found.into(),
        remedy: "Give folders that `train()`, `build()` or `eval()` made.".into(),
    }
}

/// Each folder's own name, with as much of the path before it as tells it apart from the others.
fn names(folders: &[PathBuf]) -> Vec<String> {
    let own: Vec<String> = folders.iter().map(|folder| name_of(folder)).collect();
    let unique = |i: usize| own.iter().filter(|other| **other == own[i]).count() == 1;
    (0..own.len()).map(|i| if unique(i) { own[i].clone() } else { folders[i].display().to_string() }).collect()
}

fn name_of(folder: &Path) -> String {
    let place = paths::absolute(folder);
    place.file_name().map_or_else(|| place.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// A report maps classes as its runs and caches do, and has no other way.
fn with_the_students_classes(error: Error) -> Error {
    match error {
        Error::Classes { found, .. } => Error::Classes {
            found,
            remedy: "Give a data set with the class names of the students with `data=`.".into(),
        },
        other => other,
    }
}
