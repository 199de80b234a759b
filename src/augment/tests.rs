//! Scenes against Ultralytics (`tests/fixtures/augment.py` made the goldens) and against brute force.

use super::{
    Augment,
    draws::{Draws, shuffled},
    geometry::{AxisMap, Rect, Scene, Tile, mirror_box},
    picture::Picture,
    render::Renderer,
};
use crate::{
    preprocess::{LetterboxPlan, PAD_GREY, Preprocessor, RgbImage},
    types::{BoxXyxyPx, ImageSize},
};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Goldens {
    pub hsv: Vec<[f64; 3]>,
    pub hsv_sha256: String,
    scenes: Vec<GoldenScene>,
}

#[derive(Deserialize)]
struct GoldenScene {
    u: GoldenDraws,
    sizes: Vec<[u32; 2]>,
    boxes: Vec<Vec<[f32; 5]>>,
    labels: Vec<[f32; 5]>,
}

#[derive(Deserialize)]
struct GoldenDraws {
    centre: [f64; 2],
    scale: f64,
    translate: [f64; 2],
    flip: f64,
}

const BLOB: &[u8] = include_bytes!("../../tests/fixtures/augment.bin");
const COLOURS: usize = 64 * 16 * 3;
const SIDE: u32 = 96;
const PICTURE: usize = (SIDE * SIDE * 3) as usize;

pub fn goldens() -> Goldens {
    serde_json::from_str(include_str!("../../tests/fixtures/augment.json")).unwrap()
}

impl Goldens {
    /// The colours and what became of them under each change.
    pub fn colours(&self) -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut parts = BLOB.chunks(COLOURS).map(<[u8]>::to_vec);
        (parts.next().unwrap(), parts.take(self.hsv.len()).collect())
    }

    fn pictures(&self) -> impl Iterator<Item = &[u8]> {
        BLOB[(1 + self.hsv.len()) * COLOURS..].chunks(PICTURE)
    }
}

/// As `pattern` in the generator, letterboxed.
fn picture(width: u32, height: u32, number: u32, input: ImageSize) -> (LetterboxPlan, Vec<u8>) {
    let level =
        |x: u32, y: u32, channel: u32| ((x * 7 + y * 13 + channel * 85 + x * y * 31 / 16 + number * 50) % 256) as u8;
    let pixels = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| level(x, y, channel))))
        .collect();
    let image = RgbImage { size: ImageSize { width, height }, pixels };
    let plan = LetterboxPlan::fit(image.size, input.height, input.width);
    let mut levels = vec![0; (input.width * input.height * 3) as usize];
    Preprocessor::default().letterbox_levels_into(&image, &plan, &mut levels);
    (plan, levels)
}

fn square(side: u32) -> ImageSize {
    ImageSize { width: side, height: side }
}

#[test]
fn free_scenes_equal_ultralytics() {
    let goldens = goldens();
    assert_eq!(goldens.pictures().count(), goldens.scenes.len());
    for (number, (golden, expected)) in goldens.scenes.iter().zip(goldens.pictures()).enumerate() {
        let made: Vec<_> =
            (0..).zip(&golden.sizes).map(|(i, &[width, height])| picture(width, height, i, square(SIDE))).collect();
        let pictures: Vec<_> = made.iter().enumerate().map(|(i, (plan, _))| Picture::letterboxed(i, *plan)).collect();
        let levels: Vec<&[u8]> = made.iter().map(|(_, levels)| &levels[..]).collect();
        let u = &golden.u;
        let draws =
            Draws { centre: u.centre, scale: u.scale, translate: u.translate, flip: u.flip, ..Draws::new(0, 0, 0) };
        let scene = Augment::free().scene(&draws, &pictures, square(SIDE));

        let mut found = vec![0; PICTURE];
        Renderer::default().render(&scene, &levels, &mut found);
        let mut off = 0;
        for (place, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            let difference = found.abs_diff(expected);
            assert!(difference <= 1, "scene {number}, value {place}: {found}, not {expected}");
            off += usize::from(difference);
        }
        assert!(off * 20 < PICTURE, "scene {number}: {off} of {PICTURE} values are off by one");

        let mut labels = Vec::new();
        for (tile, (own, picture)) in scene.tiles.iter().zip(golden.boxes.iter().zip(&pictures)) {
            for &[class, x1, y1, x2, y2] in own {
                let placed = scene.place_label(tile, picture.to_picture(BoxXyxyPx { x1, y1, x2, y2 }));
                labels.extend(placed.map(|b| [class, b.x1, b.y1, b.x2, b.y2]));
            }
        }
        labels.sort_by(|a, b| a.partial_cmp(b).unwrap());
        assert_eq!(labels.len(), golden.labels.len(), "scene {number}");
        for (found, expected) in labels.iter().zip(&golden.labels) {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}, not {expected:?}");
        }
    }
}

/// An input of a few cells either way, pictures of any size in it, and every random number.
fn grid_scenes() -> impl Strategy<Value = (ImageSize, Vec<(u32, u32)>, Draws)> {
    let input = (1u32..4, 1u32..4).prop_map(|(w, h)| ImageSize { width: 32 * w, height: 32 * h });
    let sizes =
        prop_oneof![prop::collection::vec((1u32..130, 1u32..130), 1), prop::collection::vec((1u32..130, 1u32..130), 4)];
    (input, sizes, any::<u64>()).prop_map(|(input, sizes, seed)| (input, sizes, Draws::new(seed, 3, 5)))
}

proptest! {
    #[test]
    fn mirrored_twice_is_as_before(
        (columns, rows) in (1u32..4, 1u32..4), (width, height) in (1u32..130, 1u32..130), x1 in -9f32..90.0,
    ) {
        let input = ImageSize { width: 32 * columns, height: 32 * rows };
        let b = BoxXyxyPx { x1, y1: 1.0, x2: x1 + 3.0, y2: 2.0 };
        let back = mirror_box(mirror_box(b, input.width), input.width);
        prop_assert!((back.x1 - b.x1).abs() < 1e-4 && (back.x2 - b.x2).abs() < 1e-4 && back.y1 == b.y1);

        let (_, levels) = picture(width, height, 0, input);
        let here = Tile { image: 0, shift: [0, 0], area: Rect::of_size(input) };
        let scene = Scene { input, tiles: vec![here], x: AxisMap::IDENTITY, y: AxisMap::IDENTITY, flip: true };
        let (mut once, mut twice) = (vec![0; levels.len()], vec![0; levels.len()]);
        Renderer::default().render(&scene, &[&levels], &mut once);
        Renderer::default().render(&scene, &[&once], &mut twice);
        prop_assert_eq!(twice, levels);
    }

    #[test]
    fn grid_scenes_show_the_pixels_of_their_pictures((input, sizes, draws) in grid_scenes()) {
        let made: Vec<_> = (0..).zip(&sizes).map(|(i, &(w, h))| picture(w, h, i, input)).collect();
        let pictures: Vec<_> = made.iter().enumerate().map(|(i, (plan, _))| Picture::letterboxed(i, *plan)).collect();
        let levels: Vec<&[u8]> = made.iter().map(|(_, levels)| &levels[..]).collect();
        let scene = Augment { translate: 0.7, ..Augment::grid() }.scene(&draws, &pictures, input);
        prop_assert!(scene.keeps_grid());
        prop_assert_eq!(scene.tiles.len(), sizes.len());
        for tile in &scene.tiles {
            let edges = [tile.shift[0], tile.shift[1], tile.area.x1, tile.area.y1, tile.area.x2, tile.area.y2];
            prop_assert!(edges.iter().all(|edge| edge % 32 == 0), "{:?}", tile);
        }
        let width = input.width as usize;
        let mut out = vec![0; levels[0].len()];
        Renderer::default().render(&scene, &levels, &mut out);
        for (place, found) in out.as_chunks::<3>().0.iter().enumerate() {
            let (column, y) = (place % width, (place / width) as i32);
            let x = if scene.flip { width - 1 - column } else { column } as i32;
            let shows = |tile: &&Tile| {
                (tile.area.x1..tile.area.x2).contains(&x) && (tile.area.y1..tile.area.y2).contains(&y)
            };
            let over: Vec<&Tile> = scene.tiles.iter().filter(shows).collect();
            prop_assert!(over.len() < 2, "tiles overlap at {}, {}", x, y);
            let expected = over.first().map_or([PAD_GREY; 3], |tile| {
                let at = ((y - tile.shift[1]) as usize * width + (x - tile.shift[0]) as usize) * 3;
                levels[tile.image][at..at + 3].try_into().unwrap()
            });
            prop_assert_eq!(*found, expected);
        }
    }

    #[test]
    fn resampling_without_scale_is_copying((input, sizes, draws) in grid_scenes(), dx in -40i32..40, dy in -40i32..40) {
        let (plan, levels) = picture(sizes[0].0, sizes[0].1, 0, input);
        let mut scene = Augment::grid().scene(&draws, &[Picture::letterboxed(0, plan)], input);
        scene.tiles[0].shift = [dx, dy];
        scene.tiles[0].area = Rect::of_size(input).shifted([dx, dy]);
        let (mut copied, mut resampled) = (vec![0; levels.len()], vec![1; levels.len()]);
        Renderer::default().render(&scene, &[&levels], &mut copied);
        scene.tiles[0].shift = [0, 0];
        scene.tiles[0].area = Rect::of_size(input);
        (scene.x.offset, scene.y.offset) = (f64::from(dx), f64::from(dy));
        scene.y.scale = 1.0 + 1e-12; // so that it does not count as unscaled
        Renderer::default().render(&scene, &[&levels], &mut resampled);
        prop_assert_eq!(copied, resampled);
    }

    #[test]
    fn kept_labels_lie_in_the_window_and_are_no_slivers(
        (input, sizes, draws) in grid_scenes(), free: bool, corners in prop::array::uniform4(0f32..1.0),
    ) {
        let pictures: Vec<_> =
            (0..).zip(&sizes).map(|(i, &(w, h))| Picture::letterboxed(i, picture(w, h, 0, input).0)).collect();
        let scene = if free { Augment::free() } else { Augment::grid() }.scene(&draws, &pictures, input);
        for (tile, shown) in scene.tiles.iter().zip(&pictures) {
            let (w, h) = (shown.plan.image.width as f32, shown.plan.image.height as f32);
            let [a, b, c, d] = corners;
            let b = BoxXyxyPx { x1: w * a.min(b), y1: h * c.min(d), x2: w * a.max(b), y2: h * c.max(d) };
            let placed = scene.place(tile, shown.to_picture(b));
            if let Some(label) = scene.place_label(tile, shown.to_picture(b)) {
                let (width, height) = (input.width as f32, input.height as f32);
                prop_assert!(0.0 <= label.x1 && label.x1 + 2.0 < label.x2 && label.x2 <= width, "{:?}", label);
                prop_assert!(0.0 <= label.y1 && label.y1 + 2.0 < label.y2 && label.y2 <= height, "{:?}", label);
                let inside = |small: (f32, f32), large: (f32, f32)| small.0 > large.0 - 0.01 && small.1 < large.1 + 0.01;
                prop_assert!(inside((label.x1, label.x2), (placed.x1, placed.x2)), "{:?} in {:?}", label, placed);
                prop_assert!(inside((label.y1, label.y2), (placed.y1, placed.y2)), "{:?} in {:?}", label, placed);
            }
        }
    }

    #[test]
    fn an_epoch_has_every_image_once(seed: u64, epoch in 0usize..9, images in 0usize..200) {
        let mut order = shuffled(seed, epoch, images);
        prop_assert_eq!(&order, &shuffled(seed, epoch, images));
        order.sort_unstable();
        prop_assert_eq!(order, (0..images).collect::<Vec<_>>());
    }
}

#[test]
fn draws_differ_between_seeds_epochs_and_images() {
    let all = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)].map(|(s, e, i)| Draws::new(s, e, i));
    for (at, a) in all.iter().enumerate() {
        assert!(all[at + 1..].iter().all(|b| a.flip != b.flip && a.hsv != b.hsv && a.mosaic != b.mosaic));
    }
    assert_ne!(shuffled(1, 0, 50), shuffled(1, 1, 50));
    assert_ne!(shuffled(1, 0, 50), shuffled(2, 0, 50));
}

#[test]
fn the_middle_of_a_shift_is_none_and_the_ends_are_two_cells_at_640() {
    let input = square(640);
    let plan = LetterboxPlan::fit(square(640), 640, 640);
    let shift = |u: f64| {
        let draws = Draws { translate: [u, 0.5], ..Draws::new(0, 0, 0) };
        Augment::grid().scene(&draws, &[Picture::letterboxed(0, plan)], input).tiles[0].shift
    };
    assert_eq!([shift(0.0), shift(0.5), shift(0.999)], [[-64, 0], [0, 0], [64, 0]]);
    let draws = Draws::new(0, 0, 0);
    let plain = Augment::none().scene(&draws, &[Picture::letterboxed(0, plan)], input);
    assert_eq!((plain.tiles[0].shift, plain.flip), ([0, 0], false));
    assert!(Augment::none().colour_changes(&draws).is_none() && Augment::none().partners(&draws, &[0]).is_none());
}
