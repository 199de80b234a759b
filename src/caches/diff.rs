//! `cache diff`: where two teachers disagree on the same images.
//!
//! The boxes of both are compared after non-maximum suppression, those over a score of 0.25. Boxes
//! of a class are paired one to one, the highest overlap first, from an overlap (IoU) of 0.5 on. A
//! box without a partner that overlaps one of another class without a partner as much is taken for
//! another class; any other is seen by one teacher alone. The disagreement of an image is
//! [`crate::eval::disagreement`]: the sum of the scores of boxes without a partner of their class,
//! divided by 1 plus the sum of all.

use super::open;
use crate::{
    Error, Result,
    cache::{CacheReader, ImageView},
    eval::{NmsOptions, PAIRED_IOU, disagreement, teacher_boxes},
    toolkit::{Highest, Run, iou_px},
    types::Detection,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::HashMap, path::PathBuf};

/// Boxes of more are compared.
const SHOWN: NmsOptions = NmsOptions::PREDICTING;

/// What to compare.
#[derive(Debug, Clone)]
pub struct CacheDiffOptions {
    /// Folder of the first cache.
    pub a: PathBuf,
    /// Folder of the second one.
    pub b: PathBuf,
    /// Images that are named, those of the highest disagreement.
    pub top: usize,
}

/// How two caches differ.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CacheDiff {
    /// The first cache.
    pub a: PathBuf,
    /// The second one.
    pub b: PathBuf,
    /// Its teacher's file.
    pub teacher_a: String,
    /// Its teacher's file.
    pub teacher_b: String,
    /// Whether the content is the same to the last bit.
    pub same_content: bool,
    /// Images in both, by path and digest of the file; view 0 of each is compared.
    pub images_in_both: u64,
    /// Images only in the first cache, or another picture there.
    pub images_only_in_a: u64,
    /// Images only in the second cache, or another picture there.
    pub images_only_in_b: u64,
    /// Images whose labels differ.
    pub images_with_other_labels: u64,
    /// Mean over the images in both, 0..=1.
    pub mean_disagreement: f64,
    /// By class, the most disagreement first.
    pub classes: Vec<ClassAgreement>,
    /// The images of the highest disagreement, the first the worst.
    pub images: Vec<ImageAgreement>,
}

/// Boxes of one class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ClassAgreement {
    /// Its name.
    pub class: String,
    /// Boxes that both have.
    pub both: u64,
    /// Boxes of the first teacher alone.
    pub only_a: u64,
    /// Boxes of the second teacher alone.
    pub only_b: u64,
    /// Boxes that the first teacher has of this class and the second of another.
    pub other_class_in_b: u64,
    /// Boxes that the second teacher has of this class and the first of another.
    pub other_class_in_a: u64,
    /// Mean overlap of the boxes that both have; `None` without any.
    pub mean_iou: Option<f64>,
    /// Mean of the difference of the scores (second less first) of the boxes that both have; `None`
    /// without any.
    pub mean_score_difference: Option<f64>,
}

/// One image.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ImageAgreement {
    /// Relative to the data set of the first cache.
    pub path: String,
    /// 0: the boxes are the same; up to 1.
    pub disagreement: f64,
    /// Boxes that both have.
    pub both: u64,
    /// Boxes of the first teacher alone, or of another class in the second.
    pub only_a: u64,
    /// Boxes of the second teacher alone, or of another class in the first.
    pub only_b: u64,
}

/// Compares two caches.
///
/// # Errors
/// [`Error::Mismatch`] where no image or not one class name is in both; [`Error::Cache`] of one
/// that is unfinished, damaged or an archive.
pub fn diff(options: &CacheDiffOptions, run: &Run<'_>) -> Result<CacheDiff> {
    let (a, b) = (open(&options.a)?, open(&options.b)?);
    let names = &a.manifest().teacher.class_names;
    let mut all_names = names.clone();
    let in_a: Vec<u32> = (b.manifest().teacher.class_names.iter())
        .map(|name| {
            let at = all_names.iter().position(|own| own == name).unwrap_or_else(|| {
                all_names.push(name.clone());
                all_names.len() - 1
            });
            u32::try_from(at).unwrap_or(u32::MAX)
        })
        .collect();
    if all_names.len() == names.len() + in_a.len() {
        return Err(Error::Mismatch {
            found: format!(
                "the teachers of {} and {} have no class in common",
                options.a.display(),
                options.b.display()
            ),
            remedy: "Compare caches of teachers with the same class names.".into(),
        });
    }
    let mut tally = Tally::new(&all_names, options);
    tally.report.teacher_a = a.manifest().teacher.file_name.clone();
    tally.report.teacher_b = b.manifest().teacher.file_name.clone();
    let content = |cache: &CacheReader| cache.manifest().digests.as_ref().map(|digests| digests.content_sha256.clone());
    tally.report.same_content = content(&a).is_some() && content(&a) == content(&b);
    (run.total)(a.len() as u64);
    // A united cache need not be in the order of its paths.
    let mut of_path: HashMap<&str, i64> = HashMap::new();
    for other in in_order(&b) {
        let other = other?;
        of_path.insert(other.path, other.image_id);
    }
    for image in in_order(&a) {
        run.go_on()?;
        let image = image?;
        let other = of_path.get(image.path).map_or(Ok(None), |&image_id| b.image(image_id, 0))?;
        match other.filter(|other| other.file_sha256 == image.file_sha256) {
            Some(other) => {
                of_path.remove(image.path);
                let of_a = teacher_boxes(&image, &a.manifest().teacher, &SHOWN);
                let mut of_b = teacher_boxes(&other, &b.manifest().teacher, &SHOWN);
                for found in &mut of_b {
                    found.class_id = in_a.get(found.class_id as usize).copied().unwrap_or(u32::MAX);
                }
                tally.add(image.path, &of_a, &of_b);
                tally.report.images_with_other_labels += u64::from(other.labels_sha256 != image.labels_sha256);
            }
            None => tally.report.images_only_in_a += 1,
        }
        (run.done)(false);
    }
    tally.report.images_only_in_b = of_path.len() as u64;
    tally.finish()
}

/// View 0 of every image.
fn in_order(cache: &CacheReader) -> impl Iterator<Item = Result<ImageView<'_>>> {
    let first = |image: &Result<ImageView<'_>, logitcache_format::Error>| image.as_ref().map_or(true, |i| i.view == 0);
    cache.images().filter(first).map(|image| Ok(image?))
}

struct Tally {
    report: CacheDiff,
    iou_sums: Vec<f64>,
    score_sums: Vec<f64>,
    disagreement_sum: f64,
    worst: Highest<ImageAgreement>,
}

impl Tally {
    fn new(names: &[String], options: &CacheDiffOptions) -> Self {
        let class = |name: &String| ClassAgreement { class: name.clone(), ..ClassAgreement::default() };
        let report = CacheDiff {
            a: options.a.clone(),
            b: options.b.clone(),
            teacher_a: String::new(),
            teacher_b: String::new(),
            same_content: false,
            images_in_both: 0,
            images_only_in_a: 0,
            images_only_in_b: 0,
            images_with_other_labels: 0,
            mean_disagreement: 0.0,
            classes: names.iter().map(class).collect(),
            images: Vec::new(),
        };
        let sums = vec![0.0; names.len()];
        let worst = Highest::new(options.top);
        Self { report, iou_sums: sums.clone(), score_sums: sums, disagreement_sum: 0.0, worst }
    }

    fn add(&mut self, path: &str, a: &[Detection], b: &[Detection]) {
        self.report.images_in_both += 1;
        let (mut free_a, mut free_b) = (vec![true; a.len()], vec![true; b.len()]);
        let both = pairs(a, b, &mut free_a, &mut free_b, true);
        for &(i, j, overlap) in &both {
            let at = a[i].class_id as usize;
            if let Some(class) = self.report.classes.get_mut(at) {
                class.both += 1;
                self.iou_sums[at] += overlap;
                self.score_sums[at] += f64::from(b[j].score) - f64::from(a[i].score);
            }
        }
        let count = |free: &[bool]| free.iter().filter(|free| **free).count() as u64;
        let (only_a, only_b) = (count(&free_a), count(&free_b));
        for (i, j, _) in pairs(a, b, &mut free_a, &mut free_b, false) {
            self.class(a[i].class_id, |class| class.other_class_in_b += 1);
            self.class(b[j].class_id, |class| class.other_class_in_a += 1);
        }
        for (found, _) in a.iter().zip(&free_a).filter(|(_, free)| **free) {
            self.class(found.class_id, |class| class.only_a += 1);
        }
        for (found, _) in b.iter().zip(&free_b).filter(|(_, free)| **free) {
            self.class(found.class_id, |class| class.only_b += 1);
        }
        let disagreement = disagreement(a, b);
        self.disagreement_sum += disagreement;
        if disagreement > 0.0 {
            let both = both.len() as u64;
            self.worst.push(disagreement, || ImageAgreement {
                path: path.to_owned(),
                disagreement,
                both,
                only_a,
                only_b,
            });
        }
    }

    fn class(&mut self, class_id: u32, change: impl FnOnce(&mut ClassAgreement)) {
        if let Some(class) = self.report.classes.get_mut(class_id as usize) {
            change(class);
        }
    }

    fn finish(self) -> Result<CacheDiff> {
        let mut report = self.report;
        if report.images_in_both == 0 {
            return Err(Error::Mismatch {
                found: format!("{} and {} have no image in common", report.a.display(), report.b.display()),
                remedy: "Compare caches of the same data set: images belong together by path and digest.".into(),
            });
        }
        report.mean_disagreement = self.disagreement_sum / report.images_in_both as f64;
        report.images = self.worst.into_sorted();
        for ((class, iou), score) in report.classes.iter_mut().zip(self.iou_sums).zip(self.score_sums) {
            let mean = |sum: f64| (class.both > 0).then(|| sum / class.both as f64);
            (class.mean_iou, class.mean_score_difference) = (mean(iou), mean(score));
        }
        let differ =
            |class: &ClassAgreement| class.only_a + class.only_b + class.other_class_in_a + class.other_class_in_b;
        report.classes.retain(|class| class.both + differ(class) > 0);
        report.classes.sort_by_key(|class| std::cmp::Reverse(differ(class)));
        Ok(report)
    }
}

/// Pairs of boxes without a partner, one to one, the highest overlap first; of one class, or of
/// different ones.
fn pairs(
    a: &[Detection],
    b: &[Detection],
    free_a: &mut [bool],
    free_b: &mut [bool],
    same_class: bool,
) -> Vec<(usize, usize, f64)> {
    let mut candidates: Vec<(usize, usize, f64)> = Vec::new();
    for (i, first) in a.iter().enumerate() {
        for (j, second) in b.iter().enumerate() {
            let overlap = iou_px(first.box_xyxy_px, second.box_xyxy_px);
            if (first.class_id == second.class_id) == same_class && overlap >= PAIRED_IOU {
                candidates.push((i, j, overlap));
            }
        }
    }
    candidates.sort_by(|x, y| y.2.total_cmp(&x.2).then((x.0, x.1).cmp(&(y.0, y.1))));
    candidates.retain(|&(i, j, _)| {
        let both = free_a[i] && free_b[j];
        if both {
            (free_a[i], free_b[j]) = (false, false);
        }
        both
    });
    candidates
}
