//! `predict`, and the pictures of `inspect --out`: what is printed, what is written, what is refused.

use crate::support::{Run, build, command, finished, fixture, logitcache, shapes, teacher};
use logitcache::preprocess::{RgbImage, decode};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

/// The committed teacher has random weights: its best scores are near this.
const CONF: &str = "0.0009";

fn predict_args(words: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    let model = teacher();
    let fixed: [&dyn AsRef<OsStr>; 7] = [&"predict", &"--imgsz", &"160", &"--conf", &CONF, &"--model", &model];
    fixed.iter().chain(words).map(|word| word.as_ref().to_owned()).collect()
}

fn predict(words: &[&dyn AsRef<OsStr>]) -> Run {
    logitcache(&predict_args(words))
}

/// Drawn pictures: six of them in `images/train` and `images/val`.
fn pictures(dir: &Path) -> PathBuf {
    shapes(dir, 6).with_file_name("images")
}

fn picture(path: &Path) -> RgbImage {
    decode(&fs::read(path).unwrap(), &Default::default()).unwrap()
}

/// Every file below a folder, by its path in it.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file()) {
        let name = entry.path().strip_prefix(folder).unwrap().to_owned();
        files.insert(name, fs::read(entry.path()).unwrap());
    }
    files
}

/// "person 5, car 3" of a JSON list of counts.
fn shown(counts: &Value) -> String {
    let counts = counts.as_array().unwrap().iter();
    let shown: Vec<_> = counts.map(|c| format!("{} {}", c["class"].as_str().unwrap(), c["count"])).collect();
    if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
}

#[test]
fn counts_files_and_json_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let before = tree(&images);
    let out = dir.path().join("new/out");
    let text = predict(&[&images, &"--out", &out, &"--save-conf"]).expect(0);
    let report = predict(&[&images, &"--json"]).expect(0).json();
    assert_eq!(tree(&images), before, "the pictures themselves are as they were");

    let found = report["images"].as_array().unwrap();
    assert_eq!(found.len(), 6);
    let mut lines: Vec<String> =
        found.iter().map(|i| format!("{}: {}", i["path"].as_str().unwrap(), shown(&i["counts"]))).collect();
    lines.push(format!("total (6 images): {}", shown(&report["totals"])));
    lines.push(format!("written to {}: pictures, labels, detections.json", out.display()));
    assert_eq!(text.stdout.lines().collect::<Vec<_>>(), lines);

    let results: Value = serde_json::from_slice(&fs::read(out.join("detections.json")).unwrap()).unwrap();
    let mut results = results.as_array().unwrap().iter();
    for (id, image) in found.iter().enumerate() {
        let path = Path::new(image["path"].as_str().unwrap());
        let (original, drawn) = (picture(&images.join(path)), picture(&out.join(path)));
        assert_eq!(drawn.size, original.size);
        assert!(drawn != original, "something is drawn");
        let labels = fs::read_to_string(out.join("labels").join(path).with_extension("txt")).unwrap();
        let detections = image["detections"].as_array().unwrap();
        assert!(!detections.is_empty() && labels.lines().count() == detections.len());
        let total: u64 = image["counts"].as_array().unwrap().iter().map(|c| c["count"].as_u64().unwrap()).sum();
        assert_eq!(total, detections.len() as u64);
        for (detection, line) in detections.iter().zip(labels.lines()) {
            let result = results.next().unwrap();
            assert_eq!((&result["image_id"], &result["file_name"]), (&Value::from(id), &image["path"]));
            assert_eq!((&result["category_id"], &result["score"]), (&detection["class_id"], &detection["score"]));
            let corners = &detection["box_xyxy_px"];
            let [x1, y1, x2, y2] = ["x1", "y1", "x2", "y2"].map(|k| corners[k].as_f64().unwrap());
            let bbox: Vec<f64> = result["bbox"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
            let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-3, "{result} {detection} {line}");
            for (a, b) in bbox.iter().zip([x1, y1, x2 - x1, y2 - y1]) {
                near(*a, b);
            }
            let words: Vec<f64> = line.split(' ').map(|w| w.parse().unwrap()).collect();
            let (width, height) = (f64::from(original.size.width), f64::from(original.size.height));
            assert_eq!((words.len(), words[0] as u64), (6, detection["class_id"].as_u64().unwrap()));
            near(words[1] * width, (x1 + x2) / 2.0);
            near(words[2] * height, (y1 + y2) / 2.0);
            near(words[3] * width, x2 - x1);
            near(words[4] * height, y2 - y1);
            near(words[5], detection["score"].as_f64().unwrap());
        }
    }
    assert!(results.next().is_none());
}

#[test]
fn the_number_of_threads_changes_no_byte_and_a_second_run_may_follow() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let (one, many) = (dir.path().join("one"), dir.path().join("many"));
    predict(&[&images, &"--out", &one, &"--jobs", &"1"]).expect(0);
    predict(&[&images, &"--out", &many, &"--jobs", &"5"]).expect(0);
    assert_eq!(tree(&one), tree(&many));
    // Nothing is found now, and the results of before are replaced.
    let model = teacher();
    let again: [&dyn AsRef<OsStr>; 7] = [&"predict", &"--imgsz", &"160", &"--model", &model, &"--out", &many];
    let run = logitcache(&again.iter().map(|w| w.as_ref()).chain([images.as_os_str()]).collect::<Vec<_>>()).expect(0);
    assert!(run.stdout.contains("total (6 images): nothing"), "{}", run.stdout);
    assert_eq!(fs::read(many.join("detections.json")).unwrap(), b"[]");
    assert_eq!(tree(&one).into_keys().collect::<Vec<_>>(), tree(&many).into_keys().collect::<Vec<_>>());
    assert!(tree(&many.join("labels")).values().all(Vec::is_empty), "an empty file: nothing found");
}

#[test]
fn same_names_in_different_folders_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let original = tree(&images).into_iter().find(|(name, _)| name.extension() == Some("jpg".as_ref())).unwrap().1;
    let put = |name: &str| {
        let path = dir.path().join("in").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &original).unwrap();
        path
    };
    let (a, b, c, d) = (put("a/x.jpg"), put("b/deep/x.jpg"), put("b/y.jpg"), put("b/y.png"));
    let out = dir.path().join("out");
    // Named twice, as a file and within its folder, is looked at once.
    let run = predict(&[&a, &b.parent().unwrap().parent().unwrap(), &d, &"--out", &out]).expect(0).says(&["repeats"]);
    let files: Vec<_> = tree(&out).into_keys().map(|k| k.to_str().unwrap().to_owned()).collect();
    let expected = [
        "a/x.jpg",
        "b/deep/x.jpg",
        "b/y.jpg",
        "b/y.png",
        "detections.json",
        "labels/a/x.txt",
        "labels/b/deep/x.txt",
        // These two differ in their suffix alone.
        "labels/b/y.jpg.txt",
        "labels/b/y.png.txt",
    ];
    assert_eq!(files, expected);
    let names: Vec<_> = run.stdout.lines().take(4).map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(names, expected[..4]);
    // One picture alone goes by its name.
    let run = predict(&[&c]).expect(0);
    assert!(run.stdout.starts_with("y.jpg: "), "{}", run.stdout);
}

#[test]
fn names_that_are_not_utf8() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    fs::create_dir(&images).unwrap();
    let name = OsStr::from_bytes(b"caf\xe9 \xff.png");
    fs::copy(fixture("images/good/baseline_444.jpg"), images.join(name)).unwrap();
    let out = dir.path().join(OsStr::from_bytes(b"\xfcber"));
    let run = predict(&[&images.join(name), &"--out", &out]).expect(0);
    assert!(run.stdout.starts_with("percent:caf%E9%20%FF.png: "), "{}", run.stdout);
    assert!(out.join(name).is_file() && out.join("labels").join(OsStr::from_bytes(b"caf\xe9 \xff.txt")).is_file());
    let report = predict(&[&images, &"--json"]).expect(0).json();
    assert_eq!(report["images"][0]["path"], "percent:caf%E9%20%FF.png");
}

#[test]
fn a_picture_that_cannot_be_read_is_named_and_the_others_are_done() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    fs::copy(fixture("images/bad/truncated.png"), images.join("train/broken.png")).unwrap();
    symlink("nowhere", images.join("train/gone.jpg")).unwrap();
    let out = dir.path().join("out");
    let run = predict(&[&images, &"--out", &out]).expect(1);
    for words in ["train/broken.png: failed, ", "train/gone.jpg: failed, ", "total (6 images)", "failed: 2 of 8 images"]
    {
        assert!(run.stdout.contains(words), "{words}: {}", run.stdout);
    }
    assert!(!out.join("train/broken.png").exists() && !out.join("labels/train/broken.txt").exists());
    assert_eq!(tree(&out).len(), 13);
    let report = predict(&[&images, &"--json"]).expect(1).json();
    assert_eq!(report["images"].as_array().unwrap().len(), 6);
    let failures = report["failures"].as_array().unwrap();
    let stages: Vec<_> = failures.iter().map(|f| (f["path"].as_str().unwrap(), f["stage"].as_str().unwrap())).collect();
    assert_eq!(stages, [("train/broken.png", "decode"), ("train/gone.jpg", "read")]);
    assert_eq!(report["complete"], true);
}

#[test]
fn places_that_results_could_damage_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let data = images.parent().unwrap();
    let before = tree(data);
    let one = images.join(before.keys().find_map(|name| name.strip_prefix("images").ok()).unwrap());
    // The pictures' own folder, a folder above it (whose labels/ holds the ground truth), and links to both.
    symlink(data, dir.path().join("link")).unwrap();
    for out in [&images, &one.parent().unwrap().to_owned(), &data.to_owned(), &dir.path().join("link")] {
        predict(&[&images, &"--out", out]).refused(&["is in the output folder", "--out"]);
        predict(&[&one, &"--out", out]).refused(&["is in the output folder", "--out"]);
    }
    // A folder of something else, even without pictures.
    let thesis = dir.path().join("thesis");
    fs::create_dir(&thesis).unwrap();
    fs::write(thesis.join("chapter1.tex"), "years of work").unwrap();
    predict(&[&images, &"--out", &thesis]).refused(&["thesis", "chapter1.tex", "--out"]);
    predict(&[&images, &"--out", &thesis.join("chapter1.tex")]).refused(&["chapter1.tex"]);
    // A link within an earlier result that leads to the pictures.
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("detections.json"), "[]").unwrap();
    symlink(images.join("train"), out.join("train")).unwrap();
    predict(&[&images, &"--out", &out]).refused(&["would overwrite"]);
    assert_eq!(tree(data), before);
    assert_eq!(tree(&thesis).len(), 1);
}

#[test]
fn what_cannot_be_predicted_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let out = dir.path().join("out");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    predict(&[&"--out", &out]).refused(&["IMAGE|FOLDER"]);
    predict(&[&images, &dir.path().join("none.jpg"), &"--out", &out]).refused(&["none.jpg", "no such file"]);
    predict(&[&teacher(), &"--out", &out]).refused(&["yolov8-dynamic.onnx", "not named like an image", "jpg"]);
    predict(&[&empty, &"--out", &out]).refused(&["empty", "no images"]);
    predict(&[&images, &"--iou", &"1.5", &"--out", &out]).refused(&["--iou", "0 to 1"]);
    predict(&[&images, &"--iou=-1", &"--out", &out]).refused(&["--iou", "0 to 1"]);
    let names = dir.path().join("names.txt");
    fs::write(&names, "only\nthree\nnames\n").unwrap();
    predict(&[&images, &"--names", &names, &"--out", &out]).refused(&["3", "6"]);
    predict(&[&images, &"--ort-lib", &empty, &"--out", &out]).refused(&["empty"]);
    let run = |model: &str| {
        let model = fixture("models").join(model);
        let words: [&dyn AsRef<OsStr>; 6] = [&"predict", &images, &"--model", &model, &"--out", &out];
        logitcache(&words.iter().map(|w| w.as_ref()).collect::<Vec<_>>())
    };
    run("yolov8-classify.onnx").refused(&["yolov8-classify.onnx", "classif"]);
    run("none.onnx").refused(&["none.onnx", "No such file"]);
    assert!(!out.exists(), "a refused prediction leaves nothing behind");
}

#[test]
fn a_model_that_does_not_name_its_classes_is_given_names() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let names = dir.path().join("names.txt");
    let long = "longer than any of these pictures is wide, so that it has to be shortened";
    fs::write(&names, format!("eins\n{long}\nтри\n四\nfive\n🚗\n")).unwrap();
    let model = fixture("models/yolov8-raw-export.onnx");
    let out = dir.path().join("out");
    let run = |more: &[&dyn AsRef<OsStr>]| {
        let words: [&dyn AsRef<OsStr>; 8] = [&"predict", &images, &"--model", &model, &"--conf", &CONF, &"--out", &out];
        logitcache(&words.iter().chain(more).map(|w| w.as_ref()).collect::<Vec<_>>())
    };
    run(&[]).refused(&["yolov8-raw-export.onnx", "metadata", "--names"]);
    assert!(!out.exists());
    let run = run(&[&"--names", &names]).expect(0);
    assert!(run.stdout.contains(&format!("{long} ")), "{}", run.stdout);
    assert!(tree(&out).len() == 13);
}

#[test]
fn interrupted_it_keeps_what_is_done() {
    const COPIES: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    fs::create_dir(&images).unwrap();
    for copy in 0..COPIES {
        fs::copy(fixture("images/good/baseline_444.jpg"), images.join(format!("{copy:05}.jpg"))).unwrap();
    }
    let out = dir.path().join("out");
    let mut child = command(&predict_args(&[&images, &"--out", &out])).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    stdout.read_line(&mut text).unwrap();
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    stdout.read_to_string(&mut text).unwrap();
    let run = finished(child.wait_with_output().unwrap()).expect(130).says(&["interrupted", "of 3000 images"]);
    assert!(run.stderr.starts_with("error: interrupted"), "{}", run.stderr);
    let done = text.lines().filter(|line| line.contains(".jpg: ")).count();
    assert!(done > 0 && done < COPIES, "{done}");
    assert_eq!(tree(&out).len(), 2 * done + 1, "a picture and a label file for each line, and the COCO results");
}

// ---- inspect --out ----

fn inspect(cache: &Path, words: &[&dyn AsRef<OsStr>]) -> Run {
    let fixed: [&dyn AsRef<OsStr>; 2] = [&"inspect", &cache];
    logitcache(&fixed.iter().chain(words).map(|w| w.as_ref()).collect::<Vec<_>>())
}

#[test]
fn inspect_draws_the_labels_on_the_image() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[]).expect(0);
    let of = |id: &str| inspect(&cache, &[&"--image", &id, &"--json"]).expect(0).json();
    let id = ["0", "1", "2"].into_iter().find(|id| !of(id)["labels"].as_array().unwrap().is_empty()).unwrap();
    let image = of(id);
    let out = dir.path().join("drawn.png");
    let plain = inspect(&cache, &[&"--image", &id]).expect(0).stdout;
    let run = inspect(&cache, &[&"--image", &id, &"--out", &out]).expect(0);
    assert_eq!(run.stdout, format!("{plain}\ndrawn in {}\n", out.display()));
    assert_eq!(inspect(&cache, &[&"--image", &id, &"--out", &out, &"--json"]).expect(0).json(), image);

    let original = picture(&data.parent().unwrap().join(image["path"].as_str().unwrap()));
    let drawn = picture(&out);
    assert_eq!(drawn.size, original.size);
    let changed = original.pixels.chunks(3).zip(drawn.pixels.chunks(3)).filter(|(a, b)| a != b).count();
    assert!(changed > 40 && changed < original.pixels.len() / 3 / 2, "{changed}");
}

#[test]
fn inspect_draws_only_on_the_image_that_was_cached() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[]).expect(0);
    let image = inspect(&cache, &[&"--image", &"0", &"--json"]).expect(0).json();
    let path = data.parent().unwrap().join(image["path"].as_str().unwrap());
    let bytes = fs::read(&path).unwrap();
    let out = dir.path().join("drawn.png");

    inspect(&cache, &[&"--out", &out]).refused(&["--image"]);
    inspect(&cache, &[&"--image", &"99", &"--out", &out]).refused(&["99"]);
    inspect(&cache, &[&"--image", &"0", &"--out", &dir.path().join("a.txt")]).refused(&["a.txt", "png"]);
    inspect(&cache, &[&"--image", &"0", &"--out", &dir.path().join("none/a.png")]).refused(&["none"]);
    inspect(&cache, &[&"--image", &"0", &"--out", &path]).refused(&["overwrite it", path.to_str().unwrap()]);
    let link = dir.path().join("link.png");
    symlink(&path, &link).unwrap();
    inspect(&cache, &[&"--image", &"0", &"--out", &link]).refused(&["overwrite it"]);
    assert_eq!(fs::read(&path).unwrap(), bytes);

    fs::copy(fixture("images/good/baseline_444.jpg"), &path).unwrap();
    let cached = image["file_sha256"].as_str().unwrap();
    inspect(&cache, &[&"--image", &"0", &"--out", &out]).refused(&["changed since", cached, path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    inspect(&cache, &[&"--image", &"0", &"--out", &out]).refused(&[path.to_str().unwrap(), "data set", "same build"]);
    assert!(!out.exists());
}

#[test]
fn a_folder_of_results_is_written_to_again_unless_it_holds_other_files() {
    let dir = tempfile::tempdir().unwrap();
    let images = pictures(dir.path());
    let out = dir.path().join("out");
    let words: [&dyn AsRef<OsStr>; 3] = [&images, &"--out", &out];
    predict(&words).expect(0);
    predict(&words).expect(0);
    // What an interrupted run leaves: some results, no list of all.
    fs::remove_file(out.join("detections.json")).unwrap();
    fs::write(out.join(".predict-unfinished"), "").unwrap();
    predict(&words).expect(0);
    assert!(!out.join(".predict-unfinished").exists());
    for name in ["notes.txt", "labels/list.csv"] {
        fs::write(out.join(name), "mine").unwrap();
        predict(&words).refused(&[name, "which no earlier run wrote", "--overwrite"]);
        assert_eq!(fs::read(out.join(name)).unwrap(), b"mine");
        fs::remove_file(out.join(name)).unwrap();
    }
    predict(&words).expect(0);
}
