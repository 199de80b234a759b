//! Everything that can be refused before the first image: library, data set, teacher, names, settings, space.

use super::{
    BuildOptions,
    estimate::Kept,
    folder::{self, ImageIds},
    input_check,
    plan::Plan,
    shard::{self, ShardWork, dataset_may_come},
};
use crate::{
    Error, Result,
    augment::VIEW_RULE,
    cache::{
        self, DatasetInfo, LabelsState, Manifest, MissingLabels, Places, Samples, Settings, Shard, Teacher, columns,
    },
    dataset::{ClassMap, Dataset, paths, refuse_foreign_names, refuse_meaning_without_label_files},
    detector::{self, Detector, DetectorOptions, DetectorSession, HeadSpec, SelfCheck},
    fsio::{self, Lock},
    pipeline, preprocess, remote,
    types::{InputSize, LogitType, Profile, Store},
    words::counted,
};
use std::{collections::BTreeSet, ops::Range, path::Path};

/// A build that may start: everything was opened and checked, the cache is locked.
pub struct Build {
    pub(super) options: BuildOptions,
    pub(super) dataset: Dataset,
    pub(super) model: Detector,
    pub(super) sessions: Vec<DetectorSession>,
    pub(super) class_map: Option<ClassMap>,
    pub(super) batch: usize,
    pub(super) ledger: Ledger,
    pub(super) manifest: Manifest,
    /// Image ids to work on, in order.
    pub(super) pending: Vec<i64>,
    pub(super) plan: Plan,
}

/// Where finished parts are named.
pub(super) enum Ledger {
    /// In the manifest of a cache that this build has for itself.
    Whole(Lock),
    /// In the record of a shard.
    Shard(Box<ShardWork>),
}

impl Ledger {
    /// The cache's folder.
    pub(super) fn folder(&self) -> &Path {
        match self {
            Self::Whole(lock) => lock.folder(),
            Self::Shard(work) => work.folder(),
        }
    }

    /// Names the parts so far.
    pub(super) fn save(&self, manifest: &mut Manifest) -> Result<()> {
        match self {
            Self::Whole(lock) => Ok(manifest.save(lock)?),
            Self::Shard(work) => work.save_progress(manifest),
        }
    }
}

impl Build {
    /// Opens and checks everything. Creates the cache's folder and takes its lock, removes what a killed build left behind. The
    /// workers of a build in shards share the lock, and leave each other's files.
    ///
    /// # Errors
    /// Whatever would make the build wrong or impossible. Of a shard, [`Error::Later`] where another try may succeed.
    pub fn prepare(options: BuildOptions) -> Result<Self> {
        let of_shard = options.shard.is_some();
        Self::prepared(options).map_err(|error| if of_shard { error.or_later() } else { error })
    }

    fn prepared(mut options: BuildOptions) -> Result<Self> {
        options.jobs = pipeline::useful_jobs(options.jobs);
        let runtime = detector::runtime::init(options.ort_lib.as_deref())?;
        let mut dataset = Dataset::open(&options.source).map_err(|error| dataset_may_come(error, &options))?;
        let teacher_options = DetectorOptions {
            imgsz: options.imgsz,
            store: options.store.unwrap_or(Store::Cls),
            names: options.names.clone(),
            reading: options.reading.clone(),
            ..DetectorOptions::default()
        };
        let model = Detector::load(&options.teacher, &teacher_options)?;
        let batch = pipeline::batch_size(&model, options.provider, options.batch)?;
        refuse_foreign_names(&options.class_map, &dataset)?;
        refuse_meaning_without_label_files(&dataset, options.missing_labels)?;
        let mut class_map = None;
        if dataset.class_names.is_some() && !options.ignore_labels {
            let found = ClassMap::of(&dataset, &model.class_names, &options.class_map);
            let (map, notes) = found?;
            dataset.notes.extend(notes);
            class_map = Some(map);
        }
        pipeline::refuse_if_memory_is_short(options.provider, options.jobs, batch, model.input)?;
        let (check, mut sessions) = pipeline::start_sessions(&model, options.provider, options.jobs)?;
        let wanted = manifest(&options, &dataset, &model, batch, runtime);

        fsio::create_folder(&options.out)?;
        let Standing { ledger, manifest, done, image_ids } = match options.shard {
            None => whole(&options, wanted, &dataset)?,
            Some(shard) => shard::begin(&options.out, shard, &wanted, &dataset)?,
        };
        let failed: BTreeSet<i64> = manifest.failures.iter().map(|f| f.image_id).collect();
        let samples = (image_ids.end - image_ids.start) as u64;
        let pending: Vec<i64> = image_ids.filter(|id| !done.contains(*id)).collect();
        let retried = pending.iter().filter(|id| failed.contains(id)).count();

        let pictures = pending.len() as u64 * options.views.per_image() as u64;
        let most = Kept::most(&model.head, &options);
        let kept = match sessions.first_mut() {
            Some(session) => Kept::sampled(session, &model, &dataset, &options, batch, &pending),
            None => most,
        };
        let better_rule = match sessions.first_mut() {
            Some(session) if !pending.is_empty() => {
                input_check::better_rule(session, &model, &dataset, &options, batch)
            }
            _ => None,
        };
        let bytes = |kept: Kept| kept.bytes(pending.len() as u64, &model.head, &dataset, &options);
        let mut plan = Plan {
            cache: options.out.clone(),
            input: size_in_words(&model),
            teacher: describe_teacher(&model),
            dataset: describe_dataset(&dataset, &options),
            runtime: describe_runtime(runtime, &options, &model.head, batch),
            shard: options.shard,
            samples,
            already_done: done.len(),
            retried: retried as u64,
            pending: pending.len() as u64,
            views: options.views.count,
            estimated_bytes: bytes(kept),
            most_bytes: bytes(most),
            free_bytes: fsio::free_space_bytes(&options.out)?,
            estimated_s: estimate_s(&check, pictures, &options),
            warning: model.warning(),
            notes: (dataset.notes.iter().cloned())
                .chain(columns::hidden_by_path(&paths::absolute(&options.out)))
                .chain(model.quantization_note(&check))
                .chain(model.replaced_names.clone())
                .chain(better_rule)
                .chain(options.shard.and_then(|shard| empty_shards(shard, dataset.samples.len())))
                .collect(),
        };
        plan.refuse_if_it_cannot_fit().map_err(|error| match options.shard {
            // Another time there may be space.
            Some(_) => Error::Later(Box::new(error)),
            None => error,
        })?;
        Ok(Self { options, dataset, model, sessions, class_map, batch, ledger, manifest, pending, plan })
    }

    /// What [`Build::run`] will do.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
}

/// That some shards have nothing to do: mostly a mistake in the number of shards.
fn empty_shards(shard: Shard, images: usize) -> Option<String> {
    let shards = shard.count() as usize;
    (shards > images).then(|| {
        let (shards, empty) = (counted(shards, "shard"), counted(shards - images, "shard"));
        format!("there are {shards} for {}: {empty} have none", counted(images, "image"))
    })
}

/// Where a build stands when it begins.
pub(super) struct Standing {
    pub(super) ledger: Ledger,
    /// Names the parts and failures so far.
    pub(super) manifest: Manifest,
    /// Images in those parts.
    pub(super) done: ImageIds,
    /// The images that the build is about.
    pub(super) image_ids: Range<i64>,
}

/// A build that has the cache for itself.
fn whole(options: &BuildOptions, wanted: Manifest, dataset: &Dataset) -> Result<Standing> {
    let lock = remote::storage(&options.out)?.lock()?;
    folder::refuse_foreign_files(&options.out)?;
    if options.overwrite {
        cache::clear(&lock)?;
    }
    folder::refuse_unfinished_shards(&options.out)?;
    let manifest = match Manifest::load_to_extend(&lock)? {
        Some(found) => continued(found, wanted, dataset, &lock)?,
        None => wanted,
    };
    cache::remove_leftovers(&lock, Some(&manifest))?;
    let done = folder::image_ids(&options.out, &manifest)?;
    let image_ids = 0..dataset.samples.len() as i64;
    Ok(Standing { ledger: Ledger::Whole(lock), manifest, done, image_ids })
}

/// The manifest that a new cache with these options starts from.
fn manifest(
    options: &BuildOptions,
    dataset: &Dataset,
    model: &Detector,
    batch: usize,
    runtime: &detector::runtime::Runtime,
) -> Manifest {
    let teacher = teacher(model, &options.teacher);
    let mut samples = Samples::default();
    dataset.samples.iter().for_each(|sample| samples.push(&sample.relative));
    let (samples, samples_sha256) = samples.finish();
    let out = paths::absolute(&options.out);
    let from_cache = |path: &Path| paths::to_column(&remote::from_folder(&out, &paths::absolute(path)));
    let dataset_info = DatasetInfo {
        format: dataset.format.as_str().to_owned(),
        split: options.source.split.clone(),
        root: from_cache(&dataset.root),
        source: from_cache(&options.source.data),
        images_dir: options.source.images_dir.as_deref().map(from_cache),
        samples,
        samples_sha256,
        labels: match (&dataset.class_names, options.ignore_labels) {
            (None, _) => LabelsState::Absent,
            (Some(_), true) => LabelsState::Ignored,
            (Some(_), false) => LabelsState::Stored,
        },
        class_names: match &dataset.class_names {
            Some(names) if !options.ignore_labels => names.clone(),
            _ => Vec::new(),
        },
        class_map: options.class_map.clone(),
    };
    let dense = options.profile == Profile::Dense;
    let settings = Settings {
        min_score: if dense { 0.0 } else { options.min_score },
        top_k: if dense {
            model.head.num_places() as u32
        } else {
            u32::try_from(options.top_k.get()).unwrap_or(u32::MAX)
        },
        coverage: if dense { 1.0 } else { options.coverage },
        class_coverage: if dense { 1.0 } else { options.class_coverage_of(model.head.num_classes) },
        logits: if dense { LogitType::Float16 } else { options.logits },
        store: options.store_of(&model.head),
        profile: options.profile,
        batch: batch as u32,
        provider: options.provider.as_str().to_owned(),
        runtime: format!("onnxruntime {}", runtime.version),
        decoder: preprocess::DECODER.to_owned(),
        missing_labels: options.missing_labels,
        ignore_labels: options.ignore_labels,
        views: options.views.count,
        view_seed: if options.views.count > 0 { options.views.seed } else { 0 },
        view_rule: if options.views.count > 0 { VIEW_RULE.to_owned() } else { String::new() },
    };
    Manifest::new(teacher, dataset_info, settings)
}

/// The manifest of a cache that this build may go on with.
fn continued(mut found: Manifest, wanted: Manifest, dataset: &Dataset, lock: &Lock) -> Result<Manifest> {
    let out = lock.folder();
    if found.is_archive() {
        return Err(Error::Cache {
            path: out.to_owned(),
            found: "this cache is an archive; a build cannot be resumed from it".into(),
            remedy: format!(
                "{} Or choose another `out=`, or start again with `overwrite=true`.",
                found.how_to_unpack(out)
            ),
        });
    }
    let mut differences = found.settings_difference(&wanted);
    if differences.is_empty() {
        if found.dataset != wanted.dataset {
            // The same data set at another place: whoever reads the cache must find the pictures.
            found.dataset = wanted.dataset;
            found.save(lock)?;
        }
        return Ok(found);
    }
    let mut lines = vec![format!("{} was made with other settings:", out.display())];
    if differences.iter().any(|d| d.name.starts_with("dataset.samples")) {
        if let Some(sample) = folder::first_other_sample(out, &found, dataset)? {
            lines.push(format!("  the data set's list of images: {sample}"));
        }
        differences.retain(|d| d.name != "dataset.samples_sha256");
    }
    lines.extend(differences.iter().map(|d| format!("  {}: {} in the cache, {} now", d.name, d.in_cache, d.wanted)));
    Err(Error::Mismatch {
        found: lines.join("\n"),
        remedy: "Use the settings of the cache, choose another `out=`, or start again with `overwrite=true`.".into(),
    })
}

fn describe_teacher(model: &Detector) -> String {
    let (kind, num_anchors) = (model.head.kind.as_str(), model.head.num_places());
    let name = model.path.file_name().unwrap_or_default().to_string_lossy();
    let (size, precision) = (size_in_words(model), model.precision.as_str());
    let classes = counted(model.head.num_classes, "class");
    let fixed =
        if model.is_of_fixed_size() { " and no other (export with dynamic=True or imgsz= for others)" } else { "" };
    format!("{name}: {kind}, {classes}, {size}{fixed}, {num_anchors} anchors, {precision}")
}

fn size_in_words(model: &Detector) -> String {
    InputSize::from(model.input).in_words()
}

fn describe_dataset(dataset: &Dataset, options: &BuildOptions) -> String {
    let labels = match (&dataset.class_names, options.ignore_labels, options.missing_labels) {
        (None, ..) => "no labels".to_owned(),
        (Some(_), true, _) => "labels ignored".to_owned(),
        (Some(names), false, MissingLabels::Background) => counted(names.len(), "class"),
        (Some(names), false, MissingLabels::Unlabelled) => {
            counted(names.len(), "class") + ", images without a label file unlabelled"
        }
    };
    format!(
        "{} ({}): {}, {labels}",
        options.source.data.display(),
        dataset.format.as_str(),
        counted(dataset.samples.len(), "image")
    )
}

fn describe_runtime(
    runtime: &detector::runtime::Runtime,
    options: &BuildOptions,
    head: &HeadSpec,
    batch: usize,
) -> String {
    let sessions = counted(pipeline::num_sessions(options.provider, options.jobs), "session");
    let threads = counted(options.jobs.get(), "decoding thread");
    let stored = match options.store_of(head) {
        Store::All => "class and DFL logits",
        Store::Cls => "class logits",
    };
    format!(
        "onnxruntime {}, {}, {sessions}, batch {batch}, {threads}; storing {stored}",
        runtime.version,
        options.provider.as_str()
    )
}

/// From the one run of the self-check, on one thread; the sessions share the images out.
fn estimate_s(check: &SelfCheck, pictures: u64, options: &BuildOptions) -> f64 {
    check.image_time.as_secs_f64() * pictures as f64 / pipeline::num_sessions(options.provider, options.jobs) as f64
}

/// What a manifest says of a teacher.
pub(crate) fn teacher(model: &Detector, path: &Path) -> Teacher {
    let head = &model.head;
    let queries = match &head.places {
        Places::Grid(_) => 0,
        Places::Queries(queries) => *queries as u32,
    };
    Teacher {
        file_name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        sha256: cache::to_hex(&model.sha256),
        head: head.kind,
        num_classes: head.num_classes as u32,
        reg_max: head.reg_max() as u32,
        strides: head.strides(),
        queries,
        one_to_one: head.one_to_one,
        class_names: model.class_names.clone(),
        input_width: model.input.width,
        input_height: model.input.height,
        precision: model.precision.as_str().to_owned(),
        normalisation: model.input_rule.normalisation(),
        letterbox: model.input_rule.fit.in_words().to_owned(),
        input_rule: model.input_rule,
    }
}
