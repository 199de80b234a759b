//! COCO JSON.

use super::*;

const COCO: &str = r#"{
    "info": {"year": 2017},
    "images": [{"id": 9, "file_name": "b.jpg", "width": 100, "height": 50}, {"id": 4, "file_name": "sub/a.jpg"}],
    "categories": [{"id": 90, "name": "dog", "supercategory": "animal"}, {"id": 3, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 90, "bbox": [10, 20.5, 30, 40], "iscrowd": 0, "area": 5,
         "segmentation": [[1, 2, 3, 4, 5, 6]]},
        {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 100, 50], "iscrowd": 1,
         "segmentation": {"counts": [1, 2], "size": [50, 100]}},
        {"id": 3, "image_id": 9, "category_id": 3, "bbox": [-5, 10, 10, 10], "iscrowd": false},
        {"image_id": 9, "category_id": 3, "bbox": [5, 10, 0, 10]}
    ]
}"#;

fn coco(json: &str) -> Made {
    Made::new(&[("annotations/instances_part.json", json), ("images/part/b.jpg", ""), ("images/part/sub/a.jpg", "")])
}

const INSTANCES: &str = "annotations/instances_part.json";

#[test]
fn coco_boxes_ids_and_guessed_folder() {
    let made = coco(COCO);
    let dataset = made.open(INSTANCES).unwrap();
    assert_eq!(dataset.class_names.as_deref().unwrap(), ["cat", "dog"]);
    assert_eq!(relatives(&dataset), ["b.jpg", "sub/a.jpg"]);
    assert!(dataset.samples.iter().all(|s| s.path.is_file()));
    let expected = [(1, [10.0, 20.5, 40.0, 50.0]), (0, [0.0, 10.0, 5.0, 20.0])];
    assert_eq!(boxes(&dataset.samples[0], SIZE), expected, "clipped; no crowd; no box without area");
    assert_eq!(dataset.samples[1].labels(SIZE), Ok(Truth::Labelled(vec![])), "no annotation means background");
    assert_eq!(dataset.notes, ["1 crowd region is not used as an object, in image id: 9"]);
    let given = open(made.path(INSTANCES), Some(made.path("images/part")), "val").unwrap();
    assert_eq!(relatives(&given), relatives(&dataset));
    let turned = dataset.samples[0].labels(ImageSize { width: 50, height: 100 }).unwrap_err();
    assert_eq!(
        made.shown(turned),
        "DIR/annotations/instances_part.json, image id 9: the labels are for an image of 100 x 50, but this one is 50 \
         x 100 (width and height are swapped; an EXIF orientation was applied if it has one)"
    );
}

#[test]
fn coco_without_annotations_has_no_labels() {
    let made = coco(r#"{"images": [{"id": 1, "file_name": "b.jpg"}], "categories": [{"id": 1, "name": "cat"}]}"#);
    let dataset = made.open(INSTANCES).unwrap();
    assert_eq!(dataset.class_names, None);
    assert_eq!(dataset.samples[0].labels(SIZE), Ok(Truth::NoLabels));
}

#[test]
fn coco_errors_name_the_ids() {
    for (find, replace, words) in [
        (
            "\"image_id\": 9, \"category_id\": 90",
            "\"image_id\": 7, \"category_id\": 90",
            "annotation id 1 refers to image id 7, which is not in `images`",
        ),
        (
            "\"image_id\": 9, \"category_id\": 90",
            "\"image_id\": 9, \"category_id\": 91",
            "annotation id 1 refers to category id 91, which is not in `categories`",
        ),
        ("{\"id\": 4,", "{\"id\": 9,", "image id 9 occurs twice in `images`"),
        ("sub/a.jpg", "b.jpg", "images 9 and 4 both have the file_name \"b.jpg\""),
        ("{\"id\": 90,", "{\"id\": 3,", "category id 3 occurs twice in `categories`"),
        ("\"images\":", "\"pictures\":", "missing field `images`"),
        (
            "\"file_name\": \"b.jpg\"",
            "\"file_name\": 5",
            "entry number 0 (counted from 0) of `images`: `file_name` is 5; a string is needed at line 3",
        ),
        (
            "{\"id\": 4,",
            "{\"id\": 7.5,",
            "entry number 1 (counted from 0) of `images`: `id` is 7.5; a whole number or a string is",
        ),
        ("{\"id\": 4,", "{\"id\": NaN,", "entry number 1 (counted from 0) of `images`: `id` is NaN; a whole"),
        ("{\"id\": 4,", "{", "entry number 1 (counted from 0) of `images`: `id` is missing"),
        ("{\"id\": 90,", "{\"id\": [1],", "entry number 0 (counted from 0) of `categories`: `id` is a list; a whole"),
        (
            "\"name\": \"cat\"",
            "\"name\": NaN",
            "entry number 1 (counted from 0) of `categories`: `name` is NaN; a string",
        ),
        (
            "\"id\": 3, \"image_id\": 9",
            "\"id\": 3",
            "entry number 2 (counted from 0) of `annotations`: `image_id` is missing",
        ),
        ("\"category_id\": 90", "\"category_id\": 90.5", "of `annotations`: `category_id` is 90.5; a whole number"),
        ("[{\"id\": 9,", "[7, {\"id\": 9,", "invalid type: integer `7`, expected an object (an entry of `images`)"),
        (
            "sub/a.jpg",
            "./b.jpg",
            "images 9 and 4 have the file_names \"b.jpg\" and \"./b.jpg\", which are the same file",
        ),
        (
            "\"b.jpg\"",
            "\"c.jpg\"",
            "the first image, \"c.jpg\", was not found in any of: DIR/annotations, DIR/annotations/images, ",
        ),
    ] {
        assert!(COCO.contains(find), "{find}");
        let error = coco(&COCO.replacen(find, replace, 1)).error_of_coco();
        assert!(error.starts_with("DIR/annotations/instances_part.json: "), "{error}");
        assert!(error.contains(words), "{replace} gave: {error}");
    }
    let made = coco(COCO);
    let error = open(made.path(INSTANCES), Some(made.path("gone")), "train").unwrap_err();
    assert!(made.shown(error).contains("DIR/gone: `images=` is not a folder"));
}

impl Made {
    fn error_of_coco(&self) -> String {
        self.error(INSTANCES)
    }
}

#[test]
fn coco_bad_boxes_are_failures_of_their_image() {
    for (bbox, words) in [
        ("[1, 2, 3]", "annotation id 1: bbox has 3 numbers instead of x, y, width, height"),
        ("[1, 2, -3, 4]", "annotation id 1: bbox has the width -3 and the height 4"),
        ("null", "annotation id 1: bbox is missing"),
        ("\"big\"", "annotation id 1: bbox is the string \"big\" instead of x, y, width, height"),
        ("[1, 2, NaN, 4]", "annotation id 1: bbox has NaN where a number is needed"),
        ("[1, -Infinity, 3, 4]", "annotation id 1: bbox has -Infinity where a number is needed"),
        (
            "[1, 2, 3, 4], \"iscrowd\": \"no\", \"x\": [1]",
            "annotation id 1: iscrowd is the string \"no\"; 0 or 1 is needed",
        ),
    ] {
        let made = coco(&COCO.replacen("[10, 20.5, 30, 40]", bbox, 1).replacen(", \"iscrowd\": 0", "", 1));
        let dataset = made.open(INSTANCES).unwrap();
        let reason = dataset.samples[0].labels(SIZE).unwrap_err();
        assert!(made.shown(&reason).starts_with("DIR/annotations/instances_part.json, image id 9: "), "{reason}");
        assert!(reason.contains(words), "{reason}");
        assert!(dataset.samples[1].labels(SIZE).is_ok());
    }
    let huge = coco(&COCO.replacen("[10, 20.5, 30, 40]", "[-1e308, -1e308, 1.7e308, 1.7e308]", 1));
    assert_eq!(boxes(&huge.open(INSTANCES).unwrap().samples[0], SIZE)[0].1, [0.0, 0.0, 100.0, 50.0]);
}

#[test]
fn coco_numbers_in_other_types_mean_the_same() {
    let expected = coco(COCO).open(INSTANCES).unwrap();
    for (find, replace) in [
        ("\"id\": 9,", "\"id\": 9.0,"),
        ("\"id\": 9,", "\"id\": \"000009\","),
        ("\"image_id\": 9", "\"image_id\": \"9\""),
        ("\"category_id\": 3", "\"category_id\": \"3\""),
        ("\"id\": 90,", "\"id\": \"90\","),
        ("\"id\": 1,", "\"id\": \"box/001\","),
        ("\"width\": 100, \"height\": 50", "\"width\": 100.0, \"height\": \"50\""),
        ("\"width\": 100, \"height\": 50", "\"width\": null, \"height\": 0"),
        ("[10, 20.5, 30, 40]", "[\"10\", \"20.5\", 30.0, 40]"),
        ("\"iscrowd\": 1", "\"iscrowd\": \"1\""),
        ("\"area\": 5", "\"area\": null"),
        ("\"segmentation\": [[1, 2", "\"score\": NaN, \"segmentation\": [[-Infinity, NaN"),
    ] {
        assert!(COCO.contains(find), "{find}");
        let dataset = coco(&COCO.replace(find, replace)).open(INSTANCES).unwrap();
        assert_eq!(dataset.class_names, expected.class_names, "{replace}");
        assert_eq!(dataset.notes, expected.notes, "{replace}");
        for (a, b) in dataset.samples.iter().zip(&expected.samples) {
            assert_eq!(a.labels(SIZE), b.labels(SIZE), "{replace}");
        }
    }
    let words = coco(&COCO.replace("\"id\": 9,", "\"id\": \"b\",").replace("\"image_id\": 9", "\"image_id\": \"b\""));
    let dataset = words.open(INSTANCES).unwrap();
    assert_eq!(boxes(&dataset.samples[0], SIZE), boxes(&expected.samples[0], SIZE));
    assert!(dataset.samples[0].labels(ImageSize { width: 9, height: 9 }).unwrap_err().contains("image id \"b\": "));
}

#[test]
fn coco_sizes_and_areas_that_are_no_numbers() {
    for (width, words) in [
        ("NaN", "image id 9: width is NaN; a number is needed"),
        ("100.5", "image id 9: width is 100.5; a whole number of pixels is needed"),
        ("\"wide\"", "image id 9: width is the string \"wide\"; a number is needed"),
    ] {
        let made = coco(&COCO.replace("\"width\": 100", &format!("\"width\": {width}")));
        let dataset = made.open(INSTANCES).unwrap();
        assert!(dataset.samples[0].labels(SIZE).unwrap_err().contains(words), "{width}");
        assert!(dataset.samples[1].labels(SIZE).is_ok());
    }
    let dataset = coco(&COCO.replace("\"area\": 5", "\"area\": NaN")).open(INSTANCES).unwrap();
    let note = "1 annotation has an area that is not a number; the area of its box is used: annotation id 1 (area is \
        NaN; a number is needed)";
    assert_eq!(dataset.notes.last().map(String::as_str), Some(note));
    let Truth::Labelled(truth) = dataset.samples[0].truth_boxes(SIZE).unwrap() else { panic!() };
    assert_eq!(truth[0].area_px2, 30.0 * 29.5);
}

#[test]
fn coco_classes_are_those_that_are_no_groups() {
    let file = |categories: &str, used: &[&str]| {
        let annotations: Vec<String> = used
            .iter()
            .map(|id| format!("{{\"image_id\": 1, \"category_id\": {id}, \"bbox\": [1, 1, 9, 9]}}"))
            .collect();
        let json = format!(
            "{{\"images\": [{{\"id\": 1, \"file_name\": \"b.jpg\"}}], \"categories\": [{categories}], \"annotations\": [{}]}}",
            annotations.join(", ")
        );
        let dataset = coco(&json).open(INSTANCES).unwrap();
        (dataset.class_names.unwrap().join(" "), dataset.notes)
    };
    let category = |id: &str, name: &str, above: &str| {
        format!("{{\"id\": {id}, \"name\": \"{name}\", \"supercategory\": \"{above}\"}}")
    };
    let of = |list: &[(&str, &str, &str)]| list.iter().map(|c| category(c.0, c.1, c.2)).collect::<Vec<_>>().join(", ");

    // Roboflow's, with a group that is called like its one class.
    let (names, notes) = file(&of(&[("0", "cats", "none"), ("1", "cats", "cats")]), &["1"]);
    assert_eq!(names, "cats");
    let note = "1 category only groups others and has no annotation; it is not used as a class: \"cats\"";
    assert_eq!(notes, [note]);
    // Without any annotation the class still is one.
    assert_eq!(file(&of(&[("0", "pets", "none"), ("1", "cat", "pets")]), &[]).0, "cat");
    let nested = of(&[("1", "all", "all"), ("2", "pets", "all"), ("3", "cat", "pets"), ("4", "dog", "pets")]);
    let (names, notes) = file(&nested, &["4"]);
    assert_eq!(names, "cat dog");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].ends_with("are not used as classes: \"all\", \"pets\""), "{notes:?}");
    // Used, or named by nobody else: classes.
    assert_eq!(file(&of(&[("1", "pets", "none"), ("2", "cat", "pets")]), &["1", "2"]), ("pets cat".into(), vec![]));
    assert_eq!(file(&of(&[("1", "person", "person"), ("2", "cat", "animal")]), &["2"]), ("person cat".into(), vec![]));
    // Numbers by value, also as text; then words.
    let mixed = of(&[("\"10\"", "ten", ""), ("\"b\"", "word b", ""), ("2", "two", ""), ("\"a\"", "word a", "")]);
    assert_eq!(file(&mixed, &["10.0", "\"2\"", "\"a\""]).0, "two ten word a word b");
}

#[test]
fn hostile_json_is_an_error() {
    let nested = |open: &str, times: usize| format!("{{\"images\": {}", open.repeat(times));
    for json in [
        nested("[", 300_000),
        nested("[{\"a\":", 300_000),
        format!("{{\"x\": {}", "[".repeat(1_000_000)),
        "[".repeat(300_000),
        COCO[..COCO.len() / 2].to_owned(),
        COCO.replace("\"id\": 9", "\"id\": 99999999999999999999"),
        "\u{0}".into(),
        String::new(),
    ] {
        let error = coco(&json).error_of_coco();
        assert!(error.contains("this is not a COCO instances file") && error.len() < 500, "{error}");
    }
}
