//! Over all images: learning from a sample, judging every one, keeping the most suspicious.

use super::{
    ClassProbability, Issue, IssuesOptions, IssuesReport, Kind, Method, SuspectLabel, TeacherBox, WorstImage,
    calibrate::{Calibration, fold_of},
    census::{Census, for_each_chunk, see},
    fiftyone, files,
    finding::Finding,
    labels::{self, Labels},
    objectlab::{self, Boxes},
    seen::Seen,
    soft::{Soft, sample_points},
};
use crate::{
    Error, Result,
    cache::{CacheReader, ImageView, Teacher, open_finished},
    toolkit::{Highest, Run, folder::NewFolder, iou_px},
    types::Detection,
    words::counted,
};
use rayon::prelude::*;

/// Fewer labels teach little.
const FEW_LABELS: u64 = 200;
/// Classes of a box that are told.
const TOLD_CLASSES: usize = 5;
/// From this score on a suspicion counts as one of its image.
const COUNTED: f64 = 0.5;

/// Finds label errors.
///
/// # Errors
/// [`Error::Cache`] of a cache that is unfinished, damaged or without labels; [`Error::Mismatch`]
/// where `out` exists or a kind is none of the method's; [`Error::Io`], [`Error::NoSpace`] and
/// [`Error::Interrupted`], after which nothing is left.
pub fn issues(options: &IssuesOptions, run: &Run<'_>) -> Result<IssuesReport> {
    if let Some(out) = &options.out {
        NewFolder::refuse_existing(out)?;
    }
    let kinds = kinds(options)?;
    let reader = open_finished(&options.cache)?;
    let dataset =
        options.data.as_ref().map(|data| labels::open(&reader, data, options.images_dir.clone())).transpose()?;
    let (labels, mut notes) = Labels::of(dataset.as_ref(), &reader)?;
    let census = Census::take(&reader, &labels, run)?;
    if census.labels == 0 {
        return Err(labels.none(&reader, census.images()));
    }
    let sample = census.sample(&reader, &labels, run)?;
    let judge = Judge::learn(options.method, &reader, &labels, &sample, run)?;
    drop(sample);
    let teacher = &reader.manifest().teacher;
    let mut ranking = Ranking::new(options, &kinds);
    (run.total)(census.labelled.len() as u64);
    for_each_chunk(&reader, run, |chunk| {
        let judged: Vec<Option<(Seen, Judged)>> = chunk
            .par_iter()
            .map(|image| {
                let seen = see(image, teacher, &labels);
                (run.done)(false);
                seen.map(|seen| {
                    let judged = judge.judge(&seen);
                    (seen, judged)
                })
            })
            .collect();
        judged.iter().flatten().for_each(|(seen, judged)| ranking.add(seen, judged, teacher));
        Ok(())
    })?;
    let (issues, worst_images, suspicions) = ranking.finish();
    if census.labels < FEW_LABELS {
        notes.push(format!(
            "there is only {}: too few to tell how far the teacher can be trusted, so the order is rough",
            counted(census.labels, "label")
        ));
    }
    let mut report = IssuesReport {
        written_by: format!("logitcache {}", env!("CARGO_PKG_VERSION")),
        cache: options.cache.clone(),
        data: options.data.clone(),
        content_sha256: reader.manifest().digests.as_ref().map(|digests| digests.content_sha256.clone()),
        method: options.method,
        kinds,
        images: census.images() as u64,
        labels: census.labels,
        suspicions,
        issues,
        worst_images,
        notes,
        failures: census.failures,
        files: Vec::new(),
    };
    if let Some(out) = &options.out {
        files::write(out, &reader, &labels, &mut report, options.pictures, run)?;
    }
    Ok(report)
}

fn kinds(options: &IssuesOptions) -> Result<Vec<Kind>> {
    let all = options.method.kinds();
    if let Some(unknown) = options.kinds.iter().find(|kind| !all.contains(kind)) {
        let names: Vec<&str> = all.iter().map(|kind| kind.as_str()).collect();
        return Err(Error::Mismatch {
            found: format!(
                "the method {} does not look for `{}`, only for {}",
                options.method.as_str(),
                unknown.as_str(),
                names.join(", ")
            ),
            remedy: "Leave out `kind=`, or choose `method=soft`.".into(),
        });
    }
    let wanted = |kind: &&Kind| options.kinds.is_empty() || options.kinds.contains(kind);
    Ok(all.iter().filter(wanted).copied().collect())
}

/// A method that has learned what it needs of the cache.
enum Judge {
    Soft(Box<Soft>),
    Objectlab { calibrations: Vec<Calibration>, least_similarity: f64 },
    Fiftyone { calibrations: Vec<Calibration> },
}

/// What a method says of an image.
struct Judged {
    findings: Vec<Finding>,
    /// Where the method has a score of its own for whole images.
    image_score: Option<f64>,
}

impl Judge {
    fn learn(
        method: Method,
        reader: &CacheReader,
        labels: &Labels<'_>,
        sample: &[Seen],
        run: &Run<'_>,
    ) -> Result<Self> {
        let teacher = &reader.manifest().teacher;
        let calibrations = Calibration::of_folds(&sample_points(sample), teacher.num_classes as usize);
        run.go_on()?;
        Ok(match method {
            Method::Soft => Self::Soft(Box::new(Soft::learn(calibrations, sample))),
            Method::Fiftyone => Self::Fiftyone { calibrations },
            Method::Objectlab => {
                let mut least_similarity = 1.0f64;
                for_each_chunk(reader, run, |chunk| {
                    let of_image = |image: &ImageView<'_>| {
                        let seen = see(image, teacher, labels)?;
                        let (found, scores) = calibrated(&seen, &calibrations);
                        Some(boxes(&seen, &found, &scores).least_similarity())
                    };
                    let least: Vec<f64> = chunk.par_iter().filter_map(of_image).collect();
                    least_similarity = least.into_iter().fold(least_similarity, f64::min);
                    Ok(())
                })?;
                Self::Objectlab { calibrations, least_similarity }
            }
        })
    }

    fn judge(&self, seen: &Seen) -> Judged {
        let in_rows = |mut findings: Vec<Finding>| {
            findings.iter_mut().for_each(|f| f.row = f.row.and_then(|row| seen.kept.get(row).copied()));
            findings
        };
        match self {
            Self::Soft(soft) => Judged { findings: soft.findings(seen), image_score: None },
            Self::Fiftyone { calibrations } => {
                let (found, scores) = calibrated(seen, calibrations);
                let findings = fiftyone::findings(&seen.labels, &found, &scores);
                Judged { findings: in_rows(findings), image_score: None }
            }
            Self::Objectlab { calibrations, least_similarity } => {
                let (found, scores) = calibrated(seen, calibrations);
                let findings = boxes(seen, &found, &scores).findings(*least_similarity);
                let image_score = Some(objectlab::image_score(&findings));
                Judged { findings: in_rows(findings), image_score }
            }
        }
    }
}

/// The teacher's boxes after suppression, with calibrated scores.
fn calibrated(seen: &Seen, calibrations: &[Calibration]) -> (Vec<Detection>, Vec<f64>) {
    let calibration = calibrations.get(fold_of(seen.image_id));
    let of_row = |&row: &usize| {
        let detection = *seen.rows.get(row)?;
        let score = calibration?.probability(seen.best_logit(row), detection.class_id);
        Some((detection, score))
    };
    seen.kept.iter().filter_map(of_row).unzip()
}

fn boxes<'a>(seen: &'a Seen, found: &'a [Detection], scores: &'a [f64]) -> Boxes<'a> {
    Boxes { labels: &seen.labels, found, scores }
}

/// The most suspicious boxes and images so far.
struct Ranking {
    kinds: Vec<Kind>,
    issues: Highest<Issue>,
    images: Highest<WorstImage>,
}

impl Ranking {
    fn new(options: &IssuesOptions, kinds: &[Kind]) -> Self {
        let highest = options.top;
        Self { kinds: kinds.to_vec(), issues: Highest::new(highest), images: Highest::new(highest) }
    }

    fn add(&mut self, seen: &Seen, judged: &Judged, teacher: &Teacher) {
        // Of a label that may be wrong in several ways the most likely one counts.
        let mut of_labels: Vec<Option<Finding>> = vec![None; seen.labels.len()];
        let mut all: Vec<Finding> = Vec::new();
        for finding in judged.findings.iter().filter(|finding| self.kinds.contains(&finding.kind)) {
            match finding.label.and_then(|at| of_labels.get_mut(at)) {
                Some(slot) if slot.is_none_or(|other| finding.score > other.score) => *slot = Some(*finding),
                Some(_) => {}
                None => all.push(*finding),
            }
        }
        all.extend(of_labels.into_iter().flatten());
        let highest = all.iter().map(|finding| finding.score).reduce(f64::max);
        let issues = all.iter().filter(|finding| finding.score >= COUNTED).count() as u64;
        if let Some(score) = judged.image_score.or(highest) {
            let (image_id, path) = (seen.image_id, seen.path.clone());
            self.images.push(score, || WorstImage { image_id, path, score, issues });
        }
        for finding in all {
            self.issues.push(finding.score, || issue(seen, &finding, teacher));
        }
    }

    fn finish(self) -> (Vec<Issue>, Vec<WorstImage>, u64) {
        let suspicions = self.issues.count();
        (self.issues.into_sorted(), self.images.into_sorted(), suspicions)
    }
}

/// A finding with everything that a reviewer needs.
fn issue(seen: &Seen, finding: &Finding, teacher: &Teacher) -> Issue {
    let name = |class_id: u32| {
        teacher.class_names.get(class_id as usize).cloned().unwrap_or_else(|| format!("class {class_id}"))
    };
    let label = finding.label.and_then(|index| {
        let label = seen.labels.get(index)?;
        let (class_id, box_xyxy_px) = (label.class_id, label.box_xyxy_px);
        Some(SuspectLabel { index, class: name(class_id), class_id, box_xyxy_px })
    });
    let own = label.as_ref().map(|label| label.class_id);
    let teacher_box = finding.row.and_then(|row| {
        let detection = seen.rows.get(row)?;
        let class_id = finding.class_id.unwrap_or(detection.class_id);
        let probability = |class_id: u32| seen.probability(row, class_id);
        let score = if class_id == detection.class_id { f64::from(detection.score) } else { probability(class_id) };
        let mut order: Vec<u32> = (0..teacher.num_classes).collect();
        order.sort_by(|&a, &b| seen.logit(row, b).total_cmp(&seen.logit(row, a)));
        let label_is_beyond = |class: &u32| !order.iter().take(TOLD_CLASSES).any(|told| told == class);
        let last = own.filter(label_is_beyond);
        let classes = order.iter().take(TOLD_CLASSES).copied().chain(last);
        Some(TeacherBox {
            class: name(class_id),
            class_id,
            score,
            box_xyxy_px: detection.box_xyxy_px,
            iou: label.as_ref().map(|label| iou_px(label.box_xyxy_px, detection.box_xyxy_px)),
            classes: classes
                .map(|class| ClassProbability { class: name(class), probability: probability(class) })
                .collect(),
        })
    });
    let why = why(seen, finding, label.as_ref(), teacher_box.as_ref());
    Issue {
        kind: finding.kind,
        score: finding.score,
        image_id: seen.image_id,
        path: seen.path.clone(),
        width: seen.size.width,
        height: seen.size.height,
        label,
        teacher: teacher_box,
        why,
    }
}

/// The reason in a sentence.
fn why(seen: &Seen, finding: &Finding, label: Option<&SuspectLabel>, teacher: Option<&TeacherBox>) -> String {
    let own = label.map_or("object", |label| label.class.as_str());
    let at_place = |class_id: u32, least: f64| {
        let at = finding.label.unwrap_or_default();
        let rows = seen.overlaps(at).iter().enumerate().filter(|(_, u)| f64::from(**u) > least);
        rows.map(|(row, _)| seen.probability(row, class_id)).fold(0.0, f64::max)
    };
    let own_most = label.map_or(0.0, |label| at_place(label.class_id, 0.3));
    match (finding.kind, teacher) {
        (Kind::Missing, Some(t)) => {
            let covering = seen.labels.iter().map(|label| iou_px(label.box_xyxy_px, t.box_xyxy_px)).fold(0.0, f64::max);
            let beside =
                if covering > 0.0 { format!("; labels overlap it by {covering:.2} at most") } else { String::new() };
            format!(
                "the teacher sees {} with a probability of {:.2} where nothing of it is labelled{beside}",
                t.class, t.score
            )
        }
        (Kind::Location, Some(t)) => format!(
            "the label and the teacher's box ({} {:.2}) overlap by only {:.2}",
            t.class,
            t.score,
            t.iou.unwrap_or_default()
        ),
        (Kind::Class, Some(t)) => {
            format!("labelled {own}, which the teacher gives {own_most:.2} here; it gives {} {:.2}", t.class, t.score)
        }
        (Kind::Spurious, Some(t)) if t.class != own => {
            format!("the teacher gives {own} {own_most:.2} at most here; its box nearby is {} {:.2}", t.class, t.score)
        }
        (Kind::Spurious, _) => format!("the teacher gives {own} {own_most:.2} at most here"),
        (Kind::Duplicate, _) => {
            let boxes = |at: Option<usize>| at.and_then(|at| seen.labels.get(at)).map(|label| label.box_xyxy_px);
            let overlap = boxes(finding.label).zip(boxes(finding.twin)).map_or(0.0, |(a, b)| iou_px(a, b));
            format!("another label of {own} overlaps this one by {overlap:.2}")
        }
        (_, None) => format!("the teacher has no box of {own} here"),
    }
}
