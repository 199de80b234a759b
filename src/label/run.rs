//! Over all images: calibrating, then writing.

use super::{
    ClassLabelled, LabelOptions, LabelReport, Labelled, Threshold,
    thresholds::{Count, Rule, measure},
    write::{Pseudo, Source, Tally},
};
use crate::{
    Error, Result,
    cache::{CacheReader, HeadKind, open_finished},
    dataset::{Dataset, Sample},
    issues::{
        calibrate::{Point, points},
        census::Census,
        labels::{self, Labels},
        seen::Seen,
    },
    toolkit::{Format, Job, List, Run, folder::NewFolder, folder_of, origin_of, write},
    words::counted,
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// What helps where the data set lacks an image.
const NOT_THERE: &str =
    "Give the data set that the cache was built from with `data=`, or list the images to label with `list=`.";
/// Fewer labels say little about the teacher.
const FEW_LABELS: u64 = 200;

/// Writes a data set with pseudo-labels.
///
/// # Errors
/// [`Error::Cache`] of a cache that is unfinished or damaged; [`Error::Mismatch`] where the folder
/// exists, where there are no labels to find thresholds by, where the data set lacks images of the
/// cache; [`Error::Dataset`], [`Error::Classes`]; [`Error::Io`], [`Error::NoSpace`] and
/// [`Error::Interrupted`], after which nothing is left.
pub fn label(options: &LabelOptions, run: &Run<'_>) -> Result<LabelReport> {
    NewFolder::refuse_existing(&options.write.out)?;
    let reader = open_finished(&options.cache)?;
    let manifest = reader.manifest();
    let source = labels::source(&reader, options.data.as_deref(), options.images_dir.clone())?;
    let dataset = Dataset::open(&source)?;
    let (mut labels, mut notes) = Labels::of(dataset.class_names.as_ref().map(|_| &dataset), &reader)?;
    labels.among(options.labelled.as_deref(), &reader)?;
    let census = Census::take(&reader, &labels, run)?;
    if census.labels == 0 && matches!(options.threshold, Threshold::Precision(_)) {
        return Err(Error::Mismatch {
            found: "no image has labels by which the teacher's scores can be calibrated".into(),
            remedy: "Give one score for all classes with `conf=`, or label some images first.".into(),
        });
    }
    let sample = census.sample(&reader, &labels, run)?;
    let boxes: Vec<Point> = sample.iter().flat_map(points).collect();
    let num_classes = manifest.teacher.num_classes as usize;
    let rule = Rule::of(options.threshold, &boxes, num_classes);
    let measured = rule.is_calibrated().then(|| counts(options.threshold, &boxes, &sample, num_classes));
    let calibration_images = sample.len() as u64;
    drop((sample, boxes));
    if census.labels > 0 && census.labels < FEW_LABELS {
        notes.push(format!(
            "there is only {}: too few to tell how far the teacher can be trusted",
            counted(census.labels, "label")
        ));
    }
    let (to_data, names) = classes(&dataset, &reader)?;
    let format = options.write.to.or_else(|| Format::of(dataset.format)).unwrap_or(Format::Yolo);
    let (images, samples) = images(options, &reader, &dataset, &census)?;
    let pseudo = Pseudo::new(
        &reader,
        images,
        rule.clone(),
        (options.uncertain, options.add_missing),
        (to_data.clone(), names.clone()),
        format,
    );
    let folder = folder_of(&dataset.samples);
    let mut job = Job::of_split(
        "label",
        origin_of(&dataset, &source.data),
        names.clone(),
        &manifest.dataset.split,
        &samples,
        &folder,
    );
    job.settings = settings(options);
    job.labeller = Some(&pseudo);
    let data_set = write(&job, format, &options.write, run)?;
    drop(job);
    let tally = pseudo.tally();
    if format.mark_of_uncertain().is_none() && tally.classes.iter().any(|(.., uncertain)| *uncertain > 0) {
        notes.push(format!(
            "{format} cannot mark uncertain boxes: they are only listed in {}, and a model trained on these files learns \
             their places as background",
            super::TABLE
        ));
    }
    if tally.pseudo_labelled_images == 0 {
        notes.push(format!("every image has labels already, so the teacher labelled none. {}", labels::UNLABELLED));
    }
    if tally.empty_images > 0 {
        notes.push(format!(
            "the teacher found nothing that is sure enough on {} without labels: a model that is trained on these files \
             learns that they show no objects",
            counted(tally.empty_images, "image")
        ));
    }
    let (total, classes) = report((&rule, manifest.teacher.head), &tally, measured.as_deref(), &to_data, names);
    let (precision, conf) = match options.threshold {
        Threshold::Precision(precision) => (Some(precision), None),
        Threshold::Score(conf) => (None, Some(conf)),
    };
    Ok(LabelReport {
        written_by: format!("logitcache {}", env!("CARGO_PKG_VERSION")),
        cache: options.cache.clone(),
        content_sha256: manifest.digests.as_ref().map(|digests| digests.content_sha256.clone()),
        precision,
        conf,
        labelled_images: tally.labelled_images,
        pseudo_labelled_images: tally.pseudo_labelled_images,
        empty_images: tally.empty_images,
        calibration_images,
        total,
        classes,
        other_classes: tally.other_classes,
        notes,
        data_set,
    })
}

fn settings(options: &LabelOptions) -> Vec<String> {
    let threshold = match options.threshold {
        Threshold::Precision(precision) => format!("precision={precision}"),
        Threshold::Score(conf) => format!("conf={conf}"),
    };
    let list = |name: &str, path: &Option<PathBuf>| path.as_ref().map(|path| format!("{name}={}", path.display()));
    [threshold, format!("uncertain={}", options.uncertain), format!("add_missing={}", options.add_missing)]
        .into_iter()
        .chain(list("labelled", &options.labelled))
        .chain(list("list", &options.list))
        .collect()
}

/// The class of the data set for each of the teacher's, and their names; those of the teacher where
/// the data set has no classes.
fn classes(dataset: &Dataset, reader: &CacheReader) -> Result<(Vec<Option<u32>>, Vec<String>)> {
    let manifest = reader.manifest();
    let own = &manifest.teacher.class_names;
    match &dataset.class_names {
        Some(names) => {
            let (map, _) = labels::class_map(dataset, reader)?;
            Ok((map.inverse(own.len()), names.clone()))
        }
        None => Ok(((0..).take(own.len()).map(Some).collect(), own.clone())),
    }
}

/// The images to write, with their files.
fn images<'a>(
    options: &LabelOptions,
    reader: &CacheReader,
    dataset: &'a Dataset,
    census: &Census,
) -> Result<(Vec<Source<'a>>, Vec<&'a Sample>)> {
    let wanted: Option<HashSet<i64>> = options.list.as_deref().map(|list| List::ids(list, reader)).transpose()?;
    let files_of = labels::Files::of(dataset);
    let (mut sources, mut files) = (Vec::new(), Vec::new());
    let mut labelled = census.labelled.iter();
    let unreadable: HashSet<i64> = census.failures.iter().map(|failure| failure.image_id).collect();
    for image in reader.images() {
        let image = image?;
        if image.view != 0 {
            continue;
        }
        let labelled = labelled.next() == Some(&true);
        if wanted.as_ref().is_some_and(|wanted| !wanted.contains(&image.image_id)) {
            continue;
        }
        let sample = files_of.find(image.path, NOT_THERE)?;
        let path: &Path = &sample.path;
        // An image whose labels cannot be read is listed as failed when they are read again.
        let labelled = labelled || unreadable.contains(&image.image_id);
        sources.push(Source { image_id: image.image_id, path, labelled });
        files.push(sample);
    }
    Ok((sources, files))
}

/// Boxes and labels of each class on the sample.
fn counts(threshold: Threshold, boxes: &[Point], sample: &[Seen], num_classes: usize) -> Vec<Count> {
    let mut counts = measure(threshold, boxes, num_classes);
    for label in sample.iter().flat_map(|seen| &seen.labels) {
        if let Some(count) = counts.get_mut(label.class_id as usize) {
            count.labels += 1;
        }
    }
    counts
}

/// All classes together, and each of the data set's.
fn report(
    (rule, head): (&Rule, HeadKind),
    tally: &Tally,
    measured: Option<&[Count]>,
    to_data: &[Option<u32>],
    names: Vec<String>,
) -> (Labelled, Vec<ClassLabelled>) {
    let expected = |labels: u64, sum: f64| (rule.is_calibrated() && labels > 0).then(|| sum / labels as f64);
    let mut all = Count::default();
    let mut sums = (0, 0.0, 0);
    let mut classes = Vec::with_capacity(names.len());
    for (class_id, name) in (0u32..).zip(names) {
        // Several classes of the teacher may be one of the data set; the highest threshold is shown.
        let of_teacher: Vec<usize> = (0..to_data.len()).filter(|&own| to_data[own] == Some(class_id)).collect();
        let confs = of_teacher.iter().map(|&own| rule.conf(u32::try_from(own).ok()?, head));
        let conf = confs.reduce(|a, b| Some(a?.max(b?))).flatten();
        let mut count = Count::default();
        for own in measured.iter().flat_map(|counts| of_teacher.iter().filter_map(|&at| counts.get(at))) {
            count = count.with(*own);
        }
        all = all.with(count);
        let (labels, sum, uncertain) = tally.classes.get(class_id as usize).copied().unwrap_or_default();
        sums = (sums.0 + labels, sums.1 + sum, sums.2 + uncertain);
        let labelled = Labelled {
            labels,
            uncertain,
            expected_precision: expected(labels, sum),
            measured: measured.map(|_| count.measured()),
        };
        classes.push(ClassLabelled { name, class_id, conf, labelled });
    }
    let total = Labelled {
        labels: sums.0,
        uncertain: sums.2,
        expected_precision: expected(sums.0, sums.1),
        measured: measured.map(|_| all.measured()),
    };
    (total, classes)
}
