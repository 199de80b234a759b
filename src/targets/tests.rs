//! Anchors that follow a scene, against brute force.

use super::{Anchors, ObjectBatch, ObjectClasses, TeacherBatch, swap_left_right};
use crate::{
    augment::{AxisMap, Rect, Scene, Tile},
    cache::{Grid, HeadKind},
    types::ImageSize,
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A tile that keeps the grid.
fn tiles() -> impl Strategy<Value = (ImageSize, Tile, bool)> {
    let input = (1i32..4, 1i32..4);
    (input, [-3i32..4, -3i32..4], prop::array::uniform4(-2i32..6), any::<bool>()).prop_map(
        |((w, h), shift, [a, b, c, d], flip)| {
            let input = ImageSize { width: 32 * w as u32, height: 32 * h as u32 };
            let area = Rect { x1: 32 * a.min(b), y1: 32 * c.min(d), x2: 32 * a.max(b), y2: 32 * c.max(d) };
            let shift = shift.map(|cells| 32 * cells);
            // A tile shows nothing that its letterbox does not have.
            let area = area.intersection(Rect::of_size(input).shifted(shift));
            (input, Tile { image: 0, shift, area }, flip)
        },
    )
}

const STRIDES: [u32; 3] = [8, 16, 32];

/// The anchor of that stride whose cell holds the point; found by looking at all.
fn anchor_at(grid: &Grid, stride: u32, (x, y): (f32, f32)) -> Option<usize> {
    (0..grid.num_anchors()).find(|&anchor| {
        let cell = grid.cell(anchor);
        let reach = stride as f32 / 2.0;
        cell.stride == stride
            && (cell.centre_x * stride as f32 - x).abs() < reach
            && (cell.centre_y * stride as f32 - y).abs() < reach
    })
}

proptest! {
    #[test]
    fn anchors_move_as_their_centres_do((input, tile, flip) in tiles()) {
        let anchors = Anchors::new(Grid::new(input, &STRIDES));
        let grid = Grid::new(input, &STRIDES);
        let mut shown = BTreeSet::new();
        for anchor in 0..grid.num_anchors() {
            let cell = grid.cell(anchor);
            let x = cell.centre_x * cell.stride as f32 + tile.shift[0] as f32;
            let y = cell.centre_y * cell.stride as f32 + tile.shift[1] as f32;
            let area = tile.area;
            let in_tile = x > area.x1 as f32 && x < area.x2 as f32 && y > area.y1 as f32 && y < area.y2 as f32;
            let mirrored = if flip { input.width as f32 - x } else { x };
            let expected = if in_tile { anchor_at(&grid, cell.stride, (mirrored, y)) } else { None };
            prop_assert_eq!(anchors.moved(anchor, &tile, flip), expected);
            shown.extend(expected);
        }
        prop_assert_eq!(anchors.moved(grid.num_anchors(), &tile, flip), None);
        let mut runs = BTreeSet::new();
        anchors.for_each_run(&tile, flip, |run| runs.extend(run));
        prop_assert_eq!(runs, shown, "the floor lies under the same anchors");
    }

    #[test]
    fn a_box_said_at_the_moved_anchor_is_the_moved_box(
        (input, tile, flip) in tiles(), logits in prop::collection::vec(-8f32..8.0, 64), choice: prop::sample::Index,
    ) {
        let grid = Grid::new(input, &STRIDES);
        let anchor = choice.index(grid.num_anchors());
        if let Some(moved) = Anchors::new(Grid::new(input, &STRIDES)).moved(anchor, &tile, flip) {
            let before = grid.cell(anchor).box_of_bins(&logits);
            let mut logits = logits;
            if flip {
                swap_left_right(&mut logits);
            }
            let after = grid.cell(moved).box_of_bins(&logits);
            let scene = Scene { input, tiles: vec![tile], x: AxisMap::IDENTITY, y: AxisMap::IDENTITY, flip };
            let expected = scene.place(&tile, before);
            let pairs = [(after.x1, expected.x1), (after.y1, expected.y1), (after.x2, expected.x2), (after.y2, expected.y2)];
            prop_assert!(pairs.iter().all(|(a, b)| (a - b).abs() < 1e-3), "{:?}, not {:?}", after, expected);
        }
    }

    #[test]
    fn mirrored_twice_is_as_before((input, _, _) in tiles(), logits in prop::collection::vec(-8f32..8.0, 12)) {
        let mut twice = logits.clone();
        swap_left_right(&mut twice);
        prop_assert_ne!(&twice[..3], &logits[..3]);
        swap_left_right(&mut twice);
        prop_assert_eq!(twice, logits);

        let anchors = Anchors::new(Grid::new(input, &STRIDES));
        let here = Tile { image: 0, shift: [0, 0], area: Rect::of_size(input) };
        for anchor in 0..anchors.grid().num_anchors() {
            let there = anchors.moved(anchor, &here, true).unwrap();
            prop_assert_eq!(anchors.moved(there, &here, true), Some(anchor));
        }
    }
}

#[test]
fn of_some_classes_scores_and_dropped_scores_are_theirs() {
    let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
    let logits = [[3.0f32, 1.0, -2.0], [-4.0, -1.0, 2.0], [0.0, 0.5, 0.25]];
    let mut batch = TeacherBatch {
        batch_index: vec![0, 0, 1],
        class_id: vec![0, 2, 1],
        score: vec![probability(3.0), probability(2.0), probability(0.5)],
        class_logits: logits.concat(),
        dropped_score_sum: vec![10.0, 10.0, 10.0],
        num_classes: 3,
        ..Default::default()
    };
    batch.keep_classes(&[1, 0], HeadKind::Yolov8Dfl);
    assert_eq!(batch.class_logits, [1.0, 3.0, -1.0, -4.0, 0.5, 0.0]);
    assert_eq!((batch.class_id, batch.num_classes), (vec![1, 0, 0], 2));
    let after = [probability(3.0), probability(-1.0), probability(0.5)];
    assert!(batch.score.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", batch.score);
    let share = (after[0] + after[1]) / (probability(3.0) + probability(2.0));
    // The second image loses nothing, the third has nothing to lose.
    let sums = [10.0 * share, 10.0, 10.0];
    assert!(
        batch.dropped_score_sum.iter().zip(&sums).all(|(a, b)| (a - b).abs() < 1e-4),
        "{:?}",
        batch.dropped_score_sum
    );
}

#[test]
fn objects_of_other_classes_are_none() {
    let mut batch = ObjectBatch {
        batch_index: vec![0, 0, 1],
        class_id: vec![0, 2, 1],
        score: vec![0.95, 0.88, 0.62],
        class_logits: vec![3.0, 1.0, -9.0, -8.0, -9.0, 2.0, 0.0, 0.5, 0.25],
        boxes_xyxy_input_px: (0..12).map(|i| i as f32).collect(),
        num_classes: 3,
        classes: ObjectClasses::Soft,
    };
    batch.keep_classes(&[1, 0], HeadKind::DetrSigmoid);
    assert_eq!((batch.batch_index, batch.class_id, batch.num_classes), (vec![0, 1], vec![1, 0], 2));
    assert_eq!(batch.class_logits, [1.0, 3.0, 0.5, 0.0]);
    assert_eq!(batch.boxes_xyxy_input_px, [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0]);
}

#[test]
fn a_started_batch_keeps_nothing_of_the_one_before() {
    let mut batch = TeacherBatch { anchor: vec![1], dfl_logits: Some(vec![2.0]), ..Default::default() };
    batch.floor_prob = vec![0.5; 9];
    batch.start(2, 3, 0, 4);
    assert!(batch.is_empty() && batch.dfl_logits.is_none());
    assert!(batch.floor_prob.len() == 8 && batch.floor_prob.iter().all(|p| p.is_nan()));
    batch.start(1, 3, 16, 4);
    assert_eq!(batch.dfl_logits, Some(Vec::new()));
}
