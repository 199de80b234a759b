//! The random changes of an image: what they are, how they are drawn, and the scene that follows from them.
//!
//! Source of the rules and defaults: Ultralytics 8.4.190, `data/augment.py` (`Mosaic`, `RandomPerspective`, `RandomHSV`,
//! `RandomFlip`) and `cfg/default.yaml`.

use super::{
    geometry::{AxisMap, Rect, Scene, Tile},
    picture::Picture,
};
use crate::types::ImageSize;
use rand::RngExt as _;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

/// Pixels by which [`Geometry::Grid`] moves pictures: a whole number of cells of every stride that divides it.
pub const GRID_STEP_PX: u32 = 32;

/// What is changed, how much, how often. The defaults are Ultralytics'.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Largest change of hue as a share of the whole circle, of saturation and of value as shares of themselves: each is
    /// drawn uniformly from `-gain..=gain`. 0, 0, 0: colours stay.
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
    /// Only such that keep the anchor grid: shifts and tiles by multiples of [`GRID_STEP_PX`], no scaling. Needed with
    /// cached predictions.
    ///
    /// A mosaic's four pictures meet at a point of the grid anywhere in the window (Ultralytics' centre, seen through its
    /// unscaled window), each with its corner there. A tile is the part of the picture that shows the image, outward to
    /// the grid: up to 31 grey pixels lie between images. A mosaic is not shifted, its centre is random already.
    Grid,
    /// Any shift, and a scale drawn uniformly from `1 - scale_gain ..= 1 + scale_gain`, as Ultralytics does: a mosaic on a
    /// canvas of twice the side, its middle in the window, bilinear.
    Free {
        /// Largest change of scale, 0..1.
        scale_gain: f64,
    },
}

impl Augment {
    /// The changes that keep the anchor grid.
    pub fn grid() -> Self {
        Self { hsv_gain: [0.015, 0.7, 0.4], flip_prob: 0.5, mosaic_prob: 1.0, translate: 0.1, geometry: Geometry::Grid }
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

    /// The three other images of a mosaic, drawn from `pool` with repetition; `None` where there is no mosaic this time.
    pub fn partners(&self, draws: &Draws, pool: &[usize]) -> Option<[usize; 3]> {
        let partner = |draw: f64| pool.get(below(draw, pool.len())).copied();
        let [a, b, c] = draws.partners.map(partner);
        (draws.mosaic < self.mosaic_prob).then_some([a?, b?, c?])
    }

    /// The scene of one picture, or of four: top left, top right, bottom left, bottom right of the point where they meet.
    pub fn scene(&self, draws: &Draws, pictures: &[Picture], input: ImageSize) -> Scene {
        let sides = [f64::from(input.width), f64::from(input.height)];
        let flip = draws.flip < self.flip_prob;
        let mosaic = pictures.len() == 4;
        let whole = |shift| {
            let tile =
                |picture: &Picture| Tile { image: picture.image, shift, area: Rect::of_size(input).shifted(shift) };
            pictures.iter().take(1).map(tile).collect::<Vec<_>>()
        };
        match self.geometry {
            Geometry::Grid => {
                let step = f64::from(GRID_STEP_PX);
                let tiles = if mosaic {
                    let meeting = |axis: usize| below(draws.centre[axis], (sides[axis] / step) as usize + 1);
                    let centre = [0, 1].map(|axis| (meeting(axis) as f64 * step) as i32);
                    around(centre, pictures, |picture| picture.outward(GRID_STEP_PX as i32))
                } else {
                    let shift = |axis: usize| {
                        let most = (self.translate * sides[axis] / step + 1e-9) as usize; // 0.1 * 640 / 32 is 2
                        (below(draws.translate[axis], 2 * most + 1) as i32 - most as i32) * GRID_STEP_PX as i32
                    };
                    whole([shift(0), shift(1)])
                };
                Scene { input, tiles, x: AxisMap::IDENTITY, y: AxisMap::IDENTITY, flip }
            }
            Geometry::Free { scale_gain } => {
                let scale = 1.0 + scale_gain * signed(draws.scale);
                let canvas_sides = if mosaic { sides.map(|side| 2.0 * side) } else { sides };
                let map = |axis: usize| {
                    let middle = (0.5 + self.translate * signed(draws.translate[axis])) * sides[axis];
                    AxisMap { scale, offset: middle - scale * canvas_sides[axis] / 2.0 }
                };
                let tiles = if mosaic {
                    let centre = [0, 1].map(|axis| (sides[axis] * (0.5 + draws.centre[axis])) as i32);
                    let canvas = ImageSize { width: 2 * input.width, height: 2 * input.height };
                    let mut tiles = around(centre, pictures, |picture| picture);
                    for tile in &mut tiles {
                        tile.area = tile.area.intersection(Rect::of_size(canvas));
                    }
                    tiles
                } else {
                    whole([0, 0])
                };
                Scene { input, tiles, x: map(0), y: map(1), flip }
            }
        }
    }

    /// Relative changes of hue, saturation and value; `None` where colours stay.
    pub fn colour_changes(&self, draws: &Draws) -> Option<[f64; 3]> {
        (self.hsv_gain != [0.0; 3]).then(|| std::array::from_fn(|i| self.hsv_gain[i] * signed(draws.hsv[i])))
    }
}

/// Four pictures around a point, each with the corner of `part` (of its rectangle in its letterbox) there.
fn around(centre: [i32; 2], pictures: &[Picture], part: impl Fn(Rect) -> Rect) -> Vec<Tile> {
    let tile = |(place, picture): (usize, &Picture)| {
        let (image, picture) = (picture.image, part(picture.area()));
        let (at_left, at_top) = (place % 2 == 0, place / 2 == 0);
        let shift = [
            centre[0] - if at_left { picture.x2 } else { picture.x1 },
            centre[1] - if at_top { picture.y2 } else { picture.y1 },
        ];
        Tile { image, shift, area: picture.shifted(shift) }
    };
    pictures.iter().enumerate().map(tile).collect()
}

/// Every random number of one image in one epoch, each in 0..1. All are drawn always and in this order, so that switching
/// one change off leaves the others as they were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draws {
    /// Whether it is one of a mosaic.
    pub mosaic: f64,
    /// The three others.
    pub partners: [f64; 3],
    /// Where the four meet.
    pub centre: [f64; 2],
    /// How much it is enlarged.
    pub scale: f64,
    /// How far it is shifted.
    pub translate: [f64; 2],
    /// Whether it is mirrored.
    pub flip: f64,
    /// How its colours change.
    pub hsv: [f64; 3],
}

impl Draws {
    /// Those of the image at that position of a training set.
    pub fn new(seed: u64, epoch: usize, image: usize) -> Self {
        Self::of(stream(seed, epoch as u64, image as u64, b"augment\0"))
    }

    /// Those of a stored view of an image: it is the same whatever is built beside it.
    pub fn of_view(seed: u64, image_id: i64, view: i32) -> Self {
        Self::of(stream(seed, view as u64, image_id as u64, b"view\0\0\0\0"))
    }

    fn of(mut random: ChaCha8Rng) -> Self {
        let mut next = || random.random::<f64>();
        Self {
            mosaic: next(),
            partners: [next(), next(), next()],
            centre: [next(), next()],
            scale: next(),
            translate: [next(), next()],
            flip: next(),
            hsv: [next(), next(), next()],
        }
    }
}

/// The random numbers of one purpose: ChaCha with all that they depend on as its key.
pub(super) fn stream(seed: u64, epoch: u64, image: u64, purpose: &[u8; 8]) -> ChaCha8Rng {
    let parts = [seed.to_le_bytes(), epoch.to_le_bytes(), image.to_le_bytes(), *purpose];
    let mut key = [0; 32];
    for (to, from) in key.chunks_exact_mut(8).zip(parts) {
        to.copy_from_slice(&from);
    }
    ChaCha8Rng::from_seed(key)
}

/// The order of an epoch's images: 0..images shuffled (Fisher-Yates).
pub fn shuffled(seed: u64, epoch: usize, images: usize) -> Vec<usize> {
    let mut random = stream(seed, epoch as u64, 0, b"shuffle\0");
    let mut order: Vec<usize> = (0..images).collect();
    for last in (1..images).rev() {
        order.swap(last, below(random.random(), last + 1));
    }
    order
}

/// 0..1 onto 0..count, whole numbers.
pub(super) fn below(draw: f64, count: usize) -> usize {
    ((draw * count as f64) as usize).min(count.saturating_sub(1))
}

/// 0..1 onto -1..1.
fn signed(draw: f64) -> f64 {
    2.0 * draw - 1.0
}
