//! The pixels while they are drawn: colours as floats, and which object each pixel shows.

use image::RgbImage;
use rand_chacha::{ChaCha8Rng, rand_core::Rng};

/// Red, green, blue, 0 to 1.
pub(super) type Colour = [f32; 3];

pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    pixels: Vec<Colour>,
    /// `[height, width]` the object that a pixel shows, counted from 1; 0 for the ground.
    owner: Vec<u16>,
}

/// A rectangle of whole pixels inside a canvas, half-open.
#[derive(Clone, Copy)]
pub(super) struct Area {
    x1: u32,
    y1: u32,
    x2: u32,
    y2: u32,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let count = width as usize * height as usize;
        Self { width, height, pixels: vec![[0.0; 3]; count], owner: vec![0; count] }
    }

    pub(super) fn whole(&self) -> Area {
        Area { x1: 0, y1: 0, x2: self.width, y2: self.height }
    }

    /// The pixels within `reach` of a point, as far as they lie on the canvas.
    pub(super) fn around(&self, x: f32, y: f32, reach: f32) -> Area {
        // A float turned into an integer saturates.
        let low = |at: f32| (at - reach).floor() as u32;
        let high = |at: f32, limit: u32| ((at + reach).ceil() as u32).min(limit);
        Area { x1: low(x), y1: low(y), x2: high(x, self.width), y2: high(y, self.height) }
    }

    /// Blends over an area: `paint` gives, for the middle of a pixel, a colour and how much of it covers the pixel.
    pub(super) fn blend(&mut self, area: Area, mut paint: impl FnMut(f32, f32) -> (Colour, f32)) {
        for y in area.y1..area.y2 {
            for x in area.x1..area.x2 {
                let (colour, cover) = paint(x as f32 + 0.5, y as f32 + 0.5);
                if cover > 0.0
                    && let Some(pixel) = self.pixels.get_mut((y * self.width + x) as usize)
                {
                    mix(pixel, colour, cover);
                }
            }
        }
    }

    /// [`Self::blend`] for an object: pixels of which it covers at least half become its own. Returns how many.
    pub(super) fn blend_object(
        &mut self,
        object: u16,
        area: Area,
        mut paint: impl FnMut(f32, f32) -> (Colour, f32),
    ) -> u32 {
        let (width, owner) = (self.width, std::mem::take(&mut self.owner));
        let mut owner = owner;
        let mut own = 0;
        self.blend(area, |x, y| {
            let (colour, cover) = paint(x, y);
            if cover >= 0.5
                && let Some(of) = owner.get_mut((y as u32 * width + x as u32) as usize)
            {
                *of = object;
                own += 1;
            }
            (colour, cover)
        });
        self.owner = owner;
        own
    }

    /// The mean colour of an area; grey where it is empty.
    pub(super) fn mean(&self, area: Area) -> Colour {
        let (mut sum, mut count) = ([0.0_f32; 3], 0.0_f32);
        for y in (area.y1..area.y2).step_by(2) {
            for x in (area.x1..area.x2).step_by(2) {
                if let Some(pixel) = self.pixels.get((y * self.width + x) as usize) {
                    sum.iter_mut().zip(pixel).for_each(|(s, p)| *s += p);
                    count += 1.0;
                }
            }
        }
        if count > 0.0 { sum.map(|s| s / count) } else { [0.5; 3] }
    }

    /// For each object counted from 1 to `objects`: how many pixels show it, and the tight half-open box around those
    /// as left, top, right, bottom.
    pub(super) fn visible(&self, objects: usize) -> Vec<(u32, [u32; 4])> {
        let mut seen = vec![(0, [u32::MAX, u32::MAX, 0, 0]); objects];
        let places = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        for ((x, y), &owner) in places.zip(&self.owner) {
            let object = usize::from(owner).checked_sub(1).and_then(|i| seen.get_mut(i));
            if let Some((count, [x1, y1, x2, y2])) = object {
                *count += 1;
                (*x1, *y1) = ((*x1).min(x), (*y1).min(y));
                (*x2, *y2) = ((*x2).max(x + 1), (*y2).max(y + 1));
            }
        }
        seen
    }

    /// `[height, width]` which object each pixel shows, counted from 1; 0 for the ground.
    pub(super) fn into_owner(self) -> Vec<u16> {
        self.owner
    }

    /// Darkens towards the corners and adds noise of the given standard deviation (0 to 1), then rounds to bytes.
    pub(super) fn develop(&self, vignette: f32, noise: f32, rng: &mut ChaCha8Rng) -> RgbImage {
        let (half_width, half_height) = (self.width as f32 / 2.0, self.height as f32 / 2.0);
        // The sum of four uniform bytes is nearly normal; its standard deviation is 147.8.
        let noise = noise * 255.0 / 147.8;
        let mut image = RgbImage::new(self.width, self.height);
        for (i, (target, pixel)) in image.pixels_mut().zip(&self.pixels).enumerate() {
            let (x, y) = (i as u32 % self.width, i as u32 / self.width);
            let (dx, dy) = (x as f32 / half_width - 1.0, y as f32 / half_height - 1.0);
            let light = 255.0 * (1.0 - vignette * (dx * dx + dy * dy) / 2.0);
            for (byte, value) in target.0.iter_mut().zip(pixel) {
                let sum: u32 = rng.next_u32().to_le_bytes().into_iter().map(u32::from).sum();
                *byte = (value * light + (sum as f32 - 510.0) * noise).round() as u8;
            }
        }
        image
    }
}

pub(super) fn mix(under: &mut Colour, over: Colour, cover: f32) {
    let cover = cover.min(1.0);
    under.iter_mut().zip(over).for_each(|(u, o)| *u += (o - *u) * cover);
}

/// Hue, saturation and value, each 0 to 1, as a colour.
pub(super) fn hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    [5.0, 3.0, 1.0].map(|n: f32| {
        let k = (n + hue * 6.0) % 6.0;
        value - value * saturation * k.min(4.0 - k).clamp(0.0, 1.0)
    })
}

/// How different two colours look: the distance, green and red counting more than blue.
pub(super) fn contrast(a: Colour, b: Colour) -> f32 {
    let [r, g, b] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    (0.9 * r * r + 1.5 * g * g + 0.6 * b * b).sqrt()
}
