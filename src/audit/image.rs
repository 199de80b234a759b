//! One image of an audit: the live teacher beside what the cache holds.

use super::gradient::{Agreement, HeadRows, Student, Targets, Term, gradient};
use crate::{
    cache::{CacheReader, Codebook, ImageView, Settings, decode_f16, lower_sides},
    detector::{DetectorSession, HeadView},
    pipeline::{Outcome, Prepared, Worker, changed_since},
    targets::Anchors,
    types::{BoxXyxyPx, Failure, FailureStage},
};
use half::f16;

/// A kept logit may be off by so much, beyond its own rounding, where the same programs made it: other processors round differently.
const MAX_LOGIT_DRIFT: f32 = 0.05;
/// The same for an edge of a box, in pixels of the original image.
const MAX_BOX_DRIFT_PX: f32 = 0.5;
/// A dropped anchor may exceed what the cache says of all dropped ones by this share.
const MAX_DROPPED_EXCESS: f32 = 0.05;

/// What is found on one image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageAudit {
    /// Its id in the cache.
    pub image_id: i64,
    /// Which view of it; 0 for the image as it is.
    pub view: i32,
    /// Its path in the cache.
    pub path: String,
    /// Whether the cache keeps nothing of it.
    pub is_blank: bool,
    /// Gradients from the cache beside those from the live teacher, in the order of [`Term::ALL`]; terms that the cache has nothing for are
    /// left out.
    pub terms: Vec<TermAudit>,
    /// What ended the list of kept anchors; `None` where all are kept.
    pub cut_by: Option<Limit>,
    /// What was not kept.
    pub dropped: Dropped,
    /// Cached values beside live ones.
    pub drift: Drift,
    /// What contradicts the cache, in words.
    pub faults: Vec<String>,
}

/// The gradients of one loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TermAudit {
    /// The loss.
    pub term: Term,
    /// From the cache and from the live teacher.
    pub agreement: Agreement,
    /// The cosine, were nothing but dropped anchors missing.
    pub cosine_of_kept: f64,
    /// The cosine, were nothing but dropped anchors and class logits missing.
    pub cosine_unrounded: f64,
}

/// What ends the list of kept anchors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// The share of the squared scores was reached.
    Coverage,
    /// There were so many.
    TopK,
    /// The others have lower scores.
    MinScore,
}

/// Sums over the live teacher's anchors, all and not kept.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Dropped {
    /// Class probabilities of all anchors and classes.
    pub prob_all: f64,
    /// Of the anchors that the cache does not have.
    pub prob_dropped: f64,
    /// Scores (weights in the losses) of all anchors.
    pub score_all: f64,
    /// Of the anchors that the cache does not have.
    pub score_dropped: f64,
}

impl Dropped {
    /// Adds another image.
    pub fn add(&mut self, other: &Self) {
        self.prob_all += other.prob_all;
        self.prob_dropped += other.prob_dropped;
        self.score_all += other.score_all;
        self.score_dropped += other.score_dropped;
    }
}

/// Cached values of kept anchors beside the live teacher's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Drift {
    /// Logits compared, class and DFL.
    pub logits: u64,
    /// Of these, the same once the live one is rounded as the cache does.
    pub equal: u64,
    /// How far the live logit lies from those that are stored as the cached one, at most.
    pub max_logit: f32,
    /// Largest difference of a score.
    pub max_score: f32,
    /// Largest difference of a box edge in pixels of the original image.
    pub max_box_px: f32,
    /// Largest difference that rounding a live logit as the cache does makes.
    pub max_rounding_error: f32,
}

impl Drift {
    /// Takes in another image.
    pub fn add(&mut self, other: &Self) {
        self.logits += other.logits;
        self.equal += other.equal;
        self.max_logit = self.max_logit.max(other.max_logit);
        self.max_score = self.max_score.max(other.max_score);
        self.max_box_px = self.max_box_px.max(other.max_box_px);
        self.max_rounding_error = self.max_rounding_error.max(other.max_rounding_error);
    }

    /// Takes in cached logits beside the live ones that were rounded to `book`, or to float16; returns how far they are off at most.
    fn logits(&mut self, cached: &[f16], live: impl Iterator<Item = f32>, book: Option<&Codebook>) -> f32 {
        let mut worst = 0.0f32;
        for (&cached, live) in cached.iter().zip(live) {
            let rounded = book.map_or_else(|| f16::from_f32(live), |book| book.round(live));
            let is_equal = cached.to_bits() == rounded.to_bits();
            let difference = match book.and_then(|book| book.cell(cached)) {
                _ if is_equal => 0.0,
                Some((low, high)) => (low - live).max(live - high),
                None => (cached.to_f32() - rounded.to_f32()).abs(),
            };
            self.logits += 1;
            self.equal += u64::from(is_equal);
            // `max` passes over NaN; a difference that is none is as large as can be.
            worst = worst.max(if difference.is_nan() { f32::INFINITY } else { difference });
            self.max_rounding_error = self.max_rounding_error.max((live - rounded.to_f32()).abs());
        }
        self.max_logit = self.max_logit.max(worst);
        worst
    }
}

/// Who learns.
pub enum StudentSource {
    /// The same stand-in for every image.
    StandIn(Box<Student>),
    /// A student's own outputs.
    Model(Box<DetectorSession>),
}

/// Runs the teacher (and the student) and compares; owned by one thread.
pub struct AuditWorker<'a> {
    /// Runs the teacher.
    pub teacher: DetectorSession,
    /// Gives the student's logits.
    pub student: StudentSource,
    /// Images per run of the teacher.
    pub batch: usize,
    /// The audited cache.
    pub reader: &'a CacheReader,
    /// Image ids in the cache, by position in the sample.
    pub image_ids: &'a [i64],
    /// The teacher's anchors.
    pub anchors: &'a Anchors,
    /// T of the softmax terms.
    pub temperature: f64,
    /// Whether the programs are those that made the cache: then a difference between values is a fault.
    pub same_programs: bool,
}

impl Worker for AuditWorker<'_> {
    type Output = Box<ImageAudit>;

    fn run(&mut self, pixels: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<Self::Output>> {
        let Self { teacher, student, batch, reader, image_ids, anchors, temperature, same_programs } = self;
        let settings = &reader.manifest().settings;
        let per_image = pixels.len() / *batch;
        let heads = teacher.run(*batch, pixels);
        let audit_one = |(i, image): (usize, Outcome<Prepared>)| {
            let image = image?;
            let fail = |reason: String| Failure {
                image_id: image.image_id,
                path: image.path.clone(),
                stage: FailureStage::Teacher,
                reason,
            };
            let head = heads.as_ref().map_err(ToString::to_string).and_then(|heads| heads.view(i)).map_err(fail)?;
            let at = usize::try_from(image.image_id).unwrap_or(usize::MAX);
            let view = image_ids
                .get(at)
                .map(|&id| reader.image(id, image.view))
                .transpose()
                .map_err(|e| fail(e.to_string()))?;
            let view = view.flatten().ok_or_else(|| fail("it is not in the cache".to_owned()))?;
            let comparison = Comparison { anchors, settings, temperature: *temperature, same_programs: *same_programs };
            let live = match &mut *student {
                StudentSource::StandIn(student) => comparison.of_image(&view, &image, head, student),
                StudentSource::Model(session) => {
                    let own = session.run(1, &pixels[i * per_image..(i + 1) * per_image]);
                    let own = own.map_err(|e| e.to_string()).and_then(|own| own.view(0).map(|own| HeadRows::new(&own)));
                    let rows = own.map_err(|e| fail(format!("the student: {e}")))?;
                    comparison.of_image(&view, &image, head, &Student::new(rows))
                }
            };
            live.map(Box::new).map_err(fail)
        };
        images.into_iter().enumerate().map(audit_one).collect()
    }
}

struct Comparison<'a> {
    anchors: &'a Anchors,
    settings: &'a Settings,
    temperature: f64,
    same_programs: bool,
}

impl Comparison<'_> {
    fn of_image(
        &self,
        view: &ImageView<'_>,
        image: &Prepared,
        head: HeadView<'_>,
        student: &Student,
    ) -> Result<ImageAudit, String> {
        let rows = HeadRows::new(&head);
        if !rows.class_logits.iter().chain(&rows.dfl_logits).all(|v| v.is_finite()) {
            return Err("the teacher gave logits that are not finite".to_owned());
        }
        let live = Targets::live(&head, &rows, self.anchors.grid());
        let cached = Targets::cached(view, &image.plan, self.anchors, rows.kind);
        let (drift, worst) = self.drift(view, image, &cached, &live);
        let dropped = dropped(&rows, &live, &cached);
        Ok(ImageAudit {
            image_id: view.image_id,
            view: view.view,
            path: view.path.to_owned(),
            is_blank: cached.anchors.is_empty(),
            terms: self.terms(student, view, &cached, &live),
            cut_by: self.cut_by(view, &cached),
            faults: self.faults(view, image, &cached, &live, (&drift, worst)),
            dropped,
            drift,
        })
    }

    fn terms(&self, student: &Student, view: &ImageView<'_>, cached: &Targets, live: &Targets) -> Vec<TermAudit> {
        let (mut from_cache, mut from_teacher) = (Vec::new(), Vec::new());
        let kept = live.only(cached);
        let unrounded = without_class_logits(&kept, view, cached);
        let has_bins = student.rows().dfl_len > 0;
        let known = |term: &Term| match term {
            Term::Dfl => {
                has_bins && !live.dfl_logits.is_empty() && (!cached.dfl_logits.is_empty() || cached.anchors.is_empty())
            }
            Term::Box => has_bins,
            Term::SoftmaxKl | Term::Bckd | Term::Bce => true,
        };
        let terms = Term::ALL.into_iter().filter(known);
        terms
            .map(|term| {
                let live_weight =
                    gradient(term, student, live, self.anchors.grid(), self.temperature, &mut from_teacher);
                let mut beside_live = |targets: &Targets| {
                    let weight =
                        gradient(term, student, targets, self.anchors.grid(), self.temperature, &mut from_cache);
                    Agreement::new((&from_cache, weight), (&from_teacher, live_weight))
                };
                let cosine_of_kept = beside_live(&kept).cosine();
                let lacks_logits = unrounded.as_ref().filter(|_| !matches!(term, Term::Dfl | Term::Box));
                let cosine_unrounded = lacks_logits.map_or(cosine_of_kept, |t| beside_live(t).cosine());
                TermAudit { term, agreement: beside_live(cached), cosine_of_kept, cosine_unrounded }
            })
            .collect()
    }

    fn cut_by(&self, view: &ImageView<'_>, cached: &Targets) -> Option<Limit> {
        let kept = cached.anchors.len();
        if kept == self.anchors.grid().num_anchors() {
            return None;
        }
        Some(if kept >= self.settings.top_k as usize {
            Limit::TopK
        } else if view.dropped_max_score < self.settings.min_score {
            Limit::MinScore
        } else {
            Limit::Coverage
        })
    }

    /// What is off on the image, and the anchor whose class logits are off most.
    fn drift(
        &self,
        view: &ImageView<'_>,
        image: &Prepared,
        cached: &Targets,
        live: &Targets,
    ) -> (Drift, Option<(f32, usize)>) {
        let columns = &view.predictions;
        let (mut drift, mut worst, to_image) = (Drift::default(), None, image.to_image());
        let (class_len, dfl_len) = (columns.class_len, columns.dfl_len);
        let (class_book, dfl_book) = (Codebook::of_class(self.settings.logits), Codebook::of_dfl(self.settings.logits));
        let class_logits: Vec<f16> = decode_f16(columns.class_logits).collect();
        let dfl_logits: Vec<f16> = decode_f16(columns.dfl_logits.unwrap_or_default()).collect();
        let mut class_rows = class_logits.chunks_exact(class_len.max(1));
        let rows = cached.anchors.iter().zip(columns.boxes_xyxy_px()).zip(columns.has_class_logits());
        for (i, ((&a, cached_box), has_class_logits)) in rows.enumerate() {
            let of = |values: &'_ [f32], len: usize| values.get(a * len..(a + 1) * len).unwrap_or_default().to_vec();
            if let Some(row) = has_class_logits.then(|| class_rows.next()).flatten() {
                let off = drift.logits(row, of(&live.class_logits, class_len).into_iter(), class_book);
                if worst.is_none_or(|(most, _)| off > most) {
                    worst = Some((off, a));
                }
            }
            let mut bins = of(&live.dfl_logits, dfl_len);
            if dfl_book.is_some() {
                lower_sides(&mut bins);
            }
            let row = dfl_logits.get(i * dfl_len..(i + 1) * dfl_len).unwrap_or_default();
            drift.logits(row, bins.into_iter(), dfl_book);
            let stride = self.anchors.grid().cell(a).stride as f32;
            let [x1, y1, x2, y2] = live.boxes_xyxy_cells[a].map(|v| v * stride);
            let now = to_image(BoxXyxyPx { x1, y1, x2, y2 });
            let edges =
                [(now.x1, cached_box.x1), (now.y1, cached_box.y1), (now.x2, cached_box.x2), (now.y2, cached_box.y2)];
            for (now, then) in edges {
                let difference = (now - then).abs();
                drift.max_box_px = drift.max_box_px.max(if difference.is_nan() { f32::INFINITY } else { difference });
            }
            drift.max_score = drift.max_score.max((live.weights[a] - cached.weights[i]).abs());
        }
        (drift, worst)
    }

    /// What cannot be, had the cache been made of this image by this teacher.
    fn faults(
        &self,
        view: &ImageView<'_>,
        image: &Prepared,
        cached: &Targets,
        live: &Targets,
        (drift, worst): (&Drift, Option<(f32, usize)>),
    ) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(changed_since(&view.file_sha256, &image.file_sha256));
        if view.size != image.plan.image {
            let (then, now) = (view.size, image.plan.image);
            faults.push(format!(
                "its size is {} x {} in the cache, {} x {} now",
                then.width, then.height, now.width, now.height
            ));
        }
        if view.change != image.change {
            faults.push(format!("the view is {:?} in the cache, {:?} by its seed", view.change, image.change));
        }
        if view.letterbox != image.plan.letterbox {
            faults.push(format!("its letterbox is {:?} in the cache, {:?} now", view.letterbox, image.plan.letterbox));
        }
        if !self.same_programs {
            return faults; // Other programs may give other values: the cosines say whether it matters.
        }
        if drift.max_logit > MAX_LOGIT_DRIFT || drift.max_box_px > MAX_BOX_DRIFT_PX {
            faults.push(worst_row(drift, worst));
        }
        if let Some((a, score)) = missing(view, cached, live) {
            let most = view.dropped_max_score;
            faults.push(format!(
                "anchor {a} of score {score:.4} is not in the cache, whose highest score of a dropped anchor is \
                 {most:.4}"
            ));
        }
        faults
    }
}

/// The live teacher's values at the kept anchors, but in rows without class logits what the cache says instead; `None` where all rows have them.
fn without_class_logits(kept: &Targets, view: &ImageView<'_>, cached: &Targets) -> Option<Targets> {
    let classes = view.predictions.class_len.max(1);
    let has = view.predictions.has_class_logits();
    if has.iter().all(|has| *has) {
        return None;
    }
    let mut targets = kept.clone();
    let rows = targets.class_logits.chunks_exact_mut(classes).zip(cached.class_logits.chunks_exact(classes)).zip(&has);
    rows.filter(|(_, has)| !**has).for_each(|((row, cached), _)| row.copy_from_slice(cached));
    Some(targets)
}

/// What is off most on an image.
fn worst_row(drift: &Drift, worst: Option<(f32, usize)>) -> String {
    match worst {
        Some((difference, a)) if difference > MAX_LOGIT_DRIFT => {
            format!("class logits of anchor {a} are off by {difference:.3} from the live teacher's")
        }
        _ => format!(
            "DFL logits or boxes are off from the live teacher's: by {:.3} (logit), {:.2} px (box)",
            drift.max_logit, drift.max_box_px
        ),
    }
}

/// The highest live score that should have been kept and was not.
fn missing(view: &ImageView<'_>, cached: &Targets, live: &Targets) -> Option<(usize, f32)> {
    let kept = is_kept(cached, live.anchors.len());
    let limit = view.dropped_max_score * (1.0 + MAX_DROPPED_EXCESS) + 1e-4;
    let dropped = live.weights.iter().enumerate().filter(|(a, score)| !kept[*a] && **score > limit);
    dropped.map(|(a, &score)| (a, score)).max_by(|x, y| x.1.total_cmp(&y.1))
}

fn is_kept(cached: &Targets, num_anchors: usize) -> Vec<bool> {
    let mut kept = vec![false; num_anchors];
    for &a in &cached.anchors {
        kept[a] = true;
    }
    kept
}

fn dropped(rows: &HeadRows, live: &Targets, cached: &Targets) -> Dropped {
    let kept = is_kept(cached, live.anchors.len());
    let mut sums = Dropped::default();
    for ((row, &score), kept) in rows.class_logits.chunks_exact(rows.class_len).zip(&live.weights).zip(kept) {
        let prob: f64 = row.iter().map(|&x| f64::from(rows.kind.probability(x))).sum();
        sums.prob_all += prob;
        sums.score_all += f64::from(score);
        if !kept {
            sums.prob_dropped += prob;
            sums.score_dropped += f64::from(score);
        }
    }
    sums
}
