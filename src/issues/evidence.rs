//! How well the teacher's class distributions and boxes bear a label out: eleven numbers for each
//! label.
//!
//! Of a label of class c, with `u` a row's overlap with it, `p` a row's probability of a class, `q`
//! that probability after calibration, and `ramp` a straight line from 0 to 1:
//!
//! | number | formula |
//! |---|---|
//! | own class | log-odds of `max q_c * ramp(u, 0.3, 0.6)`: the loss of the label's class |
//! | other class | log-odds of the same over all other classes |
//! | own class nearby | log-odds of `max p_c * ramp(u, 0, 0.5)` |
//! | any class nearby | log-odds of `max p * ramp(u, 0, 0.5)` of each row's best class |
//! | best overlap | highest `u` of rows with at least half the highest `q_c` of those over 0.3 |
//! | fit, close fit | `max q_c * ramp(u, 0.5, 0.85)` and `max q_c * ramp(u, 0.7, 0.95)` |
//! | size | logarithm of the share of the picture that the label covers |
//! | farthest edge | largest distance of an edge from that of the mean box, as a share of the label's side |
//! | in deviations | logarithm of 1 + the largest such distance in deviations of the rows' boxes |
//! | explained elsewhere | `max w * (1 - overlap with the mean box)` |
//!
//! The mean box is that of the rows near the label which no other label of the class has, weighted
//! by `w = q_c * ramp(u, 0.1, 0.4) * (1 - ramp(u_other, 0.4, 0.7))`.

use super::{
    calibrate::Calibration,
    seen::{Seen, log_odds, ramp},
};
use crate::{toolkit::iou_px, types::BoxXyxyPx};

/// Numbers of a label.
pub(super) const NUMBERS: usize = 11;
/// Rows of less weight together are no evidence of a place.
const LEAST_WEIGHT: f64 = 1e-6;

/// The numbers of one label, and the class that the teacher would rather see there.
pub(super) struct Evidence {
    pub(super) numbers: [f64; NUMBERS],
    /// Calibrated evidence of the label's own class at its place, 0..=1.
    pub(super) own: f64,
    /// How closely a box of its class fits, 0..=1.
    pub(super) fit: f64,
    /// The other class of the highest evidence, with the row of it.
    pub(super) other: Option<(u32, usize)>,
    /// The row that is nearest to the label and of its class, where there is one.
    pub(super) nearest: Option<usize>,
}

/// What the rows of an image say of one of its labels.
pub(super) fn of(seen: &Seen, calibration: &Calibration, at: usize) -> Evidence {
    let Some(label) = seen.labels.get(at) else { return nothing() };
    let (class_id, overlaps) = (label.class_id, seen.overlaps(at));
    let touching = || overlaps.iter().map(|&u| f64::from(u)).enumerate().filter(|(_, u)| *u > 0.0);
    let own_q = |row: usize| calibration.probability(seen.logit(row, class_id), class_id);

    let (mut own, mut nearby, mut any, mut fit, mut close) = (0.0f64, 0.0f64, 0.0f64, 0.0f64, 0.0f64);
    let (mut highest, mut other) = (0.0f64, None::<(f64, u32, usize)>);
    for (row, u) in touching() {
        let q = own_q(row);
        own = own.max(q * ramp(u, 0.3, 0.6));
        nearby = nearby.max(seen.probability(row, class_id) * ramp(u, 0.0, 0.5));
        any = any.max(seen.best_probability(row) * ramp(u, 0.0, 0.5));
        fit = fit.max(q * ramp(u, 0.5, 0.85));
        close = close.max(q * ramp(u, 0.7, 0.95));
        if u >= 0.3 {
            highest = highest.max(q);
            for other_class in (0u32..).take(seen.logits(row).len()).filter(|&other| other != class_id) {
                let q = calibration.probability(seen.logit(row, other_class), other_class) * ramp(u, 0.3, 0.6);
                if q > 0.0 && other.is_none_or(|(most, ..)| q > most) {
                    other = Some((q, other_class, row));
                }
            }
        }
    }
    let good = touching().filter(|&(row, _)| own_q(row) >= 0.5 * highest);
    let best_overlap = good.map(|(_, u)| u).fold(0.0, f64::max);
    let place = Place::of(seen, at, own_q);
    let share = area(label.box_xyxy_px) / (f64::from(seen.size.width) * f64::from(seen.size.height));
    let numbers = [
        log_odds(own),
        log_odds(other.map_or(0.0, |(q, ..)| q)),
        log_odds(nearby),
        log_odds(any),
        best_overlap,
        fit,
        close,
        (share + 1e-6).ln(),
        place.farthest,
        place.deviations,
        place.elsewhere,
    ];
    Evidence { numbers, own, fit, other: other.map(|(_, class, row)| (class, row)), nearest: place.nearest }
}

fn nothing() -> Evidence {
    Evidence { numbers: [0.0; NUMBERS], own: 0.0, fit: 0.0, other: None, nearest: None }
}

fn area(b: BoxXyxyPx) -> f64 {
    f64::from(b.x2 - b.x1) * f64::from(b.y2 - b.y1)
}

/// Where the teacher sees the object that a label seems to mean.
#[derive(Default)]
struct Place {
    farthest: f64,
    deviations: f64,
    elsewhere: f64,
    /// The row of the highest weight.
    nearest: Option<usize>,
}

impl Place {
    fn of(seen: &Seen, at: usize, own_q: impl Fn(usize) -> f64) -> Self {
        let Some(label) = seen.labels.get(at) else { return Self::default() };
        // Overlap of a row with the other labels of the class: such a row is theirs.
        let others: Vec<&[f32]> = (seen.labels.iter().enumerate())
            .filter(|(other, l)| *other != at && l.class_id == label.class_id)
            .map(|(other, _)| seen.overlaps(other))
            .collect();
        let elsewhere = |row: usize| others.iter().filter_map(|of| of.get(row)).fold(0.0f32, |most, &u| most.max(u));
        let weighted = |(row, &u): (usize, &f32)| {
            let near = ramp(f64::from(u), 0.1, 0.4);
            let weight =
                if near > 0.0 { near * own_q(row) * (1.0 - ramp(f64::from(elsewhere(row)), 0.4, 0.7)) } else { 0.0 };
            (weight > 0.0).then_some((row, weight))
        };
        let rows: Vec<(usize, f64)> = seen.overlaps(at).iter().enumerate().filter_map(weighted).collect();
        let total: f64 = rows.iter().map(|(_, weight)| weight).sum();
        if total < LEAST_WEIGHT {
            return Self::default();
        }
        let edges = |b: BoxXyxyPx| [b.x1, b.y1, b.x2, b.y2].map(f64::from);
        let mean_of = |value: &dyn Fn([f64; 4]) -> [f64; 4]| {
            let mut sum = [0.0; 4];
            for (row, weight) in &rows {
                let values = seen.rows.get(*row).map_or([0.0; 4], |row| value(edges(row.box_xyxy_px)));
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value / total);
            }
            sum
        };
        let mean = mean_of(&|edges| edges);
        let variance = mean_of(&|edges| std::array::from_fn(|i| (edges[i] - mean[i]) * (edges[i] - mean[i])));
        let own = edges(label.box_xyxy_px);
        let sides = [own[2] - own[0] + 1.0, own[3] - own[1] + 1.0];
        let (mut farthest, mut most) = (0.0f64, 0.0f64);
        for i in 0..4 {
            let (away, side) = ((own[i] - mean[i]).abs(), sides[i % 2]);
            farthest = farthest.max(away / side);
            most = most.max(away / (variance[i].sqrt() + 0.02 * side));
        }
        let [x1, y1, x2, y2] = mean.map(|v| v as f32);
        let overlap = iou_px(label.box_xyxy_px, BoxXyxyPx { x1, y1, x2, y2 });
        let nearest = rows.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a });
        Self {
            farthest,
            deviations: most.ln_1p(),
            elsewhere: nearest.map_or(0.0, |(_, weight)| weight) * (1.0 - overlap),
            nearest: nearest.map(|(row, _)| row),
        }
    }
}
