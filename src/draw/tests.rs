use super::*;
use palette::class_colour;
use proptest::prelude::*;

/// A grey that neither a class nor a caption has.
const GROUND: Rgb = [77, 78, 79];

fn blank(width: u32, height: u32) -> RgbImage {
    let size = ImageSize { width, height };
    RgbImage { size, pixels: GROUND.repeat(width as usize * height as usize) }
}

fn pixel(image: &RgbImage, x: i64, y: i64) -> Rgb {
    let at = 3 * (y as usize * image.size.width as usize + x as usize);
    [image.pixels[at], image.pixels[at + 1], image.pixels[at + 2]]
}

fn mark(class_id: u32, corners: [f32; 4]) -> Mark {
    let [x1, y1, x2, y2] = corners;
    let detection = Detection { class_id, score: 0.875, box_xyxy_px: BoxXyxyPx { x1, y1, x2, y2 } };
    Mark::detection(&detection, &["person".into(), "traffic light".into(), "人".into()])
}

fn label(corners: [f32; 4]) -> Mark {
    let [x1, y1, x2, y2] = corners;
    Mark::label(&LabelBox { class_id: 0, box_xyxy_px: BoxXyxyPx { x1, y1, x2, y2 } }, &["person".into()])
}

/// Frames with the width of their line, and captions.
fn laid_out(size: ImageSize, marks: &[Mark]) -> (Vec<(Rect, i64)>, Vec<Rect>) {
    let (mut frames, mut captions) = (Vec::new(), Vec::new());
    for placed in Placed::all(size, marks) {
        match placed {
            Placed::Frame { outer, line, .. } => frames.push((outer, line)),
            Placed::Caption { place, .. } => captions.push(place),
        }
    }
    (frames, captions)
}

fn contains(outer: &Rect, x: i64, y: i64) -> bool {
    (outer.x1..outer.x2).contains(&x) && (outer.y1..outer.y2).contains(&y)
}

/// Every pixel that differs from before lies on the line of a frame or in a caption.
fn assert_nothing_else_changed(before: &RgbImage, after: &RgbImage, marks: &[Mark]) {
    let (frames, captions) = laid_out(before.size, marks);
    for y in 0..i64::from(before.size.height) {
        for x in 0..i64::from(before.size.width) {
            if pixel(before, x, y) == pixel(after, x, y) {
                continue;
            }
            let on_line = |(outer, line): &(Rect, i64)| contains(outer, x, y) && !contains(&outer.grown(-line), x, y);
            assert!(frames.iter().any(on_line) || captions.iter().any(|c| contains(c, x, y)), "({x}, {y}) changed");
        }
    }
}

#[test]
fn a_box_has_a_line_of_its_class_around_it_and_nothing_else_changes() {
    let before = blank(640, 480);
    let mut image = before.clone();
    let marks = [mark(1, [200.0, 150.0, 300.0, 250.0])];
    draw(&mut image, &marks);
    let line = 2; // 0.0035 of 560, rounded
    for at in 200..300 {
        for off in 1..=line {
            for (x, y) in [(at, 150 - off), (at, 249 + off), (200 - off, at - 50), (299 + off, at - 50)] {
                let in_caption = y < 150 - line;
                assert!(in_caption || pixel(&image, x, y) == class_colour(1), "({x}, {y})");
            }
        }
    }
    for y in 150..250 {
        for x in 200..300 {
            assert_eq!(pixel(&image, x, y), GROUND, "the object itself is not touched");
        }
    }
    assert_nothing_else_changed(&before, &image, &marks);
    assert_eq!(laid_out(image.size, &marks).1.len(), 1);
}

#[test]
fn a_label_is_dashed_and_lets_a_detection_of_the_same_box_show_through() {
    let mut image = blank(640, 480);
    let corners = [200.0, 150.0, 300.0, 250.0];
    draw(&mut image, &[mark(1, corners), label(corners)]);
    let rim: Vec<Rgb> = (200..300).map(|x| pixel(&image, x, 251)).collect();
    for colour in [WHITE, BLACK, class_colour(1)] {
        assert!(rim.iter().filter(|&&p| p == colour).count() > 20, "{colour:?} {rim:?}");
    }
}

/// Wherever a small object is: its frame is whole, its caption beside it, both inside the picture.
#[test]
fn a_small_box_is_never_covered() {
    for (x, y) in [(0.0, 0.0), (634.0, 0.0), (0.0, 474.0), (634.0, 474.0), (320.0, 5.0), (3.0, 240.0), (320.0, 240.0)] {
        for style in [mark(0, [x, y, x + 6.0, y + 6.0]), label([x, y, x + 6.0, y + 6.0])] {
            let (frames, captions) = laid_out(blank(640, 480).size, &[style]);
            assert!(frames[0].0.area() >= 64, "{frames:?}");
            assert_eq!(captions[0].common(&frames[0].0).area(), 0, "{captions:?} over {frames:?}");
        }
    }
}

#[test]
fn a_small_box_in_a_large_one_is_not_covered_by_a_caption_or_a_line() {
    // The small one sits where the caption of the large one would be first.
    let marks = [mark(1, [100.0, 100.0, 400.0, 400.0]), mark(0, [105.0, 88.0, 112.0, 95.0])];
    let mut image = blank(640, 480);
    draw(&mut image, &marks);
    let (frames, captions) = laid_out(image.size, &marks);
    let small = frames.iter().map(|(outer, _)| outer).min_by_key(|outer| outer.area()).unwrap();
    for caption in &captions {
        assert_eq!(caption.common(small).area(), 0, "{captions:?}");
    }
    assert_eq!(captions[0].common(&captions[1]).area(), 0, "{captions:?}");
    assert_eq!(pixel(&image, small.x1, small.y1), class_colour(0));
}

#[test]
fn of_two_classes_on_the_same_box_the_first_is_on_top() {
    let mut image = blank(640, 480);
    draw(&mut image, &[mark(1, [200.0, 150.0, 300.0, 250.0]), mark(0, [200.0, 150.0, 300.0, 250.0])]);
    assert_eq!(pixel(&image, 199, 200), class_colour(1));
}

#[test]
fn what_is_no_box_or_outside_is_not_drawn() {
    let (nan, far) = (f32::NAN, f32::INFINITY);
    let before = blank(64, 48);
    for corners in [
        [nan, 1.0, 9.0, 9.0],
        [1.0, 1.0, 9.0, nan],
        [0.0, 0.0, far, 9.0],
        [-far, 0.0, far, 9.0],
        [20.0, 10.0, 10.0, 20.0],
        [10.0, 20.0, 20.0, 10.0],
        [-30.0, 5.0, -20.0, 9.0],
        [70.0, 5.0, 80.0, 9.0],
        [5.0, 50.0, 9.0, 60.0],
    ] {
        let mut image = before.clone();
        draw(&mut image, &[mark(0, corners)]);
        assert!(image == before, "{corners:?}");
    }
}

#[test]
fn lines_and_letters_grow_with_the_picture() {
    let sizes = |width, height| {
        let (frames, captions) = laid_out(ImageSize { width, height }, &[mark(0, [10.0, 40.0, 60.0, 90.0])]);
        (frames[0].1, captions[0].y2 - captions[0].y1)
    };
    let (small, large) = (sizes(320, 240), sizes(6400, 4800));
    assert!(small.0 >= 1 && small.1 >= 12, "{small:?}");
    assert!(large.0 > 5 * small.0 && large.1 > 5 * small.1, "{small:?} {large:?}");
}

#[test]
fn pictures_without_room_for_text_get_their_frames() {
    for (width, height) in [(1, 1), (2, 3), (8, 8), (300, 4), (4, 300), (0, 0)] {
        let before = blank(width, height);
        let mut image = before.clone();
        let marks = [mark(1, [0.0, 0.0, width as f32, height as f32]), label([0.0, 0.0, 1.0, 1.0])];
        draw(&mut image, &marks);
        assert_nothing_else_changed(&before, &image, &marks);
        assert!(width == 0 || image != before, "{width} x {height}");
    }
}

#[test]
fn every_format_that_is_read_is_written() {
    let mut image = blank(40, 30);
    draw(&mut image, &[mark(0, [5.0, 5.0, 20.0, 20.0])]);
    for suffix in crate::dataset::IMAGE_SUFFIXES {
        let bytes = encode(&image, format!("a.{}", suffix.to_uppercase()).as_ref()).unwrap();
        let back = crate::preprocess::decode(&bytes, &Default::default()).unwrap();
        assert_eq!(back.size, image.size, "{suffix}");
        let is_jpeg = bytes.starts_with(&[0xff, 0xd8]);
        assert!(back == image || is_jpeg, "{suffix}");
        let is_lossless = ["apng", "bmp", "dib", "png", "tif", "tiff", "webp"].contains(&suffix);
        assert_ne!(is_jpeg, is_lossless, "{suffix}");
    }
    assert!(encode(&image, "a.txt".as_ref()).is_err());
}

fn any_corner() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -20.0f32..100.0,
        1 => any::<f32>(),
        1 => prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, 1e-40]),
    ]
}

fn any_mark() -> impl Strategy<Value = Mark> {
    let corners = [any_corner(), any_corner(), any_corner(), any_corner()];
    let style = prop_oneof![any::<u32>().prop_map(|class_id| Style::Detection { class_id }), Just(Style::Label)];
    (corners, ".{0,20}", style).prop_map(|([x1, y1, x2, y2], caption, style)| Mark {
        box_xyxy_px: BoxXyxyPx { x1, y1, x2, y2 },
        caption,
        style,
    })
}

proptest! {
    /// Whatever the boxes and texts: no panic, captions inside the picture, nothing changed but lines and captions.
    #[test]
    fn hostile_marks(width in 0u32..90, height in 0u32..90, marks in prop::collection::vec(any_mark(), 0..6)) {
        let before = blank(width, height);
        let mut image = before.clone();
        draw(&mut image, &marks);
        prop_assert_eq!(image.size, before.size);
        prop_assert_eq!(image.pixels.len(), before.pixels.len());
        let picture = Rect::of_picture(before.size);
        for caption in laid_out(before.size, &marks).1 {
            prop_assert_eq!(caption.common(&picture), caption);
        }
        assert_nothing_else_changed(&before, &image, &marks);
    }
}
