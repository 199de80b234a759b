//! Whole data sets, real and made here.

use super::*;
use crate::types::LabelBox;
use std::{collections::BTreeMap, fs, os::unix::fs::symlink};
use tempfile::TempDir;

const SIZE: ImageSize = ImageSize { width: 100, height: 50 };

/// A folder of public data beside the project, or `None` with a line that says so.
fn shared(place: &str) -> Option<PathBuf> {
    let base = std::env::var_os("LOGITCACHE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = base.join("data").join(place);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// A data set made of empty files.
struct Made(TempDir);

impl Made {
    fn new(files: &[(&str, &str)]) -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for (path, content) in files {
            made.write(path, content);
        }
        made
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn open(&self, data: &str) -> Result<Dataset> {
        open(self.path(data), None, "train")
    }

    /// The error's text without the temporary folder's name.
    fn error(&self, data: &str) -> String {
        self.shown(self.open(data).unwrap_err())
    }

    fn shown(&self, text: impl ToString) -> String {
        text.to_string().replace(self.0.path().to_str().unwrap(), "DIR")
    }
}

fn open(data: PathBuf, images_dir: Option<PathBuf>, split: &str) -> Result<Dataset> {
    Dataset::open(&DataSource { data, images_dir, split: split.into() })
}

fn relatives(dataset: &Dataset) -> Vec<&str> {
    dataset.samples.iter().map(|s| s.relative.as_str()).collect()
}

/// `(class id, box)` of a sample's labels.
fn boxes(sample: &Sample, size: ImageSize) -> Vec<(u32, [f32; 4])> {
    let plain = |l: LabelBox| (l.class_id, [l.box_xyxy_px.x1, l.box_xyxy_px.y1, l.box_xyxy_px.x2, l.box_xyxy_px.y2]);
    match sample.labels(size).unwrap() {
        Truth::Labelled(labels) => labels.into_iter().map(plain).collect(),
        other => panic!("{} is {other:?}", sample.relative),
    }
}

fn size_of(sample: &Sample) -> ImageSize {
    let (width, height) = image::image_dimensions(&sample.path).unwrap();
    ImageSize { width, height }
}

// ---- real data ----

#[test]
fn coco128_has_every_label() {
    let Some(root) = shared("coco128") else { return };
    let dataset = open(root.join("data.yaml"), None, "train").unwrap();
    assert_eq!((dataset.format, dataset.samples.len()), (DatasetFormat::Yolo, 128));
    let names = dataset.class_names.as_ref().unwrap();
    assert_eq!((names.len(), names[0].as_str(), names[79].as_str()), (80, "person", "toothbrush"));
    assert_eq!(dataset.samples[0].relative, "images/train2017/000000000009.jpg");
    assert!(dataset.samples.windows(2).all(|w| w[0].relative < w[1].relative));

    let mut missing = Vec::new();
    let mut count = 0;
    for sample in &dataset.samples {
        match sample.labels(size_of(sample)).unwrap() {
            Truth::Labelled(labels) => count += labels.len(),
            Truth::Missing => missing.push(sample.relative.as_str()),
            Truth::NoLabels => panic!("{} has no labels", sample.relative),
        }
    }
    assert_eq!(missing, ["images/train2017/000000000250.jpg", "images/train2017/000000000508.jpg"]);
    // Counted without this crate's parser: non-empty lines of the files that have an image; none of them repeats.
    let mut lines = 0;
    for entry in fs::read_dir(root.join("labels/train2017")).unwrap() {
        let path = entry.unwrap().path();
        let image = root.join("images/train2017").join(path.file_name().unwrap()).with_extension("jpg");
        let text = fs::read_to_string(&path).unwrap();
        lines += if image.exists() { text.lines().filter(|l| !l.trim().is_empty()).count() } else { 0 };
    }
    assert_eq!(count, lines);
    assert!(count > 900, "{count}");

    let notes = dataset.notes.join("\n");
    assert!(notes.contains("2 images have no label file: ") && notes.contains("000000000508.jpg"), "{notes}");
    assert!(notes.contains("2 label files have no image: ") && notes.contains("000000000659.txt"), "{notes}");
    let again = open(root.join("images/../data.yaml"), None, "train").unwrap();
    assert_eq!(relatives(&again), relatives(&dataset));
}

#[test]
fn bccd_is_the_same_as_yolo_and_as_voc() {
    let Some(root) = shared("bccd") else { return };
    let mut compared = 0;
    for (split, images) in [("train", 205), ("val", 87)] {
        let yolo = open(root.join("data.yaml"), None, split).unwrap();
        let pictures = Some(root.join("images").join(split));
        let voc = open(root.join("voc").join(split), pictures, split).unwrap();
        assert_eq!((yolo.samples.len(), voc.samples.len(), voc.format), (images, images, DatasetFormat::Voc));
        assert_eq!(voc.notes, Vec::<String>::new());
        let (yolo_names, voc_names) = (yolo.class_names.as_ref().unwrap(), voc.class_names.as_ref().unwrap());
        assert_eq!(voc_names, &["Platelets", "RBC", "WBC"]);
        let to_yolo = ClassMap::new(voc_names, yolo_names).unwrap();
        for (a, b) in yolo.samples.iter().zip(&voc.samples) {
            assert_eq!(a.path.file_name(), b.path.file_name());
            assert_eq!(b.path.canonicalize().unwrap(), a.path.canonicalize().unwrap());
            let size = size_of(a);
            let mut from_yolo = boxes(a, size);
            let mut from_voc = boxes(b, size);
            from_voc.iter_mut().for_each(|(class, _)| *class = to_yolo.apply(*class).unwrap());
            let by_place = |x: &(u32, [f32; 4]), y: &(u32, [f32; 4])| {
                (x.0, x.1.map(|v| v.round() as i64)).cmp(&(y.0, y.1.map(|v| v.round() as i64)))
            };
            from_yolo.sort_by(by_place);
            from_voc.sort_by(by_place);
            from_voc.dedup();
            assert_eq!(from_yolo.len(), from_voc.len(), "{}", a.relative);
            for ((class_a, box_a), (class_b, box_b)) in from_yolo.iter().zip(&from_voc) {
                assert_eq!(class_a, class_b, "{}", a.relative);
                let off = box_a.iter().zip(box_b).map(|(p, q)| (p - q).abs()).fold(0.0, f32::max);
                assert!(off < 1e-3, "{}: {box_a:?} and {box_b:?}", a.relative);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 3941, "every line of the YOLO labels");
    let whole = open(root.join("voc"), Some(root.join("images")), "train").unwrap();
    assert_eq!(whole.samples.len(), 292, "sub-folders of XML go with sub-folders of pictures");
    assert!(whole.samples.iter().all(|s| s.path.is_file()));
}

// ---- Ultralytics ----

const NAMES: &str = "names: [cat, dog]\n";

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

// ---- COCO ----

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

// ---- Pascal VOC ----

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

// ---- classes that the model lacks ----

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

// ---- plain folders ----

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
    assert!(made.error("a.jpg").contains("neither a .yaml nor a .json file\n  DATA is one of"));
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

// ---- pictures named one by one ----

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
