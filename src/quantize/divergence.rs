//! How far a rounded model's outputs are from those of the model itself, without labels.

use super::lock;
use crate::{
    Error, Result,
    cache::Places,
    detector::{Detector, DetectorSession, HeadView, SessionOptions},
    toolkit::boxes::iou_px,
};
use std::{num::NonZeroUsize, ops::Range, sync::Mutex, thread};

/// Predictions whose score is lower in both models are left out: there are thousands, and nobody sees them.
const LEAST_SCORE: f32 = 0.01;

/// Keeps the logarithms finite.
const LEAST_PROBABILITY: f64 = 1e-6;

/// What the model itself gives for one image.
pub(super) struct Reference {
    class_logits: Vec<f32>,
    box_values: Vec<f32>,
}

/// Runs the model itself.
///
/// # Errors
/// As [`DetectorSession::new`]; [`Error::Model`] where a run fails.
pub(super) fn references(
    detector: &Detector,
    inputs: &[Vec<f32>],
    jobs: NonZeroUsize,
    options: &SessionOptions,
) -> Result<Vec<Reference>> {
    on_each(detector, inputs, jobs, options, |_, head| {
        Ok(Reference { class_logits: head.class_logits().to_vec(), box_values: head.box_values().to_vec() })
    })
}

/// What `read` makes of the outputs of `detector` for each input (its number is given), on `jobs` threads.
fn on_each<T: Send>(
    detector: &Detector,
    inputs: &[Vec<f32>],
    jobs: NonZeroUsize,
    options: &SessionOptions,
    read: impl Fn(usize, HeadView<'_>) -> std::result::Result<T, String> + Sync,
) -> Result<Vec<T>> {
    let session = |_| DetectorSession::new(detector, options);
    let sessions: Vec<_> = (0..jobs.get().min(inputs.len())).map(session).collect::<Result<_>>()?;
    side_by_side(inputs.len(), sessions, |session, i| run(detector, session, &inputs[i], |head| read(i, head)))
}

/// `work` of each of `0..count`, in this order, each of `workers` in a thread of its own.
///
/// # Errors
/// The first error, in the order of the numbers.
fn side_by_side<W: Send, T: Send>(
    count: usize,
    workers: Vec<W>,
    work: impl Fn(&mut W, usize) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let next = Mutex::new(0..count);
    let found: Mutex<Vec<(usize, Result<T>)>> = Mutex::new(Vec::with_capacity(count));
    let on_thread = |mut worker: W| {
        loop {
            // In a `while let` the lock would be held while the model runs.
            let taken = lock(&next).next();
            let Some(i) = taken else { break };
            let result = work(&mut worker, i);
            if result.is_err() {
                // The others end after what they have in hand.
                lock(&next).by_ref().for_each(drop);
            }
            lock(&found).push((i, result));
        }
    };
    thread::scope(|threads| {
        for worker in workers {
            threads.spawn(|| on_thread(worker));
        }
    });
    let mut found = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.sort_by_key(|(i, _)| *i);
    found.into_iter().map(|(_, result)| result).collect()
}

/// The images that models are compared on, ready to run, with what the model itself gives.
pub(super) struct Comparison<'a> {
    /// `[3, H, W]` each.
    pub inputs: &'a [Vec<f32>],
    /// Of each.
    pub references: &'a [Reference],
    /// Models that are run side by side.
    pub jobs: NonZeroUsize,
    /// How.
    pub options: SessionOptions,
}

impl Comparison<'_> {
    /// On the first of the images alone.
    pub fn first(&self, images: usize) -> Comparison<'_> {
        let images = images.min(self.inputs.len());
        Comparison { inputs: &self.inputs[..images], references: &self.references[..images], ..*self }
    }

    /// Images that models are compared on.
    pub fn images(&self) -> u64 {
        self.inputs.len() as u64
    }

    /// The divergence of a rounded model, in nats per expected object: over all images, the Kullback-Leibler divergence of each
    /// class probability (of a Bernoulli variable) plus `score * (1 - IoU)` of each box, divided by the sum of the scores of the
    /// model itself. 0 where nothing changed.
    ///
    /// # Errors
    /// As [`references`].
    pub fn divergence(&self, rounded: &Detector) -> Result<f64> {
        let found = on_each(rounded, self.inputs, self.jobs, &self.options, |i, head| {
            let reference = &self.references[i];
            let own = HeadView::new(head.spec(), &reference.class_logits, &reference.box_values)?;
            Ok(compare(&own, &head))
        })?;
        // In the order of the images, whatever the number of threads.
        let (mut changed, mut scores) = (0.0, 0.0);
        for (more, score) in found {
            changed += more;
            scores += score;
        }
        Ok(changed / f64::max(scores, LEAST_PROBABILITY))
    }

    /// The divergence of each of several models, which `make` makes, side by side; `on_each` is called as they come.
    ///
    /// # Errors
    /// The first error, in the order of the models.
    pub fn divergences(
        &self,
        models: usize,
        make: impl Fn(usize) -> Result<Detector> + Sync,
        on_each: &mut (dyn FnMut() -> Result<()> + Send),
    ) -> Result<Vec<f64>> {
        let on_each = Mutex::new(on_each);
        let alone = Comparison { jobs: NonZeroUsize::MIN, ..*self };
        side_by_side(models, vec![(); self.jobs.get().min(models)], |(), i| {
            let divergence = alone.divergence(&make(i)?)?;
            lock(&on_each)()?;
            Ok(divergence)
        })
    }
}

fn run<T>(
    detector: &Detector,
    session: &mut DetectorSession,
    pixels: &[f32],
    read: impl FnOnce(HeadView<'_>) -> std::result::Result<T, String>,
) -> Result<T> {
    let refuse = |why: String| Error::Model {
        path: detector.path.clone(),
        found: format!("it cannot be run: {why}"),
        remedy: "Try `provider=cpu`, or export the model again.".into(),
    };
    let heads = session.run(1, pixels).map_err(|error| refuse(error.to_string()))?;
    heads.view(0).and_then(read).map_err(refuse)
}

/// `(what changed, the sum of the scores of the model itself)` on one image.
fn compare(own: &HeadView<'_>, rounded: &HeadView<'_>) -> (f64, f64) {
    let classes = own.spec().num_classes;
    let best =
        |head: &HeadView<'_>, place| (0..classes).map(|class| head.probability(place, class)).fold(0.0f32, f32::max);
    let places = 0..own.spec().num_places();
    let (mut changed, mut scores) = (0.0, 0.0);
    for place in places.clone() {
        let score = best(own, place);
        let partner = match own.spec().places {
            Places::Grid(_) if score.max(best(rounded, place)) < LEAST_SCORE => continue,
            Places::Grid(_) => place,
            Places::Queries(_) if score < LEAST_SCORE => continue,
            Places::Queries(_) => partner(own, rounded, place, places.clone()),
        };
        let term = |class| bernoulli_divergence(own.probability(place, class), rounded.probability(partner, class));
        changed += (0..classes).map(term).sum::<f64>();
        let overlap = iou_px(own.box_xyxy_input_px(place), rounded.box_xyxy_input_px(partner));
        changed += f64::from(score) * (1.0 - overlap);
        scores += f64::from(score);
    }
    (changed, scores)
}

/// The query of the rounded model that stands for a query of the model itself. Queries have no place of their own: which of
/// them finds an object depends on how near their scores are. The highest sum of overlap and likeness of the probabilities wins.
fn partner(own: &HeadView<'_>, rounded: &HeadView<'_>, place: usize, places: Range<usize>) -> usize {
    let own_box = own.box_xyxy_input_px(place);
    let likeness = |other: usize| {
        let differences = (0..own.spec().num_classes)
            .map(|class| f64::from((own.probability(place, class) - rounded.probability(other, class)).abs()));
        iou_px(own_box, rounded.box_xyxy_input_px(other)) - differences.fold(0.0, f64::max)
    };
    // Of equal ones the first.
    places.max_by(|a, b| likeness(*a).total_cmp(&likeness(*b)).then(b.cmp(a))).unwrap_or(place)
}

fn bernoulli_divergence(p: f32, q: f32) -> f64 {
    let inside = |p: f32| f64::from(p).clamp(LEAST_PROBABILITY, 1.0 - LEAST_PROBABILITY);
    let (p, q) = (inside(p), inside(q));
    p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_probabilities_do_not_diverge() {
        for p in [0.0, 1e-9, 0.2, 0.5, 1.0] {
            assert_eq!(bernoulli_divergence(p, p), 0.0);
        }
        assert!((bernoulli_divergence(0.5, 0.25) - (0.5 * 2f64.ln() + 0.5 * (0.5f64 / 0.75).ln())).abs() < 1e-12);
        assert!(bernoulli_divergence(1.0, 0.0).is_finite());
    }
}
