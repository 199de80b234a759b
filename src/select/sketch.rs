//! An image as a point: near points show like objects in like number and size.
//!
//! For each class and each size on the COCO scale (up to 32 x 32 pixels, up to 96 x 96, larger) the objects that the
//! teacher expects are summed, and the square root of the sum is a coordinate (Hellinger's distance between counts). More
//! coordinates than [`DIMENSIONS`] are projected onto so many by random signs, which keeps distances nearly as they
//! are (Johnson and Lindenstrauss 1984; signs: Achlioptas 2003).

use crate::{
    toolkit::{LARGE_PX2, SMALL_PX2},
    types::{BoxXyxyPx, Detection},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

/// Coordinates of a point.
pub(super) const DIMENSIONS: usize = 32;
/// Sizes of objects.
const SIZES: usize = 3;

/// A point.
pub(super) type Point = [f32; DIMENSIONS];

/// Makes points of boxes.
#[derive(Debug, Clone)]
pub(super) struct Sketch {
    /// `[classes * sizes]`: where a coordinate goes.
    rows: Vec<Point>,
}

impl Sketch {
    pub(super) fn new(num_classes: usize) -> Self {
        let wanted = num_classes * SIZES;
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let unit = 1.0 / (DIMENSIONS as f32).sqrt();
        let row = |at: usize| {
            let mut row = [0.0; DIMENSIONS];
            if wanted <= DIMENSIONS {
                row.iter_mut().skip(at).take(1).for_each(|value| *value = 1.0);
            } else {
                row.iter_mut().for_each(|value| *value = if random.random::<bool>() { unit } else { -unit });
            }
            row
        };
        Self { rows: (0..wanted).map(row).collect() }
    }

    pub(super) fn point(&self, boxes: &[Detection]) -> Point {
        let mut expected: BTreeMap<usize, f64> = BTreeMap::new();
        for found in boxes {
            let at = found.class_id as usize * SIZES + size_of(found.box_xyxy_px);
            *expected.entry(at).or_default() += f64::from(found.score);
        }
        let mut point = [0.0; DIMENSIONS];
        for (at, count) in expected {
            for (value, unit) in point.iter_mut().zip(self.rows.get(at).into_iter().flatten()) {
                *value += count.sqrt() as f32 * unit;
            }
        }
        point
    }
}

fn size_of(b: BoxXyxyPx) -> usize {
    let area = f64::from(b.x2 - b.x1) * f64::from(b.y2 - b.y1);
    [SMALL_PX2, LARGE_PX2].iter().filter(|limit| area > **limit).count()
}

/// The square of the distance between two points.
pub(super) fn squared_distance(a: &Point, b: &Point) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(class_id: u32, side: f32, score: f32) -> Detection {
        Detection { class_id, score, box_xyxy_px: BoxXyxyPx { x1: 0.0, y1: 0.0, x2: side, y2: side } }
    }

    #[test]
    fn few_classes_have_a_coordinate_for_each_size() {
        let point = Sketch::new(2).point(&[
            found(1, 10.0, 0.5),
            found(1, 10.0, 0.5),
            found(0, 50.0, 0.25),
            found(1, 200.0, 1.0),
        ]);
        let mut wanted = [0.0; DIMENSIONS];
        (wanted[3], wanted[1], wanted[5]) = (1.0, 0.5, 1.0);
        assert_eq!(point, wanted);
    }

    #[test]
    fn projections_keep_distances_nearly() {
        let sketch = Sketch::new(80);
        let mut ratios = Vec::new();
        for class in 0..79 {
            let (a, b) = ([found(class, 10.0, 1.0)], [found(class + 1, 50.0, 1.0), found(class, 200.0, 1.0)]);
            ratios.push(f64::from(squared_distance(&sketch.point(&a), &sketch.point(&b))) / 3.0);
        }
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        assert!((mean - 1.0).abs() < 0.15, "{mean}");
        assert!(ratios.iter().all(|ratio| (0.1..3.0).contains(ratio)), "{ratios:?}");
    }
}
