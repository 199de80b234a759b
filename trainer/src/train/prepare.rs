//! Everything that can be refused before the first step: library, cache, data set, student, settings, space.

use super::{
    checkpoint::{self, Progress},
    data::{
        Classes, GRID_STEP_PX, ObjectClasses, PixelCacheOptions, SharedClasses, TrainImage, TrainSet, other_places,
        other_strides, pixel_cache_bytes,
    },
    folder::OwnedRun,
    images::{self, TRAINED, TrainImages, Truths, VALIDATED},
    loss::{DistillOptions, DistillParts},
    memory,
    options::{Start, TrainOptions},
    plan::Plan,
    step::Trainer,
    validate::Validator,
};
use crate::{
    Error, Result,
    cache::{self, CacheReader, LabelsState, to_hex, views_cannot_be_drawn},
    dataset::{ClassMap, DataSource, Dataset, NameMap, refuse_foreign_names},
    student::{self, Network, Qat, State, StudentHead, native, weights},
    types::{Failure, ImageSize, InputSize},
    words::counted,
};
use indicatif::HumanCount;
use logitcache::run::{ClsLoss, Distill, RunConfig, RunData, Settings};
use sha2::{Digest, Sha256};
use std::{
    fs,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Side of the input, a square, in pixels where neither user nor cache says one.
const DEFAULT_SIDE: u32 = 640;
/// Temperatures that published results used.
const SENSIBLE_TEMPERATURES: std::ops::RangeInclusive<f64> = 3.0..=6.0;
/// The split validated on where the user names none.
const DEFAULT_VAL_SPLIT: &str = "val";

/// A run that may start: everything was opened and checked, its folder is locked.
pub struct Run {
    pub(super) folder: OwnedRun,
    pub(super) config: RunConfig,
    pub(super) set: Arc<TrainSet>,
    pub(super) validator: Option<Validator>,
    pub(super) trainer: Trainer,
    /// What the student is rounded by.
    pub(super) qat: Option<Qat>,
    pub(super) progress: Progress,
    pub(super) failures: Vec<Failure>,
    /// Those of the plan and what is to be said later.
    pub(super) notes: Vec<String>,
    plan: Plan,
}

/// What the student learns from, before any picture is decoded.
struct Sources {
    cache: Option<Arc<CacheReader>>,
    images: TrainImages,
    class_names: Vec<String>,
    shared: Option<SharedClasses>,
    input: ImageSize,
    described: String,
    validation: Option<Validation>,
    class_map: NameMap,
}

/// What is scored: never without an object.
struct Validation {
    source: DataSource,
    images: Vec<TrainImage>,
    truths: Truths,
    failures: Vec<Failure>,
}

impl Run {
    /// Opens and checks everything and decodes the pictures (`on_decoded` is called with 1 for each; `on_pixels` before, with their
    /// number). Raising `stop` ends the decoding.
    ///
    /// # Errors
    /// Whatever would make the run wrong or impossible.
    pub fn prepare(
        options: &TrainOptions,
        on_pixels: &dyn Fn(u64),
        on_decoded: &(dyn Fn(u64) + Sync),
        stop: &AtomicBool,
    ) -> Result<Self> {
        options.refuse_to_remove_inputs()?;
        native::init()?;
        native::use_device(options.device)?;
        let threads = options.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        tch::set_num_threads(i32::try_from(threads.get()).unwrap_or(i32::MAX));
        let mut notes = Vec::new();
        let sources = Sources::open(options, &mut notes)?;
        let mut start_notes = Vec::new();
        let (state, model_start) = start(options, &sources.class_names, &mut start_notes)?;
        let state = pruned(state, options, &mut start_notes)?;
        let qat = qat(&state, options, &sources, &mut start_notes)?;
        let head = state.net().head.clone();
        let distill = distill_options(&options.settings, &sources, &head, &mut notes)?;
        let objects = match &sources.cache {
            Some(cache) => objects_of(cache, sources.input, &head, options.settings.distill, &mut notes),
            None => None,
        };
        let beside_anchors = (objects.is_none() && head.has_one_to_one()).then_some(ObjectClasses::Soft);
        if sources.cache.is_some() && beside_anchors.is_some() {
            notes.push(
                "the branch of the head that gives each object one anchor learns the teacher's objects, the other one \
                 its anchors"
                    .into(),
            );
        }
        if let Some(cache) = sources.cache.as_ref().filter(|_| options.settings.augment && objects.is_none()) {
            notes.extend(views_shown(cache)?);
        }
        notes.extend(start_notes);
        memory::refuse_if_short(state.net(), sources.input, &options.settings, qat.is_some(), options.device)?;
        let config = RunConfig {
            producer: concat!("logitcache ", env!("CARGO_PKG_VERSION")).into(),
            model: state.net().model.to_string(),
            start: model_start,
            qat_sha256: qat.as_ref().map(|qat| qat.sha256.clone()),
            class_names: sources.class_names.clone(),
            imgsz: sources.input.into(),
            images: sources.images.images.len(),
            images_sha256: images_digest(&sources.images.images),
            cache_sha256: sources
                .cache
                .as_ref()
                .and_then(|c| c.manifest().digests.as_ref().map(|d| d.content_sha256.clone())),
            threads: threads.get(),
            device: format!("{:?}", options.device).to_lowercase(),
            data: RunData::new(
                &options.out,
                options.cache.as_deref(),
                sources.validation.as_ref().map(|validation| &validation.source),
                &sources.class_map,
            ),
            settings: options.settings.clone(),
        };

        // From here on there is a folder: where the start fails, it goes again with all that this start put there.
        let folder = OwnedRun::open(&options.out, options.overwrite)?;
        let resumed = resumed(&folder, &config, options.resume, &mut notes)?;
        let Sources { cache, images, class_names, shared, described, validation, input, .. } = sources;
        notes.extend([images.too_small(input, head.finest_stride()), images.only_background()].into_iter().flatten());
        notes.extend(images.notes);
        let num_val = validation.as_ref().map_or(0, |validation| validation.images.len());
        on_pixels((images.images.len() + num_val) as u64);
        let mut budget = options.pixel_cache_bytes;
        let any_decoded = AtomicBool::new(false);
        let on_decoded = |images| {
            any_decoded.store(true, Ordering::Relaxed);
            on_decoded(images);
        };
        let mut open = |images: Vec<TrainImage>, split: &str, cache: Option<Arc<CacheReader>>| {
            let wanted = pixel_cache_bytes(images.len(), input);
            let pixels = PixelCacheOptions { folder: folder.pixels(split), max_bytes: budget };
            let of_anchors = cache.clone().filter(|_| objects.is_none());
            let set = TrainSet::open(images, input, Some(&pixels), of_anchors, &on_decoded, stop);
            let set = match (cache, objects.or(beside_anchors)) {
                (Some(cache), Some(classes)) => set.and_then(|set| set.with_objects(cache, classes)),
                _ => set,
            };
            let teacher_classes = shared.as_ref().map(|shared| shared.teacher.clone());
            let set = set.map(|set| set.with_teacher_classes(teacher_classes));
            if any_decoded.load(Ordering::Relaxed) && matches!(set, Err(Error::Interrupted { .. })) {
                // What is decoded serves the next start.
                folder.keep();
            }
            let set = set?;
            budget = budget.saturating_sub(if set.pixel_cache().is_some() { wanted } else { 0 });
            Ok::<_, Error>(Arc::new(set))
        };
        let set = open(images.images, "train", cache)?;
        let mut failures = [images.failures.as_slice(), set.failures()].concat();
        failures.sort_by_key(|failure| failure.image_id);
        if set.images().is_empty() {
            return Err(images::none_left(TRAINED, &failures));
        }
        let validator = match validation {
            None => None,
            Some(validation) => {
                let set = open(validation.images, "val", None)?;
                let mut left_out = [validation.failures.as_slice(), set.failures()].concat();
                left_out.sort_by_key(|failure| failure.image_id);
                if set.images().is_empty() {
                    return Err(images::none_left(VALIDATED, &left_out));
                }
                failures.extend(left_out);
                let truths = images::truths_of(&set, validation.truths);
                let batch = NonZeroUsize::new(options.settings.batch).unwrap_or(NonZeroUsize::MIN);
                Some(Validator::new(set, truths, class_names, batch))
            }
        };
        let network = Network::from_state(&state, options.device).rounded(qat.as_ref().map(|qat| qat.tensors.clone()));
        let mut trainer = Trainer::new(network, input, &options.settings, distill)
            .with_taught_classes(shared.map(|shared| shared.student));
        let progress = match resumed {
            None => Progress::default(),
            Some((tensors, progress)) => {
                trainer.load_state(&tensors).map_err(|found| checkpoint::damaged(folder.path(), &found))?;
                progress
            }
        };
        config.save(folder.path())?;
        folder.keep();
        let plan = Plan::of(&config, &head, &set, validator.as_ref(), &progress, described, notes.clone());
        Ok(Self { folder, config, set, validator, trainer, qat, progress, failures, notes, plan })
    }

    /// What [`Run::train`] will do.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Sources {
    fn open(options: &TrainOptions, notes: &mut Vec<String>) -> Result<Self> {
        let cache = options.cache.as_deref().map(cache::open_finished).transpose()?.map(Arc::new);
        let input = ImageSize::from(input_size(options, cache.as_deref())?);
        let data = options.data.as_ref().map(|source| open_dataset(source, notes)).transpose()?;
        if let Some(data) = &data {
            refuse_foreign_names(&options.class_map, data)?;
        }
        let class_map = match &cache {
            Some(cache) => options.class_map.or(&cache.manifest().dataset.class_map),
            None => NameMap::default(),
        };
        let (images, classes, described) = match (&cache, &data) {
            (Some(cache), data) => {
                let classes = Classes::of_cache(cache.manifest(), data.as_ref(), &class_map)
                    .map_err(|error| images::with_other_ways(error, cache.manifest().dataset.labels))?;
                let images = images::from_cache(cache, data.as_ref(), &class_map, &classes, input)?;
                notes.extend(classes.note());
                let labels = data
                    .as_ref()
                    .map_or("labels from the cache".into(), |d| format!("labels from {}", d.root.display()));
                let described = format!("{}, {labels}", cache.folder().display());
                (images, classes, described)
            }
            (None, Some(data)) => {
                let names = data.class_names.clone().unwrap_or_default();
                let images = images::from_dataset(data, input)?;
                (
                    images,
                    Classes::own(names),
                    format!("{} ({}), labels alone", data.root.display(), data.format.as_str()),
                )
            }
            (None, None) => {
                return Err(Error::Mismatch {
                    found: "there is nothing to learn from: neither a cache nor a data set was given".into(),
                    remedy: "Give `cache=C`, or `distill=none` `data=D` to learn from labels alone.".into(),
                });
            }
        };
        notes.extend(data.as_ref().and_then(Dataset::boxes_without_area));
        if images.images.is_empty() {
            let of_build = cache.as_ref().map_or(&[][..], |cache| cache.manifest().failures.as_slice());
            return Err(images::none_left(TRAINED, &[of_build, &images.failures].concat()));
        }
        let (shared, class_names) = (classes.shared(), classes.names);
        let student = StudentClasses { names: &class_names, map: &class_map };
        let validation = match validation(options, cache.as_deref(), &images, &student, notes)? {
            None => None,
            Some((dataset, source, classes)) => {
                let opened = Validation::open(&dataset, source, &classes, input, notes)?;
                notes.extend(dataset.boxes_without_area().map(|note| format!("validation: {note}")));
                opened
            }
        };
        Ok(Self { cache, images, class_names, shared, input, described, validation, class_map })
    }
}

impl Validation {
    /// The images to score with their ground truth; `None`, with a note, where no object is on them, for then nothing is to be
    /// found and no score says anything.
    fn open(
        dataset: &Dataset,
        source: DataSource,
        classes: &ClassMap,
        input: ImageSize,
        notes: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let mut failures = Vec::new();
        let (images, truths) = images::for_validation(dataset, classes, input, &mut failures);
        if images.is_empty() {
            return Err(images::none_left(VALIDATED, &failures));
        }
        if !images::show_an_object(&truths) {
            let images = counted(images.len(), "image");
            notes.push(format!("no validation: the labels of the {images} of {} show no object", source.split));
            return Ok(None);
        }
        Ok(Some(Self { source, images, truths, failures }))
    }
}

/// What the user should know of a cache with views, which must be such that the very same pixels can be shown.
fn views_shown(cache: &CacheReader) -> Result<Option<String>> {
    let settings = &cache.manifest().settings;
    if settings.views == 0 {
        return Ok(None);
    }
    if let Some(found) = views_cannot_be_drawn(settings) {
        return Err(Error::Cache {
            path: cache.folder().to_owned(),
            found,
            remedy: "Train with the version of logitcache that built it, or on the unchanged images: `augment=false`."
                .into(),
        });
    }
    Ok(Some(format!(
        "each epoch uses the next of the {} cached views of each image, in mosaics of four, mirrored and shifted on the \
         grid of the anchors",
        settings.views
    )))
}

fn open_dataset(source: &DataSource, notes: &mut Vec<String>) -> Result<Dataset> {
    let dataset = Dataset::open(source)?;
    notes.extend(dataset.notes.iter().cloned());
    Ok(dataset)
}

fn input_size(options: &TrainOptions, cache: Option<&CacheReader>) -> Result<InputSize> {
    let wanted = options.imgsz;
    let default = InputSize::square(DEFAULT_SIDE);
    let Some(teacher) = cache.map(|c| &c.manifest().teacher) else { return Ok(wanted.unwrap_or(default)) };
    let own = InputSize::from(teacher.input());
    let by_objects =
        options.settings.distill == Distill::PseudoLabels || other_places(teacher, teacher.input()).is_some();
    match wanted {
        // Boxes are kept in pixels of the images: any input will do.
        _ if by_objects => {
            let own = Some(own).filter(|own| own.is_possible(GRID_STEP_PX));
            Ok(wanted.or(own).unwrap_or(default))
        }
        Some(wanted) if wanted != own => Err(Error::Mismatch {
            found: format!("`imgsz={wanted}` was asked for, but the cache was built at {own}"),
            remedy: format!(
                "Leave `imgsz=` out, or build a cache at {wanted}: its predictions belong to the pixels that the teacher saw."
            ),
        }),
        _ => Ok(own),
    }
}

/// Whether the teacher teaches by its objects, and how; `None`: by its anchors.
fn objects_of(
    cache: &CacheReader,
    input: ImageSize,
    student: &StudentHead,
    distill: Distill,
    notes: &mut Vec<String>,
) -> Option<ObjectClasses> {
    let manifest = cache.manifest();
    let teacher = &manifest.teacher;
    let classes = match distill {
        Distill::PseudoLabels => ObjectClasses::Hard,
        _ => {
            let why = other_places(teacher, input).or_else(|| other_strides(teacher, &student.strides))?;
            notes.push(format!(
                "{why}: the student learns the teacher's objects (boxes with class distributions), which are assigned to \
                 anchors as labels are"
            ));
            ObjectClasses::Soft
        }
    };
    if manifest.settings.views > 0 {
        notes.push("the views in the cache are not used: objects follow any change of the images".into());
    }
    Some(classes)
}

/// The classes that a data set must have, under these names or under those of the map.
struct StudentClasses<'a> {
    names: &'a [String],
    map: &'a NameMap,
}

/// The data set to validate on; `None` where there is none, with a note that says why.
fn validation(
    options: &TrainOptions,
    cache: Option<&CacheReader>,
    images: &TrainImages,
    student: &StudentClasses<'_>,
    notes: &mut Vec<String>,
) -> Result<Option<(Dataset, DataSource, ClassMap)>> {
    if !options.validate {
        return Ok(None);
    }
    let split = options.val_split.as_deref().unwrap_or(DEFAULT_VAL_SPLIT);
    let source = match (&options.data, cache) {
        (Some(data), _) => Ok(DataSource { split: split.into(), ..data.clone() }),
        (None, Some(cache)) => images::source_of(cache, split),
        (None, None) => return Ok(None),
    };
    let opened = source.and_then(|source| Ok((Dataset::open(&source)?, source)));
    match opened {
        Ok((dataset, source)) if dataset.class_names.is_some() => {
            let trained = images.images.iter().map(|i| &i.path);
            if dataset.samples.iter().map(|s| &s.path).eq(trained) {
                notes.push(
                    "the validation images are the training images: the scores do not show how good the student is on \
                     new images"
                        .into(),
                );
            }
            match ClassMap::of(&dataset, student.names, student.map) {
                Ok((classes, found)) => {
                    notes.extend(found.into_iter().map(|note| format!("validation: {note}")));
                    Ok(Some((dataset, source, classes)))
                }
                // Whoever built without labels because of their classes need not hear of them again.
                Err(Error::Classes { found, .. })
                    if options.val_split.is_none()
                        && cache.is_some_and(|c| c.manifest().dataset.labels != LabelsState::Stored) =>
                {
                    notes.push(format!("no validation: {}", found.replace("\n ", ";")));
                    Ok(None)
                }
                Err(error) => Err(of_validation(error, split, cache.is_some())),
            }
        }
        Ok((dataset, _)) if options.val_split.is_some() => Err(Error::Mismatch {
            found: format!("{} has no labels to validate with", dataset.root.display()),
            remedy: "Name a labelled data set with `data=`, or turn off validation: `val_split=none`.".into(),
        }),
        Err(error) if options.val_split.is_some() => Err(of_val_split(error)),
        Ok((dataset, _)) => {
            notes.push(format!("no validation: {} has no labels", dataset.root.display()));
            Ok(None)
        }
        Err(error) => {
            notes.push(format!("no validation: {error}"));
            Ok(None)
        }
    }
}

/// What can be done where the split to validate on has classes that the student lacks.
fn of_validation(error: Error, split: &str, has_cache: bool) -> Error {
    let Error::Classes { found, remedy } = error else { return error };
    let remedy = if has_cache { remedy } else { "Use the same class names in both splits.".into() };
    Error::Classes {
        found: format!("the split {split}, for validation: {found}"),
        remedy: format!("{remedy} Or turn off validation: `val_split=none`."),
    }
}

/// Names the flag that the user gave: the data set itself knows of `--split` alone.
fn of_val_split(error: Error) -> Error {
    match error {
        Error::Dataset { path, found, remedy } => {
            Error::Dataset { path, found, remedy: remedy.replace("`split=`", "`val_split=`") }
        }
        other => other,
    }
}

/// How the teacher is distilled; `None`: not at all.
fn distill_options(
    settings: &Settings,
    sources: &Sources,
    student: &StudentHead,
    notes: &mut Vec<String>,
) -> Result<Option<DistillOptions>> {
    let parts = match settings.distill {
        Distill::None => return Ok(None),
        Distill::All => DistillParts::All,
        Distill::Cls => DistillParts::Cls,
        Distill::PseudoLabels => DistillParts::All,
    };
    let refuse = |found: String, remedy: &str| Err(Error::Mismatch { found, remedy: remedy.into() });
    let Some(cache) = &sources.cache else {
        return refuse(
            "distilling needs a cache".into(),
            "Give `cache=C`, or `distill=none` to learn from labels alone.",
        );
    };
    let manifest = cache.manifest();
    let cls_loss = match settings.distill {
        // As the task loss has it.
        Distill::PseudoLabels => ClsLoss::Bce,
        _ => settings.cls_loss,
    };
    if settings.distill == Distill::All && manifest.teacher.places().grid().is_some() {
        match manifest.dfl_len() {
            // Distances learn those of the teacher's boxes, which are the expectations of its bins.
            _ if student.reg_max() == 0 => {}
            0 => notes.push("the cache has no DFL logits: boxes and classes are distilled without them".into()),
            len if len == 4 * student.reg_max() => {}
            len => notes.push(format!(
                "the teacher has {} DFL bins a side, the student {}: boxes are distilled by their overlap (CIoU) alone",
                len / 4,
                student.reg_max()
            )),
        }
    }
    if settings.distill == Distill::All && student.reg_max() == 0 && cls_loss != ClsLoss::SoftmaxKl {
        notes.push("no temperature is used: the student has no bins, and its classes are compared one by one".into());
    }
    let unlabelled = sources.images.images.iter().filter(|i| i.labels.is_none()).count();
    if unlabelled > 0 && cls_loss == ClsLoss::SoftmaxKl {
        let remedy = match manifest.dataset.labels {
            LabelsState::Ignored => {
                "Use `cls_loss=bckd` or bce. Or give the labels: `data=D`, with `map=NAME=TEACHERS_NAME` for classes that the teacher has \
                 under another name (docs/classes.md)."
            }
            _ => "Use `cls_loss=bckd` or bce.",
        };
        return refuse(
            format!(
                "{unlabelled} of {} images have no labels, and softmax-kl alone cannot train scores: a softmax does \
                 not change when all its logits change by the same amount, and YOLOv8 has no background class",
                sources.images.images.len()
            ),
            remedy,
        );
    }
    let images = sources.images.images.len();
    if unlabelled > 0 {
        notes.push(format!(
            "{unlabelled} of {images} images have no labels; they are trained on the teacher's part of the loss alone, \
             with weight 1"
        ));
    }
    let temperature = settings.temperature;
    if !SENSIBLE_TEMPERATURES.contains(&temperature) {
        notes.push(format!("warning: a temperature of {temperature} is outside 3 to 6, where published results lie"));
    }
    if settings.alpha == 1.0 && unlabelled == 0 {
        notes.push("warning: with `alpha=1` the teacher is not used".into());
    }
    Ok(Some(DistillOptions { cls_loss, temperature, parts }))
}

/// Below this a student that starts from nothing hardly gets anywhere in the usual number of epochs (docs/experiments.md: 1e-3 to 4e-3 are alike).
const USUAL_RANDOM_LR: f64 = 1e-3;

/// The student's first weights and what `config.json` says of them.
fn start(options: &TrainOptions, class_names: &[String], notes: &mut Vec<String>) -> Result<(State, String)> {
    match &options.start {
        Start::Random(model) => {
            notes.push(format!(
                "{model} starts from random weights; name a .pt or .safetensors file to start from trained ones"
            ));
            let lr = options.settings.lr;
            if lr < USUAL_RANDOM_LR {
                notes.push(format!(
                    "a learning rate of {lr} is meant for trained weights; random weights usually need \
                     `lr={USUAL_RANDOM_LR}` or more"
                ));
            }
            let state = State::random(model.net(class_names.len()), options.settings.seed);
            Ok((state, "random".into()))
        }
        Start::File(path) => {
            let loaded = weights::load(path, Some(class_names.len()), options.settings.seed)?;
            if let Some(classes) = loaded.class_branch_replaced {
                notes.push(format!(
                    "{} has {classes} classes, not {}: its class branch ({}) starts from random weights",
                    path.display(),
                    class_names.len(),
                    class_branches(&loaded.state)
                ));
            }
            let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((loaded.state, format!("{name} sha256 {}", to_hex(&Sha256::digest(&bytes)))))
        }
    }
}

/// What is left of the first weights, where some of it is to be pruned.
fn pruned(state: State, options: &TrainOptions, notes: &mut Vec<String>) -> Result<State> {
    let Some(share) = options.settings.prune else { return Ok(state) };
    if matches!(options.start, Start::Random(_)) {
        return Err(Error::Mismatch {
            found: "random weights cannot be pruned: none of their channels is less important than another".into(),
            remedy: "Name trained weights: `model=RUN`/weights/best.safetensors, or a .pt file.".into(),
        });
    }
    let (state, pruned) = student::prune(&state, share)?;
    let [before, after] = pruned.parameters;
    notes.push(format!(
        "pruned: {:.1} % of the multiply-adds are gone, {} of {} parameters are left",
        100.0 * pruned.macs_removed,
        HumanCount(after as u64),
        HumanCount(before as u64)
    ));
    Ok(state)
}

/// How the student is rounded in training, where it is.
fn qat(state: &State, options: &TrainOptions, sources: &Sources, notes: &mut Vec<String>) -> Result<Option<Qat>> {
    let Some(file) = &options.qat else { return Ok(None) };
    if matches!(options.start, Start::Random(_)) {
        return Err(Error::Mismatch {
            found: "random weights cannot be trained with the rounding of a file: its ranges are of trained weights"
                .into(),
            remedy: "Name the weights that the file was made of: `model=RUN`/weights/best.safetensors.".into(),
        });
    }
    let description = weights::Description { class_names: sources.class_names.clone(), imgsz: sources.input.into() };
    let qat = Qat::open(file, state, &description)?;
    notes.push(qat.describe());
    Ok(Some(qat))
}

/// The names of a head's class branches, in words.
fn class_branches(state: &State) -> String {
    let names = state.net().head.branches.iter().map(|branch| branch.class_names.trim_end_matches('.'));
    names.collect::<Vec<_>>().join(", ")
}

/// The state to go on from, where there is one and the user wants it.
fn resumed(
    folder: &OwnedRun,
    config: &RunConfig,
    resume: bool,
    notes: &mut Vec<String>,
) -> Result<Option<(std::collections::BTreeMap<String, tch::Tensor>, Progress)>> {
    if !folder.holds_results() {
        if resume {
            notes.push("there is nothing to resume: the run starts from its beginning".into());
        }
        return Ok(None);
    }
    if !resume {
        return Err(Error::Mismatch {
            found: format!("{} already holds a run", folder.path().display()),
            remedy: "Resume it: `resume=true`. Start again: `overwrite=true`. Or choose another `out=`.".into(),
        });
    }
    let Some(found) = RunConfig::load(folder.path())? else {
        return Err(Error::Mismatch {
            found: format!(
                "{} holds results of a run, but not the settings that it was made with",
                folder.path().display()
            ),
            remedy: "Start again with `overwrite=true`, or choose another `out=`.".into(),
        });
    };
    found.refuse_other(config, folder.path())?;
    checkpoint::load(folder.path())
}

/// SHA-256 over paths, digests and labels.
fn images_digest(images: &[TrainImage]) -> String {
    let mut hasher = Sha256::new();
    for image in images {
        hasher.update(&image.relative);
        hasher.update([0]);
        hasher.update(image.expected_sha256.unwrap_or_default());
        match &image.labels {
            None => hasher.update([0]),
            Some(labels) => {
                hasher.update([1]);
                hasher.update((labels.len() as u64).to_le_bytes());
                for label in labels {
                    let b = label.box_xyxy_px;
                    hasher.update(label.class_id.to_le_bytes());
                    [b.x1, b.y1, b.x2, b.y2].iter().for_each(|v| hasher.update(v.to_le_bytes()));
                }
            }
        }
    }
    to_hex(&hasher.finalize())
}
