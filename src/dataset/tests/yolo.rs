//! Ultralytics' data.yaml.

use super::*;

#[test]
fn yolo_folders_lists_and_mixtures() {
    let made = Made::new(&[
        ("set/images/train/b.jpg", ""),
        ("set/images/train/deep/er/A.PNG", ""),
        ("set/images/train/.hidden.jpg", ""),
        ("set/images/train/.hidden/x.jpg", ""),
        ("set/images/train/notes.txt", ""),
        ("set/images/train/new.heic", ""),
        ("set/images/more/c.webp", ""),
        ("set/labels/train/b.txt", "1 .5 .5 .5 .5\n"),
        ("set/labels/train/deep/er/A.txt", ""),
        ("set/labels/train/lonely.txt", ""),
        ("set/labels/train/classes.txt", "cat\ndog\n"),
        (
            "set/list.txt",
            "\u{feff}./images/more/c.webp\r\n\nimages/train/b.jpg\nimages/train/b.jpg\n  images/none.jpg \nreadme.md\n",
        ),
        ("set/data.yaml", &format!("train: images/train\nval: [images/more, list.txt]\ntest: list.txt\n{NAMES}")),
    ]);
    let train = made.open("set/data.yaml").unwrap();
    assert_eq!(relatives(&train), ["images/train/b.jpg", "images/train/deep/er/A.PNG"]);
    assert_eq!(boxes(&train.samples[0], SIZE), [(1, [25.0, 12.5, 75.0, 37.5])]);
    assert_eq!(boxes(&train.samples[1], SIZE), [], "an empty label file is background");
    assert_eq!(
        train.notes.iter().map(|n| made.shown(n)).collect::<Vec<_>>(),
        [
            "1 image is in a format that is not supported: DIR/set/images/train/new.heic",
            "1 label file has no image: DIR/set/labels/train/lonely.txt",
        ]
    );
    let val = open(made.path("set/data.yaml"), None, "val").unwrap();
    assert_eq!(relatives(&val), ["images/more/c.webp", "images/none.jpg", "images/train/b.jpg"]);
    assert_eq!(val.samples[0].labels(SIZE), Ok(Truth::Missing));
    assert_eq!(
        val.notes.iter().map(|n| made.shown(n)).collect::<Vec<_>>(),
        [
            "1 listed file is not a supported image: readme.md",
            "3 images have no label file: DIR/set/images/more/c.webp, DIR/set/images/more/c.webp, DIR/set/images/none.jpg",
            "2 entries repeat an image and were dropped: images/more/c.webp, images/train/b.jpg",
        ]
    );
    let folder = made.open("set").unwrap();
    assert_eq!(
        (folder.format, relatives(&folder)),
        (DatasetFormat::Yolo, relatives(&train)),
        "a folder with data.yaml"
    );
}

#[test]
fn yolo_path_forms() {
    let made = Made::new(&[
        ("elsewhere/images/a.jpg", ""),
        ("elsewhere/labels/a.txt", "0 .5 .5 1 1"),
        ("set/train/images/a.jpg", ""),
        ("set/train/labels/a.txt", "0 .5 .5 1 1"),
        ("set/up.yaml", &format!("path: ../elsewhere\ntrain: images\n{NAMES}")),
        ("set/roboflow.yaml", &format!("train: ../train/images\n{NAMES}")),
        ("set/outside.yaml", &format!("train: ../elsewhere/images\n{NAMES}")),
    ]);
    let absolute = format!("path: {}\ntrain: images\n{NAMES}", made.path("elsewhere").display());
    made.write("set/absolute.yaml", &absolute);
    for (yaml, relative) in [
        ("set/up.yaml", "images/a.jpg"),
        ("set/absolute.yaml", "images/a.jpg"),
        ("set/roboflow.yaml", "train/images/a.jpg"),
        ("set/outside.yaml", "../elsewhere/images/a.jpg"),
    ] {
        let dataset = made.open(yaml).unwrap();
        assert_eq!(relatives(&dataset), [relative], "{yaml}");
        assert_eq!(boxes(&dataset.samples[0], SIZE), [(0, [0.0, 0.0, 100.0, 50.0])], "{yaml}");
        assert_eq!(
            dataset.root.join(&dataset.samples[0].relative).canonicalize().unwrap(),
            dataset.samples[0].path.canonicalize().unwrap()
        );
    }
}

#[test]
fn yolo_labels_on_either_side_of_a_link() {
    let made = Made::new(&[
        ("disk/images/a.jpg", ""),
        ("disk/labels/a.txt", "0 .5 .5 1 1"),
        ("bare/images/a.jpg", ""),
        ("one/data.yaml", &format!("train: images\n{NAMES}")),
        ("two/data.yaml", &format!("train: images\n{NAMES}")),
        ("two/labels/a.txt", "1 .5 .5 1 1"),
    ]);
    symlink(made.path("disk/images"), made.path("one/images")).unwrap();
    symlink(made.path("bare/images"), made.path("two/images")).unwrap();
    for (set, class) in [("one", 0), ("two", 1)] {
        let dataset = made.open(&format!("{set}/data.yaml")).unwrap();
        assert_eq!(relatives(&dataset), ["images/a.jpg"]);
        assert_eq!(boxes(&dataset.samples[0], SIZE)[0].0, class, "{set}");
    }
}

#[test]
fn yolo_bad_label_files_are_failures_of_their_image() {
    let made =
        Made::new(&[("images/a.jpg", ""), ("labels/a.txt", ""), ("data.yaml", &format!("train: images\n{NAMES}"))]);
    let sample = &made.open("data.yaml").unwrap().samples[0];
    let reason = |content: &[u8]| {
        fs::write(made.path("labels/a.txt"), content).unwrap();
        made.shown(sample.labels(SIZE).unwrap_err())
    };
    assert_eq!(
        reason(b"0 .5 .5 .1 .1\n2 .5 .5 .1 .1\n"),
        "DIR/labels/a.txt line 2: class \"2\" does not exist: the data set's classes are 0 to 1"
    );
    assert_eq!(reason(b"0 .5 \xff"), "DIR/labels/a.txt: the label file is not text: invalid UTF-8 at byte 5");
    assert!(reason(&vec![b'\n'; (8 << 20) + 1]).contains("it is larger than 8388608 bytes"));
    fs::remove_file(made.path("labels/a.txt")).unwrap();
    assert_eq!(sample.labels(SIZE), Ok(Truth::Missing));
    fs::create_dir(made.path("labels/a.txt")).unwrap();
    assert!(sample.labels(SIZE).unwrap_err().contains("it is not a regular file"));
}

#[test]
fn yolo_errors_say_what_and_where() {
    let made = Made::new(&[
        ("images/val/a.jpg", ""),
        ("images/empty/readme.md", ""),
        ("split.yaml", &format!("val: images/val\n{NAMES}")),
        ("nowhere.yaml", &format!("path: gone\ntrain: images\n{NAMES}")),
        ("missing.yaml", &format!("train: images/train\n{NAMES}")),
        ("empty.yaml", &format!("train: images/empty\n{NAMES}")),
        ("picture.yaml", &format!("train: images/val/a.jpg\n{NAMES}")),
        ("tabs.yaml", "train: images\nnames:\n\t- cat\n"),
    ]);
    assert_eq!(
        made.error("split.yaml"),
        "DIR/split.yaml: the data set has no split \"train\"; it has: val\n  Choose one with `split=`, or add `train:` \
         (train, val or test) to the file."
    );
    assert_eq!(
        made.error("nowhere.yaml"),
        "DIR/nowhere.yaml: `path: gone` leads to DIR/gone, which is not a folder\n  `path` is absolute or relative to \
         the folder of this file; without it, that folder is used."
    );
    assert_eq!(
        made.error("missing.yaml"),
        "DIR/missing.yaml: `train: images/train` leads to DIR/images/train, which cannot be opened: No such file or \
         directory (os error 2)\n  `train` is a folder or a list file, relative to DIR; change it or `path`."
    );
    assert!(made.error("empty.yaml").contains("no images found (supported: bmp, jpeg, jpg, png, tif, tiff, webp,"));
    assert!(made.error("picture.yaml").contains("is an image; a folder or a text file that lists images is expected"));
    let tabs = made.error("tabs.yaml");
    assert!(tabs.contains("line 3") && tabs.contains("indent with spaces, not tabs"), "{tabs}");
    let with_images = open(made.path("split.yaml"), Some(made.path("images")), "val").unwrap_err().to_string();
    assert!(with_images.contains("`images=` cannot be used with it"), "{with_images}");
}
