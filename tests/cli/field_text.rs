//! Text files and class names as people have them: marks and encodings of other systems, other types in COCO JSON, backslashes,
//! categories that only group others, classes that the teacher calls by another name.

use crate::{
    common,
    support::{Run, args, build, content, fixture, logitcache, shapes, teacher},
};
use image::RgbImage;
use serde_json::{Value, json};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

/// The classes of the teacher.
const NAMES: [&str; 6] = ["circle", "ring", "triangle", "square", "star", "cross"];

/// A folder that a test fills.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A picture of 144 x 96 pixels.
    fn picture(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_fn(144, 96, |x, y| image::Rgb([x as u8, y as u8, 77])).save(path).unwrap();
    }
}

/// A text in the forms that Windows programs write, and with the line ends of old Macs.
fn forms(text: &str) -> [(&'static str, Vec<u8>); 4] {
    let marked = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    let utf16 = |bytes: fn(u16) -> [u8; 2]| marked.encode_utf16().flat_map(bytes).collect();
    [
        ("utf8", marked.clone().into_bytes()),
        ("le", utf16(u16::to_le_bytes)),
        ("be", utf16(u16::to_be_bytes)),
        ("cr", text.replace('\n', "\r").into_bytes()),
    ]
}

fn inspect(cache: &Path, more: &[&str]) -> Value {
    let mut all: Vec<OsString> = vec!["inspect".into(), cache.into(), "--json".into()];
    all.extend(more.iter().map(Into::into));
    logitcache(&all).expect(0).json()
}

/// Class names and corners of an image's labels, `None` where it has none.
fn labels(cache: &Path, image: &str) -> Option<Vec<(String, [i64; 4])>> {
    let found = inspect(cache, &["--image", image]);
    let label = |label: &Value| {
        let corner = |name: &str| label["box_xyxy_px"][name].as_f64().unwrap().round() as i64;
        (label["class"].as_str().unwrap().to_owned(), ["x1", "y1", "x2", "y2"].map(corner))
    };
    Some(found["labels"].as_array()?.iter().map(label).collect())
}

#[track_caller]
fn has_labels(cache: &Path, image: &str, expected: &[(&str, [i64; 4])]) {
    let expected: Vec<_> = expected.iter().map(|(name, corners)| ((*name).to_owned(), *corners)).collect();
    assert_eq!(labels(cache, image), Some(expected), "{image}");
}

fn paths_of(cache: &Path) -> Vec<String> {
    let count = inspect(cache, &[])["images"].as_u64().unwrap();
    (0..count).map(|id| inspect(cache, &["--image", &id.to_string()])["path"].as_str().unwrap().to_owned()).collect()
}

const ONE_BOX: (&str, [i64; 4]) = ("star", [18, 12, 72, 60]);
const ONE_ROW: &str = "4 0.3125 0.375 0.375 0.5\n";

fn voc(name: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\n<annotation><filename>{name}</filename><object><name>star</name><bndbox><xmin>18</xmin><ymin>12</ymin>\
         <xmax>72</xmax><ymax>60</ymax></bndbox></object></annotation>"
    )
}

fn coco(file_name: &str) -> Value {
    json!({
        "images": [{"id": 1, "file_name": file_name, "width": 144, "height": 96}],
        "categories": [{"id": 5, "name": "star"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [18, 12, 54, 48]}],
    })
}

/// Every text that a user gives, in every encoding of a Windows editor.
#[test]
fn every_reader_takes_every_encoding() {
    let data_yaml = format!("train: list.txt\nnames: [{}]\n", NAMES.join(", "));
    for form in 0..4 {
        let dir = Folder::new();
        let as_form = |text: &str| forms(text)[form].1.clone();
        let which = forms("")[form].0;

        dir.picture("yolo/images/a.png");
        dir.write("yolo/labels/a.txt", as_form(ONE_ROW));
        dir.write("yolo/list.txt", as_form("images/a.png\n"));
        let yaml = dir.write("yolo/data.yaml", as_form(&data_yaml));
        let names = dir.write("names.txt", as_form(&(NAMES.join("\n") + "\n")));
        let cache = dir.path("yolo-cache");
        build(&yaml, &cache, &[("--names", names.to_str().unwrap())]).expect(0);
        has_labels(&cache, "a.png", &[ONE_BOX]);
        assert_eq!(inspect(&cache, &[])["teacher"]["class_names"], json!(NAMES), "{which}");

        dir.picture("coco/a.png");
        let json = dir.write("coco/a.json", as_form(&coco("a.png").to_string()));
        let cache = dir.path("coco-cache");
        build(&json, &cache, &[]).expect(0);
        has_labels(&cache, "a.png", &[ONE_BOX]);

        for name in ["a", "b"] {
            dir.picture(&format!("voc/JPEGImages/{name}.png"));
            dir.write(&format!("voc/Annotations/{name}.xml"), as_form(&voc(&format!("{name}.png"))));
        }
        dir.write("voc/ImageSets/Main/train.txt", as_form("a\nb\nc\n"));
        let cache = dir.path("voc-cache");
        build(&dir.path("voc"), &cache, &[]).expect(0).says(&["1 listed image has no XML file: c"]);
        ["a.png", "b.png"].iter().for_each(|image| has_labels(&cache, image, &[ONE_BOX]));
    }
}

/// What cannot be decoded is named, by its encoding where that can be seen, and never taken for a data set without labels.
#[test]
fn what_cannot_be_decoded_is_named() {
    let dir = Folder::new();
    let bare = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    const WORDS: &str = "UTF-16 without a byte order mark";
    let out = dir.path("cache");

    dir.picture("voc/a.png");
    dir.picture("voc/b.png");
    dir.write("voc/a.xml", bare(&voc("a.png")));
    dir.write("voc/b.xml", [b"<?xml version=\"1.0\" encoding=\"GBK\"?>".as_slice(), voc("\u{e9}").as_bytes()].concat());
    let run = build(&dir.path("voc"), &out, &[("--quiet", "")]);
    assert_ne!(run.code, 0, "{run:?}");
    let told = format!("{}{}", run.stdout, run.stderr);
    assert!(["a.xml", WORDS, "b.xml", "\"gbk\""].iter().all(|word| told.contains(word)), "{told}");

    // Beside an annotation that is sound, and cut short alone.
    for (name, content) in [("voc1", bare(&voc("a.png"))), ("voc2", b"<annotation><object>".to_vec()), ("voc3", vec![])]
    {
        dir.picture(&format!("{name}/a.png"));
        dir.write(&format!("{name}/a.xml"), content);
        let run = build(&dir.path(name), &dir.path("other"), &[("--quiet", ""), ("--overwrite", "")]);
        assert_ne!(run.code, 0, "{name}: {run:?}");
        assert!(format!("{}{}", run.stdout, run.stderr).contains("a.xml"), "{name}: {run:?}");
    }

    dir.picture("yolo/images/a.png");
    let list = dir.write("yolo/list.txt", bare("images/a.png\n"));
    let yaml = dir.write("yolo/data.yaml", format!("train: list.txt\nnames: [{}]\n", NAMES.join(", ")));
    build(&yaml, &out, &[]).refused(&["list.txt", WORDS]);
    fs::write(&list, "images/a.png\n").unwrap();
    dir.write("yolo/labels/a.txt", bare(ONE_ROW));
    let run = build(&yaml, &dir.path("yolo-cache"), &[]);
    assert!(run.code != 0 && format!("{}{}", run.stdout, run.stderr).contains(WORDS), "{run:?}");
    fs::write(&yaml, bare("train: images\nnames: [star]\n")).unwrap();
    build(&yaml, &out, &[]).refused(&["data.yaml", WORDS]);
    let json = dir.write("coco.json", bare(&coco("yolo/images/a.png").to_string()));
    build(&json, &out, &[]).refused(&["coco.json", WORDS]);
    let names = dir.write("names.txt", bare("a\nb\n"));
    build(&dir.path("yolo/images"), &out, &[("--names", names.to_str().unwrap())]).refused(&["names.txt", WORDS]);
}

#[test]
fn a_sixth_column_that_looks_like_a_score() {
    let dir = Folder::new();
    dir.picture("images/a.png");
    dir.picture("images/b.png");
    dir.write("labels/a.txt", "4 0.3125 0.375 0.375 0.5 0.87\n");
    dir.write("labels/b.txt", "4 0.3125 0.375 0.375 0.5\n");
    let yaml = dir.write("data.yaml", format!("train: images\nnames: [{}]\n", NAMES.join(", ")));
    let run = build(&yaml, &dir.path("cache"), &[]).expect(1);
    let told = format!("{}{}", run.stdout, run.stderr);
    for word in ["a.txt line 1: 6 columns", "0.87, looks like a score", "without save_conf"] {
        assert!(told.contains(word), "{word}: {told}");
    }
}

/// The classes of a data set that has no object of class "hexagon", which the teacher does not know.
#[test]
fn only_what_labels_use_must_be_known() {
    let dir = Folder::new();
    let data = shapes(dir.0.path(), 8);
    let text = fs::read_to_string(&data).unwrap();
    let more = data.with_file_name("more.yaml");
    fs::write(&more, text.trim_end().to_owned() + "\n  6: hexagon\n").unwrap();
    let (plain, cache) = (dir.path("plain"), dir.path("cache"));
    build(&data, &plain, &[]).expect(0);
    build(&more, &cache, &[])
        .expect(0)
        .says(&["1 class that no label uses is not among the model's classes: \"hexagon\""]);
    assert_eq!(content(&cache), content(&plain));
    let eval = |data: &Path| {
        let model = teacher();
        let words = ["eval", "--imgsz", "160", "--latency-runs", "0", "--split", "train"];
        logitcache(&args(words, &[("--model", &model), ("--data", data)], &[]))
    };
    eval(&more).expect(0).says(&["\"hexagon\""]);

    // Used by one label, it is refused before anything is made.
    let labels = data.parent().unwrap().join("labels/train");
    let label = fs::read_dir(&labels).unwrap().next().unwrap().unwrap().path();
    fs::write(&label, "6 0.5 0.5 0.25 0.25\n").unwrap();
    let other = dir.path("other");
    build(&more, &other, &[]).refused(&["1 of the data set's 7 classes is not among the model's 6: \"hexagon\""]);
    eval(&more).refused(&["\"hexagon\"", "--map \"hexagon=NAME\""]);
    assert!(!other.exists());
}

/// `shapes` with two classes renamed.
fn foreign(dir: &Folder) -> (PathBuf, PathBuf) {
    let data = shapes(dir.0.path(), 10);
    let text = fs::read_to_string(&data).unwrap();
    let other = data.with_file_name("other.yaml");
    fs::write(&other, text.replace("triangle", "Tri_angle").replace("star", "raccoon")).unwrap();
    (data, other)
}

#[test]
fn classes_of_other_names_are_mapped() {
    let dir = Folder::new();
    let (data, other) = foreign(&dir);
    let (plain, cache) = (dir.path("plain"), dir.path("cache"));
    build(&data, &plain, &[]).expect(0);
    build(&other, &cache, &[]).refused(&[
        "\"Tri_angle\" (the model has \"triangle\"), \"raccoon\"",
        "--map \"Tri_angle=triangle\" --map \"raccoon=NAME\"",
        "logitcache train --distill none --data",
        "--model yolov8s.pt --out teacher",
        "logitcache build --teacher teacher/best.onnx --data",
        "--ignore-labels",
        "docs/classes.md",
    ]);
    let maps = |pairs: &[&str], base: &[OsString]| {
        let maps = pairs.iter().flat_map(|pair| [OsString::from("--map"), pair.into()]);
        logitcache(&base.iter().cloned().chain(maps).collect::<Vec<_>>())
    };
    let of_build = crate::support::build_args(&other, &cache, &[]);
    let both = ["Tri_angle=triangle", "raccoon = star"];
    maps(&both, &of_build).expect(0).says(&["the class \"raccoon\" is mapped to the model's class \"star\""]);
    assert_eq!(content(&cache), content(&plain), "the same labels, in the teacher's ids");
    assert_eq!(inspect(&cache, &[])["dataset"]["class_map"], json!({"Tri_angle": "triangle", "raccoon": "star"}));
    // It goes on only as it began.
    maps(&both, &of_build).expect(0).says(&["0 of"]);
    maps(&["Tri_angle=triangle", "raccoon=ring"], &of_build).refused(&["dataset.class_map", "ring", "--overwrite"]);

    maps(&["Tri_angle=tringle", "raccoon=star"], &of_build)
        .refused(&["the model has no class \"tringle\"", "\"cross\""]);
    maps(&["racoon=star"], &of_build).refused(&["the data set has no class \"racoon\"", "\"raccoon\""]);
    maps(&["raccoon=star", "raccoon=ring"], &of_build).refused(&["\"raccoon\" to \"star\" and also to \"ring\""]);
    for wrong in ["raccoon", "raccoon=", "=star"] {
        maps(&[wrong], &of_build).expect(2).says(&["two class names"]);
    }

    let eval = |data: &Path, pairs: &[&str]| {
        let model = teacher();
        let words = ["eval", "--quiet", "--json", "--imgsz", "160", "--latency-runs", "0", "--split", "train"];
        maps(pairs, &args(words, &[("--model", &model), ("--data", data)], &[]))
    };
    eval(&other, &[]).refused(&["--map \"Tri_angle=triangle\"", "docs/classes.md"]);
    let (mapped, plain) = (eval(&other, &both).expect(0).json(), eval(&data, &[]).expect(0).json());
    assert_eq!(mapped["models"][0]["scores"], plain["models"][0]["scores"]);
    // Two classes that are one to the model are one class of the scores.
    let merged = eval(&other, &["Tri_angle=star", "raccoon=star"]).expect(0).json();
    let classes = merged["models"][0]["scores"]["classes"].as_array().unwrap();
    let names: Vec<&str> = classes.iter().map(|class| class["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["circle", "ring", "star", "square", "cross"]);
    let count = |report: &Value, name: &str| {
        let classes = report["models"][0]["scores"]["classes"].as_array().unwrap();
        classes.iter().find(|class| class["name"] == name).unwrap()["objects"].as_u64().unwrap()
    };
    assert_eq!(count(&merged, "star"), count(&plain, "star") + count(&plain, "triangle"));
}

#[test]
fn a_folder_without_labels_has_nothing_to_map() {
    let dir = Folder::new();
    dir.picture("a.png");
    build(&dir.path(""), &dir.path("cache"), &[("--map", "a=star")]).refused(&["no class \"a\"", "has no labels"]);
}

// ---- the cases beside the project, where they are there ----

/// A folder of cases and the model that they are for.
fn case(name: &str) -> Option<(PathBuf, PathBuf)> {
    let field = common::shared()?.join("field");
    let found = (field.join(name), field.join("teacher6.onnx"));
    if found.0.is_dir() && found.1.is_file() {
        return Some(found);
    }
    common::skip(&format!("{} is not there", found.0.display()));
    None
}

fn case_build(model: &Path, data: &Path, out: &Path, more: &[&OsStr]) -> Run {
    let mut all = args(["build", "--jobs", "1"], &[("--teacher", model), ("--data", data), ("--out", out)], &[]);
    all.extend(more.iter().map(|&word| word.to_owned()));
    logitcache(&all)
}

/// Class ids of the model and corners.
fn ids_of(cache: &Path, image: &str) -> Vec<(usize, [i64; 4])> {
    let summary = inspect(cache, &[]);
    let names = summary["teacher"]["class_names"].as_array().unwrap();
    let id = |name: String| names.iter().position(|known| *known == name).unwrap();
    labels(cache, image).unwrap().into_iter().map(|(name, corners)| (id(name), corners)).collect()
}

#[test]
fn categories_that_group() {
    let Some((case, model)) = case("04-coco-grouping-category") else { return };
    let dir = Folder::new();
    for (file, unused) in [
        ("plain", ""),
        ("group_last", "road-signs-v2"),
        ("groups_nested", "\"street\", \"road-signs-v2\""),
        ("unused_class", "hexagon"),
        ("unused_names_itself", "hexagon"),
        ("group_used", ""),
    ] {
        let data = case.join("valid").join(file).with_extension("json");
        let run = case_build(&model, &data, &dir.path(file), &[]).expect(0);
        let notes: Vec<&str> = run.stderr.lines().filter(|line| line.contains("note:")).collect();
        assert_eq!(notes.len(), usize::from(!unused.is_empty()), "{file}: {notes:?}");
        assert!(notes.iter().all(|note| note.contains(unused)), "{file}: {notes:?}");
        assert_eq!(ids_of(&dir.path(file), "north.jpg"), [(2, [12, 10, 52, 44]), (5, [90, 50, 150, 95])], "{file}");
        assert_eq!(ids_of(&dir.path(file), "south.jpg"), [(3, [20, 60, 70, 130])], "{file}");
        let words = ["eval", "--quiet", "--json", "--jobs", "1", "--latency-runs", "0"];
        let report = logitcache(&args(words, &[("--model", &model), ("--data", &data)], &[])).expect(0).json();
        assert_eq!(report["models"][0]["scores"]["objects"], 3, "{file}");
    }
}

#[test]
fn byte_order_marks() {
    let Some((case, model)) = case("05-bom") else { return };
    let dir = Folder::new();
    let names = [OsStr::new("--names"), &*case.join("names.txt").into_os_string()].map(OsStr::to_owned);
    let names: Vec<&OsStr> = names.iter().map(|word| word.as_os_str()).collect();
    for (out, data, more) in [
        ("c1", "coco/labels.json", &[][..]),
        ("c2", "parts/data.yaml", &names),
        ("c3", "parts/images", &names),
        ("c4", "list/data.yaml", &[]),
        ("c5", "voc16", &[]),
        ("c6", "release", &[]),
        ("c7", "shell/data.yaml", &[]),
    ] {
        case_build(&model, &case.join(data), &dir.path(out), more).expect(0);
    }
    let (first, second) = ([18, 12, 72, 60], [96, 24, 132, 84]);
    assert_eq!(ids_of(&dir.path("c1"), "lamp.jpg"), [(4, first), (5, second)]);
    assert_eq!(ids_of(&dir.path("c2"), "belt.png"), [(0, first)]);
    for cache in ["c2", "c3"] {
        let names = json!(["gear", "bolt", "nut", "washer", "rivet", "spring"]);
        assert_eq!(inspect(&dir.path(cache), &[])["teacher"]["class_names"], names);
    }
    assert_eq!(ids_of(&dir.path("c4"), "h0.jpg"), [(3, first)]);
    assert_eq!(ids_of(&dir.path("c4"), "h1.jpg"), [(4, second)]);
    assert_eq!(ids_of(&dir.path("c5"), "roof.jpg"), [(3, first)]);
    assert_eq!(ids_of(&dir.path("c5"), "wall.jpg"), [(0, second)]);
    assert_eq!(paths_of(&dir.path("c6")), ["JPEGImages/s1.jpg", "JPEGImages/s2.jpg"]);
    assert_eq!(ids_of(&dir.path("c6"), "s1.jpg"), [(3, first)]);
    assert_eq!(ids_of(&dir.path("c6"), "s2.jpg"), [(4, second)]);
    assert_eq!(ids_of(&dir.path("c7"), "door.jpg"), [(1, first)]);
}

#[test]
fn types_of_other_programs() {
    let Some((case, model)) = case("06-coco-types") else { return };
    let dir = Folder::new();
    let images = [OsStr::new("--images"), &*case.join("frames").into_os_string()].map(OsStr::to_owned);
    let run = |file: &str| {
        let images: Vec<&OsStr> = images.iter().map(|word| word.as_os_str()).collect();
        case_build(&model, &case.join(file).with_extension("json"), &dir.path(file), &images)
    };
    for file in [
        "plain",
        "float_image_ids",
        "float_image_ids_in_annotations_only",
        "float_category_ids",
        "float_sizes",
        "string_annotation_ids",
        "string_image_ids",
        "word_image_ids",
        "string_category_ids",
        "string_sizes",
        "string_bbox",
        "null_area",
        "null_iscrowd",
        "nan_area",
    ] {
        let found = run(file).expect(0);
        assert_eq!(found.stderr.contains("area is NaN"), file == "nan_area", "{file}: {}", found.stderr);
        assert_eq!(ids_of(&dir.path(file), "frame_000007.jpg"), [(2, [22, 11, 66, 55])], "{file}");
        let two = [(1, [22, 11, 66, 55]), (2, [77, 33, 121, 77])];
        assert_eq!(ids_of(&dir.path(file), "frame_000012.jpg"), two, "{file}");
    }
    run("half_image_id").refused(&["entry number 0 (counted from 0) of `images`: `id` is 7.5"]);
    let found = run("nan_bbox").expect(1);
    let told = format!("{}{}", found.stdout, found.stderr);
    assert!(told.contains("frame_000012.jpg") && told.contains("annotation id 3: bbox has NaN"), "{told}");
    assert_eq!(ids_of(&dir.path("nan_bbox"), "frame_000007.jpg"), [(2, [22, 11, 66, 55])]);
}

#[test]
fn backslashes_in_file_names() {
    let Some((case, model)) = case("07-coco-backslash") else { return };
    let dir = Folder::new();
    let nested = case.join("nested/result.json");
    let folder = |name: &str| [OsString::from("--images"), case.join(name).into_os_string()];
    case_build(&model, &nested, &dir.path("c1"), &[]).expect(0);
    let [flag, given] = folder("nested");
    case_build(&model, &nested, &dir.path("c2"), &[&flag, &given]).expect(0);
    for cache in ["c1", "c2"].map(|name| dir.path(name)) {
        assert_eq!(paths_of(&cache), ["pics/day one/left.jpg", "pics/day one/right.jpg", "pics/night/left.png"]);
        assert_eq!(ids_of(&cache, "pics/day one/left.jpg"), [(3, [11, 9, 55, 45])]);
        assert_eq!(ids_of(&cache, "pics/day one/right.jpg"), [(4, [44, 27, 99, 81])]);
        assert_eq!(ids_of(&cache, "pics/night/left.png"), [(3, [22, 18, 88, 72])]);
    }
    let (export, [flag, given]) = (case.join("apart/json/export.json"), folder("apart/scans"));
    case_build(&model, &export, &dir.path("c3"), &[&flag, &given]).expect(0);
    assert_eq!(ids_of(&dir.path("c3"), "batch_7/t0.jpg"), [(3, [11, 9, 55, 45])]);
    assert_eq!(ids_of(&dir.path("c3"), "batch_7/t1.jpg"), [(4, [44, 27, 99, 81])]);
    let words = ["eval", "--quiet", "--json", "--jobs", "1", "--latency-runs", "0"];
    let paths = [("--model", &*model), ("--data", &*export), ("--images", Path::new(&given))];
    let report = logitcache(&args(words, &paths, &[])).expect(0).json();
    assert_eq!(report["models"][0]["scores"]["objects"], 2);
}

/// A run folder with a byte order mark in its table, as a spreadsheet saves it.
#[test]
fn a_table_saved_by_a_spreadsheet() {
    let dir = Folder::new();
    dir.write("run/config.json", "\u{feff}{}");
    dir.write("run/results.csv", "\u{feff}epoch,time\r\n1,2\r\n");
    let page = dir.path("page.html");
    logitcache(
        &args(["report", "--no-models"], &[("--out", &page)], &[])
            .into_iter()
            .chain([dir.path("run").into()])
            .collect::<Vec<_>>(),
    )
    .expect(0);
    assert!(fixture("models").is_dir());
}

/// What tells of labels that are not read knows them in every encoding.
#[test]
fn labels_that_are_not_read_are_seen_in_every_encoding() {
    for (which, row) in forms(ONE_ROW) {
        let dir = Folder::new();
        dir.picture("set/a.png");
        dir.write("set/a.txt", row);
        let names = forms("gear\nbolt\n").into_iter().find(|(form, _)| *form == which).unwrap().1;
        dir.write("set/classes.txt", names);
        let run = build(&dir.path("set"), &dir.path("cache"), &[]).expect(0);
        run.says(&["1 label file", "was not read", "names: [\"gear\", \"bolt\"]"]);
    }
}

/// A box without area is no object; what is left out of the labels is told, with its image.
#[test]
fn boxes_without_area_are_told() {
    let dir = Folder::new();
    dir.picture("yolo/images/a.png");
    dir.picture("yolo/images/b.png");
    dir.write("yolo/labels/a.txt", "4 0.5 0.5 0 0.5\n4 0.3125 0.375 0.375 0.5\n");
    dir.write("yolo/labels/b.txt", "4 0.5 0.5 0.2 0\n4 0.5 0.5 0 0.5\n");
    let yaml = dir.write("yolo/data.yaml", format!("train: images\nval: images\nnames: [{}]\n", NAMES.join(", ")));
    let words =
        "3 boxes have no area inside the image and were left out of the labels of 2 images: images/a.png, images/b.png";
    let run = build(&yaml, &dir.path("yolo-cache"), &[]).expect(0);
    assert!(run.stdout.contains(words), "{}", run.stdout);
    has_labels(&dir.path("yolo-cache"), "a.png", &[ONE_BOX]);
    has_labels(&dir.path("yolo-cache"), "b.png", &[]);

    dir.picture("coco/a.png");
    let mut coco = coco("a.png");
    coco["annotations"][0]["bbox"] = json!([48, 20, 0, 40]);
    let json = dir.write("coco/a.json", coco.to_string());
    let run = build(&json, &dir.path("coco-cache"), &[("--json", "")]).expect(0);
    let words = "1 box has no area inside the image and was left out of the labels of 1 image: a.png";
    assert_eq!(run.json()["labels_left_out"], json!(words));
}
