//! Which images a run trains on, with their labels: from the cache, from a data set, or from both where they must agree.

use super::{Classes, TrainImage, TrainSet};
use crate::{
    Error, Result,
    cache::{CacheReader, ImageView, LabelsState, MissingLabels, images_root},
    dataset::{ClassMap, DataSource, Dataset, NameMap, Sample, paths, refuse_if_moved},
    pipeline::{mapped_truth, read_file},
    preprocess::{self, DecodeLimits, LetterboxPlan},
    remote,
    types::{Failure, FailureStage, ImageSize, InputSize, LabelBox, TruthBox},
    words::{self, counted},
};
use rayon::prelude::*;
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// Images named in a message; the count says how many there are.
const SHOWN: usize = 5;

/// What is trained on.
#[derive(Debug, Clone, Default)]
pub struct TrainImages {
    /// In order of their ids.
    pub images: Vec<TrainImage>,
    /// Images that cannot be trained on, with the reason.
    pub failures: Vec<Failure>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// The root of the area of each labelled object, in input pixels.
    pub object_sides_px: Vec<f32>,
}

impl TrainImages {
    /// Takes in an image of `size`.
    fn push(&mut self, image: TrainImage, size: ImageSize, input: ImageSize) {
        let plan = LetterboxPlan::fit(size, input.height, input.width);
        for label in image.labels.iter().flatten() {
            let b = plan.to_input(label.box_xyxy_px);
            self.object_sides_px.push(((b.x2 - b.x1) * (b.y2 - b.y1)).sqrt());
        }
        self.images.push(image);
    }

    /// A warning where most objects are smaller than the finest cells of the student, of `cell_px` input pixels: they are hardly learned.
    pub fn too_small(&self, input: ImageSize, cell_px: u32) -> Option<String> {
        let objects = self.object_sides_px.len();
        let tiny = self.object_sides_px.iter().filter(|&&side| side < cell_px as f32).count();
        (2 * tiny > objects).then(|| {
            format!(
                "warning: {tiny} of {} ({:.0} %) are under {cell_px} x {cell_px} pixels at {}, too small for the \
                 finest cells of the student. Train at a larger `imgsz=` (a cache: build it at that size), or cut the \
                 images into tiles",
                counted(objects, "object"),
                100.0 * tiny as f64 / objects as f64,
                InputSize::from(input).in_words()
            )
        })
    }

    /// A warning where no label shows an object: nothing can be learned from them.
    pub fn only_background(&self) -> Option<String> {
        let labelled = self.images.iter().any(|image| image.labels.is_some());
        (labelled && self.object_sides_px.is_empty())
            .then(|| format!("warning: the labels of {} show no object", counted(self.images.len(), "image")))
    }
}

/// What images are for, and what helps where none is left.
pub type Purpose = (&'static str, &'static str);
/// See [`Purpose`].
pub const TRAINED: Purpose = ("train on", "Fix the images or their labels, or check the data set and its split.");
/// See [`Purpose`].
pub const VALIDATED: Purpose =
    ("validate on", "Fix the images or their labels, or turn off validation: `val_split=none`.");

/// The refusal where no image is left, with why each was left out.
pub fn none_left((what, remedy): Purpose, failures: &[Failure]) -> Error {
    let count = counted(failures.len(), "image");
    let reasons = words::reasons(failures, "").join("\n");
    let found = format!("there is no image to {what}: {count} cannot be used:\n{reasons}");
    Error::Mismatch { found, remedy: remedy.into() }
}

/// Where a cache's data set lies: what was given as such, or its root where the cache is of a program that did not keep it.
///
/// # Errors
/// [`Error::Cache`] where the manifest's path is none.
pub fn source_of(cache: &CacheReader, split: &str) -> Result<DataSource> {
    let dataset = &cache.manifest().dataset;
    let data = if dataset.source.is_empty() { &dataset.root } else { &dataset.source };
    Ok(DataSource {
        data: remote::place(cache, data)?,
        images_dir: dataset.images_dir.as_deref().map(|dir| remote::place(cache, dir)).transpose()?,
        split: split.to_owned(),
    })
}

/// The images of a cache. Their labels are the cache's, or those of `dataset` where one is given: it is matched by path,
/// and a picture that changed since is found when it is read, by its digest. Its classes are the teacher's under the names of
/// `class_map`.
///
/// # Errors
/// [`Error::Mismatch`] where `dataset` lacks images of the cache or has labels of classes that neither the teacher nor `class_map` knows,
/// [`Error::Cache`] where the cache is damaged.
pub fn from_cache(
    cache: &CacheReader,
    dataset: Option<&Dataset>,
    class_map: &NameMap,
    classes: &Classes,
    input: ImageSize,
) -> Result<TrainImages> {
    let manifest = cache.manifest();
    let mut found = TrainImages::default();
    if !manifest.failures.is_empty() {
        let head = counted(manifest.failures.len(), "image") + " failed when the cache was built and are not in it:";
        found.notes.push([vec![head], words::reasons(&manifest.failures, "")].concat().join("\n  "));
    }
    let views =
        cache.images().filter(|image| image.as_ref().map_or(true, |i| i.view == 0)).collect::<Result<Vec<_>, _>>()?;
    match dataset {
        None => {
            let root = images_root(cache)?;
            for view in &views {
                let relative = paths::from_column(view.path).map_err(|found| damaged(cache, found))?;
                let labels = stored_labels(view, classes).map_err(|found| damaged(cache, found))?;
                found.push(train_image(view, root.join(relative), labels), view.size, input);
            }
            refuse_if_moved(&root, found.images.iter().map(|image| image.path.as_path()))?;
        }
        Some(dataset) => with_labels_of(dataset, class_map, classes, cache, &views, &mut found, input)?,
    }
    Ok(found)
}

fn damaged(cache: &CacheReader, found: String) -> Error {
    Error::Cache { path: cache.folder().to_owned(), found, remedy: "Run `verify()`.".into() }
}

fn train_image(view: &ImageView<'_>, path: PathBuf, labels: Option<Vec<LabelBox>>) -> TrainImage {
    let expected_sha256 = Some(view.file_sha256);
    TrainImage { image_id: view.image_id, path, relative: view.path.to_owned(), expected_sha256, labels }
}

/// In the student's classes.
fn stored_labels(view: &ImageView<'_>, classes: &Classes) -> Result<Option<Vec<LabelBox>>, String> {
    view.labels.map(|labels| classes.of_stored(labels.iter())).transpose()
}

/// The cache's images with the labels that the data set has now.
fn with_labels_of(
    dataset: &Dataset,
    class_map: &NameMap,
    classes: &Classes,
    cache: &CacheReader,
    views: &[ImageView<'_>],
    found: &mut TrainImages,
    input: ImageSize,
) -> Result<()> {
    let manifest = cache.manifest();
    let class_map = match &dataset.class_names {
        Some(_) => {
            let (map, notes) = classes
                .of_dataset(dataset, &manifest.teacher.class_names, class_map)
                .map_err(|error| with_other_ways(error, manifest.dataset.labels))?;
            found.notes.extend(notes);
            Some(map)
        }
        None => None,
    };
    let samples: HashMap<&str, &Sample> = dataset.samples.iter().map(|s| (s.relative.as_str(), s)).collect();
    let missing: Vec<&str> = views.iter().map(|v| v.path).filter(|path| !samples.contains_key(path)).collect();
    if !missing.is_empty() {
        return Err(Error::Mismatch {
            found: named(
                &missing,
                "image of the cache is not in the data set",
                "images of the cache are not in the data set",
            ),
            remedy: format!(
                "Name the data set that the cache was built from ({} {}, then at {}), or build a cache of this one.",
                manifest.dataset.format, manifest.dataset.split, manifest.dataset.root
            ),
        });
    }
    let cached: HashSet<&str> =
        views.iter().map(|v| v.path).chain(manifest.failures.iter().map(|f| f.path.as_str())).collect();
    let added: Vec<&str> = samples.keys().copied().filter(|path| !cached.contains(path)).collect();
    if !added.is_empty() {
        let mut added = added;
        added.sort_unstable();
        found.notes.push(named(
            &added,
            "image of the data set is not in the cache and is left out",
            "images of the data set are not in the cache and are left out",
        ));
    }
    let mut changed = Vec::new();
    for view in views {
        let Some(sample) = samples.get(view.path) else { continue };
        let now = match &class_map {
            Some(map) => mapped_truth(sample, map, view.size, manifest.settings.missing_labels).map(|t| t.map(labels)),
            None => Ok(None),
        };
        match now {
            Ok(labels) => {
                if Ok(&labels) != stored_labels(view, classes).as_ref() {
                    changed.push(view.path);
                }
                found.push(train_image(view, sample.path.clone(), labels), view.size, input);
            }
            Err(reason) => found.failures.push(failure(view.image_id, view.path, FailureStage::Labels, reason)),
        }
    }
    if !changed.is_empty() {
        found.notes.push(named(
            &changed,
            "image has other labels than in the cache; the data set's are used",
            "images have other labels than in the cache; the data set's are used",
        ));
    }
    Ok(())
}

/// What can be done where the labels of a data set have classes that the teacher lacks: docs/classes.md.
pub fn with_other_ways(error: Error, labels: LabelsState) -> Error {
    let Error::Classes { found, remedy } = error else { return error };
    let without = match labels {
        LabelsState::Stored => "the labels are then the cache's",
        LabelsState::Ignored | LabelsState::Absent => {
            "the cache holds no labels, and a student learns from the teacher alone with `cls_loss=bckd`"
        }
    };
    Error::Classes {
        found,
        remedy: format!(
            "{remedy} Or leave `data=` out: {without}.\n  Or train a teacher on your labels first. See docs/classes.md."
        ),
    }
}

/// The images of a data set, without a cache; the student's classes are its own.
///
/// # Errors
/// [`Error::Mismatch`] where the data set has no labels, or none that names a class.
pub fn from_dataset(dataset: &Dataset, input: ImageSize) -> Result<TrainImages> {
    let Some(names) = &dataset.class_names else {
        return Err(Error::Mismatch {
            found: format!(
                "{} has no labels, and without a cache there is nothing else to learn from",
                dataset.root.display()
            ),
            remedy: match &dataset.unread_labels {
                Some(unread) => format!("{unread}."),
                None => "Give a labelled data set, or the cache of a teacher with `cache=`.".into(),
            },
        });
    };
    let map = ClassMap::new(names, names)?;
    let one = |(image_id, sample): (i64, &Sample)| {
        let fail = |stage, reason| failure(image_id, &sample.relative, stage, reason);
        let size = size_of(&sample.path).map_err(|reason| fail(FailureStage::Decode, reason))?;
        let truth = mapped_truth(sample, &map, size, MissingLabels::Background);
        let labels = truth.map_err(|reason| fail(FailureStage::Labels, reason))?.map(labels);
        let (path, relative) = (sample.path.clone(), sample.relative.clone());
        Ok((TrainImage { image_id, path, relative, expected_sha256: None, labels }, size))
    };
    let numbered: Vec<(i64, &Sample)> = (0..).zip(&dataset.samples).collect();
    let outcomes: Vec<Result<_, Failure>> = numbered.into_par_iter().map(one).collect();
    let mut found = TrainImages::default();
    for outcome in outcomes {
        match outcome {
            Ok((image, size)) => found.push(image, size, input),
            Err(failure) => found.failures.push(failure),
        }
    }
    if names.is_empty() {
        let mut lines = vec![format!("{}: its labels use no class", dataset.root.display())];
        lines.extend(words::reasons(&found.failures, ""));
        return Err(Error::Mismatch {
            found: lines.join("\n"),
            remedy: "Give a data set with labelled objects, or another `split=`.".into(),
        });
    }
    Ok(found)
}

/// The objects that are learned: crowd regions are none.
fn labels(truth: Vec<TruthBox>) -> Vec<LabelBox> {
    truth.iter().filter_map(TruthBox::label).collect()
}

/// Ground truth by image id: how the image lies in the input and what is on it.
pub type Truths = HashMap<i64, (LetterboxPlan, Vec<TruthBox>)>;

/// The images of a validation split with their ground truth, in the student's classes by `map`. What cannot be read becomes a
/// failure.
pub fn for_validation(
    dataset: &Dataset,
    map: &ClassMap,
    input: ImageSize,
    failures: &mut Vec<Failure>,
) -> (Vec<TrainImage>, Truths) {
    let one = |(image_id, sample): (i64, &Sample)| {
        let fail = |stage, reason| failure(image_id, &sample.relative, stage, reason);
        let size = size_of(&sample.path).map_err(|reason| fail(FailureStage::Decode, reason))?;
        let truth = mapped_truth(sample, map, size, MissingLabels::Background);
        let truth = truth.map_err(|reason| fail(FailureStage::Labels, reason))?;
        let (path, relative) = (sample.path.clone(), sample.relative.clone());
        let image = TrainImage { image_id, path, relative, expected_sha256: None, labels: Some(Vec::new()) };
        Ok((image, (LetterboxPlan::fit(size, input.height, input.width), truth.unwrap_or_default())))
    };
    let numbered: Vec<(i64, &Sample)> = (0..).zip(&dataset.samples).collect();
    let outcomes: Vec<Result<_, Failure>> = numbered.into_par_iter().map(one).collect();
    let (mut images, mut truths) = (Vec::new(), Truths::new());
    for outcome in outcomes {
        match outcome {
            Ok((image, truth)) => {
                truths.insert(image.image_id, truth);
                images.push(image);
            }
            Err(failure) => failures.push(failure),
        }
    }
    (images, truths)
}

/// The truths of the images that could be decoded, in their order.
pub fn truths_of(set: &TrainSet, mut truths: Truths) -> Vec<(LetterboxPlan, Vec<TruthBox>)> {
    set.images().iter().filter_map(|image| truths.remove(&image.image_id)).collect()
}

fn failure(image_id: i64, path: &str, stage: FailureStage, reason: String) -> Failure {
    Failure { image_id, path: path.to_owned(), stage, reason }
}

/// Width and height of a picture file, from its header.
fn size_of(path: &Path) -> Result<ImageSize, String> {
    let bytes = read_file(path)?;
    preprocess::size_of(&bytes, &DecodeLimits::default()).map_err(|e| e.to_string())
}

/// Whether any image shows an object: a crowd region is none. Without one there is nothing to score.
pub fn show_an_object(truths: &Truths) -> bool {
    truths.values().any(|(_, truth)| truth.iter().any(|t| !t.is_crowd))
}

/// "3 images are not there: a.jpg, b.jpg, c.jpg"
fn named(names: &[&str], one: &str, many: &str) -> String {
    let mut shown: Vec<&str> = names.iter().take(SHOWN).copied().collect();
    if names.len() > SHOWN {
        shown.push("...");
    }
    let what = if names.len() == 1 { one } else { many };
    format!("{} {what}: {}", names.len(), shown.join(", "))
}
