//! CVAT for images.

use super::*;
use proptest::prelude::*;

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?><annotations><version>1.1</version><meta><project><name>p</name><labels>\
                    <label><name>dog</name><attributes><attribute><name>difficult</name></attribute></attributes></label>\
                    <label><name>cat &amp; co</name></label></labels></project></meta>";

fn file(images: &str) -> String {
    format!("{HEAD}{images}</annotations>")
}

fn box_of(label: &str, corners: [&str; 4], more: &str, inside: &str) -> String {
    let [x1, y1, x2, y2] = corners;
    format!("<box label=\"{label}\" xtl=\"{x1}\" ytl=\"{y1}\" xbr=\"{x2}\" ybr=\"{y2}\"{more}>{inside}</box>")
}

fn raw(sample: &Sample) -> Vec<RawBox> {
    match sample.annotated(SIZE).truth {
        Truth::Labelled(boxes) => boxes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn shapes_become_boxes_and_classes_keep_their_order() {
    let shapes = [
        box_of("cat &amp; co", ["1.5", "2", "30", "40"], "", "<attribute name=\"difficult\">true</attribute>"),
        box_of("dog", ["10", "10", "30", "20"], " rotation=\"90\"", "<attribute name=\"is_crowd\">false</attribute>"),
        "<polygon label=\"bird\" points=\"5,6;7.5,6;6,9\"/>".into(),
        "<mask label=\"dog\" rle=\"1,2\" left=\"3\" top=\"4\" width=\"10\" height=\"20\"/>".into(),
        "<ellipse label=\"dog\" cx=\"50\" cy=\"20\" rx=\"5\" ry=\"2\"/>".into(),
        "<polyline label=\"dog\" points=\"1,2;3,4\"/><tag label=\"dog\"/>".into(),
    ];
    let image = format!("<image id=\"4\" name=\"sub/a.jpg\" width=\"100\" height=\"50\">{}</image>", shapes.concat());
    let made = Made::new(&[
        ("annotations.xml", &file(&(image + "<image id=\"5\" name=\"none.jpg\"/>"))),
        ("images/sub/a.jpg", ""),
    ]);
    let dataset = made.open("annotations.xml").unwrap();
    assert_eq!(dataset.class_names.as_deref().unwrap(), ["dog", "cat & co", "bird"]);
    assert_eq!(relatives(&dataset), ["images/none.jpg", "images/sub/a.jpg"]);
    assert!(raw(&dataset.samples[0]).is_empty(), "an image without shapes is background");
    let found = raw(&dataset.samples[1]);
    let corners: Vec<[f64; 4]> = found.iter().map(|raw| raw.xyxy_px.map(|v| (v * 1e6).round() / 1e6)).collect();
    assert_eq!(corners[0], [1.5, 2.0, 30.0, 40.0]);
    assert_eq!(corners[1], [15.0, 5.0, 25.0, 25.0], "turned about its centre");
    assert_eq!(corners[2..], [[5.0, 6.0, 7.5, 9.0], [3.0, 4.0, 13.0, 24.0], [45.0, 18.0, 55.0, 22.0]]);
    assert_eq!(found.iter().map(|raw| raw.class_id).collect::<Vec<_>>(), [1, 0, 2, 0, 0]);
    assert_eq!(found.iter().map(|raw| raw.outlined).collect::<Vec<_>>(), [false, true, true, true, true]);
    assert_eq!((found[0].mark, found[1].mark), (Mark::Difficult, Mark::Plain));
    assert!(dataset.notes[0].starts_with("2 shapes are neither boxes"), "{:?}", dataset.notes);
    assert_eq!(boxes(&dataset.samples[1], SIZE).len(), 4, "a difficult object is no label");
    let other = dataset.samples[1].labels(ImageSize { width: 50, height: 100 }).unwrap_err();
    assert!(other.contains("image id 4: the labels are for an image of 100 x 50"), "{other}");
}

#[test]
fn subsets_are_splits() {
    let image = |subset: &str, name: &str| format!("<image id=\"0\" subset=\"{subset}\" name=\"{name}\"></image>");
    let images = [image("val", "a.jpg"), image("train", "a.jpg"), image("train", "b.jpg")].concat();
    let made =
        Made::new(&[("d/annotations.xml", &file(&images)), ("d/images/train/a.jpg", ""), ("d/images/val/a.jpg", "")]);
    let train = made.open("d/annotations.xml").unwrap();
    assert_eq!(relatives(&train), ["images/train/a.jpg", "images/train/b.jpg"]);
    let all = Dataset::open_all(&made.path("d"), None).unwrap();
    let names: Vec<(&str, usize)> = all.iter().map(|(name, dataset)| (name.as_str(), dataset.samples.len())).collect();
    assert_eq!(names, [("train", 2), ("val", 1)]);
    let error = open(made.path("d/annotations.xml"), None, "test").unwrap_err().to_string();
    assert!(error.contains("has no split \"test\"; it has: train, val"), "{error}");
}

#[test]
fn a_wrong_shape_costs_its_image_and_a_wrong_file_all() {
    let wrong = [
        (box_of("dog", ["1", "NaN", "3", "4"], "", ""), FaultKind::NonFinite, "box 1: ytl is \"NaN\""),
        (box_of("dog", ["one", "2", "3", "4"], "", ""), FaultKind::Malformed, "xtl is \"one\", which is not a number"),
        (box_of("dog", ["9", "2", "3", "4"], "", ""), FaultKind::Malformed, "comes before the opposite one: 9 2 3 4"),
        (box_of("", ["1", "2", "3", "4"], "", ""), FaultKind::Malformed, "it has no label"),
        ("<box label=\"dog\" xtl=\"1\"/>".into(), FaultKind::Malformed, "it has no ytl"),
        ("<polygon label=\"dog\" points=\"1,2;3\"/>".into(), FaultKind::Malformed, "not pairs of numbers"),
    ];
    for (shape, kind, words) in wrong {
        let good = box_of("dog", ["1", "2", "3", "4"], "", "");
        let image = format!("<image id=\"0\" name=\"a.jpg\">{shape}{good}</image>");
        let made = Made::new(&[("annotations.xml", &file(&image)), ("a.jpg", "")]);
        let sample = &made.open("annotations.xml").unwrap().samples[0];
        let annotated = sample.annotated(SIZE);
        assert_eq!((annotated.faults.len(), annotated.faults[0].kind), (1, kind), "{shape}");
        assert!(annotated.faults[0].words.contains(words), "{:?}", annotated.faults);
        assert_eq!(raw(sample).len(), 1, "the box beside it is good");
        assert!(sample.labels(SIZE).unwrap_err().contains(words));
    }
    for (text, words) in [
        ("".into(), "ends early"),
        ("<annotation></annotation>".into(), "the outermost element is <annotation>"),
        (file("<image id=\"0\"></image>"), "image number 0 (counted from 0) has no name"),
        (file("<track id=\"0\" label=\"dog\"></track>"), "tracks of a video"),
        (file("<image id=\"0\" name=\"a.jpg\">"), "cannot be parsed"),
        (format!("<!DOCTYPE a [<!ENTITY b \"bb\">]>{}", file("")), "document type"),
        (file("<image id=\"0\" name=\"&b;\"/>"), "not an annotations.xml"),
        (file(""), "lists no images"),
        ("<annotations>".to_owned() + &"<a>".repeat(100_000), "deep"),
    ] {
        let made = Made::new(&[("annotations.xml", &text)]);
        let error = made.error("annotations.xml");
        assert!(error.contains(words) && error.len() < 600, "{} gave: {error}", &text[..text.len().min(200)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_gives_boxes_or_an_error(parts in prop::collection::vec("(<image name=\"a\">|</image>|<box label=\"dog\" xtl=\"[0-9]\" ytl=\"1\" xbr=\"[0-9]\" ybr=\"[0-9naNif.-]{1,3}\">|<box|</box>|<polygon points=\"[0-9,;.]{0,9}\" label=\"x\"/>|<attribute name=\"difficult\">|1|</attribute>|&#?[a-z0-9]{1,4};|<!\\[CDATA\\[|\\]\\]>|<!--|-->|[<>\"'=/]|\\PC)", 0..12)) {
        let made = Made::new(&[("annotations.xml", &format!("{HEAD}{}</annotations>", parts.concat()))]);
        if let Ok(dataset) = made.open("annotations.xml") {
            for sample in &dataset.samples {
                if let Truth::Labelled(boxes) = sample.annotated(SIZE).truth {
                    prop_assert!(boxes.iter().all(|raw| raw.xyxy_px.iter().all(|v| v.is_finite())));
                }
            }
        }
    }
}
