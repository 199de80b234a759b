//! Pascal VOC XML.

use super::*;

fn voc_xml(file_name: &str, objects: &[(&str, [i32; 4])]) -> String {
    let objects: String = objects
        .iter()
        .map(|(name, [x1, y1, x2, y2])| {
            format!("<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>")
        })
        .collect();
    format!(
        "<annotation><filename>{file_name}</filename><size><width>100</width><height>50</height></size>{objects}</annotation>"
    )
}

#[test]
fn voc_finds_pictures_and_names() {
    let dog_cat = voc_xml("stale_name.jpg", &[("dog", [1, 2, 30, 40]), ("cat", [0, 0, 120, 50])]);
    let made = Made::new(&[
        ("beside/a.xml", &dog_cat),
        ("beside/a.jpg", ""),
        ("beside/renamed.xml", &voc_xml("other.png", &[])),
        ("beside/other.png", ""),
        ("beside/two.xml", &voc_xml("two.png", &[])),
        ("beside/two.jpg", ""),
        ("beside/two.png", ""),
        ("beside/unused.jpg", ""),
        ("beside/broken.xml", "<annotation><object>"),
        ("beside/broken.jpg", ""),
        ("beside/gone.xml", &voc_xml("gone.bmp", &[])),
    ]);
    let dataset = made.open("beside").unwrap();
    assert_eq!(dataset.class_names.as_deref().unwrap(), ["cat", "dog"]);
    assert_eq!(relatives(&dataset), ["a.jpg", "broken.jpg", "gone.bmp", "other.png", "two.png"]);
    let expected = [(1, [1.0, 2.0, 30.0, 40.0]), (0, [0.0, 0.0, 100.0, 50.0])];
    assert_eq!(boxes(&dataset.samples[0], SIZE), expected, "as written, clipped");
    let broken = made.shown(dataset.samples[1].labels(SIZE).unwrap_err());
    assert!(broken.starts_with("DIR/beside/broken.xml: the XML cannot be parsed"), "{broken}");
    let other_size = dataset.samples[0].labels(ImageSize { width: 99, height: 50 }).unwrap_err();
    assert!(other_size.contains("for an image of 100 x 50, but this one is 99 x 50"), "{other_size}");
    let notes = dataset.notes.join("\n");
    assert!(notes.contains("2 images have no XML file and were left out: ") && notes.contains("unused.jpg"), "{notes}");
}

#[test]
fn voc_release_with_splits() {
    let made = Made::new(&[
        ("VOC/Annotations/1.xml", &voc_xml("1.jpg", &[("cat", [1, 1, 9, 9])])),
        ("VOC/Annotations/2.xml", &voc_xml("2.jpg", &[("dog", [1, 1, 9, 9])])),
        ("VOC/JPEGImages/1.jpg", ""),
        ("VOC/JPEGImages/2.jpg", ""),
        ("VOC/ImageSets/Main/train.txt", "1\n"),
        ("VOC/ImageSets/Main/val.txt", "2 1\n"),
        ("VOC/ImageSets/Main/cat_train.txt", "1 1\n"),
    ]);
    let train = made.open("VOC").unwrap();
    assert_eq!(
        (relatives(&train), train.class_names.as_deref().unwrap()),
        (vec!["JPEGImages/1.jpg"], &["cat".to_owned()][..])
    );
    assert_eq!(relatives(&open(made.path("VOC"), None, "val").unwrap()), ["JPEGImages/2.jpg"]);
    let error = made.shown(open(made.path("VOC"), None, "test").unwrap_err());
    assert!(error.contains("no split \"test\"; ImageSets/Main has: train, val\n"), "{error}");
    assert_eq!(relatives(&made.open("VOC/Annotations").unwrap()), ["../JPEGImages/1.jpg", "../JPEGImages/2.jpg"]);
}

#[test]
fn voc_errors() {
    let made = Made::new(&[
        ("broken/a.xml", "<html/>"),
        ("pictures/a.jpg", ""),
        ("mixed/a.jpg", ""),
        ("mixed/a.xml", "<html/>"),
    ]);
    let error = made.error("broken");
    assert!(
        error.contains("DIR/broken/a.xml: none of 1 XML files is a Pascal VOC annotation; this one: the outermost"),
        "{error}"
    );
    let error = made.shown(open(made.path("pictures"), Some(made.path("pictures")), "train").unwrap_err());
    assert!(error.contains("`images=` was given, but this folder holds no Pascal VOC XML"), "{error}");
    let mixed = made.open("mixed").unwrap();
    assert_eq!(mixed.format, DatasetFormat::Folder, "pictures with other XML beside are a plain folder");
    assert!(mixed.notes[0].starts_with("1 XML file is not a Pascal VOC annotation: "), "{:?}", mixed.notes);
}

#[test]
fn voc_names_of_other_systems() {
    let made = Made::new(&[
        ("set/Annotations/1.xml", &voc_xml("night\\b.jpg", &[("cat", [1, 1, 9, 9])])),
        ("set/Annotations/2.xml", &voc_xml("C:\\pics\\c.jpg", &[])),
        ("set/Annotations/3.xml", &voc_xml("odd\\d.jpg", &[])),
        ("set/JPEGImages/night/b.jpg", ""),
        ("set/JPEGImages/c.jpg", ""),
        ("set/JPEGImages/d.jpg", ""),
        ("set/JPEGImages/odd\\d.jpg", ""),
        ("set/ImageSets/Main/train.txt", "\u{feff}1\r\n2\r\n3\r\n4\r\n"),
    ]);
    let dataset = made.open("set").unwrap();
    assert_eq!(relatives(&dataset), ["JPEGImages/c.jpg", "JPEGImages/night/b.jpg", "JPEGImages/odd\\d.jpg"]);
    assert_eq!(dataset.notes, ["1 listed image has no XML file: 4"]);
}

#[test]
fn voc_xml_that_cannot_be_parsed_is_no_reason_to_forget_labels() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<u8>>();
    let declared = b"<?xml version='1.0' encoding='big5'?>\n<annotation><filename>\xa4\xa4.jpg</filename></annotation>";
    for (content, words) in [
        (utf16(&voc_xml("a.jpg", &[])), "the file is not text: it looks like UTF-16 without a byte order mark"),
        (declared.to_vec(), "its encoding is \"big5\", which is not supported"),
        (b"<annotation>\xff</annotation>".to_vec(), "invalid UTF-8 at byte 12"),
        (b"<annotation><object>".to_vec(), "the XML cannot be parsed"),
        (b" \n".to_vec(), "the XML cannot be parsed"),
    ] {
        let made = Made::new(&[("a.jpg", "")]);
        fs::write(made.path("a.xml"), &content).unwrap();
        let dataset = made.open("").unwrap();
        assert_eq!(dataset.format, DatasetFormat::Voc, "{words}");
        let reason = made.shown(dataset.samples[0].labels(SIZE).unwrap_err());
        assert!(reason.starts_with("DIR/a.xml: ") && reason.contains(words), "{reason}");
    }
    // Other XML beside pictures is no annotation, whether or not it can be parsed.
    for content in
        ["<annotations><image/></annotations>", "<annotations><image>", "<!DOCTYPE html><html>", "<a>&b;</a>"]
    {
        let made = Made::new(&[("a.jpg", ""), ("a.xml", content)]);
        assert_eq!(made.open("").unwrap().format, DatasetFormat::Folder, "{content}");
    }
}
