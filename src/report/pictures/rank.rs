//! Which images disagree most.

use super::candidates::{Candidate, Candidates};
use crate::{eval::disagreement, types::Detection};

/// The images with their disagreement, the largest first; of equal ones the one with more boxes, then the earlier one.
///
/// An image's disagreement is the mean of [`disagreement`] over all pairs of: its labels, the teacher's boxes, and the boxes of the last
/// model (the student after distillation), as far as they are there.
pub(super) fn ranked(candidates: &Candidates, has_labels: bool) -> Vec<(f64, &Candidate)> {
    let mut ranked: Vec<(f64, &Candidate)> =
        candidates.images.iter().map(|image| (of_image(image, has_labels), image)).collect();
    let boxes = |image: &Candidate| lists(image, true).iter().map(|list| list.len()).sum::<usize>();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(boxes(b.1).cmp(&boxes(a.1))));
    ranked
}

fn of_image(image: &Candidate, has_labels: bool) -> f64 {
    let lists = lists(image, has_labels);
    let mut pairs = Vec::new();
    for (i, a) in lists.iter().enumerate() {
        pairs.extend(lists[..i].iter().map(|b| disagreement(a, b)));
    }
    if pairs.is_empty() { 0.0 } else { pairs.iter().sum::<f64>() / pairs.len() as f64 }
}

fn lists(image: &Candidate, has_labels: bool) -> Vec<&[Detection]> {
    let labels = image.labels.as_deref().filter(|_| has_labels);
    [labels, image.teacher.as_deref(), image.models.last().map(Vec::as_slice)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::BoxXyxyPx;

    fn found(x: f32) -> Detection {
        Detection { class_id: 0, score: 1.0, box_xyxy_px: BoxXyxyPx { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 } }
    }

    fn image(name: &str, labels: &[f32], teacher: &[f32], models: &[&[f32]]) -> Candidate {
        let list = |xs: &[f32]| xs.iter().copied().map(found).collect::<Vec<_>>();
        Candidate {
            path: name.into(),
            name: name.into(),
            image_id: None,
            file_sha256: None,
            labels: Some(list(labels)),
            teacher: Some(list(teacher)),
            models: models.iter().map(|xs| list(xs)).collect(),
        }
    }

    #[test]
    fn the_largest_disagreement_comes_first_and_of_equals_the_fuller_image() {
        let images = vec![
            image("agreed", &[0.0], &[0.0], &[&[], &[0.0]]),
            image("missed by the student", &[0.0], &[0.0], &[&[0.0], &[]]),
            image("two missed", &[0.0, 50.0], &[0.0, 50.0], &[&[], &[]]),
            image("one of two missed", &[0.0, 50.0], &[0.0, 50.0], &[&[], &[0.0]]),
        ];
        let candidates = Candidates { images, ..Candidates::default() };
        let names: Vec<(&str, f64)> = ranked(&candidates, true).iter().map(|(d, i)| (i.name.as_str(), *d)).collect();
        // (2/3 + 2/3) / 3, (1/2 + 1/2) / 3, (1/4 + 1/4) / 3
        let third = |a: f64| a / 3.0;
        let expected = [
            ("two missed", third(2.0 / 3.0 + 2.0 / 3.0)),
            ("missed by the student", third(1.0)),
            ("one of two missed", third(0.5)),
            ("agreed", 0.0),
        ];
        for ((name, d), (expected_name, expected_d)) in names.iter().zip(expected) {
            assert!(*name == expected_name && (d - expected_d).abs() < 1e-12, "{names:?}");
        }
    }
}
