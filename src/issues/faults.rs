//! Faults that the program makes itself, in copies of the labels, to learn what a fault looks like
//! to this teacher on this data set.
//!
//! In each copy of an image, one label in ten gets another class of the data set, one in ten is
//! moved so that it overlaps its old place by 0.3 to 0.7, and for one in ten a box of another
//! label's size and class is put at a place where no label is (overlap of at most 0.3). What is
//! drawn follows from the image's id and the number of the copy alone.

use crate::{
    toolkit::iou_px,
    types::{BoxXyxyPx, ImageSize, LabelBox},
};
use rand::RngExt as _;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

/// Share of the labels that each fault is made of.
const SHARE: f64 = 0.1;
/// Draws of a place, until one fits.
const TRIES: usize = 50;

/// A fault that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Nothing,
    Moved,
    OtherClass,
    Added,
}

/// Class and size of a label, of which a box elsewhere is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    class_id: u32,
    /// Shares of the picture's sides.
    width: f64,
    height: f64,
}

impl Shape {
    pub(super) fn of(label: &LabelBox, size: ImageSize) -> Self {
        let b = label.box_xyxy_px;
        Self {
            class_id: label.class_id,
            width: f64::from(b.x2 - b.x1) / f64::from(size.width),
            height: f64::from(b.y2 - b.y1) / f64::from(size.height),
        }
    }
}

/// The labels of an image with faults among them, and what was done to each.
pub(super) fn spoil(
    labels: &[LabelBox],
    size: ImageSize,
    shapes: &[Shape],
    classes: &[u32],
    (image_id, copy): (i64, u64),
) -> (Vec<LabelBox>, Vec<Made>) {
    let mut rng = ChaCha8Rng::seed_from_u64(image_id.unsigned_abs() ^ copy.rotate_left(40));
    let (mut spoiled, mut made) = (Vec::with_capacity(labels.len()), Vec::with_capacity(labels.len()));
    let mut added = 0;
    for label in labels {
        let drawn: f64 = rng.random();
        let (label, what) = match drawn {
            drawn if drawn < SHARE => other_class(label, classes, &mut rng),
            drawn if drawn < 2.0 * SHARE => moved(label, size, &mut rng),
            _ => (*label, Made::Nothing),
        };
        spoiled.push(label);
        made.push(what);
        added += usize::from(rng.random::<f64>() < SHARE);
    }
    for _ in 0..added {
        if let Some(label) = elsewhere(labels, size, shapes, &mut rng) {
            spoiled.push(label);
            made.push(Made::Added);
        }
    }
    (spoiled, made)
}

fn other_class(label: &LabelBox, classes: &[u32], rng: &mut ChaCha8Rng) -> (LabelBox, Made) {
    let others: Vec<u32> = classes.iter().copied().filter(|&class| class != label.class_id).collect();
    match others.len() {
        0 => (*label, Made::Nothing),
        some => (LabelBox { class_id: others[rng.random_range(0..some)], ..*label }, Made::OtherClass),
    }
}

fn moved(label: &LabelBox, size: ImageSize, rng: &mut ChaCha8Rng) -> (LabelBox, Made) {
    let b = label.box_xyxy_px;
    let (width, height) = (b.x2 - b.x1, b.y2 - b.y1);
    for _ in 0..TRIES {
        let (dx, dy) = (width * rng.random_range(-0.6..0.6f32), height * rng.random_range(-0.6..0.6f32));
        let x = |v: f32| (v + dx).clamp(0.0, size.width as f32);
        let y = |v: f32| (v + dy).clamp(0.0, size.height as f32);
        let box_xyxy_px = BoxXyxyPx { x1: x(b.x1), y1: y(b.y1), x2: x(b.x2), y2: y(b.y2) };
        if (0.3..=0.7).contains(&iou_px(b, box_xyxy_px)) {
            return (LabelBox { box_xyxy_px, ..*label }, Made::Moved);
        }
    }
    (*label, Made::Nothing)
}

fn elsewhere(labels: &[LabelBox], size: ImageSize, shapes: &[Shape], rng: &mut ChaCha8Rng) -> Option<LabelBox> {
    for _ in 0..TRIES {
        let shape = shapes.get(rng.random_range(0..shapes.len().max(1)))?;
        let (width, height) = (f64::from(size.width), f64::from(size.height));
        let (x, y): (f64, f64) = (rng.random(), rng.random());
        let (x1, y1) = (x * (1.0 - shape.width).max(0.0) * width, y * (1.0 - shape.height).max(0.0) * height);
        let (x2, y2) = (x1 + shape.width * width, y1 + shape.height * height);
        let box_xyxy_px = BoxXyxyPx { x1: x1 as f32, y1: y1 as f32, x2: x2 as f32, y2: y2 as f32 };
        if labels.iter().all(|label| iou_px(label.box_xyxy_px, box_xyxy_px) <= 0.3) {
            return Some(LabelBox { class_id: shape.class_id, box_xyxy_px });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_what_they_say_and_the_same_each_time() {
        let size = ImageSize { width: 640, height: 480 };
        let labels: Vec<LabelBox> = (0..100u8)
            .map(|n| {
                let (x1, y1) = (f32::from(n % 10) * 64.0, f32::from(n / 10) * 48.0);
                let box_xyxy_px = BoxXyxyPx { x1, y1, x2: x1 + 30.0, y2: y1 + 20.0 };
                LabelBox { class_id: u32::from(n % 3), box_xyxy_px }
            })
            .collect();
        let shapes: Vec<Shape> = labels.iter().map(|label| Shape::of(label, size)).collect();
        let draw = |id, copy| spoil(&labels, size, &shapes, &[0, 1, 2], (id, copy));
        let (spoiled, made) = draw(7, 0);
        assert_eq!(draw(7, 0).1, made);
        assert_ne!(draw(8, 0).1, made);
        assert_ne!(draw(7, 1).1, made);
        for (at, (label, made)) in spoiled.iter().zip(&made).enumerate() {
            let before = labels.get(at);
            let same_class = before.is_some_and(|before| before.class_id == label.class_id);
            let overlap = before.map(|before| iou_px(before.box_xyxy_px, label.box_xyxy_px));
            match made {
                Made::Nothing => assert!(same_class && overlap == Some(1.0)),
                Made::Moved => assert!(same_class && overlap.is_some_and(|u| (0.3..=0.7).contains(&u))),
                Made::OtherClass => assert!(!same_class && overlap == Some(1.0)),
                Made::Added => {
                    assert!(before.is_none() && labels.iter().all(|l| iou_px(l.box_xyxy_px, label.box_xyxy_px) <= 0.3))
                }
            }
        }
        for kind in [Made::Moved, Made::OtherClass, Made::Added] {
            let count = made.iter().filter(|&&made| made == kind).count();
            assert!((3..=20).contains(&count), "{kind:?}: {count}");
        }
        assert!(
            spoil(&labels, size, &shapes, &[1], (7, 0))
                .1
                .iter()
                .zip(&labels)
                .all(|(made, label)| { label.class_id != 1 || *made != Made::OtherClass })
        );
    }
}
