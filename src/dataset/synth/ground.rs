//! What lies behind the objects: textured ground and clutter that belongs to no class.

use super::canvas::{Canvas, Colour, hsv};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use std::f32::consts::TAU;

/// Paints ground and clutter over the whole canvas.
pub(super) fn paint(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    texture(canvas, rng);
    let unit = canvas.width.min(canvas.height) as f32;
    for _ in 0..rng.random_range(2..7) {
        smudge(canvas, unit, rng);
    }
    for _ in 0..rng.random_range(4..22) {
        stroke(canvas, unit, rng);
    }
    for _ in 0..rng.random_range(0..5) {
        hatching(canvas, unit, rng);
    }
}

/// Two colours mixed by fractal noise over a slow gradient, sometimes with stripes or tiles.
fn texture(canvas: &mut Canvas, rng: &mut ChaCha8Rng) {
    let hue = rng.random::<f32>();
    let (dark, light) = (rng.random_range(0.12..0.5), rng.random_range(0.45..0.9));
    let a = hsv(hue, rng.random_range(0.05..0.5), dark);
    let b = hsv((hue + rng.random_range(-0.15..0.15) + 1.0) % 1.0, rng.random_range(0.05..0.5), light);
    let salt = rng.random::<u32>();
    let scale = rng.random_range(0.004..0.03_f32);
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let gradient = rng.random_range(0.0..0.6) / canvas.width.max(canvas.height) as f32;
    let pattern = rng.random_range(0..5);
    let period = rng.random_range(12.0..60.0_f32);
    let strength = rng.random_range(0.05..0.2_f32);
    canvas.blend(canvas.whole(), |x, y| {
        let (u, v) = (x * cos + y * sin, y * cos - x * sin);
        let regular = match pattern {
            0 => (u * TAU / period).sin(),
            1 => (u * TAU / period).sin() * (v * TAU / period).sin(),
            // Tiles with dark seams.
            2 => {
                let seam = |at: f32| (at / period).rem_euclid(1.0) < 0.06;
                if seam(u) || seam(v) { -1.5 } else { 0.3 }
            }
            _ => 0.0,
        };
        let grain = fractal(salt, x * scale, y * scale, 5);
        let share = (0.5 + 1.1 * (grain - 0.5) + gradient * u + strength * regular).clamp(0.0, 1.0);
        (lerp(a, b, share), 1.0)
    });
}

/// A large soft spot of light or shade.
fn smudge(canvas: &mut Canvas, unit: f32, rng: &mut ChaCha8Rng) {
    let (x0, y0) = (anywhere(canvas.width, rng), anywhere(canvas.height, rng));
    let radius = unit * rng.random_range(0.1..0.4);
    let colour = hsv(rng.random(), rng.random_range(0.0..0.5), rng.random());
    let strength = rng.random_range(0.1..0.4);
    let squeeze = rng.random_range(0.5..2.0_f32);
    let area = canvas.around(x0, y0, radius * 2.0);
    canvas.blend(area, |x, y| {
        let distance = ((x - x0) / squeeze).hypot((y - y0) * squeeze.min(1.0)) / radius;
        (colour, strength * (1.0 - distance).clamp(0.0, 1.0).powi(2))
    });
}

/// A line, straight or bent, thin against its length.
fn stroke(canvas: &mut Canvas, unit: f32, rng: &mut ChaCha8Rng) {
    let start = [anywhere(canvas.width, rng), anywhere(canvas.height, rng)];
    let length = unit * rng.random_range(0.15..0.8);
    let mut angle = rng.random_range(0.0..TAU);
    let bend = if rng.random_bool(0.5) { rng.random_range(-1.2..1.2) } else { 0.0 };
    let half = unit * rng.random_range(0.001..0.006) + 0.5;
    let colour = hsv(rng.random(), rng.random_range(0.0..0.7), rng.random());
    let opacity = rng.random_range(0.3..0.9);
    const PARTS: u8 = 12;
    let step = length / f32::from(PARTS);
    let mut points = vec![start];
    let mut at = start;
    for _ in 0..PARTS {
        angle += bend / f32::from(PARTS);
        at = [at[0] + step * angle.cos(), at[1] + step * angle.sin()];
        points.push(at);
    }
    for (part, pair) in points.windows(2).enumerate() {
        let &[from, to] = pair else { continue };
        let middle = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
        let first = part == 0;
        let area = canvas.around(middle[0], middle[1], step / 2.0 + half + 1.0);
        canvas.blend(area, |x, y| {
            let (ex, ey) = (to[0] - from[0], to[1] - from[1]);
            let along = ((x - from[0]) * ex + (y - from[1]) * ey) / (ex * ex + ey * ey);
            // Each part paints only its own stretch, so that joints are not painted twice.
            if along > 1.0 || (along <= 0.0 && !first) {
                return (colour, 0.0);
            }
            let along = along.clamp(0.0, 1.0);
            let distance = (x - from[0] - ex * along).hypot(y - from[1] - ey * along);
            (colour, opacity * (half + 0.5 - distance).clamp(0.0, 1.0))
        });
    }
}

/// A patch of parallel lines that fades out at its rim.
fn hatching(canvas: &mut Canvas, unit: f32, rng: &mut ChaCha8Rng) {
    let (x0, y0) = (anywhere(canvas.width, rng), anywhere(canvas.height, rng));
    let radius = unit * rng.random_range(0.08..0.25);
    let (sin, cos) = rng.random_range(0.0..TAU).sin_cos();
    let period = rng.random_range(4.0..14.0_f32);
    let colour = hsv(rng.random(), rng.random_range(0.0..0.6), rng.random());
    let opacity = rng.random_range(0.2..0.6);
    let area = canvas.around(x0, y0, radius);
    canvas.blend(area, |x, y| {
        let line = 0.5 + 0.5 * ((x * cos + y * sin) * TAU / period).sin();
        let fade = (1.5 * (1.0 - (x - x0).hypot(y - y0) / radius)).clamp(0.0, 1.0);
        (colour, opacity * line * fade)
    });
}

fn anywhere(side: u32, rng: &mut ChaCha8Rng) -> f32 {
    rng.random_range(0.0..1.0_f32) * side as f32
}

fn lerp(a: Colour, b: Colour, share: f32) -> Colour {
    [0, 1, 2].map(|i: usize| a[i] + (b[i] - a[i]) * share)
}

/// Value noise of several octaves, 0 to 1.
pub(super) fn fractal(salt: u32, x: f32, y: f32, octaves: u32) -> f32 {
    let (mut sum, mut weight, mut total, mut scale) = (0.0, 1.0, 0.0, 1.0);
    for octave in 0..octaves {
        sum += weight * smooth_noise(salt.wrapping_add(octave), x * scale, y * scale);
        total += weight;
        weight *= 0.55;
        scale *= 2.1;
    }
    sum / total
}

/// Random values at whole coordinates, blended smoothly between them.
fn smooth_noise(salt: u32, x: f32, y: f32) -> f32 {
    let (left, top) = (x.floor(), y.floor());
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    let (u, v) = (ease(x - left), ease(y - top));
    let (left, top) = (left as i32, top as i32);
    let at = |dx: i32, dy: i32| lattice(salt, left.wrapping_add(dx), top.wrapping_add(dy));
    let (upper, lower) = (at(0, 0) + (at(1, 0) - at(0, 0)) * u, at(0, 1) + (at(1, 1) - at(0, 1)) * u);
    upper + (lower - upper) * v
}

/// A hash of whole coordinates as a value in 0..1 (multiply and xor-shift; any well-mixing constants do).
fn lattice(salt: u32, x: i32, y: i32) -> f32 {
    let mut h = salt ^ x.cast_unsigned().wrapping_mul(0x9E37_79B1) ^ y.cast_unsigned().wrapping_mul(0x85EB_CA77);
    h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
    ((h ^ (h >> 15)) >> 8) as f32 / 16_777_216.0
}
