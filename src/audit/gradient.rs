//! What a distillation loss makes a student do: the gradient with respect to the student's logits, of one image.
//!
//! The losses are those of the trainer (`docs/pipeline.md`, "Train"), written out anew from their definitions so that comparing caches
//! needs no libtorch; a test holds both against each other. With `w` the teacher's score of an anchor, `bckd` and `bce` of an image are
//! `sum(loss) / max(sum(w), 1)` over all anchors, dropped ones included, the others `sum(w * loss) / sum(w)` over those with a target.

use super::ciou::ciou_with_gradient;
use crate::{
    augment::{Picture, Scene},
    cache::{Grid, HeadKind, ImageView},
    detector::{HeadSpec, HeadView, prior_class_logit},
    preprocess::LetterboxPlan,
    targets::{Anchors, TeacherBatch},
    types::{BoxXyxyPx, ViewChange},
};

/// One term of the distillation loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    /// `T^2 * KL(softmax(t / T) || softmax(s / T))` over the classes (Hinton et al. 2015).
    SoftmaxKl,
    /// `BCE(p_s, p_t) * |p_t - p_s|`, summed over the classes, gradients through both factors (BCKD, Yang et al. 2023,
    /// <https://arxiv.org/abs/2308.14286>, eq. 5 and 6).
    Bckd,
    /// `BCE(p_s, p_t)`, summed over the classes.
    Bce,
    /// `T^2 * KL(softmax(t / T) || softmax(s / T))` over the bins, mean of the four sides (LD, Zheng et al. 2022,
    /// <https://arxiv.org/abs/2102.12252>).
    Dfl,
    /// `1 - CIoU` of the student's box and the teacher's (Zheng et al. 2020, <https://arxiv.org/abs/1911.08287>).
    Box,
}

impl Term {
    /// Every term, in the order of reports.
    pub const ALL: [Self; 5] = [Self::SoftmaxKl, Self::Bckd, Self::Bce, Self::Dfl, Self::Box];

    /// Its name in reports; the class terms' as `train --cls-loss` takes them.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SoftmaxKl => "softmax-kl",
            Self::Bckd => "bckd",
            Self::Bce => "bce",
            Self::Dfl => "dfl",
            Self::Box => "box",
        }
    }
}

/// The outputs of a head for one image, anchors as rows.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadRows {
    /// What the logits mean.
    pub kind: HeadKind,
    /// C.
    pub class_len: usize,
    /// 4 x reg_max; 0 where the head has no DFL.
    pub dfl_len: usize,
    /// `[A, C]` before the sigmoid.
    pub class_logits: Vec<f32>,
    /// `[A, 4 * reg_max]` before the softmax: left, top, right, bottom.
    pub dfl_logits: Vec<f32>,
}

impl HeadRows {
    /// From a head's outputs as the network gives them.
    pub fn new(head: &HeadView<'_>) -> Self {
        let (spec, dfl) = (head.spec(), head.dfl_logits().unwrap_or_default());
        let num_anchors = spec.num_places();
        Self {
            kind: spec.kind,
            class_len: spec.num_classes,
            dfl_len: dfl.len() / num_anchors.max(1),
            class_logits: transposed(head.class_logits(), num_anchors),
            dfl_logits: transposed(dfl, num_anchors),
        }
    }

    /// A.
    pub fn num_anchors(&self) -> usize {
        self.class_logits.len() / self.class_len.max(1)
    }
}

/// `[channels, n]` as `[n, channels]`.
fn transposed(values: &[f32], n: usize) -> Vec<f32> {
    let channels = values.len() / n.max(1);
    let mut out = vec![0.0; values.len()];
    for (channel, row) in values.chunks_exact(n.max(1)).enumerate() {
        for (out, value) in out.chunks_exact_mut(channels.max(1)).zip(row) {
            out[channel] = *value;
        }
    }
    out
}

/// A student's outputs with what every class loss needs of them.
#[derive(Debug, Clone)]
pub struct Student {
    rows: HeadRows,
    /// `[A, C]` probabilities of the classes.
    prob: Vec<f32>,
    /// `[A, C]` `ln(1 + e^x)`.
    softplus: Vec<f32>,
}

impl Student {
    /// Of these logits.
    pub fn new(rows: HeadRows) -> Self {
        let prob = rows.class_logits.iter().map(|&x| rows.kind.probability(x)).collect();
        let softplus = rows.class_logits.iter().map(|&x| softplus(x)).collect();
        Self { rows, prob, softplus }
    }

    /// A student as YOLOv8 initialises it: every class logit by [`prior_class_logit`], all bins alike.
    pub fn untrained(head: &HeadSpec) -> Self {
        let (class_len, dfl_len) = (head.num_classes, 4 * head.reg_max());
        let logit = |place: usize| prior_class_logit(class_len, head.stride_at(place).unwrap_or(1));
        Self::new(HeadRows {
            kind: head.kind,
            class_len,
            dfl_len,
            class_logits: (0..head.num_places()).flat_map(|place| vec![logit(place); class_len]).collect(),
            dfl_logits: vec![1.0; head.num_places() * dfl_len],
        })
    }

    /// The logits.
    pub fn rows(&self) -> &HeadRows {
        &self.rows
    }
}

fn softplus(x: f32) -> f32 {
    let x = f64::from(x);
    (x.max(0.0) + (-x.abs()).exp().ln_1p()) as f32
}

/// What the student is compared with on one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// What the class logits mean.
    pub kind: HeadKind,
    /// `[n]` the anchors that have a target, increasing.
    pub anchors: Vec<usize>,
    /// `[n]` their weights: the teacher's highest class probability.
    pub weights: Vec<f32>,
    /// `[n, C]`.
    pub class_logits: Vec<f32>,
    /// `[n, 4 * reg_max]`; empty where the teacher's bins are not known.
    pub dfl_logits: Vec<f32>,
    /// `[n]` the teacher's boxes, x1, y1, x2, y2 in cells of their anchor's grid.
    pub boxes_xyxy_cells: Vec<[f32; 4]>,
    /// Target of `bckd` and `bce` for every class of every other anchor: their mean class probability.
    pub floor_prob: f32,
    /// Sum of the other anchors' weights.
    pub dropped_score_sum: f32,
}

impl Targets {
    /// The live teacher: every anchor. `rows` are the same outputs as `head`.
    ///
    /// # Panics
    /// If head, rows and grid are of different sizes.
    pub fn live(head: &HeadView<'_>, rows: &HeadRows, grid: &Grid) -> Self {
        let n = grid.num_anchors();
        let best = |row: &[f32]| rows.kind.probability(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        Self {
            kind: rows.kind,
            anchors: (0..n).collect(),
            weights: rows.class_logits.chunks_exact(rows.class_len).map(best).collect(),
            class_logits: rows.class_logits.clone(),
            dfl_logits: rows.dfl_logits.clone(),
            boxes_xyxy_cells: (0..n).map(|a| in_cells(head.box_xyxy_input_px(a), grid.cell(a).stride)).collect(),
            floor_prob: 0.0,
            dropped_score_sum: 0.0,
        }
    }

    /// The same of the anchors of `kept` alone; of the others what `kept` has of them. `self` is of every anchor.
    pub(super) fn only(&self, kept: &Self) -> Self {
        let (n, anchors) = (self.anchors.len().max(1), &kept.anchors);
        let (classes, bins) = (self.class_logits.len() / n, self.dfl_logits.len() / n);
        let rows = |values: &[f32], len: usize| anchors.iter().flat_map(|&a| row(values, len, a).to_vec()).collect();
        Self {
            kind: self.kind,
            anchors: anchors.clone(),
            weights: anchors.iter().map(|&a| self.weights[a]).collect(),
            class_logits: rows(&self.class_logits, classes),
            dfl_logits: rows(&self.dfl_logits, bins),
            boxes_xyxy_cells: anchors.iter().map(|&a| self.boxes_xyxy_cells[a]).collect(),
            floor_prob: kept.floor_prob,
            dropped_score_sum: kept.dropped_score_sum,
        }
    }

    /// What a cache holds of the image, as `train` uses it ([`crate::targets`]).
    pub fn cached(view: &ImageView<'_>, plan: &LetterboxPlan, anchors: &Anchors, kind: HeadKind) -> Self {
        let columns = &view.predictions;
        // The view as it is: neither moved nor mirrored.
        let picture = Picture::new(0, *plan, view.change);
        let scene = Scene::of_view(&ViewChange::NONE, 0, plan.input);
        let mut batch = TeacherBatch::default();
        batch.start(1, columns.class_len, columns.dfl_len, anchors.grid().num_anchors());
        for tile in &scene.tiles {
            batch.push(0, &scene, tile, view, &picture, anchors);
        }
        Self { floor_prob: view.dropped_mean_prob, ..Self::of_row(&batch, 0, anchors.grid(), kind) }
    }

    /// One image of a batch, its anchors in increasing order; without a target for the other anchors.
    ///
    /// # Panics
    /// If an anchor of the batch is none of the grid's.
    pub fn of_row(batch: &TeacherBatch, row: usize, grid: &Grid, kind: HeadKind) -> Self {
        let mut places: Vec<usize> = (0..batch.len()).filter(|&i| batch.batch_index[i] == row as i64).collect();
        places.sort_by_key(|&i| batch.anchor[i]);
        let anchor = |i: usize| batch.anchor[i] as usize;
        let rows = |values: &[f32], len: usize| -> Vec<f32> {
            places.iter().flat_map(|&i| values[i * len..(i + 1) * len].to_vec()).collect()
        };
        let boxes = batch.boxes_xyxy_input_px.as_chunks::<4>().0;
        Self {
            kind,
            anchors: places.iter().map(|&i| anchor(i)).collect(),
            weights: places.iter().map(|&i| batch.score[i]).collect(),
            class_logits: rows(&batch.class_logits, batch.num_classes),
            dfl_logits: batch.dfl_logits.as_ref().map(|logits| rows(logits, batch.dfl_len)).unwrap_or_default(),
            boxes_xyxy_cells: places
                .iter()
                .map(|&i| boxes[i].map(|v| v / grid.cell(anchor(i)).stride as f32))
                .collect(),
            floor_prob: 0.0,
            dropped_score_sum: batch.dropped_score_sum.get(row).copied().unwrap_or_default(),
        }
    }
}

fn in_cells(b: BoxXyxyPx, stride: u32) -> [f32; 4] {
    [b.x1, b.y1, b.x2, b.y2].map(|v| v / stride as f32)
}

/// The gradient of one term of one image before the division by its divisor, which it returns: of class terms `[A, C]` with respect to the
/// class logits, of the others `[A, 4 * reg_max]` with respect to the DFL logits.
///
/// # Panics
/// If student, targets and grid are of different sizes.
pub fn gradient(
    term: Term,
    student: &Student,
    targets: &Targets,
    grid: &Grid,
    temperature: f64,
    out: &mut Vec<f32>,
) -> f64 {
    let rows = &student.rows;
    let len = if matches!(term, Term::Dfl | Term::Box) { rows.dfl_len } else { rows.class_len };
    out.clear();
    out.resize(rows.num_anchors() * len, 0.0);
    let kept: f64 = targets.weights.iter().map(|&w| f64::from(w)).sum();
    match term {
        Term::SoftmaxKl => {
            let mut scratch = Scratch::default();
            for (i, (&a, &w)) in targets.anchors.iter().zip(&targets.weights).enumerate() {
                let (s, t) = (row(&rows.class_logits, len, a), row(&targets.class_logits, len, i));
                scratch.kl(s, t, temperature, f64::from(w), row_mut(out, len, a));
            }
            kept
        }
        Term::Dfl => {
            let (bins, mut scratch) = (len / 4, Scratch::default());
            for (i, (&a, &w)) in targets.anchors.iter().zip(&targets.weights).enumerate() {
                let (s, t) = (row(&rows.dfl_logits, len, a), row(&targets.dfl_logits, len, i));
                for ((s, t), out) in
                    s.chunks_exact(bins).zip(t.chunks_exact(bins)).zip(row_mut(out, len, a).chunks_exact_mut(bins))
                {
                    scratch.kl(s, t, temperature, f64::from(w) / 4.0, out);
                }
            }
            kept
        }
        Term::Box => {
            for ((&a, &w), teacher_box) in targets.anchors.iter().zip(&targets.weights).zip(&targets.boxes_xyxy_cells) {
                let cell = grid.cell(a);
                let centre = [f64::from(cell.centre_x), f64::from(cell.centre_y)];
                box_gradient(row(&rows.dfl_logits, len, a), centre, teacher_box, f64::from(w), row_mut(out, len, a));
            }
            kept
        }
        Term::Bce | Term::Bckd => {
            let mut dropped = vec![true; rows.num_anchors()];
            for (i, &a) in targets.anchors.iter().enumerate() {
                dropped[a] = false;
                let target = row(&targets.class_logits, len, i).iter().map(|&t| targets.kind.probability(t));
                student.binary(term, a, target, row_mut(out, len, a));
            }
            for a in (0..dropped.len()).filter(|&a| dropped[a]) {
                student.binary(term, a, std::iter::repeat(targets.floor_prob), row_mut(out, len, a));
            }
            (kept + f64::from(targets.dropped_score_sum)).max(1.0)
        }
    }
}

fn row(values: &[f32], len: usize, at: usize) -> &[f32] {
    &values[at * len..(at + 1) * len]
}

fn row_mut(values: &mut [f32], len: usize, at: usize) -> &mut [f32] {
    &mut values[at * len..(at + 1) * len]
}

impl Student {
    /// `bce` or `bckd` of one anchor: `s - t`, or with `b = BCE(s, t)` `(p - t) |t - p| + b sign(p - t) p (1 - p)`.
    fn binary(&self, term: Term, anchor: usize, target: impl Iterator<Item = f32>, out: &mut [f32]) {
        let len = self.rows.class_len;
        let (logits, prob) = (row(&self.rows.class_logits, len, anchor), row(&self.prob, len, anchor));
        let softplus = row(&self.softplus, len, anchor);
        for ((((out, &x), &p), &softplus), t) in out.iter_mut().zip(logits).zip(prob).zip(softplus).zip(target) {
            let miss = p - t;
            *out = if term == Term::Bce {
                miss
            } else {
                let sign = if miss > 0.0 { 1.0 } else { -1.0 };
                miss * miss.abs() + (softplus - x * t) * sign * p * (1.0 - p)
            };
        }
    }
}

/// Buffers of a softmax.
#[derive(Default)]
struct Scratch {
    student: Vec<f64>,
    teacher: Vec<f64>,
}

impl Scratch {
    /// `w T (softmax(s / T) - softmax(t / T))`.
    fn kl(&mut self, student: &[f32], teacher: &[f32], temperature: f64, weight: f64, out: &mut [f32]) {
        softmax(student, temperature, &mut self.student);
        softmax(teacher, temperature, &mut self.teacher);
        for ((out, s), t) in out.iter_mut().zip(&self.student).zip(&self.teacher) {
            *out = (weight * temperature * (s - t)) as f32;
        }
    }
}

fn softmax(logits: &[f32], temperature: f64, out: &mut Vec<f64>) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    out.clear();
    out.extend(logits.iter().map(|&x| (f64::from(x - max) / temperature).exp()));
    let total: f64 = out.iter().sum();
    out.iter_mut().for_each(|v| *v /= total);
}

/// `1 - CIoU` of one anchor: through the box's edges to the expectations of the bins to their logits.
fn box_gradient(dfl_logits: &[f32], centre: [f64; 2], teacher_box: &[f32; 4], weight: f64, out: &mut [f32]) {
    let bins = dfl_logits.len() / 4;
    if bins == 0 {
        return;
    }
    let mut probs = [const { Vec::new() }; 4];
    let mut distance = [0.0; 4];
    for ((logits, probs), distance) in dfl_logits.chunks_exact(bins).zip(&mut probs).zip(&mut distance) {
        softmax(logits, 1.0, probs);
        *distance = probs.iter().enumerate().map(|(bin, p)| bin as f64 * p).sum();
    }
    let [x, y] = centre;
    let edges = [x - distance[0], y - distance[1], x + distance[2], y + distance[3]];
    let (_, by_edge) = ciou_with_gradient(edges, teacher_box.map(f64::from));
    let by_distance = [-by_edge[0], -by_edge[1], by_edge[2], by_edge[3]];
    for (((out, probs), distance), slope) in out.chunks_exact_mut(bins).zip(&probs).zip(&distance).zip(by_distance) {
        for (bin, (out, p)) in out.iter_mut().zip(probs).enumerate() {
            *out = (-weight * slope * p * (bin as f64 - distance)) as f32;
        }
    }
}

/// How two gradients of one image, or of several together, agree. Sums of several are those of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Agreement {
    dot: f64,
    cached_square: f64,
    live_square: f64,
    cached_weight: f64,
    live_weight: f64,
}

impl Agreement {
    /// Of two gradients as [`gradient`] gives them, each with its divisor.
    pub fn new((cached, cached_weight): (&[f32], f64), (live, live_weight): (&[f32], f64)) -> Self {
        let mut sums = Self { cached_weight, live_weight, ..Self::default() };
        for (&c, &l) in cached.iter().zip(live) {
            let (c, l) = (f64::from(c), f64::from(l));
            sums.dot += c * l;
            sums.cached_square += c * c;
            sums.live_square += l * l;
        }
        sums
    }

    /// Adds another image of the same batch.
    pub fn add(&mut self, other: &Self) {
        self.dot += other.dot;
        self.cached_square += other.cached_square;
        self.live_square += other.live_square;
        self.cached_weight += other.cached_weight;
        self.live_weight += other.live_weight;
    }

    /// Cosine of the angle between the two, -1..=1; 1 where both are zero, 0 where one is.
    pub fn cosine(&self) -> f64 {
        match (self.cached_square > 0.0, self.live_square > 0.0) {
            (true, true) => (self.dot / (self.cached_square * self.live_square).sqrt()).clamp(-1.0, 1.0),
            (false, false) => 1.0,
            _ => 0.0,
        }
    }

    /// Length of the difference as a share of the live gradient's, both divided by their divisors. Where the live one is zero: 0 if the other
    /// is zero as well, else 1.
    pub fn relative_error(&self) -> f64 {
        let share = |weight: f64| if weight > 0.0 { 1.0 / weight } else { 0.0 };
        let (c, l) = (share(self.cached_weight), share(self.live_weight));
        let live = self.live_square * l * l;
        let difference = self.cached_square * c * c + live - 2.0 * self.dot * c * l;
        match (live > 0.0, difference > 0.0) {
            (true, _) => (difference.max(0.0) / live).sqrt(),
            (false, true) => 1.0,
            (false, false) => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::Places, detector::BoxRule, types::ImageSize};

    const CLASSES: usize = 3;

    const KIND: HeadKind = HeadKind::Yolov8Dfl;

    fn grid() -> Grid {
        Grid::new(ImageSize { width: 32, height: 32 }, &[8, 16, 32])
    }

    fn wave(n: usize, step: f32, size: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * step).sin() * size).collect()
    }

    fn student() -> Student {
        let n = grid().num_anchors();
        Student::new(HeadRows {
            kind: KIND,
            class_len: CLASSES,
            dfl_len: 64,
            class_logits: wave(n * CLASSES, 0.7, 3.0),
            dfl_logits: wave(n * 64, 1.3, 2.0),
        })
    }

    fn targets() -> Targets {
        let anchors = vec![1, 4, 17, 20];
        let n = anchors.len();
        Targets {
            kind: KIND,
            weights: vec![0.9, 0.05, 0.4, 0.6],
            class_logits: wave(n * CLASSES, 2.1, 4.0),
            dfl_logits: wave(n * 64, 0.4, 3.0),
            boxes_xyxy_cells: vec![
                [0.5, 0.2, 3.0, 2.0],
                [0.0, 0.0, 1.0, 3.0],
                [0.1, 0.1, 1.9, 1.2],
                [0.2, 0.1, 0.8, 0.9],
            ],
            floor_prob: 0.01,
            dropped_score_sum: 0.2,
            anchors,
        }
    }

    /// The loss before the division by the sum of weights, from its definition.
    fn loss(term: Term, student: &Student, targets: &Targets, temperature: f64) -> f64 {
        let (grid, rows) = (grid(), student.rows());
        let kl = |s: &[f32], t: &[f32]| {
            let log_softmax = |x: &[f32]| -> Vec<f64> {
                let total = x.iter().map(|&v| (f64::from(v) / temperature).exp()).sum::<f64>().ln();
                x.iter().map(|&v| f64::from(v) / temperature - total).collect()
            };
            let (s, t) = (log_softmax(s), log_softmax(t));
            t.iter().zip(&s).map(|(t, s)| t.exp() * (t - s)).sum::<f64>() * temperature * temperature
        };
        let binary = |x: f32, t: f64| {
            let p = 1.0 / (1.0 + (-f64::from(x)).exp());
            let bce = -(t * p.ln() + (1.0 - t) * (1.0 - p).ln());
            if term == Term::Bce { bce } else { bce * (t - p).abs() }
        };
        let mut sum = 0.0;
        for (i, (&a, &w)) in targets.anchors.iter().zip(&targets.weights).enumerate() {
            let class = (row(&rows.class_logits, CLASSES, a), row(&targets.class_logits, CLASSES, i));
            let bins = (row(&rows.dfl_logits, 64, a), row(&targets.dfl_logits, 64, i));
            let weight = if matches!(term, Term::Bce | Term::Bckd) { 1.0 } else { f64::from(w) };
            sum += weight
                * match term {
                    Term::SoftmaxKl => kl(class.0, class.1),
                    Term::Dfl => {
                        (0..4).map(|k| kl(&bins.0[k * 16..][..16], &bins.1[k * 16..][..16])).sum::<f64>() / 4.0
                    }
                    Term::Bce | Term::Bckd => {
                        class.0.iter().zip(class.1).map(|(&s, &t)| binary(s, f64::from(KIND.probability(t)))).sum()
                    }
                    Term::Box => {
                        let cell = grid.cell(a);
                        let side = |k: usize| {
                            let exp: Vec<f64> = bins.0[k * 16..][..16].iter().map(|&x| f64::from(x).exp()).collect();
                            exp.iter().enumerate().map(|(b, e)| b as f64 * e).sum::<f64>() / exp.iter().sum::<f64>()
                        };
                        let (x, y) = (f64::from(cell.centre_x), f64::from(cell.centre_y));
                        let edges = [x - side(0), y - side(1), x + side(2), y + side(3)];
                        1.0 - ciou_with_gradient(edges, targets.boxes_xyxy_cells[i].map(f64::from)).0
                    }
                };
        }
        if matches!(term, Term::Bce | Term::Bckd) {
            for a in (0..grid.num_anchors()).filter(|a| !targets.anchors.contains(a)) {
                let floor = f64::from(targets.floor_prob);
                sum += row(&rows.class_logits, CLASSES, a).iter().map(|&s| binary(s, floor)).sum::<f64>();
            }
        }
        sum
    }

    #[test]
    fn gradients_are_the_slopes_of_the_losses() {
        let (student, targets, mut out) = (student(), targets(), Vec::new());
        for term in Term::ALL {
            let weight = gradient(term, &student, &targets, &grid(), 4.0, &mut out);
            // The dropped anchors count in the losses over all anchors.
            let expected = if matches!(term, Term::Bce | Term::Bckd) { 2.15 } else { 1.95 };
            assert!((weight - expected).abs() < 1e-6, "{term:?}: {weight}");
            let of_classes = !matches!(term, Term::Dfl | Term::Box);
            for at in (0..out.len()).step_by(if of_classes { 1 } else { 7 }) {
                let step = 1e-3;
                let moved = |by: f32| {
                    let mut rows = student.rows().clone();
                    let values = if of_classes { &mut rows.class_logits } else { &mut rows.dfl_logits };
                    values[at] += by;
                    let moved = f64::from(values[at]);
                    (loss(term, &Student::new(rows), &targets, 4.0), moved)
                };
                let ((high, to), (low, from)) = (moved(step), moved(-step));
                let slope = (high - low) / (to - from);
                // The weight of CIoU's proportions carries no gradient: a difference of losses sees it all the same.
                let tolerance = if term == Term::Box { 0.02 } else { 2e-4 };
                assert!(
                    (slope - f64::from(out[at])).abs() < tolerance * (1.0 + slope.abs()),
                    "{term:?} at {at}: {slope} {}",
                    out[at]
                );
            }
        }
    }

    #[test]
    fn agreement_tells_direction_from_length() {
        let agreement = |c: &[f32], cw: f64, l: &[f32], lw: f64| Agreement::new((c, cw), (l, lw));
        let same = agreement(&[2.0, 4.0], 2.0, &[1.0, 2.0], 1.0);
        assert!((same.cosine() - 1.0).abs() < 1e-12 && same.relative_error() < 1e-6);
        let longer = agreement(&[2.0, 4.0], 1.0, &[1.0, 2.0], 1.0);
        assert!((longer.cosine() - 1.0).abs() < 1e-12 && (longer.relative_error() - 1.0).abs() < 1e-9);
        assert!(agreement(&[1.0, 0.0], 1.0, &[0.0, 1.0], 1.0).cosine().abs() < 1e-12);
        assert_eq!(agreement(&[0.0], 0.0, &[0.0], 0.0).cosine(), 1.0);
        assert_eq!(agreement(&[0.0], 0.0, &[1.0], 1.0).cosine(), 0.0);
        let mut two = agreement(&[1.0], 1.0, &[1.0], 1.0);
        two.add(&agreement(&[0.0], 0.0, &[1.0], 1.0));
        assert!((two.cosine() - 0.5f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn rows_are_the_transposed_head() {
        let class: Vec<f32> = (0..6).map(|v| v as f32).collect();
        let boxes = vec![0.0; 12];
        let spec = HeadSpec {
            kind: HeadKind::Yolov8Direct,
            num_classes: 2,
            boxes: BoxRule::CentreSizePx,
            places: Places::Queries(3),
            one_to_one: false,
        };
        let rows = HeadRows::new(&HeadView::new(&spec, &class, &boxes).unwrap());
        assert_eq!((rows.class_len, rows.dfl_len, rows.num_anchors()), (2, 0, 3));
        assert_eq!(rows.class_logits, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
