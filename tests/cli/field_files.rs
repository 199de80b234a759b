//! Files as people have them: pictures under other names, labels in other places, data sets of
//! which nothing can be used, caches in folders that a database takes for columns, teachers that
//! see nothing.

use crate::{
    common::shared,
    support::{Run, args, build, fixture, logitcache, shapes, teacher, verify},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder of files made here. Pictures are copies of fixtures.
struct Made(TempDir);

impl Made {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    /// A JPEG of 48 x 32 pixels or whatever the fixture has.
    fn jpeg(&self, name: &str) -> &Self {
        self.picture(name, "baseline_444.jpg")
    }

    fn picture(&self, name: &str, of: &str) -> &Self {
        self.write(name, fs::read(fixture("images/good").join(of)).unwrap())
    }

    /// `build --json` of what lies here.
    fn build(&self, data: &str) -> Value {
        let cache = self.path(&format!("caches/{}", data.replace('/', "_")));
        build(&self.path(data), &cache, &[("--json", "")]).expect(0).json()
    }

    fn predict(&self, places: &[&str], more: &[&str]) -> Run {
        let model = teacher();
        let mut all = args(["predict", "--imgsz", "64"], &[("--model", &model)], &[]);
        all.extend(places.iter().map(|place| self.path(place).into_os_string()));
        all.extend(more.iter().map(Into::into));
        logitcache(&all)
    }

    fn eval(&self, data: &str, more: &[&str]) -> Run {
        eval(&self.path(data), more)
    }
}

fn eval(data: &Path, more: &[&str]) -> Run {
    let model = teacher();
    let mut all = args(
        ["eval", "--imgsz", "64", "--latency-runs", "0", "--split", "train"],
        &[("--model", &model), ("--data", data)],
        &[],
    );
    all.extend(more.iter().map(Into::into));
    logitcache(&all)
}

/// Class names and whole pixels of the labels of every image, by path.
fn labels(built: &Value) -> Value {
    let cache = built["cache"].as_str().unwrap();
    let images = 0..built["images"].as_u64().unwrap() + built["failures"].as_array().unwrap().len() as u64;
    let mut found = serde_json::Map::new();
    for id in images {
        let run = logitcache(&["inspect", cache, "--json", "--image", &id.to_string()]);
        if run.code == 0 {
            let image = run.json();
            let pixels = |label: &Value, side: &str| json!(label["box_xyxy_px"][side].as_f64().unwrap().round());
            let labels = image["labels"].as_array().map(|labels| {
                let shown =
                    |l: &Value| json!([l["class"], pixels(l, "x1"), pixels(l, "y1"), pixels(l, "x2"), pixels(l, "y2")]);
                labels.iter().map(shown).collect::<Vec<_>>()
            });
            found.insert(image["path"].as_str().unwrap().to_owned(), json!(labels));
        }
    }
    Value::Object(found)
}

fn notes(report: &Value) -> String {
    report["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

fn passed_over(report: &Value) -> Vec<&str> {
    let files = report["passed_over"]["files"].as_array().unwrap();
    assert_eq!(report["passed_over"]["count"], files.len());
    files.iter().map(|file| file["path"].as_str().unwrap()).collect()
}

fn paths(report: &Value) -> Vec<&str> {
    report["images"].as_array().unwrap().iter().map(|image| image["path"].as_str().unwrap()).collect()
}

// ---- which files are pictures ----

/// What an iPhone writes; only its beginning matters.
const HEIC: &[u8] = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic and so on";

#[test]
fn pictures_are_read_under_every_name_of_their_format() {
    let made = Made::new();
    let jpegs = ["a.JPE", "b.jfif", "c.JFI", "d.jif", "e.pjpeg", "f.pjp", "g.MPO", "h.mpo", "i.jpg"];
    for name in jpegs {
        made.jpeg(&format!("in/{name}"));
    }
    made.picture("in/j.apng", "rgb_8.png").picture("in/k.DIB", "rgb.bmp").picture("in/l.TIF", "rgb.tiff");
    // By their bytes alone.
    made.jpeg("in/m").jpeg("in/n.heic").picture("in/o.jpg_large", "rgb_8.png").picture("in/p.gif", "lossy.webp");
    made.write("in/q.gif", fs::read(fixture("images/bad/picture.gif")).unwrap()).write("in/r.HEIC", HEIC);
    // No pictures: a text that begins as a BMP, a raw file that begins as a TIFF, a picture that is
    // hidden.
    made.write("in/about", "BMW, and other cars").picture("in/s.dng", "rgb.tiff").jpeg("in/.t.jpg");
    let report = made.predict(&["in"], &["--json"]).expect(0).json();
    let read = [
        "a.JPE", "b.jfif", "c.JFI", "d.jif", "e.pjpeg", "f.pjp", "g.MPO", "h.mpo", "i.jpg", "j.apng", "k.DIB", "l.TIF",
    ];
    assert_eq!(paths(&report), [&read[..], &["m", "n.heic", "o.jpg_large", "p.gif"]].concat());
    assert_eq!(passed_over(&report), ["q.gif", "r.HEIC", "s.dng"]);
    assert!(report["passed_over"]["files"][1]["reason"].as_str().unwrap().contains(".heic image"));
    for words in ["3 images are in formats that are not supported", "4 files are not named like supported images"] {
        assert!(notes(&report).contains(words), "{}", notes(&report));
    }

    let run = made.predict(&["in"], &["--quiet"]).expect(0);
    assert!(
        run.stdout.contains("passed over: 3 files of formats that are not supported: q.gif, r.HEIC, s.dng"),
        "{}",
        run.stdout
    );
    assert_eq!(run.stderr, "");

    let out = made.path("out");
    made.predict(&["in"], &["--out", out.to_str().unwrap()]).expect(0);
    for path in paths(&report) {
        let drawn = fs::read(out.join(path)).unwrap();
        logitcache::preprocess::decode(&drawn, &Default::default()).unwrap_or_else(|e| panic!("{path}: {e}"));
    }
}

#[test]
fn a_picture_named_alone_is_judged_by_its_bytes() {
    let made = Made::new();
    made.jpeg("download").picture("scan.dat", "rgb.tiff").picture("old.pic", "rgb.bmp").jpeg("photo.heic");
    for name in ["download", "scan.dat", "old.pic", "photo.heic"] {
        let report = made.predict(&[name], &["--json"]).expect(0).json();
        assert_eq!(paths(&report), [name]);
    }
    made.write("real.heic", HEIC).write("notes.txt", "three apples").jpeg("good.jpg");
    // As a shell makes it of `*`: what is not decoded is passed over; what is no picture at all is
    // a mistake.
    let report = made.predict(&["good.jpg", "real.heic"], &["--json"]).expect(0).json();
    assert_eq!((paths(&report), passed_over(&report)), (vec!["good.jpg"], vec!["real.heic"]));
    made.predict(&["real.heic"], &[]).refused(&["no images found", "real.heic", "not supported"]);
    made.predict(&["notes.txt"], &[]).refused(&["notes.txt", "not named like an image", "does not begin like one"]);
}

#[test]
fn what_is_passed_over_is_not_called_missing() {
    let made = Made::new();
    made.jpeg("set/images/a.jpg").write("set/images/b.heic", HEIC).jpeg("set/images/c.jfif");
    for name in ["a", "b", "c"] {
        made.write(&format!("set/labels/{name}.txt"), "0 .5 .5 .5 .5\n");
    }
    made.write("set/data.yaml", "train: images\nval: images\nnames: [circle]\n");
    made.write("set/list.txt", "./images/a.jpg\n./images/b.heic\n./images/c.jfif\nreadme.md\n")
        .write("set/readme.md", "hello");
    made.write("set/by_list.yaml", "train: list.txt\nval: list.txt\nnames: [circle]\n");
    for (data, over) in
        [("set/data.yaml", vec!["images/b.heic"]), ("set/by_list.yaml", vec!["images/b.heic", "readme.md"])]
    {
        let report = made.build(data);
        assert_eq!((report["images"].as_u64(), passed_over(&report)), (Some(2), over.clone()));
        assert!(!notes(&report).contains("no image"), "{}", notes(&report));
        let scores = made.eval(data, &["--json", "--quiet"]).expect(0).json();
        assert_eq!((passed_over(&scores), notes(&scores)), (over, notes(&report)));
        let cache = made.path("caches/again");
        let run = build(&made.path(data), &cache, &[("--quiet", ""), ("--overwrite", "")]).expect(0);
        assert!(run.stdout.contains("\npassed over: ") && run.stdout.contains("images/b.heic"), "{}", run.stdout);
    }
}

#[test]
fn a_voc_picture_that_is_not_decoded_fails_as_what_it_is() {
    let made = Made::new();
    let xml = |name: &str| {
        let corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>";
        let object = format!("<object><name>circle</name><bndbox>{corners}</bndbox></object>");
        format!("<annotation><filename>{name}</filename>{object}</annotation>")
    };
    made.jpeg("voc/a.jpg").write("voc/a.xml", xml("a.jpg")).write("voc/b.heic", HEIC).write("voc/b.xml", xml("b.heic"));
    made.write("voc/c.gif", "GIF89a");
    let report = build(&made.path("voc"), &made.path("cache"), &[("--json", "")]).expect(1).json();
    assert_eq!(report["failures"][0]["path"], "b.heic");
    assert!(report["failures"][0]["reason"].as_str().unwrap().contains("not an image that can be read"), "{report}");
    assert_eq!(passed_over(&report), ["c.gif"], "a failure is not counted twice");
}

#[test]
fn stereo_pictures_and_those_of_browsers() {
    let Some(shared) = shared() else { return };
    let case = shared.join("field/10-mpo-passed-over");
    let model = shared.join("models/yolov12n.onnx");
    let run = |place: &Path| {
        let all = args(["predict", "--quiet", "--json", "--jobs", "1"], &[("--model", &model)], &[]);
        logitcache(&all.into_iter().chain([place.into()]).collect::<Vec<_>>()).expect(0).json()
    };
    let photos = run(&case.join("photos"));
    let found: Vec<String> = photos["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| {
            let counts = i["counts"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| format!("{} {}", c["class"].as_str().unwrap(), c["count"]));
            let counts = counts.collect::<Vec<_>>().join(", ");
            format!("{} {} x {}: {counts}", i["path"].as_str().unwrap(), i["size"]["width"], i["size"]["height"])
        })
        .collect();
    let expected = [
        "IMG_0032.JPG 220 x 146: car 1, airplane 1, truck 1",
        "STEREO_0031.MPO 200 x 216: elephant 2",
        "herd.mpo 220 x 165: giraffe 4",
        "old.jpe 220 x 146: airplane 1",
        "saved_from_web.jfif 220 x 146: zebra 1",
    ];
    let sorted = |line: &str| {
        let (path, counts) = line.split_once(": ").unwrap();
        let mut counts: Vec<&str> = counts.split(", ").collect();
        counts.sort_unstable();
        format!("{path}: {}", counts.join(", "))
    };
    let (found, expected): (Vec<_>, Vec<_>) =
        (found.iter().map(|l| sorted(l)).collect(), expected.iter().map(|l| sorted(l)).collect());
    assert_eq!(found, expected);
    assert_eq!(run(&case.join("photos/STEREO_0031.MPO"))["images"].as_array().unwrap().len(), 1);
    for data in ["data.yaml", "by_list.yaml"] {
        let built = of_case(&case.join("set").join(data));
        let expected = json!({
            "images/IMG_0032.JPG": [["triangle", 55.0, 37.0, 165.0, 110.0]],
            "images/STEREO_0031.MPO": [["circle", 25.0, 27.0, 175.0, 189.0]],
            "images/web.jfif": [["square", 55.0, 37.0, 165.0, 110.0]],
        });
        assert_eq!(labels(&built.1), expected);
        assert!(!notes(&built.1).contains("no image"), "{}", notes(&built.1));
    }
}

/// `build --json` of a case's data set with the committed teacher; the cache lives as long as what
/// is returned.
fn of_case(data: &Path) -> (TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    let report = build(data, &dir.path().join("cache"), &[("--json", "")]).expect(0).json();
    (dir, report)
}

// ---- labels that are there ----

#[test]
fn labels_beside_their_pictures_are_read_and_said_so() {
    let made = Made::new();
    let row = |class: u32| format!("{class} .5 .5 .5 .5\n");
    made.jpeg("set/images/north/a.jpg").write("set/images/north/a.txt", row(1));
    made.jpeg("set/images/south/b.jpg").write("set/images/south/b.txt", row(2));
    // In `labels`, in both (`labels` wins), in neither.
    made.jpeg("set/images/c.jpg").write("set/labels/c.txt", row(3));
    made.jpeg("set/images/d.jpg").write("set/labels/d.txt", row(4)).write("set/images/d.txt", row(5));
    made.jpeg("set/images/e.jpg");
    let names = "names: [circle, square, triangle, star, cross, ring]\n";
    made.write("set/data.yaml", format!("train: images\nval: images\n{names}"));
    made.write("set/list.txt", "images/north/a.jpg\nimages/south/b.jpg\nimages/c.jpg\nimages/d.jpg\nimages/e.jpg\n");
    made.write("set/by_list.yaml", format!("train: list.txt\nval: list.txt\n{names}"));
    let images = made.path("set/images");
    for data in ["set/data.yaml", "set/by_list.yaml"] {
        let report = made.build(data);
        let classes: Vec<Value> = labels(&report).as_object().unwrap().values().map(|l| l[0][0].clone()).collect();
        // In the order of the paths: c, d, e, north/a, south/b.
        assert_eq!(classes, [json!("star"), json!("cross"), Value::Null, json!("square"), json!("triangle")]);
        let notes = notes(&report);
        for words in [
            format!("2 label files are beside their images in {}", images.display()),
            format!(
                "1 label file beside its image was not read, because another is in `labels`: {}",
                images.join("d.txt").display()
            ),
            format!("1 image has no label file: {}", images.join("e.jpg").display()),
        ] {
            assert!(notes.contains(&words), "{words}\n{notes}");
        }
        let run = made.eval(data, &[]).expect(0).says(&["2 label files are beside their images"]);
        assert!(run.stdout.contains("5 images, 4 objects"), "{}", run.stdout);
    }
    // One that is no label file fails by name; it does not make a background image.
    made.write("set/images/e.txt", "a caption of five words");
    let report = build(&made.path("set/data.yaml"), &made.path("caption"), &[("--json", "")]).expect(1).json();
    assert!(report["failures"][0]["reason"].as_str().unwrap().contains("images/e.txt line 1"), "{report}");
}

#[test]
fn the_cases_of_labels_beside_pictures() {
    let Some(shared) = shared() else { return };
    let case = shared.join("field/12-labels-beside-images");
    for (set, count, folder, expected) in [
        (
            "beside",
            3,
            "beside/images",
            json!({
                "images/north/p1.jpg": [["triangle", 16.0, 8.0, 64.0, 40.0]],
                "images/north/p2.jpg": [["ring", 64.0, 32.0, 112.0, 72.0]],
                "images/south/p3.jpg": [["triangle", 32.0, 16.0, 96.0, 64.0]],
            }),
        ),
        (
            "mixed",
            2,
            "mixed/images",
            json!({
                "images/q0.png": [["ring", 16.0, 8.0, 64.0, 40.0]],
                "images/q1.png": [["triangle", 64.0, 32.0, 112.0, 72.0]],
                "images/q2.png": [["ring", 32.0, 16.0, 96.0, 64.0]],
                "images/q3.png": [["triangle", 8.0, 8.0, 40.0, 72.0]],
            }),
        ),
        (
            "list",
            2,
            "list/images",
            json!({
                "images/r0.jpg": [["triangle", 8.0, 8.0, 40.0, 72.0]],
                "images/r1.jpg": [["ring", 80.0, 8.0, 120.0, 48.0]],
            }),
        ),
    ] {
        let data = case.join(set).join("data.yaml");
        let (_dir, report) = of_case(&data);
        assert_eq!(labels(&report), expected);
        let words = format!("{count} label files are beside their images in ");
        let notes = notes(&report);
        assert!(notes.contains(&words) && notes.contains(&format!("{folder},")), "{notes}");
        eval(&data, &[]).expect(0).says(&[&words]);
    }
}

#[test]
fn labels_in_another_place_are_told_of() {
    let made = Made::new();
    let names = "names: [circle]\n";
    // Flat labels, a folder of another name, a name with two suffixes; and pictures of the same
    // name in another split.
    made.jpeg("flat/images/train/a.jpg")
        .write("flat/labels/a.txt", "0 .5 .5 .5 .5")
        .write("flat/data.yaml", format!("train: images/train\n{names}"));
    made.jpeg("name/images/a.jpg")
        .write("name/label/a.TXT", "0 .5 .5 .5 .5")
        .write("name/data.yaml", format!("train: images\n{names}"));
    made.jpeg("both/images/a.jpg")
        .write("both/labels/a.jpg.txt", "0 .5 .5 .5 .5")
        .write("both/data.yaml", format!("train: images\n{names}"));
    for (set, folder) in [("flat", "labels"), ("name", "label"), ("both", "labels")] {
        let report = made.build(&format!("{set}/data.yaml"));
        let words = format!("1 text file is in {}", made.path(set).join(folder).display());
        let notes = notes(&report);
        assert!(notes.contains(&words) && notes.contains("are expected in"), "{notes}");
        made.eval(&format!("{set}/data.yaml"), &["--quiet"]).refused(&["show no object", &words]);
    }
    made.jpeg("splits/images/train/a.jpg")
        .jpeg("splits/images/val/a.jpg")
        .write("splits/labels/val/a.txt", "0 .5 .5 .5 .5");
    made.write("splits/data.yaml", format!("train: images/train\nval: images/val\n{names}"));
    let report = made.build("splits/data.yaml");
    assert_eq!(report["notes"].as_array().unwrap().len(), 1, "{report}");
    // VOC labels beside a data.yaml.
    made.jpeg("xml/images/a.jpg")
        .write("xml/Annotations/a.xml", "<annotation></annotation>")
        .write("xml/data.yaml", format!("train: images\n{names}"));
    let report = made.build("xml/data.yaml");
    assert!(notes(&report).contains("1 XML file is in") && notes(&report).contains("Pascal VOC"), "{report}");
}

/// The `data.yaml` that a note says to write.
fn line_of(notes: &str) -> (PathBuf, String) {
    let (before, rest) = notes.split_once("rite ").unwrap();
    assert!(before.ends_with('W') || before.ends_with('w'));
    let (place, rest) = rest.split_once(" with the line `").unwrap();
    (place.into(), rest.split_once('`').unwrap().0.to_owned())
}

#[test]
fn label_files_without_a_description_are_told_of_with_the_line_to_write() {
    let row = "1 .5 .5 .5 .5\n";
    let studio = Made::new();
    studio
        .jpeg("d/images/a.jpg")
        .write("d/labels/a.txt", row)
        .write("d/classes.txt", "star\nring\n")
        .write("d/notes.json", "{}");
    let flat = Made::new();
    flat.jpeg("d/a.jpg")
        .write("d/a.txt", row)
        .jpeg("d/b.jpg")
        .write("d/b.txt", "")
        .write("d/classes.txt", "\u{feff}star\r\nring\r\n");
    let darknet = Made::new();
    darknet
        .jpeg("d/obj_train_data/a.jpg")
        .write("d/obj_train_data/a.txt", row)
        .write("d/obj.data", "names = data/obj.names\n");
    darknet.write("d/obj.names", "star\nring\n").write("d/train.txt", "data/obj_train_data/a.jpg\n");
    let notes_json = Made::new();
    notes_json.jpeg("d/images/a.jpg").write("d/labels/a.txt", row);
    notes_json.write("d/notes.json", r#"{"categories": [{"id": 1, "name": "ring"}, {"id": 0, "name": "star"}]}"#);
    let splits = Made::new();
    splits
        .jpeg("d/train/images/a.jpg")
        .write("d/train/labels/a.txt", row)
        .jpeg("d/valid/images/v.jpg")
        .write("d/valid/labels/v.txt", row);
    splits.write("d/train/_darknet.labels", "star\nring\n").write("d/classes.txt", "star\nring\n");
    // The folder of the pictures alone: their labels lie beside it.
    let inner = Made::new();
    inner.jpeg("d/images/a.jpg").write("d/labels/a.txt", row).write("d/labels/classes.txt", "star\nring\n");
    for (made, data, there) in [
        (&studio, "d", "classes.txt"),
        (&flat, "d", "classes.txt"),
        (&darknet, "d", "obj.data"),
        (&notes_json, "d", "notes.json"),
        (&splits, "d", "classes.txt"),
        (&inner, "d/images", "classes.txt"),
    ] {
        let report = made.build(data);
        let notes = notes(&report);
        assert!(notes.contains(" not read: ") && notes.contains(there), "{notes}");
        made.eval(data, &["--quiet"]).refused(&["has no labels", " not read: ", there]);
        let (place, line) = line_of(&notes);
        fs::write(&place, line + "\n").unwrap();
        assert_eq!(place, made.path("d/data.yaml"));
        let labelled = labels(&made.build("d/data.yaml"));
        assert!(labelled.as_object().unwrap().values().all(|l| l == &json!([]) || l[0][0] == "ring"), "{labelled}");
        assert!(labelled.as_object().unwrap().values().any(|l| l[0][0] == "ring"), "{labelled}");
        assert_eq!(labelled.as_object().unwrap().keys().filter(|path| path.contains("valid")).count(), 0);
    }
    // With a description above the folder of the pictures, that is the one to give.
    made_again(&inner);

    // Captions are no labels, and neither are lists.
    let captions = Made::new();
    captions
        .jpeg("d/a.jpg")
        .write("d/a.txt", "a red car in the street, seen from above")
        .write("d/list.txt", "a.jpg\n");
    assert_eq!(captions.build("d")["notes"], json!([]));
    // Names that nobody gives, and labels of pictures in a place where they would not be found.
    let bare = Made::new();
    bare.jpeg("d/pictures/a.jpg").write("d/boxes/a.txt", row);
    let notes = notes(&bare.build("d"));
    assert!(notes.contains("Move them: ") && notes.contains("names: [...]"), "{notes}");
}

fn made_again(inner: &Made) {
    let cache = inner.path("caches/above");
    let report = build(&inner.path("d/images"), &cache, &[("--json", "")]).expect(0).json();
    assert!(notes(&report).contains(&format!("give {} as --data", inner.path("d/data.yaml").display())), "{report}");
}

#[test]
fn a_description_of_another_name_is_read() {
    let made = Made::new();
    made.jpeg("kit/train/images/a.jpg").write("kit/train/labels/a.txt", "1 .5 .5 .5 .5").jpeg("kit/valid/images/v.jpg");
    made.write("kit/dataset.yaml", "train: train/images\nval: valid/images\nnames: [triangle, ring]\n");
    // What is no description does not count.
    made.write("kit/hyp.yaml", "lr0: 0.01\n").write("kit/broken.yml", "a: [").write("kit/names.yaml", "names: [a]\n");
    let report = made.build("kit");
    assert!(notes(&report).contains("dataset.yaml describes this folder and was read"), "{report}");
    assert_eq!(
        (report["images"].as_u64(), labels(&report)["train/images/a.jpg"][0][0].as_str()),
        (Some(1), Some("ring"))
    );
    made.eval("kit", &[]).expect(0);
    // Two: nobody knows which.
    made.write("kit/other.YAML", "train: valid/images\nnames: [triangle]\n");
    let report = build(&made.path("kit"), &made.path("two"), &[("--json", "")]).expect(0).json();
    assert!(notes(&report).contains("2 files describe this folder"), "{report}");
    made.eval("kit", &["--quiet"]).refused(&["2 files describe this folder", "dataset.yaml", "other.YAML"]);
    // A stale one stops the build: its labels would be missed.
    made.jpeg("stale/a.jpg").write("stale/my.yaml", "path: /gone\ntrain: images\nnames: [ring]\n");
    build(&made.path("stale"), &made.path("stale_cache"), &[]).refused(&[
        "my.yaml",
        "/gone",
        "only the folder of the images",
    ]);
}

#[test]
fn other_labels_in_a_plain_folder_are_told_of() {
    let made = Made::new();
    let coco = r#"{"info": {}, "images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}"#;
    made.jpeg("inside/a.jpg").write("inside/_annotations.coco.json", coco);
    made.jpeg("outside/train2017/a.jpg").write("outside/annotations/instances_train2017.json", coco);
    made.write("outside/annotations/instances_val2017.json", coco.replace("a.jpg", "z.jpg"));
    made.jpeg("me/a.jpg").write("me/a.json", r#"{"shapes": [], "imagePath": "a.jpg"}"#);
    made.jpeg("VOC/JPEGImages/a.jpg").write("VOC/Annotations/a.xml", "<annotation></annotation>");
    for (data, words) in [
        ("inside", "_annotations.coco.json looks like a COCO file and was not read; give it as --data"),
        ("outside/train2017", "instances_train2017.json looks like a COCO file"),
        ("me", "1 JSON file is in"),
        ("VOC/JPEGImages", "1 XML file is in"),
    ] {
        let report = made.build(data);
        assert!(notes(&report).contains(words), "{report}");
        made.eval(data, &["--quiet"]).refused(&["has no labels", words]);
    }
    made.jpeg("takeout/a.jpg").write("takeout/a.jpg.json", r#"{"title": "a.jpg"}"#).write("takeout/print.json", "{}");
    assert_eq!(made.build("takeout")["notes"], json!([]));
}

#[test]
fn the_cases_of_folders_without_a_data_yaml() {
    let Some(shared) = shared() else { return };
    let case = shared.join("field/13-no-data-yaml");
    for (set, count, folder, there) in [
        ("studio", 3, "studio/labels", "classes.txt"),
        ("flat", 2, "flat", "classes.txt"),
        ("darknet", 2, "darknet/obj_train_data", "obj.data"),
    ] {
        let words = format!("{count} label files are in {}", case.join(folder).canonicalize().unwrap().display());
        let data = case.join(set).canonicalize().unwrap();
        let (_dir, report) = of_case(&data);
        assert!(notes(&report).contains(&words) && notes(&report).contains(there), "{report}");
        eval(&data, &["--quiet"]).refused(&[&words, there, "data.yaml"]);
        let (_, line) = line_of(&notes(&report));
        let expected = match set {
            "studio" => {
                r#"{train: "images", val: "images", names: ["circle", "square", "triangle", "star", "cross", "ring"]}"#
            }
            "flat" => r#"{train: ".", val: ".", names: ["star", "cross"]}"#,
            _ => r#"{train: "obj_train_data", val: "obj_train_data", names: ["square", "ring"]}"#,
        };
        assert_eq!(line, expected);
    }
    let expected = json!({
        "train/images/k0.jpg": [["triangle", 64.0, 32.0, 112.0, 72.0]],
        "train/images/k1.jpg": [["ring", 32.0, 16.0, 96.0, 64.0]],
    });
    for data in ["kit", "kit/dataset.yaml"] {
        assert_eq!(labels(&of_case(&case.join(data)).1), expected);
    }
}

#[test]
fn shared_label_files_are_named() {
    let made = Made::new();
    for name in ["a/x.jpg", "a/x.jpeg", "b/y.jpg", "c/z.jpg", "c/z.JPG"] {
        made.jpeg(&format!("set/images/{name}"));
    }
    made.picture("set/images/a/x.bmp", "rgb.bmp");
    for name in ["a/x", "b/y"] {
        made.write(&format!("set/labels/{name}.txt"), "1 .5 .5 .5 .5");
    }
    // Also where they lie beside the pictures; a list may name a picture twice.
    made.write("set/images/c/z.txt", "1 .5 .5 .5 .5");
    made.write("set/list.txt", "images/b/y.jpg\nimages/b/y.jpg\n");
    made.write("set/data.yaml", "train: images\nval: list.txt\nnames: [triangle, ring]\n");
    let report = made.build("set/data.yaml");
    let words = format!(
        "2 label files are shared by images of the same name: {} by 2 images, {} by 3 images",
        made.path("set/images/c/z.txt").display(),
        made.path("set/labels/a/x.txt").display()
    );
    assert!(notes(&report).contains(&words), "{report}");
    assert!(labels(&report).as_object().unwrap().values().all(|l| l[0][0] == "ring"));
    let list =
        build(&made.path("set/data.yaml"), &made.path("val"), &[("--split", "val"), ("--json", "")]).expect(0).json();
    assert!(!notes(&list).contains("shared"), "{list}");

    let Some(shared) = shared() else { return };
    let case = shared.join("field/14-same-stem");
    let (_dir, report) = of_case(&case.join("set/data.yaml"));
    let notes = notes(&report);
    assert!(
        notes.contains("labels/cam_a/0007.txt by 2 images") && notes.contains("labels/cam_c/x.txt by 3 images"),
        "{notes}"
    );
    assert!(!notes.contains("cam_b"), "{notes}");
    assert_eq!(report["images"], 6);
    assert_eq!(labels(&report)["images/cam_a/0007.png"], json!([["triangle", 30.0, 32.0, 50.0, 96.0]]));
}

// ---- nothing that can be used ----

#[test]
fn a_build_of_which_every_image_fails_is_not_complete() {
    let made = Made::new();
    made.write("pics/a.jpg", "")
        .write("pics/b.png", "<html><head>")
        .write("pics/c.jpg", fs::read(fixture("images/bad/truncated_baseline.jpg")).unwrap());
    let (data, cache) = (made.path("pics"), made.path("cache"));
    let reasons = ["a.jpg: the file is empty", "b.png: not an image", "c.jpg: "];
    let run = build(&data, &cache, &[("--quiet", "")]).expect(2).says(&[
        "error: ",
        "none of 3 images",
        "run the same command again",
    ]);
    for words in reasons {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    let report = build(&data, &made.path("json"), &[("--quiet", ""), ("--json", "")]).expect(2).json();
    assert_eq!((report["images"].as_u64(), report["complete"].as_bool()), (Some(0), Some(false)));
    assert_eq!((report["failures"].as_array().unwrap().len(), &report["teacher"]), (3, &Value::Null));
    // Nothing says that it is complete, and all say why.
    let inspect = logitcache(&["inspect".as_ref(), cache.as_os_str()]).expect(0).stdout;
    assert!(
        inspect.contains("not complete: no image could be used") && inspect.contains("the file is empty"),
        "{inspect}"
    );
    let verified = verify(&cache).expect(0).stdout;
    assert!(verified.contains("not complete: it holds no images, 3 failed"), "{verified}");
    for command in ["inspect", "verify"] {
        let report = logitcache(&[command.as_ref(), cache.as_os_str(), "--json".as_ref()]).expect(0).json();
        assert_eq!(report["complete"], false, "{report}");
    }
    build(&data, &cache, &[]).expect(2).says(&["3 failed before and tried again"]);
    // What cannot be done with it is refused.
    let archive = made.path("archive");
    let convert = args(["convert", "--profile", "archive"], &[("--out", &archive)], &[]);
    logitcache(&convert.into_iter().chain([cache.clone().into()]).collect::<Vec<_>>()).refused(&["cache"]);

    // Mended, the same command goes on.
    made.jpeg("pics/a.jpg");
    let report = build(&data, &cache, &[("--json", "")]).expect(1).json();
    assert_eq!((report["images"].as_u64(), report["complete"].as_bool()), (Some(1), Some(true)));
    assert_eq!(report["failures"].as_array().unwrap().len(), 2);
    verify(&cache).expect(0);
    assert!(logitcache(&["inspect".as_ref(), cache.as_os_str()]).expect(0).stdout.contains("mapped, complete"));
}

#[test]
fn labels_and_missing_pictures_can_fail_every_image_too() {
    let made = Made::new();
    made.jpeg("yolo/images/a.jpg")
        .write("yolo/labels/a.txt", "0 64 40 32 20\n")
        .write("yolo/data.yaml", "train: images\nnames: [ring]\n");
    let coco = json!({
        "images": [{"id": 1, "file_name": "m.jpg", "width": 9, "height": 9}],
        "annotations": [],
        "categories": [{"id": 1, "name": "ring"}],
    });
    made.write("coco/labels.json", coco.to_string());
    fs::create_dir(made.path("coco/images")).unwrap();
    let run = build(&made.path("yolo/data.yaml"), &made.path("c1"), &[]).expect(2);
    assert!(
        run.stdout.contains("images/a.jpg: ") && run.stdout.contains("line 1: cx is 64, outside 0 to 1"),
        "{}",
        run.stdout
    );
    let images = made.path("coco/images");
    let run =
        build(&made.path("coco/labels.json"), &made.path("c2"), &[("--images", images.to_str().unwrap())]).expect(2);
    assert!(run.stdout.contains("m.jpg: cannot read"), "{}", run.stdout);
    made.eval("yolo/data.yaml", &["--quiet"]).refused(&["1 of 1 image failed", "cx is 64"]);
}

#[test]
fn a_prediction_of_which_every_picture_fails_exits_2() {
    let made = Made::new();
    made.write("pics/a.jpg", "").write("pics/b.png", "<html>");
    let run = made.predict(&["pics"], &["--quiet"]).expect(2).says(&["none of 2 images could be processed"]);
    assert!(
        run.stdout.contains("a.jpg: failed, the file is empty") && run.stdout.contains("failed: 2 of 2 images"),
        "{}",
        run.stdout
    );
    let report = made.predict(&["pics"], &["--json"]).expect(2).json();
    assert_eq!(report["failures"].as_array().unwrap().len(), 2);
    made.jpeg("pics/c.jpg").predict(&["pics"], &[]).expect(1);
}

// ---- where the cache lies ----

#[test]
fn a_path_that_hides_a_column_is_told_of() {
    let made = Made::new();
    made.jpeg("pics/a.jpg");
    let build_in = |place: &str| build(&made.path("pics"), &made.path(place), &[("--json", "")]).expect(0);
    let run = build_in("model=v8n/class_id=3/cache").says(&["class_id=3", "hive_partitioning = false"]);
    assert!(notes(&run.json()).contains("class_id=3 (column class_id)"));
    assert_eq!(build_in("model=v8n/cache").json()["notes"], json!([]));
    let (from, out) = (made.path("model=v8n/cache"), made.path("IMAGE_ID=5/archive"));
    let convert = args(["convert", "--profile", "archive", "--json"], &[("--out", &out)], &[]);
    let run =
        logitcache(&convert.into_iter().chain([from.into()]).collect::<Vec<_>>()).expect(0).says(&["column image_id"]);
    assert!(notes(&run.json()).contains("IMAGE_ID=5"));
}

// ---- what the teacher sees ----

#[test]
fn a_teacher_that_sees_nothing_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/teacher.onnx");
    let trained = [("--teacher", embedded.to_str().unwrap())];
    let cache = dir.path().join("trained");
    let run = build(&data, &cache, &trained).expect(0);
    assert!(
        run.stdout.contains("mAP@0.5 of the cached predictions") && !run.stdout.contains("warning"),
        "{}",
        run.stdout
    );
    // Again, with nothing to do: what is said is of the whole cache.
    let again = build(&data, &cache, &[trained[0], ("--json", "")]).expect(0).json();
    let sight = &again["teacher"];
    assert_eq!((sight["images"].as_u64(), again["images_this_run"].as_u64()), (again["images"].as_u64(), Some(0)));
    assert!(
        sight["map_50"].as_f64().unwrap() > 0.5 && sight["best_scores"]["median"].as_f64().unwrap() > 0.5,
        "{sight}"
    );
    assert_eq!(sight["warning"], Value::Null);

    // Random weights.
    let blind = dir.path().join("blind");
    let run = build(&data, &blind, &[("--quiet", "")]).expect(0);
    assert!(run.stdout.contains("warning: the teacher finds almost nothing"), "{}", run.stdout);
    let report = build(&data, &blind, &[("--json", "")]).expect(0).json();
    let sight = &report["teacher"];
    assert!(sight["map_50"].as_f64().unwrap() < 0.05 && sight["images_over_25"] == 0, "{sight}");

    // Without labels there is no mAP, and views do not count.
    let options = [("--ignore-labels", ""), ("--views", "2"), ("--json", "")];
    let report = build(&data, &dir.path().join("views"), &options).expect(0).json();
    let sight = &report["teacher"];
    assert_eq!((&sight["map_50"], sight["images"].as_u64()), (&Value::Null, report["images"].as_u64()));
    assert!(sight["warning"].as_str().unwrap().contains("Unless most of them are empty"), "{sight}");

    // With a lowest score nothing at all may be kept; the best score is that of what was dropped.
    let report = build(&data, &dir.path().join("none"), &[("--min-score", "0.9"), ("--json", "")]).expect(0).json();
    assert_eq!((report["rows"].as_u64(), report["teacher"]["map_50"].as_f64()), (Some(0), Some(0.0)));
    assert!(report["teacher"]["best_scores"]["min"].as_f64().unwrap() > 0.0);
}
