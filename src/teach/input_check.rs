//! Whether the teacher sees more when images become its input in another way: what a wrong guess of colour order, value range
//! or fit costs shows in its scores on real images.
//!
//! The measure of an image is the sum of squared scores. A network that is fed values far too large is certain of
//! hundreds of boxes; such an answer counts as 0. A loss that leaves the scores high is not noticed: labels
//! tell it ([`crate::eval::TeacherSight`]).

use super::BuildOptions;
use crate::{
    augment::Views,
    cache::MissingLabels,
    dataset::Dataset,
    detector::{Detector, DetectorSession, ScoreSums},
    pipeline::ImageSource,
    preprocess::{Colours, Fit, InputRule, InputValues},
};

/// Images that the teacher is shown in each way.
const IMAGES: usize = 8;
/// How many times the squared scores another rule must give, over all of these images.
const CLEARLY_MORE: f64 = 1.5;
/// On which share of the images another rule must give more.
const ON_MOST: f64 = 0.75;
/// A score of near certainty.
const CERTAIN: f32 = 0.99;
/// How many predictions of an image a detector is certain of at most: so many, or one in so many.
const MOST_CERTAIN: usize = 20;
const ONE_IN_CERTAIN: usize = 200;

/// What the user should know where another rule gives clearly more; `None` where none does, or where the file's family leaves
/// no doubt and the user states nothing.
pub(super) fn better_rule(
    session: &mut DetectorSession,
    model: &Detector,
    dataset: &Dataset,
    options: &BuildOptions,
    batch: usize,
) -> Option<String> {
    let doubtful = !model.input_rule.is_default() || options.reading != crate::detector::Reading::default();
    if !doubtful || dataset.samples.is_empty() {
        return None;
    }
    let count = IMAGES.min(dataset.samples.len());
    let ids: Vec<i64> = (0..count).map(|i| (i * dataset.samples.len() / count) as i64).collect();
    let mut masses = |rule| {
        let source = ImageSource {
            samples: &dataset.samples,
            image_ids: None,
            input: model.input,
            rule,
            class_map: None,
            missing_labels: MissingLabels::Unlabelled,
            views: Views::default(),
        };
        let (mut scratch, values) = (source.scratch(), source.values_per_image());
        let mut pixels = vec![0.0; batch * values];
        let mut sums = ScoreSums::default();
        let mut mass = |id: &i64| {
            source.prepare((*id, 0), &mut scratch, &mut pixels[..values]).ok()?;
            let heads = session.run(batch, &pixels).ok()?;
            heads.view(0).ok()?.sum_scores(&mut sums).ok()?;
            Some(mass_of(&sums.scores))
        };
        ids.iter().filter_map(&mut mass).collect::<Vec<f64>>()
    };
    let own = masses(model.input_rule);
    let others = others(model.input_rule).into_iter().map(|(word, rule)| (word, masses(rule)));
    let (word, times) = best(&own, others)?;
    let found = match times {
        Some(times) => format!("it gives {times:.1} times the squared scores on {} of them with", own.len()),
        None => {
            format!("on {} of them it then detects nothing, or far too much; it detects some with", own.len())
        }
    };
    Some(format!(
        "warning: images are prepared for the teacher by the rule {}, but {found} `input_rule={word}`. Check how it was trained.",
        model.input_rule
    ))
}

/// The sum of squared scores; 0 where the teacher is certain of more than any picture holds.
fn mass_of(scores: &[f32]) -> f64 {
    let certain = scores.iter().filter(|&&score| score > CERTAIN).count();
    if certain > MOST_CERTAIN.max(scores.len() / ONE_IN_CERTAIN) {
        return 0.0;
    }
    scores.iter().map(|&score| f64::from(score) * f64::from(score)).sum()
}

/// Rules that differ in one part, each with the word that states it.
fn others(rule: InputRule) -> Vec<(&'static str, InputRule)> {
    let fits = Fit::ALL.into_iter().filter(|fit| *fit != rule.fit);
    let colours = Colours::ALL.into_iter().filter(|colours| *colours != rule.colours);
    let values = InputValues::ALL.into_iter().filter(|values| *values != rule.values);
    fits.map(|fit| (fit.as_str(), InputRule { fit, ..rule }))
        .chain(colours.map(|colours| (colours.as_str(), InputRule { colours, ..rule })))
        .chain(values.map(|values| (values.as_str(), InputRule { values, ..rule })))
        .collect()
}

/// The rule that gives clearly more on most images, and how many times as much; `None` of nothing.
fn best(own: &[f64], others: impl Iterator<Item = (&'static str, Vec<f64>)>) -> Option<(&'static str, Option<f64>)> {
    let total: f64 = own.iter().sum();
    let clearly = others.filter(|(_, masses)| {
        let more = own.iter().zip(masses).filter(|(own, other)| other > own).count();
        masses.len() == own.len() && more as f64 >= ON_MOST * own.len() as f64
    });
    let sums = clearly.map(|(word, masses)| (word, masses.iter().sum::<f64>()));
    let (word, most) = sums.filter(|(_, sum)| *sum > CLEARLY_MORE * total).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some((word, (total > 0.0).then(|| most / total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clearly_more_on_most_images_counts() {
        let judge = |others: &[(&'static str, [f64; 4])]| {
            let others = others.iter().map(|(word, masses)| (*word, masses.to_vec()));
            best(&[1.0, 2.0, 1.0, 2.0], others)
        };
        assert_eq!(judge(&[("bgr", [2.0, 4.0, 2.0, 4.0])]), Some(("bgr", Some(2.0))));
        assert_eq!(judge(&[("bgr", [1.1, 2.1, 1.1, 2.1])]), None);
        // One image alone says nothing.
        assert_eq!(judge(&[("bgr", [40.0, 1.0, 0.5, 1.0])]), None);
        assert_eq!(judge(&[("bgr", [2.0, 4.0, 2.0, 4.0]), ("0-255", [9.0; 4])]), Some(("0-255", Some(6.0))));
        assert_eq!(best(&[1.0], [("bgr", Vec::new())].into_iter()), None);
        assert_eq!(best(&[0.0], [("bgr", vec![2.0])].into_iter()), Some(("bgr", None)));
        assert_eq!(mass_of(&[0.5, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!((mass_of(&[1.0; 20]), mass_of(&[1.0; 21])), (20.0, 0.0));
    }

    #[test]
    fn other_rules_differ_in_one_part() {
        let words: Vec<&str> = others(InputRule::default()).into_iter().map(|(word, _)| word).collect();
        assert_eq!(words, ["top-left", "stretch", "bgr", "0-255", "imagenet"]);
    }
}
