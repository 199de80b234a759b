//! What all forms share: folders, paths, classes.

use super::*;

#[test]
fn backslashes_of_other_systems() {
    let made = Made::new(&[
        ("pics/day one/left.jpg", ""),
        ("pics/day one/right.jpg", ""),
        ("pics/night/left.png", ""),
        ("odd\\name.jpg", ""),
        ("odd/name.jpg", ""),
        ("labels/x", ""),
    ]);
    let entries =
        [".\\\\pics\\\\day one\\\\left.jpg", "pics\\\\day one/right.jpg", "pics/night/left.png", "odd\\\\name.jpg"];
    let images: Vec<String> =
        (1..).zip(entries).map(|(id, e)| format!("{{\"id\": {id}, \"file_name\": \"{e}\"}}")).collect();
    made.write("coco.json", &format!("{{\"images\": [{}]}}", images.join(", ")));
    let expected = ["odd\\name.jpg", "pics/day one/left.jpg", "pics/day one/right.jpg", "pics/night/left.png"];
    assert_eq!(relatives(&made.open("coco.json").unwrap()), expected);
    let twice = r#"{"images": [{"id": 1, "file_name": "pics\\night\\left.png"}, {"id": 2, "file_name": "pics/night/left.png"}]}"#;
    made.write("twice.json", twice);
    assert!(made.error("twice.json").contains("which are the same file"), "{}", made.error("twice.json"));

    made.write(
        "list.txt",
        ".\\pics\\day one\\left.jpg\r\npics\\day one\\right.jpg\r\npics/night\\left.png\r\nodd\\name.jpg\r\n",
    );
    made.write("data.yaml", &format!("train: .\\list.txt\nval: .\\pics\\night\n{NAMES}"));
    made.write("sub/data.yaml", &format!("path: ..\\pics\ntrain: [day one, ..\\night]\n{NAMES}"));
    assert_eq!(relatives(&made.open("data.yaml").unwrap()), expected);
    assert_eq!(relatives(&open(made.path("data.yaml"), None, "val").unwrap()), ["pics/night/left.png"]);
    assert_eq!(
        relatives(&made.open("sub/data.yaml").unwrap()),
        ["day one/left.jpg", "day one/right.jpg", "night/left.png"]
    );
}

#[test]
fn classes_must_be_known_where_labels_use_them() {
    let made = Made::new(&[
        ("images/a.jpg", ""),
        ("labels/a.txt", "0 .5 .5 1 1\n2 .5 .5 1 1\n"),
        ("images/b.jpg", ""),
        ("labels/b.txt", "not a label"),
        ("data.yaml", "train: images\nnames: [cat, dog, raccoon]\n"),
    ]);
    let names = |list: &[&str]| list.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    let dataset = made.open("data.yaml").unwrap();
    assert_eq!(dataset.used_classes().into_iter().collect::<Vec<_>>(), [0, 2]);
    let none = NameMap::default();
    let (map, notes) = ClassMap::of(&dataset, &names(&["raccoon", "cat"]), &none).unwrap();
    assert_eq!([map.apply(0), map.apply(1), map.apply(2)], [Some(1), None, Some(0)]);
    assert_eq!(map.inverse(2), [Some(2), Some(0)]);
    assert_eq!(notes, ["1 class that no label uses is not among the model's classes: \"dog\""]);
    assert_eq!(map.why_unknown(1), "the class \"dog\" is not among the model's classes");
    let error = ClassMap::of(&dataset, &names(&["cat"]), &none).unwrap_err().to_string();
    assert!(error.contains("1 of the data set's 3 classes is not among the model's 1: \"raccoon\"\n"), "{error}");

    let renames = NameMap::new([("raccoon".to_owned(), "cat".to_owned())]).unwrap();
    let (map, notes) = ClassMap::of(&dataset, &names(&["person", "cat"]), &renames).unwrap();
    assert_eq!([map.apply(0), map.apply(1), map.apply(2)], [Some(1), None, Some(1)]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    let error = ClassMap::of(&dataset, &names(&["person", "dog"]), &renames).unwrap_err().to_string();
    assert!(error.contains("`map=\"raccoon=cat\"`: the model has no class \"cat\""), "{error}");
    assert!(refuse_foreign_names(&renames, &dataset).is_ok());
    assert!(refuse_foreign_names(&renames, &made.open("images").unwrap()).is_err());
}

#[test]
fn folder_order_is_that_of_bytes() {
    let names = ["Z.jpg", "a/b.jpg", "a.jpg", "a-b.jpg", "ä.jpg", "B.JPEG", "c.tiff", "d.txt", "e.gif"];
    let made = Made::new(&names.map(|n| (n, "")));
    let dataset = made.open("").unwrap();
    assert_eq!(relatives(&dataset), ["B.JPEG", "Z.jpg", "a-b.jpg", "a.jpg", "a/b.jpg", "c.tiff", "ä.jpg"]);
    assert_eq!((dataset.format, dataset.class_names.clone()), (DatasetFormat::Folder, None));
    assert_eq!(dataset.samples[0].labels(SIZE), Ok(Truth::NoLabels));
}

#[test]
fn link_loops_end_and_are_named() {
    let made = Made::new(&[("a.jpg", ""), ("deep/b.jpg", "")]);
    symlink(made.path(""), made.path("deep/back")).unwrap();
    symlink(made.path("self.jpg"), made.path("self.jpg")).unwrap();
    symlink(made.path("nowhere.png"), made.path("dangling.png")).unwrap();
    symlink(made.path("nowhere"), made.path("dangling_folder")).unwrap();
    let dataset = made.open("").unwrap();
    assert_eq!(relatives(&dataset), ["a.jpg", "dangling.png", "deep/b.jpg", "self.jpg"]);
    assert!(fs::read(&dataset.samples[3].path).is_err(), "fails when it is read, by name");
    let notes: Vec<String> = dataset.notes.iter().map(|n| made.shown(n)).collect();
    assert_eq!(
        notes,
        [
            "1 link leads back to a folder above it and was not followed: DIR/deep/back",
            "1 path could not be read: DIR/dangling_folder (No such file or directory (os error 2))",
        ]
    );
}

#[test]
fn names_that_are_not_utf8() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let made = Made::new(&[("images/percent:x.jpg", ""), ("data.yaml", &format!("train: list.txt\n{NAMES}"))]);
    let odd = OsStr::from_bytes(b"\xff\xfe.jpg");
    fs::write(made.path("images").join(odd), "").unwrap();
    fs::create_dir(made.path("labels")).unwrap();
    fs::write(made.path("labels").join(OsStr::from_bytes(b"\xff\xfe.txt")), "0 .5 .5 1 1").unwrap();
    fs::write(made.path("list.txt"), b"./images/\xff\xfe.jpg\n").unwrap();
    let folder = made.open("images").unwrap();
    assert_eq!(relatives(&folder), ["percent:%FF%FE.jpg", "percent:percent%3Ax.jpg"]);
    for sample in &folder.samples {
        assert_eq!(folder.root.join(paths::from_column(&sample.relative).unwrap()), sample.path);
        assert!(sample.path.is_file());
    }
    let listed = made.open("data.yaml").unwrap();
    assert_eq!(relatives(&listed), ["percent:images/%FF%FE.jpg"]);
    assert_eq!(boxes(&listed.samples[0], SIZE), [(0, [0.0, 0.0, 100.0, 50.0])]);
}

#[test]
fn other_things_are_refused_with_the_forms() {
    let made = Made::new(&[("a.jpg", ""), ("empty/readme.md", "")]);
    assert!(
        made.error("gone")
            .starts_with("DIR/gone: there is no such file or folder\n  DATA is one of: an Ultralytics data.yaml")
    );
    assert!(made.error("a.jpg").contains("neither a .yaml, a .json nor an .xml file\n  DATA is one of"));
    assert!(made.error("empty").contains("no images found"));
}

#[test]
fn opening_twice_gives_the_same() {
    let files: BTreeMap<String, String> =
        (0..300).map(|i| (format!("d{}/{}.png", i % 7, i * 7919 % 1000), String::new())).collect();
    let made = Made::new(&files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>());
    let (one, two) = (made.open("").unwrap(), made.open("").unwrap());
    assert_eq!(relatives(&one), relatives(&two));
    assert_eq!(relatives(&one), files.keys().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn named_pictures_keep_what_their_paths_do_not_share() {
    let made =
        Made::new(&[("a/x.jpg", ""), ("a/b/y.PNG", ""), ("c/x.jpg", ""), ("c/notes.txt", ""), ("c/.hidden.jpg", "")]);
    let listed = |places: &[&str]| {
        let places: Vec<_> = places.iter().map(|place| made.path(place)).collect();
        Dataset::of_pictures(&places).map_err(|e| made.shown(e))
    };
    assert_eq!(relatives(&listed(&["a"]).unwrap()), ["b/y.PNG", "x.jpg"]);
    assert_eq!(relatives(&listed(&["a/x.jpg"]).unwrap()), ["x.jpg"]);
    assert_eq!(relatives(&listed(&["c", "a"]).unwrap()), ["a/b/y.PNG", "a/x.jpg", "c/x.jpg"]);
    assert_eq!(relatives(&listed(&["c/x.jpg", "a/b/../x.jpg"]).unwrap()), ["a/x.jpg", "c/x.jpg"]);
    assert_eq!(relatives(&listed(&["a/b/y.PNG", "a"]).unwrap()), ["b/y.PNG", "x.jpg"]);
    let error = |places: &[&str]| listed(places).unwrap_err();
    assert!(error(&["a", "none"]).starts_with("DIR/none: there is no such file"), "{}", error(&["a", "none"]));
    assert!(error(&["c/notes.txt"]).contains("not named like an image"), "{}", error(&["c/notes.txt"]));
    made.write("d/e.txt", "");
    assert!(error(&["d"]).contains("no images"), "{}", error(&["d"]));
}
