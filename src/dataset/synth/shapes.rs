//! The classes and their outlines, as signed distances.

use std::f32::consts::{FRAC_PI_2, PI, TAU};

/// A class of drawn objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShapeClass {
    /// A filled disc.
    Circle,
    /// A disc with a round hole.
    Ring,
    /// Three equal sides.
    Triangle,
    /// Four equal sides.
    Square,
    /// Five points.
    Star,
    /// Two bars at a right angle.
    Cross,
}

impl ShapeClass {
    /// All classes, by class id.
    pub const ALL: [Self; 6] = [Self::Circle, Self::Ring, Self::Triangle, Self::Square, Self::Star, Self::Cross];

    /// The class id.
    pub fn id(self) -> usize {
        self as usize
    }

    /// The name in `data.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Ring => "ring",
            Self::Triangle => "triangle",
            Self::Square => "square",
            Self::Star => "star",
            Self::Cross => "cross",
        }
    }
}

/// A shape of radius 1 around the origin, ready to be measured.
pub(super) enum Outline {
    Circle,
    Ring { middle: f32, half_width: f32 },
    Polygon(Vec<[f32; 2]>),
}

impl Outline {
    /// `variation` in 0..1 chooses among thinner and thicker rings, stars and crosses.
    pub(super) fn new(class: ShapeClass, variation: f32) -> Self {
        let mix = |low: f32, high: f32| low + (high - low) * variation;
        match class {
            ShapeClass::Circle => Self::Circle,
            ShapeClass::Ring => {
                let hole = mix(0.45, 0.68);
                Self::Ring { middle: (1.0 + hole) / 2.0, half_width: (1.0 - hole) / 2.0 }
            }
            ShapeClass::Triangle => Self::regular(3),
            ShapeClass::Square => Self::regular(4),
            ShapeClass::Star => {
                let inner = mix(0.38, 0.5);
                Self::Polygon((0..10).map(|i| on_circle(i, 10, if i % 2 == 0 { 1.0 } else { inner })).collect())
            }
            ShapeClass::Cross => {
                let half = mix(0.22, 0.34);
                let end = (1.0 - half * half).sqrt();
                let corner = [[end, -half], [end, half], [half, half]];
                // The corner's three points, turned by a right angle four times.
                let turned = (0..4).flat_map(|quarter| {
                    corner.map(|[x, y]| match quarter {
                        0 => [x, y],
                        1 => [-y, x],
                        2 => [-x, -y],
                        _ => [y, -x],
                    })
                });
                Self::Polygon(turned.collect())
            }
        }
    }

    fn regular(corners: u8) -> Self {
        Self::Polygon((0..corners).map(|i| on_circle(i, corners, 1.0)).collect())
    }

    /// How far a point lies outside the outline; negative inside. Near the outline it is the true distance.
    pub(super) fn distance(&self, x: f32, y: f32) -> f32 {
        let radius = x.hypot(y);
        match self {
            Self::Circle => radius - 1.0,
            Self::Ring { middle, half_width } => (radius - middle).abs() - half_width,
            Self::Polygon(points) => polygon_distance(points, x, y),
        }
    }
}

fn on_circle(i: u8, of: u8, radius: f32) -> [f32; 2] {
    let angle = TAU * f32::from(i) / f32::from(of) - FRAC_PI_2;
    debug_assert!(angle.abs() <= 2.0 * PI);
    [radius * angle.cos(), radius * angle.sin()]
}

/// Distance to the nearest edge; inside or outside by counting crossings of a ray
/// (<https://iquilezles.org/articles/distfunctions2d/>, "Polygon").
fn polygon_distance(points: &[[f32; 2]], x: f32, y: f32) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut previous = points.last().copied().unwrap_or_default();
    for &current in points {
        let edge = [previous[0] - current[0], previous[1] - current[1]];
        let from = [x - current[0], y - current[1]];
        let length = edge[0] * edge[0] + edge[1] * edge[1];
        let along = ((from[0] * edge[0] + from[1] * edge[1]) / length).clamp(0.0, 1.0);
        let (dx, dy) = (from[0] - edge[0] * along, from[1] - edge[1] * along);
        nearest = nearest.min(dx * dx + dy * dy);
        let crosses = (current[1] > y) != (previous[1] > y);
        if crosses && x < current[0] + edge[0] * (y - current[1]) / edge[1] {
            inside = !inside;
        }
        previous = current;
    }
    let distance = nearest.sqrt();
    if inside { -distance } else { distance }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Area of a shape by counting points of a grid.
    fn area(outline: &Outline) -> f32 {
        let steps = -120..=120_i16;
        let at = |i: i16| f32::from(i) / 100.0;
        let inside = steps.clone().flat_map(|y| steps.clone().map(move |x| (x, y)));
        inside.filter(|&(x, y)| outline.distance(at(x), at(y)) < 0.0).count() as f32 / 10_000.0
    }

    #[test]
    fn areas_are_those_of_geometry() {
        let close = |class, expected: f32| {
            let found = area(&Outline::new(class, 0.0));
            assert!((found - expected).abs() < 0.02, "{class:?}: {found} instead of {expected}");
        };
        close(ShapeClass::Circle, PI);
        close(ShapeClass::Ring, PI * (1.0 - 0.45 * 0.45));
        close(ShapeClass::Triangle, 1.299);
        close(ShapeClass::Square, 2.0);
        close(ShapeClass::Star, 5.0 * 0.38 * (PI / 5.0).sin());
        let end = (1.0_f32 - 0.22 * 0.22).sqrt();
        close(ShapeClass::Cross, 2.0 * (2.0 * end * 2.0 * 0.22) - (2.0 * 0.22_f32).powi(2));
    }

    #[test]
    fn every_shape_fits_its_radius_and_fills_it() {
        for class in ShapeClass::ALL {
            for variation in [0.0, 0.5, 1.0] {
                let outline = Outline::new(class, variation);
                for i in 0..=255 {
                    let [x, y] = on_circle(i, 255, 1.001);
                    assert!(outline.distance(x, y) > 0.0, "{class:?}");
                }
                assert!(area(&outline) > 0.7, "{class:?}: {}", area(&outline));
            }
        }
    }

    #[test]
    fn ids_are_positions() {
        assert!(ShapeClass::ALL.iter().enumerate().all(|(i, class)| class.id() == i));
    }
}
