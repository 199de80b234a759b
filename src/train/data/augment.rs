//! The random changes of an image: what they are, how they are drawn.

/// What is changed, how much, how often. The defaults are Ultralytics 8.4's (`cfg/default.yaml`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Largest change of hue as a share of the whole circle, of saturation and of value as shares of themselves: each factor
    /// is drawn uniformly from `-gain..=gain`. 0, 0, 0: colours stay.
    pub hsv_gain: [f64; 3],
    /// Probability of a mirror image (left and right).
    pub flip_prob: f64,
    /// Probability that an image is one of four in a mosaic.
    pub mosaic_prob: f64,
    /// Largest shift in either direction, as a share of the input's side.
    pub translate: f64,
    /// What shifts and scales are allowed.
    pub geometry: Geometry,
}

/// Which changes of geometry are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Geometry {
    /// Only such that keep the anchor grid: shifts and tiles by multiples of 32 pixels, no scaling. Needed with a cache.
    Grid,
    /// Any shift, and a scale drawn uniformly from `1 - scale_gain ..= 1 + scale_gain`, as Ultralytics does.
    Free {
        /// Largest change of scale, 0..1.
        scale_gain: f64,
    },
}

impl Augment {
    /// The changes that keep the anchor grid.
    pub fn grid() -> Self {
        Self {
            hsv_gain: [0.015, 0.7, 0.4],
            flip_prob: 0.5,
            mosaic_prob: 1.0,
            translate: 0.1,
            geometry: Geometry::Grid,
        }
    }

    /// Ultralytics' usual changes, with scaling.
    pub fn free() -> Self {
        Self { geometry: Geometry::Free { scale_gain: 0.5 }, ..Self::grid() }
    }

    /// The plain letterbox.
    pub fn none() -> Self {
        Self { hsv_gain: [0.0; 3], flip_prob: 0.0, mosaic_prob: 0.0, translate: 0.0, geometry: Geometry::Grid }
    }

    /// Without mosaic, for the last epochs.
    pub fn without_mosaic(self) -> Self {
        Self { mosaic_prob: 0.0, ..self }
    }
}
