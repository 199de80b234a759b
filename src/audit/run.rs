//! Preparing and running an audit.

use super::{
    gradient::Student,
    image::{AuditWorker, StudentSource},
    report::{AuditReport, Gathered},
};
use crate::{
    Error, Result,
    cache::{CacheReader, ImageKey, Manifest, MissingLabels, to_hex},
    dataset::{DataSource, Sample, paths},
    detector::{self, Detector, DetectorOptions, DetectorSession, Provider, Reading, SessionOptions},
    eval::evenly,
    pipeline::{self, ImageSource},
    preprocess::{self, InputRule, StatedInputRule},
    targets::Anchors,
    types::{ImageSize, InputSize},
};
use std::{num::NonZeroUsize, path::PathBuf, sync::atomic::AtomicBool};

/// Everything that decides what an audit does.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Folder of the cache.
    pub cache: PathBuf,
    /// The teacher's ONNX file.
    pub teacher: PathBuf,
    /// Whether the cache was built with a substitute for `teacher`, such as its quantized file: it is judged by its gradients alone.
    pub substitute: bool,
    /// The family that the user says the teacher belongs to.
    pub family: Option<String>,
    /// A student's ONNX export at whose outputs the gradients are taken; `None`: an untrained YOLOv8.
    pub student: Option<PathBuf>,
    /// Images to compare, spread evenly over the cache; `None`: all.
    pub sample: Option<NonZeroUsize>,
    /// T of `softmax-kl` and `dfl`, above 0.
    pub temperature: f64,
    /// Lowest mean cosine that passes.
    pub min_cosine: f64,
    /// The data set, where it is not where the cache says.
    pub source: Option<DataSource>,
    /// Worker threads.
    pub jobs: NonZeroUsize,
    /// Where the models run.
    pub provider: Provider,
    /// The ONNX Runtime library, where the user names one.
    pub ort_lib: Option<PathBuf>,
}

/// An audit that may start.
pub struct Audit {
    options: AuditOptions,
    reader: CacheReader,
    model: Detector,
    sessions: Vec<DetectorSession>,
    students: Vec<StudentSource>,
    batch: usize,
    anchors: Anchors,
    /// What to compare: pictures and their ids in the cache, side by side.
    samples: Vec<Sample>,
    image_ids: Vec<i64>,
    audited_by: String,
    findings: Vec<String>,
}

impl Audit {
    /// Opens the cache, the models and the data set.
    ///
    /// # Errors
    /// [`Error::Cache`] for a damaged or empty cache, [`Error::Model`] and [`Error::Runtime`] for models that cannot run, [`Error::Mismatch`] where
    /// teacher or student have another head than the cache, or where the data set is not the cache's.
    pub fn prepare(mut options: AuditOptions) -> Result<Self> {
        options.jobs = pipeline::useful_jobs(options.jobs);
        let reader = CacheReader::open(&options.cache)?;
        let runtime = detector::runtime::init(options.ort_lib.as_deref())?;
        let manifest = reader.manifest();
        // As the cache was made: a rule that the user stated for the build is in its manifest.
        let cached = &manifest.teacher;
        let input_rule = StatedInputRule::whole(cached.input_rule);
        let model =
            load(manifest, &options.teacher, "teacher", Reading { family: options.family.clone(), input_rule })?;
        let findings = teacher_findings(manifest, &model, options.substitute);
        let batch = pipeline::batch_size(&model, options.provider, None)?;
        pipeline::refuse_if_memory_is_short(options.provider, options.jobs, batch, model.input)?;
        let (samples, image_ids) = samples(&reader, &options)?;
        let anchors = anchors_of(&model)?;
        let (_, sessions) = pipeline::start_sessions(&model, options.provider, options.jobs)?;
        let students = students(manifest, &options, &model, sessions.len())?;
        let runtime = format!("onnxruntime {}", runtime.version);
        let audited_by = programs(&runtime, options.provider.as_str(), preprocess::DECODER);
        Ok(Self {
            reader,
            model,
            sessions,
            students,
            batch,
            anchors,
            samples,
            image_ids,
            audited_by,
            findings,
            options,
        })
    }

    /// Images that will be compared, each with all its views.
    pub fn num_images(&self) -> u64 {
        self.samples.len() as u64
    }

    /// Images and views that will be compared.
    pub fn num_views(&self) -> u64 {
        self.num_images() * (1 + u64::from(self.reader.manifest().settings.views))
    }

    /// Compares. `on_view(failed)` is called for each image and each of its views.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once `stop` is raised; [`Error::Runtime`] where threads cannot be had.
    pub fn run(self, stop: &AtomicBool, mut on_view: impl FnMut(bool)) -> Result<AuditReport> {
        let Self {
            options,
            reader,
            model,
            sessions,
            students,
            batch,
            anchors,
            samples,
            image_ids,
            audited_by,
            findings,
        } = self;
        let settings = &reader.manifest().settings;
        let views = settings.views();
        let cached_by = programs(&settings.runtime, &settings.provider, &settings.decoder);
        // Another teacher's values are expected to differ: one finding says so, not one per image.
        let same_programs = cached_by == audited_by && findings.is_empty() && !options.substitute;
        let workers = sessions.into_iter().zip(students).map(|(teacher, student)| AuditWorker {
            teacher,
            student,
            batch,
            reader: &reader,
            image_ids: &image_ids,
            anchors: &anchors,
            temperature: options.temperature,
            same_programs,
        });
        let source = ImageSource {
            samples: &samples,
            image_ids: Some(&image_ids),
            input: model.input,
            rule: model.input_rule,
            class_map: None,
            missing_labels: MissingLabels::Unlabelled,
            views,
        };
        let positions: Vec<ImageKey> =
            (0..samples.len() as i64).flat_map(|position| views.numbers().map(move |view| (position, view))).collect();
        let mut gathered = Gathered::new(findings);
        let handed_over =
            pipeline::run(&source, &positions, batch, workers.collect(), options.jobs, stop, |outcome| {
                on_view(outcome.is_err());
                match outcome {
                    Ok(image) => gathered.push(&image),
                    Err(mut failure) => {
                        let position = usize::try_from(failure.image_id).unwrap_or(usize::MAX);
                        failure.image_id = image_ids.get(position).copied().unwrap_or(failure.image_id);
                        // An image that cannot be read fails once for each of its views.
                        if gathered.failures.last().is_none_or(|last| last.image_id != failure.image_id) {
                            gathered.failures.push(failure);
                        }
                    }
                }
                Ok(())
            })?;
        if handed_over < positions.len() {
            let compared = handed_over / (1 + views.count as usize);
            return Err(Error::Interrupted {
                remedy: format!("{compared} of {} images were compared; run it again for a result.", samples.len()),
            });
        }
        let terms = gathered.terms();
        let passed = gathered.findings.is_empty()
            && gathered.failures.is_empty()
            && terms.iter().all(|term| term.cosine_mean >= options.min_cosine);
        Ok(AuditReport {
            cache: paths::to_column(&options.cache),
            teacher: paths::to_column(&options.teacher),
            substitute: options.substitute.then(|| reader.manifest().teacher.file_name.clone()),
            student: options.student.as_deref().map_or_else(|| "untrained".to_owned(), paths::to_column),
            temperature: options.temperature,
            images: (samples.len() - gathered.failed_images()) as u64,
            views: views.count,
            images_in_cache: reader.manifest().images(),
            min_cosine: options.min_cosine,
            terms,
            blank: gathered.blank(),
            dropped: gathered.dropped(),
            drift: gathered.drift(cached_by, audited_by),
            findings: std::mem::take(&mut gathered.findings),
            failures: std::mem::take(&mut gathered.failures),
            worst: gathered.worst(),
            passed,
        })
    }
}

fn programs(runtime: &str, provider: &str, decoder: &str) -> String {
    format!("{runtime}, {provider}, {decoder}")
}

/// A model at the cache's size, with the cache's head.
fn load(manifest: &Manifest, path: &std::path::Path, role: &str, reading: Reading) -> Result<Detector> {
    let cached = &manifest.teacher;
    let names = Some(cached.class_names.clone());
    let remedy = format!("Name the {role} that belongs to the cache (its teacher was {}).", cached.file_name);
    let options = DetectorOptions { imgsz: Some(cached.input().into()), names, reading, ..DetectorOptions::default() };
    let model = Detector::load(path, &options);
    let model = model.map_err(|error| match error {
        Error::Model { path, found, .. } => {
            Error::Model { path, found: format!("this cannot be the {role}: {found}"), remedy: remedy.clone() }
        }
        other => other,
    })?;
    let strides = model.head.strides();
    let now = (model.head.num_classes, model.head.reg_max(), &strides, model.input);
    let then = (cached.num_classes as usize, cached.reg_max as usize, &cached.strides, cached.input());
    if now == then {
        return Ok(model);
    }
    let words = |(classes, bins, strides, input): (usize, usize, &Vec<u32>, ImageSize)| {
        let input = InputSize::from(input).in_words();
        format!("{classes} classes, {bins} bins, strides {strides:?}, {input}")
    };
    Err(Error::Mismatch {
        found: format!("the {role} {} has {}; the cache is of a head with {}", path.display(), words(now), words(then)),
        remedy,
    })
}

/// What says that the cache is of another teacher.
fn teacher_findings(manifest: &Manifest, model: &Detector, substitute: bool) -> Vec<String> {
    let cached = &manifest.teacher;
    let mut findings = Vec::new();
    let digest = to_hex(&model.sha256);
    if digest != cached.sha256 && !substitute {
        findings.push(format!(
            "this is another teacher: {} has sha256 {digest}, the cache is of {} with {}",
            model.path.display(),
            cached.file_name,
            cached.sha256
        ));
    }
    let rule = model.input_rule;
    for (what, then, now) in [
        ("letterbox", &cached.letterbox, rule.fit.in_words().to_owned()),
        ("normalisation", &cached.normalisation, rule.normalisation()),
    ] {
        if *then != now {
            findings.push(format!("the {what} has changed: {then:?} in the cache, {now:?} now"));
        }
    }
    findings
}

fn students(
    manifest: &Manifest,
    options: &AuditOptions,
    teacher: &Detector,
    count: usize,
) -> Result<Vec<StudentSource>> {
    let Some(path) = &options.student else {
        let student = Student::untrained(&teacher.head);
        return Ok((0..count).map(|_| StudentSource::StandIn(Box::new(student.clone()))).collect());
    };
    if !teacher.input_rule.is_default() {
        return Err(Error::Mismatch {
            found: format!(
                "the teacher takes images by the rule {}, a student by {}: they do not see the same pixels",
                teacher.input_rule,
                InputRule::default()
            ),
            remedy: "Audit this cache without a student.".into(),
        });
    }
    let model = load(manifest, path, "student", Reading::default())?;
    let session = SessionOptions { provider: options.provider, intra_threads: 1 };
    model.self_check(&session)?;
    (0..count).map(|_| Ok(StudentSource::Model(Box::new(DetectorSession::new(&model, &session)?)))).collect()
}

/// The anchors of a head that stands on a grid: the losses of a student without one are not known.
fn anchors_of(model: &Detector) -> Result<Anchors> {
    model.head.places.grid().cloned().map(Anchors::new).ok_or_else(|| Error::Mismatch {
        found: format!("{} has a head of queries, which have no position on a student's grid", model.path.display()),
        remedy: "Audit a cache whose teacher has anchors.".into(),
    })
}

/// The images to compare, spread evenly over the cache, and where their pictures are.
fn samples(reader: &CacheReader, options: &AuditOptions) -> Result<(Vec<Sample>, Vec<i64>)> {
    let ids = pipeline::cached_ids(reader)?;
    let count = options.sample.map_or(ids.len(), NonZeroUsize::get);
    let ids = evenly(ids, count);
    let samples = pipeline::cached_samples(reader, &ids, options.source.as_ref())?;
    Ok((samples, ids))
}
