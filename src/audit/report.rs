//! What an audit says.

use super::{
    gradient::{Agreement, Term},
    image::{Drift, Dropped, ImageAudit, Limit, TermAudit},
};
use crate::types::Failure;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// Images named as the worst.
const WORST_SHOWN: usize = 5;

/// The cache beside the live teacher.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct AuditReport {
    /// Folder of the cache.
    pub cache: String,
    /// The teacher's file.
    pub teacher: String,
    /// The file that the cache was built with in the teacher's place; null: the teacher itself.
    pub substitute: Option<String>,
    /// Whose logits the gradients are taken at: a file, or `untrained` for YOLOv8's first ones.
    pub student: String,
    /// T of `softmax-kl` and `dfl`.
    pub temperature: f64,
    /// Images compared.
    pub images: u64,
    /// Views of each that were compared beside the image itself.
    pub views: u32,
    /// Images of the cache.
    pub images_in_cache: u64,
    /// A mean cosine under this is a failure.
    pub min_cosine: f64,
    /// Per loss, gradients from the cache beside those from the live teacher.
    pub terms: Vec<TermFidelity>,
    /// Images of which the cache keeps no anchor: the teacher sees nothing there. Their gradients are nearly nothing; they count in
    /// `cosine_batch`, not in the figures per image.
    pub blank: BlankImages,
    /// What the selection left out.
    pub dropped: DroppedShares,
    /// Cached values beside live ones.
    pub drift: DriftReport,
    /// The images whose gradients agree least, worst first.
    pub worst: Vec<WorstImage>,
    /// What contradicts the cache, a line each; empty is good.
    pub findings: Vec<String>,
    /// Images that could not be compared.
    pub failures: Vec<Failure>,
    /// No finding, no failure, and every mean cosine at least `min_cosine`.
    pub passed: bool,
}

/// How the gradients of one loss agree: with respect to the student's class logits, or its DFL logits for `dfl` and `box`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TermFidelity {
    /// `softmax-kl`, `bckd`, `bce`, `dfl` or `box`.
    pub term: String,
    /// Cosine per image: mean.
    pub cosine_mean: f64,
    /// 5th percentile.
    pub cosine_p5: f64,
    /// Lowest.
    pub cosine_min: f64,
    /// Cosine of all images as one batch: what a large training step sees.
    pub cosine_batch: f64,
    /// Length of the difference as a share of the live gradient's, per image: mean.
    pub relative_error_mean: f64,
    /// 95th percentile.
    pub relative_error_p95: f64,
    /// Highest.
    pub relative_error_max: f64,
    /// Where the rest of the mean cosine is.
    pub lost: LostCosine,
}

/// What 1 less the mean cosine of a loss is made of.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct LostCosine {
    /// Anchors were dropped.
    pub dropped_anchors: f64,
    /// Kept anchors have no class logits.
    pub missing_class_logits: f64,
    /// What is stored is rounded: logits, and the boxes that follow from them where an image's edge cut them off.
    pub rounding: f64,
}

/// Images of which the cache keeps no anchor.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct BlankImages {
    /// How many.
    pub images: u64,
    /// Their share of the live teacher's weights over all images.
    pub weight: f64,
}

/// What the selection left out, as shares of the live teacher's sums over all images.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct DroppedShares {
    /// Of the class probabilities of all anchors and classes. The recorded floor stands for it in `bckd` and `bce`.
    pub probability: f64,
    /// Of the anchors' weights in the losses (their highest class probabilities).
    pub weight: f64,
    /// What ended the list of kept anchors, in numbers of images.
    pub limits: Limits,
}

/// On how many images which setting of the cache ended the list of kept anchors.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct Limits {
    /// `coverage`.
    pub coverage: u64,
    /// `top_k`.
    pub top_k: u64,
    /// `min_score`.
    pub min_score: u64,
}

/// Cached values beside live ones, and whether the same programs made both.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DriftReport {
    /// Programs that made the cache: runtime, provider, decoder.
    pub cached_by: String,
    /// The present ones.
    pub audited_by: String,
    /// Whether these are equal. Differing values are findings only then.
    pub same_programs: bool,
    /// Logits compared, class and DFL, of kept anchors.
    pub logits: u64,
    /// Share of them that equal the live ones rounded as the cache does.
    pub equal: f64,
    /// Largest difference of a logit beyond that rounding.
    pub max_logit: f32,
    /// Largest difference of a score.
    pub max_score: f32,
    /// Largest difference of a box edge in pixels of the original image.
    pub max_box_px: f32,
    /// Largest difference that rounding a live logit as the cache does makes.
    pub max_rounding_error: f32,
}

/// One image, or a view of it, and how its gradients agree.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WorstImage {
    /// Its id in the cache.
    pub image_id: i64,
    /// Which view of it; 0 for the image as it is.
    pub view: i32,
    /// Its path in the cache.
    pub path: String,
    /// The loss whose gradients agree least.
    pub term: String,
    /// Their cosine.
    pub cosine: f64,
}

impl WorstImage {
    /// How it is named to users.
    pub fn name(&self) -> String {
        name(self.image_id, self.view, &self.path)
    }
}

fn name(image_id: i64, view: i32, path: &str) -> String {
    match view {
        0 => format!("image {image_id} ({path})"),
        _ => format!("view {view} of image {image_id} ({path})"),
    }
}

/// Gathers images.
#[derive(Default)]
pub(super) struct Gathered {
    /// Per term: the images, and all of them as one batch, blank ones included.
    terms: Vec<(Term, Vec<TermAudit>, Agreement)>,
    limits: Limits,
    blank: u64,
    blank_score: f64,
    worst: Vec<WorstImage>,
    dropped: Dropped,
    drift: Drift,
    /// Faults, each under its image's name.
    pub findings: Vec<String>,
    /// Images without a result.
    pub failures: Vec<Failure>,
}

impl Gathered {
    /// With what was found before the first image.
    pub fn new(findings: Vec<String>) -> Self {
        Self { findings, ..Self::default() }
    }

    pub fn push(&mut self, image: &ImageAudit) {
        for audit in &image.terms {
            let at = self.terms.iter().position(|(other, ..)| *other == audit.term).unwrap_or_else(|| {
                self.terms.push((audit.term, Vec::new(), Agreement::default()));
                self.terms.len() - 1
            });
            let (_, images, batch) = &mut self.terms[at];
            batch.add(&audit.agreement);
            if !image.is_blank {
                images.push(*audit);
            }
        }
        match image.cut_by {
            Some(Limit::Coverage) => self.limits.coverage += 1,
            Some(Limit::TopK) => self.limits.top_k += 1,
            Some(Limit::MinScore) => self.limits.min_score += 1,
            None => {}
        }
        let cosine = |audit: &TermAudit| audit.agreement.cosine();
        let least = image.terms.iter().min_by(|a, b| cosine(a).total_cmp(&cosine(b)));
        if image.is_blank {
            self.blank += 1;
            self.blank_score += image.dropped.score_all;
        } else if let Some(least) = least {
            self.worst.push(WorstImage {
                image_id: image.image_id,
                view: image.view,
                path: image.path.clone(),
                term: least.term.as_str().to_owned(),
                cosine: least.agreement.cosine(),
            });
        }
        self.dropped.add(&image.dropped);
        self.drift.add(&image.drift);
        let name = name(image.image_id, image.view, &image.path);
        self.findings.extend(image.faults.iter().map(|fault| format!("{name}: {fault}")));
    }

    /// Images of which the image itself or a view could not be compared.
    pub fn failed_images(&self) -> usize {
        self.failures.iter().map(|failure| failure.image_id).collect::<BTreeSet<_>>().len()
    }

    pub fn terms(&self) -> Vec<TermFidelity> {
        let one = |(term, images, batch): &(Term, Vec<TermAudit>, Agreement)| {
            let agreements: Vec<Agreement> = images.iter().map(|audit| audit.agreement).collect();
            // Of blank images alone there are no figures per image: the batch stands for them.
            let agreements = if agreements.is_empty() { vec![*batch] } else { agreements };
            let lost = LostCosine::of(images);
            TermFidelity { cosine_batch: batch.cosine(), lost, ..TermFidelity::of(*term, &agreements) }
        };
        self.terms.iter().map(one).collect()
    }

    pub fn blank(&self) -> BlankImages {
        let all = self.dropped.score_all;
        BlankImages { images: self.blank, weight: if all > 0.0 { self.blank_score / all } else { 0.0 } }
    }

    pub fn dropped(&self) -> DroppedShares {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        DroppedShares {
            probability: share(self.dropped.prob_dropped, self.dropped.prob_all),
            weight: share(self.dropped.score_dropped, self.dropped.score_all),
            limits: self.limits,
        }
    }

    pub fn drift(&self, cached_by: String, audited_by: String) -> DriftReport {
        let drift = &self.drift;
        DriftReport {
            same_programs: cached_by == audited_by,
            cached_by,
            audited_by,
            logits: drift.logits,
            equal: if drift.logits == 0 { 1.0 } else { drift.equal as f64 / drift.logits as f64 },
            max_logit: drift.max_logit,
            max_score: drift.max_score,
            max_box_px: drift.max_box_px,
            max_rounding_error: drift.max_rounding_error,
        }
    }

    pub fn worst(mut self) -> Vec<WorstImage> {
        self.worst.sort_by(|a, b| a.cosine.total_cmp(&b.cosine).then((a.image_id, a.view).cmp(&(b.image_id, b.view))));
        self.worst.truncate(WORST_SHOWN);
        self.worst
    }
}

impl TermFidelity {
    /// Of the images' agreements, of which there is at least one.
    pub fn of(term: Term, agreements: &[Agreement]) -> Self {
        let mut cosines: Vec<f64> = agreements.iter().map(Agreement::cosine).collect();
        let mut errors: Vec<f64> = agreements.iter().map(Agreement::relative_error).collect();
        cosines.sort_by(f64::total_cmp);
        errors.sort_by(f64::total_cmp);
        let mut batch = Agreement::default();
        agreements.iter().for_each(|a| batch.add(a));
        Self {
            term: term.as_str().to_owned(),
            cosine_mean: mean(&cosines),
            cosine_p5: percentile(&cosines, 0.05),
            cosine_min: percentile(&cosines, 0.0),
            cosine_batch: batch.cosine(),
            relative_error_mean: mean(&errors),
            relative_error_p95: percentile(&errors, 0.95),
            relative_error_max: percentile(&errors, 1.0),
            lost: LostCosine::default(),
        }
    }
}

impl LostCosine {
    fn of(images: &[TermAudit]) -> Self {
        let mean = |lost: fn(&TermAudit) -> f64| mean(&images.iter().map(lost).collect::<Vec<_>>());
        Self {
            dropped_anchors: mean(|audit| 1.0 - audit.cosine_of_kept),
            missing_class_logits: mean(|audit| audit.cosine_of_kept - audit.cosine_unrounded),
            rounding: mean(|audit| audit.cosine_unrounded - audit.agreement.cosine()),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Nearest rank of sorted values.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}
