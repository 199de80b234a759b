//! Views of an image that `build` shows to the teacher and `train` to the student: the same pixels for both.
//!
//! A view is a change of the letterboxed picture. Its numbers are stored as float32, and every picture of it is made from the
//! stored ones: there is no other way to one.

use super::{
    draws::{Augment, Draws, below, stream},
    geometry::{AxisMap, Rect, Scene, Tile},
    hsv::HsvChange,
    picture::Picture,
    render::{Renderer, rows_of},
};
use crate::{
    preprocess::LetterboxPlan,
    types::{ImageSize, ViewChange, Views},
};
use rand::RngExt as _;

/// How views are drawn and rendered. A change that can move a pixel or a number of a view changes this, and with it what a build
/// may go on with and what can be trained on.
pub const VIEW_RULE: &str = "logitcache 1";

/// Drawing the views that a cache names.
pub trait DrawViews {
    /// What makes a view of an image, for a model input of that size: the changes that Ultralytics draws for a picture alone
    /// (scale 0.5 to 1.5, a shift of up to a tenth, a mirror every other time, colours).
    fn change(&self, image_id: i64, view: i32, input: ImageSize) -> ViewChange;

    /// The view of an image that an epoch of a training shows: each in turn, from one that `seed` draws for the image.
    fn shown(&self, seed: u64, epoch: usize, image_id: i64) -> i32;
}

impl DrawViews for Views {
    fn change(&self, image_id: i64, view: i32, input: ImageSize) -> ViewChange {
        if view == 0 {
            return ViewChange::NONE;
        }
        let augment = Augment::free().without_mosaic();
        let draws = Draws::of_view(self.seed, image_id, view);
        // One picture fills the canvas, whatever image lies in it.
        let whole = LetterboxPlan::fit(input, input.height, input.width);
        let scene = augment.scene(&draws, &[Picture::letterboxed(0, whole)], input);
        let [hue, saturation, value] = augment.colour_changes(&draws).unwrap_or_default().map(|change| change as f32);
        ViewChange {
            scale: scene.x.scale as f32,
            offset_x: scene.x.offset as f32,
            offset_y: scene.y.offset as f32,
            flip: scene.flip,
            hue,
            saturation,
            value,
        }
    }

    fn shown(&self, seed: u64, epoch: usize, image_id: i64) -> i32 {
        if self.count == 0 {
            return 0;
        }
        let first = below(stream(seed, 0, image_id as u64, b"turns\0\0\0").random(), self.count as usize);
        1 + ((first + epoch) % self.count as usize) as i32
    }
}

/// What follows "128 images" where each has so many views beside it.
pub fn with_views(count: u32) -> String {
    match count {
        0 => String::new(),
        1 => ", each with 1 view".into(),
        n => format!(", each with {n} views"),
    }
}

impl Scene {
    /// The scene of a view: the letterboxed picture of the training set's image `image`, alone in the window.
    pub fn of_view(change: &ViewChange, image: usize, input: ImageSize) -> Self {
        let axis = |offset: f32| AxisMap { scale: f64::from(change.scale), offset: f64::from(offset) };
        Self {
            input,
            tiles: vec![Tile { image, shift: [0, 0], area: Rect::of_size(input) }],
            x: axis(change.offset_x),
            y: axis(change.offset_y),
            flip: change.flip,
        }
    }
}

/// A view's change of colours; `None` where all three numbers are 0.
fn colours(change: &ViewChange) -> Option<HsvChange> {
    let changes = [change.hue, change.saturation, change.value].map(f64::from);
    (changes != [0.0; 3]).then(|| HsvChange::new(changes))
}

impl Renderer {
    /// Draws a view into `out`, `[H, W, 3]`, from the letterboxed picture, `[H, W, 3]`. `scene` is the change's own.
    pub fn render_view(&mut self, change: &ViewChange, scene: &Scene, picture: &[u8], out: &mut [u8]) {
        self.render_view_part(change, scene, picture, Rect::of_size(scene.input), out);
    }

    /// The same of `part` of the view alone; what else the rows of `part` hold is then undefined.
    pub fn render_view_part(&mut self, change: &ViewChange, scene: &Scene, picture: &[u8], part: Rect, out: &mut [u8]) {
        if part.is_empty() {
            return;
        }
        self.render_part(scene, &[picture], part, out);
        if let Some(colours) = colours(change) {
            for row in rows_of(out, scene.input.width, part) {
                colours.apply(&mut row[part.x1 as usize * 3..part.x2 as usize * 3]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        preprocess::{PAD_GREY, Preprocessor, RgbImage},
        types::BoxXyxyPx,
    };
    use proptest::prelude::*;

    const INPUT: ImageSize = ImageSize { width: 96, height: 64 };

    /// Everything that `views` draws for an image is in its range, and nearly all of the range is drawn.
    #[test]
    fn drawn_changes_are_in_their_ranges_and_fill_them() {
        let views = Views { count: 20, seed: 9 };
        let (mut low, mut high) = ([f32::INFINITY; 6], [f32::NEG_INFINITY; 6]);
        let (mut flips, mut all) = (0, 0);
        for image_id in 0..100 {
            for view in views.numbers().skip(1) {
                let c = views.change(image_id, view, INPUT);
                // Where the middle of the picture comes to lie, from the middle of the window, in sides.
                let shift = |offset: f32, side: u32| (offset + c.scale * side as f32 / 2.0) / side as f32 - 0.5;
                let numbers = [c.scale, shift(c.offset_x, 96), shift(c.offset_y, 64), c.hue, c.saturation, c.value];
                for (at, number) in numbers.into_iter().enumerate() {
                    (low[at], high[at]) = (low[at].min(number), high[at].max(number));
                }
                (flips, all) = (flips + usize::from(c.flip), all + 1);
            }
        }
        for (at, (lowest, highest)) in
            [(0.5, 1.5), (-0.1, 0.1), (-0.1, 0.1), (-0.015, 0.015), (-0.7, 0.7), (-0.4, 0.4)].into_iter().enumerate()
        {
            let slack = (highest - lowest) * 1e-5;
            assert!(low[at] >= lowest - slack && high[at] <= highest + slack, "{at}: {} to {}", low[at], high[at]);
            assert!(high[at] - low[at] > 0.98 * (highest - lowest), "{at}: {} to {}", low[at], high[at]);
        }
        assert!((900..1100).contains(&flips) && all == 2000, "{flips} of {all} are mirrored");
    }

    #[test]
    fn a_view_depends_on_seed_image_and_number_and_on_nothing_else() {
        let change = |count, seed, image_id, view| Views { count, seed }.change(image_id, view, INPUT);
        assert_eq!(change(1, 5, 3, 1), change(8, 5, 3, 1), "more views leave the first as it was");
        let all = [change(8, 5, 3, 1), change(8, 5, 3, 2), change(8, 5, 4, 1), change(8, 6, 3, 1)];
        for (at, a) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|b| a.scale != b.scale && a.hue != b.hue));
        }
        assert_eq!(change(8, 5, 3, 0), ViewChange::NONE);
        // As `tests/python/views.py` draws it by docs/format.md: another number is another VIEW_RULE.
        let known = ViewChange {
            scale: 1.1923665,
            offset_x: -6.627114,
            offset_y: -4.186826,
            flip: false,
            hue: 0.0038031493,
            saturation: 0.021298055,
            value: 0.360767,
        };
        assert_eq!(change(1, 5, 3, 1), known);
    }

    #[test]
    fn each_view_is_shown_in_its_turn() {
        let views = Views { count: 3, seed: 0 };
        let mut firsts = std::collections::BTreeSet::new();
        for image_id in 0..30 {
            let shown: Vec<i32> = (0..7).map(|epoch| views.shown(4, epoch, image_id)).collect();
            assert!(shown.windows(2).all(|pair| pair[1] == pair[0] % 3 + 1), "{shown:?}");
            firsts.insert(shown[0]);
        }
        assert_eq!(firsts.into_iter().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Views::default().shown(4, 2, 1), 0);
    }

    fn changes() -> impl Strategy<Value = ViewChange> {
        (any::<u64>(), 0i64..1000, 1i32..9)
            .prop_map(|(seed, image_id, view)| Views { count: 8, seed }.change(image_id, view, INPUT))
    }

    proptest! {
        #[test]
        fn a_box_comes_back_from_a_view(
            change in changes(), (width, height) in (1u32..2000, 1u32..2000), corners in prop::array::uniform4(0f32..1.0),
        ) {
            let plan = LetterboxPlan::fit(ImageSize { width, height }, INPUT.height, INPUT.width);
            let scene = Scene::of_view(&change, 0, INPUT);
            let (w, h) = (width as f32, height as f32);
            let [a, b, c, d] = corners;
            let image = BoxXyxyPx { x1: w * a.min(b), y1: h * c.min(d), x2: w * a.max(b), y2: h * c.max(d) };
            let window = scene.place(&scene.tiles[0], plan.to_input(image));
            prop_assert!(window.x1 <= window.x2 && window.y1 <= window.y2, "{:?}", window);
            let back = plan.to_image(scene.unplace(&scene.tiles[0], window));
            // An input pixel is at most so many pixels of the image; float32 keeps it to 1 in 2^17 at 100.
            let reach = (w / plan.resized.width as f32).max(h / plan.resized.height as f32);
            let close = |x: f32, y: f32| (x - y).abs() <= 1e-3 + 1e-4 * reach;
            prop_assert!(
                close(back.x1, image.x1) && close(back.x2, image.x2) && close(back.y1, image.y1) && close(back.y2, image.y2),
                "{:?}, not {:?}", back, image
            );
            // By hand: from the middle of the view, by its scale, the other way round in a mirror.
            let middle = |lo: f32, hi: f32| (lo + hi) / 2.0;
            let straight = change.scale * middle(plan.to_input(image).x1, plan.to_input(image).x2) + change.offset_x;
            let expected = if change.flip { 96.0 - straight } else { straight };
            prop_assert!((middle(window.x1, window.x2) - expected).abs() < 1e-2);
        }

        #[test]
        fn a_part_of_a_view_is_that_part_of_the_whole(
            change in changes(), [a, b, c, d] in [0i32..97, 0i32..97, 0i32..65, 0i32..65], seed: u64,
        ) {
            let level = |i: u64| (i.wrapping_mul(seed | 1) >> 7) as u8;
            let letterbox: Vec<u8> = (0..96 * 64 * 3).map(level).collect();
            let (mut whole, mut part) = (vec![0; letterbox.len()], vec![0; letterbox.len()]);
            let scene = Scene::of_view(&change, 0, INPUT);
            Renderer::default().render_view(&change, &scene, &letterbox, &mut whole);
            let rect = Rect { x1: a.min(b), y1: c.min(d), x2: a.max(b), y2: c.max(d) };
            Renderer::default().render_view_part(&change, &scene, &letterbox, rect, &mut part);
            for y in rect.y1..rect.y2 {
                let row = (y * 96 + rect.x1) as usize * 3..(y * 96 + rect.x2) as usize * 3;
                prop_assert_eq!(&whole[row.clone()], &part[row]);
            }
        }

        /// A white square on black: where its box says, the view is light, and around it dark.
        #[test]
        fn the_pixels_of_a_view_lie_where_its_boxes_say(change in changes()) {
            let change = ViewChange { hue: 0.0, saturation: 0.0, value: 0.0, ..change };
            let size = ImageSize { width: 96, height: 64 };
            let at = |x: u32, y: u32| (40..56).contains(&x) && (24..40).contains(&y);
            let level = |i: u32| if at(i / 3 % 96, i / 288) { 255 } else { 0 };
            let image = RgbImage { size, pixels: (0..96 * 64 * 3).map(level).collect() };
            let plan = LetterboxPlan::fit(size, 64, 96);
            let (mut levels, mut out) = (vec![0; 96 * 64 * 3], vec![1; 96 * 64 * 3]);
            Preprocessor::default().letterbox_levels_into(&image, &plan, &mut levels);
            let scene = Scene::of_view(&change, 0, INPUT);
            Renderer::default().render_view(&change, &scene, &levels, &mut out);
            let b = scene.place(&scene.tiles[0], BoxXyxyPx { x1: 40.0, y1: 24.0, x2: 56.0, y2: 40.0 });
            for y in 0..64 {
                for x in 0..96 {
                    let found = out[(y * 96 + x) * 3];
                    let (x, y) = (x as f32, y as f32);
                    // Pixels are sampled at their corner, so an edge is soft over `scale` pixels.
                    let soft = change.scale + 1.0;
                    let inside = b.x1 + soft < x && x < b.x2 - soft && b.y1 + soft < y && y < b.y2 - soft;
                    let outside = x < b.x1 - soft || b.x2 + soft < x || y < b.y1 - soft || b.y2 + soft < y;
                    prop_assert!(!inside || found == 255, "{} at {}, {}", found, x, y);
                    prop_assert!(!outside || found == 0 || found == PAD_GREY || beside_grey(&change, x, y), "{} at {}, {}", found, x, y);
                }
            }
        }
    }

    /// Whether the edge of the picture, where black turns to grey, is near.
    fn beside_grey(change: &ViewChange, x: f32, y: f32) -> bool {
        let x = if change.flip { 95.0 - x } else { x };
        let near = |v: f32, edge: f32| (v - edge).abs() <= change.scale + 1.0;
        let (right, bottom) = (96.0 * change.scale + change.offset_x, 64.0 * change.scale + change.offset_y);
        near(x, change.offset_x) || near(x, right) || near(y, change.offset_y) || near(y, bottom)
    }
}
