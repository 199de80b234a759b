//! One picture: which objects lie where, and which of them stay visible enough to be labelled.

use super::{
    canvas::{Canvas, Colour, contrast, hsv},
    ground,
    shapes::{Outline, ShapeClass},
};
use image::RgbImage;
use rand::RngExt as _;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use std::f32::consts::TAU;

/// An object is labelled when at least this share of it, and this many pixels, can be seen.
const MIN_VISIBLE_SHARE: f32 = 0.3;
const MIN_VISIBLE_PX: u32 = 24;
/// Smallest radius in pixels: below it, a star cannot be told from a circle.
const MIN_RADIUS_PX: f32 = 5.0;
/// Largest radius as a share of the picture's shorter side.
const MAX_RADIUS_SHARE: f32 = 0.28;
/// Width to height of landscape pictures.
const ASPECTS: [f32; 5] = [1.0, 5.0 / 4.0, 4.0 / 3.0, 3.0 / 2.0, 16.0 / 9.0];

/// A finished picture with its truth.
pub struct Drawn {
    /// The picture.
    pub image: RgbImage,
    /// The labelled objects, lowest first.
    pub objects: Vec<SceneObject>,
    /// `[height, width]` the object a pixel shows, as position in `objects` plus one; 0 for ground and for objects too
    /// hidden to be labelled.
    pub owner: Vec<u16>,
    /// Quality of the JPEG to write; `None` for a PNG.
    pub jpeg_quality: Option<u8>,
}

/// A labelled object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SceneObject {
    /// What it is.
    pub class: ShapeClass,
    /// Left, top, right, bottom of its visible pixels, half-open: tight by construction.
    pub xyxy_px: [u32; 4],
    /// How much of the whole object can be seen, parts beyond the picture's edge counting as hidden; 0 to 1.
    pub visible_share: f32,
}

/// Draws image `index` of the data set with this seed. Nothing but the three arguments counts.
pub fn draw(seed: u64, index: u32, imgsz: u32) -> Drawn {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // One stream of the generator for each image.
    rng.set_stream(u64::from(index));
    let rng = &mut rng;

    let (width, height) = picture_size(imgsz, rng);
    let jpeg_quality = rng.random_bool(0.75).then(|| rng.random_range(72..=96));
    let mut canvas = Canvas::new(width, height);
    ground::paint(&mut canvas, rng);
    let shapes: Vec<Shape> = (0..object_count(rng)).map(|_| Shape::random(&canvas, rng)).collect();
    let mut whole_px = Vec::with_capacity(shapes.len());
    for (number, shape) in (1..).zip(&shapes) {
        whole_px.push(shape.paint(&mut canvas, number, rng));
    }
    let image = canvas.develop(rng.random_range(0.0..0.35), rng.random_range(0.003..0.035), rng);

    let mut objects = Vec::new();
    let mut labels = vec![0_u16];
    for ((shape, whole_px), (visible_px, xyxy_px)) in shapes.iter().zip(whole_px).zip(canvas.visible(shapes.len())) {
        let visible_share = (visible_px as f32 / whole_px.max(1.0)).min(1.0);
        let labelled = visible_px >= MIN_VISIBLE_PX && visible_share >= MIN_VISIBLE_SHARE;
        if labelled {
            objects.push(SceneObject { class: shape.class, xyxy_px, visible_share });
        }
        labels.push(if labelled { objects.len() as u16 } else { 0 });
    }
    let owner = canvas.into_owner().into_iter().map(|o| labels.get(usize::from(o)).copied().unwrap_or(0)).collect();
    Drawn { image, objects, owner, jpeg_quality }
}

/// Sizes around `imgsz` on the longer side, landscape and portrait.
fn picture_size(imgsz: u32, rng: &mut ChaCha8Rng) -> (u32, u32) {
    let long = imgsz as f32 * rng.random_range(0.65..1.3);
    let short = long / ASPECTS[rng.random_range(0..ASPECTS.len())];
    let (long, short) = (long.round() as u32, short.round() as u32);
    if rng.random_bool(0.3) { (short, long) } else { (long, short) }
}

/// Mostly a handful, sometimes a crowd, now and then nothing.
fn object_count(rng: &mut ChaCha8Rng) -> u16 {
    match rng.random_range(0..20) {
        0 => 0,
        1..=3 => rng.random_range(18..40),
        _ => rng.random_range(2..14),
    }
}

struct Shape {
    class: ShapeClass,
    outline: Outline,
    x: f32,
    y: f32,
    radius: f32,
    /// Sine and cosine of the rotation.
    turn: (f32, f32),
    /// How much wider than high, 1 for neither.
    stretch: f32,
    fill: Fill,
    rim: f32,
}

/// How a shape is filled, in its own coordinates.
enum Fill {
    Plain,
    Stripes { per_radius: f32 },
    Checks { per_radius: f32 },
    Marble { salt: u32 },
}

impl Shape {
    fn random(canvas: &Canvas, rng: &mut ChaCha8Rng) -> Self {
        let class = ShapeClass::ALL[rng.random_range(0..ShapeClass::ALL.len())];
        let largest = MAX_RADIUS_SHARE * canvas.width.min(canvas.height) as f32;
        // The logarithm of the size is spread evenly, and squared towards the small ones.
        let towards_small: f32 = rng.random::<f32>().powf(1.6);
        let radius = MIN_RADIUS_PX * (largest.max(MIN_RADIUS_PX) / MIN_RADIUS_PX).powf(towards_small);
        let fill = match rng.random_range(0..8) {
            0 => Fill::Stripes { per_radius: rng.random_range(1.5..4.0) },
            1 => Fill::Checks { per_radius: rng.random_range(1.5..3.5) },
            2 | 3 => Fill::Marble { salt: rng.random() },
            _ => Fill::Plain,
        };
        Self {
            class,
            outline: Outline::new(class, rng.random()),
            // The middle lies on the picture, so that at least about a quarter of most shapes does.
            x: rng.random::<f32>() * canvas.width as f32,
            y: rng.random::<f32>() * canvas.height as f32,
            radius,
            turn: rng.random_range(0.0..TAU).sin_cos(),
            stretch: rng.random_range(0.91..1.1_f32),
            fill,
            rim: if rng.random_bool(0.4) { rng.random_range(0.06..0.14) } else { 0.0 },
        }
    }

    /// Coordinates in which the shape has the radius 1.
    fn local(&self, x: f32, y: f32) -> (f32, f32) {
        let (dx, dy) = ((x - self.x) / self.radius, (y - self.y) / self.radius);
        let (sin, cos) = self.turn;
        ((dx * cos + dy * sin) / self.stretch, (dy * cos - dx * sin) * self.stretch)
    }

    /// Distance to the outline in pixels, negative inside.
    fn distance_px(&self, x: f32, y: f32) -> f32 {
        let (u, v) = self.local(x, y);
        // The stretched axis has distances up to a tenth off, far less than a pixel within the blended rim.
        self.outline.distance(u, v) * self.radius
    }

    /// Draws the shadow and the shape; returns how many pixels the whole shape has, beyond the picture's edge included.
    fn paint(&self, canvas: &mut Canvas, number: u16, rng: &mut ChaCha8Rng) -> f32 {
        let reach = self.radius * self.stretch.max(1.0 / self.stretch) + 1.5;
        let area = canvas.around(self.x, self.y, reach);
        let ground = canvas.mean(area);
        let colour = standing_out(ground, rng);
        let second = standing_out(colour, rng);

        let offset = self.radius * 0.09;
        let blur = self.radius * 0.16 + 1.0;
        let darkness = rng.random_range(0.0..0.45_f32);
        let shadow = canvas.around(self.x + offset, self.y + offset, reach + blur);
        canvas.blend(shadow, |x, y| {
            let distance = self.distance_px(x - offset, y - offset);
            ([0.0; 3], darkness * (0.5 - distance / (2.0 * blur)).clamp(0.0, 1.0))
        });

        canvas.blend_object(number, area, |x, y| {
            let distance = self.distance_px(x, y);
            let cover = (0.5 - distance).clamp(0.0, 1.0);
            if cover == 0.0 {
                return (colour, 0.0);
            }
            let (u, v) = self.local(x, y);
            let base = self.filled(u, v, colour, second);
            // Light from above: brighter at the top, darker at the bottom and along the rim.
            let height = (self.y - y) / self.radius;
            let rim = if self.rim > 0.0 && distance > -self.rim * self.radius - 1.0 { 0.45 } else { 1.0 };
            (base.map(|c| (c * rim * (1.0 + 0.22 * height)).clamp(0.0, 1.0)), cover)
        });
        self.whole_px(reach)
    }

    /// The shape's pixels by the rule of [`Canvas::blend_object`], as if the picture had no edge.
    fn whole_px(&self, reach: f32) -> f32 {
        let steps = |at: f32| ((at - reach).floor() as i32)..((at + reach).ceil() as i32);
        let mut count = 0.0;
        for y in steps(self.y) {
            for x in steps(self.x) {
                if self.distance_px(x as f32 + 0.5, y as f32 + 0.5) <= 0.0 {
                    count += 1.0;
                }
            }
        }
        count
    }

    fn filled(&self, u: f32, v: f32, colour: Colour, second: Colour) -> Colour {
        let share = match self.fill {
            Fill::Plain => 0.0,
            Fill::Stripes { per_radius } => soft_step((u * per_radius * TAU / 2.0).sin(), self.radius),
            Fill::Checks { per_radius } => {
                let wave = |at: f32| (at * per_radius * TAU / 2.0).sin();
                soft_step(wave(u) * wave(v), self.radius)
            }
            Fill::Marble { salt } => 0.8 * ground::fractal(salt, u * 2.0 + 9.0, v * 2.0 + 9.0, 3),
        };
        let mut filled = colour;
        super::canvas::mix(&mut filled, second, share * 0.7);
        filled
    }
}

/// 0 below zero, 1 above, smooth over about a pixel of a shape with this radius.
fn soft_step(value: f32, radius: f32) -> f32 {
    (0.5 + value * (radius / 6.0).max(1.0)).clamp(0.0, 1.0)
}

/// A random colour that can be told from another.
fn standing_out(from: Colour, rng: &mut ChaCha8Rng) -> Colour {
    let random = |rng: &mut ChaCha8Rng| hsv(rng.random(), rng.random_range(0.3..1.0), rng.random_range(0.35..1.0));
    let tries: [Colour; 4] = std::array::from_fn(|_| random(rng));
    let good = tries.iter().find(|colour| contrast(**colour, from) > 0.45);
    *good.unwrap_or_else(|| {
        let further = |a: &&Colour, b: &&Colour| contrast(**a, from).total_cmp(&contrast(**b, from));
        tries.iter().max_by(further).unwrap_or(&tries[0])
    })
}
