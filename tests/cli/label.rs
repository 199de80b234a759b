//! `logitcache label`: people's labels stay, the others are the teacher's, refusals, and that nothing is left half written.

use crate::support::{Run, build, command, finished, logitcache, names, on_small_disk, shapes};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// A detector of the drawn classes that knows nothing of them, with scores from 0 to 1.
const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/families/yolov5.onnx");

fn label(words: &[&dyn AsRef<OsStr>]) -> Run {
    let words = words.iter().map(|word| word.as_ref());
    logitcache(&[OsStr::new("label")].into_iter().chain(words).collect::<Vec<_>>())
}

/// Drawn shapes, the cache of the committed teacher, and a list of the first half of the images.
fn drawn(dir: &Path, images: u32) -> (PathBuf, PathBuf, PathBuf) {
    let (data, cache, list) = (shapes(dir, images), dir.join("cache"), dir.join("labelled.txt"));
    build(&data, &cache, &[("--teacher", TEACHER), ("--imgsz", "64")]).expect(0);
    let all = names(&data.with_file_name("images/train"));
    fs::write(&list, all[..all.len() / 2].join("\n")).unwrap();
    (data, cache, list)
}

/// Rows of a file of labels, or none where there is no file.
fn rows(folder: &Path, image: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(image).with_extension("txt")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn stats(data: &Path) -> Value {
    logitcache(&["data".as_ref(), "stats".as_ref(), data.as_os_str(), "--json".as_ref()]).expect(0).json()
}

#[test]
fn labels_of_people_stay_and_the_other_images_get_the_teachers_boxes() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache, list) = drawn(dir.path(), 20);
    let out = dir.path().join("out");
    let words: [&dyn AsRef<OsStr>; 11] =
        [&cache, &"--labelled", &list, &"--conf", &"0.4", &"--uncertain", &"1", &"--to", &"yolo", &"--out", &out];
    let report = label(&[&words[..], &[&"--json"]].concat()).expect(0).json();
    let images = names(&data.with_file_name("images/train"));
    let (labelled, others) = images.split_at(images.len() / 2);
    assert_eq!(report["labelled_images"], labelled.len());
    assert_eq!(report["pseudo_labelled_images"], others.len());
    let (old, new) = (data.with_file_name("labels/train"), out.join("labels/train"));
    for image in labelled {
        assert_eq!(rows(&old, image).len(), rows(&new, image).len(), "{image}");
    }
    let mut of_teacher: BTreeMap<String, usize> = BTreeMap::new();
    for row in fs::read_to_string(out.join("teacher_boxes.csv")).unwrap().lines().skip(1) {
        assert!(row.ends_with(",label"), "{row}");
        *of_teacher.entry(row.split_once(',').unwrap().0.to_owned()).or_default() += 1;
    }
    for image in others {
        let told = of_teacher.get(&format!("images/train/{image}")).copied().unwrap_or_default();
        assert_eq!(rows(&new, image).len(), told, "{image}");
    }
    let total = of_teacher.values().sum::<usize>();
    assert_eq!(report["total"]["labels"], total);
    assert!(total > 0, "{report}");
    // One score for all classes; what is measured needs no calibration of its own.
    assert!(report["classes"].as_array().unwrap().iter().all(|class| class["conf"] == 0.4), "{report}");
    assert_eq!(report["calibration_images"], labelled.len());
    let manifest: Value = serde_json::from_str(&fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["command"], "label");
    assert_eq!(manifest, report["data_set"]);

    // The same with one thread and with two.
    let mut digests = Vec::new();
    for threads in ["1", "2"] {
        let again = dir.path().join(threads);
        let mut words: Vec<&OsStr> = words.iter().map(|word| word.as_ref()).collect();
        *words.last_mut().unwrap() = again.as_os_str();
        let done = command(&[&[OsStr::new("label")], &words[..]].concat()).env("RAYON_NUM_THREADS", threads).output();
        finished(done.unwrap()).expect(0);
        digests.push(fs::read(again.join("teacher_boxes.csv")).unwrap());
        assert_eq!(names(&again.join("labels/train")), names(&new));
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], fs::read(out.join("teacher_boxes.csv")).unwrap());

    // With --add-missing labelled images get boxes as well, but none that is labelled.
    let more = dir.path().join("more");
    let mut words = words;
    words[10] = &more;
    let added = label(&[&words[..], &[&"--add-missing", &"--json"]].concat()).expect(0).json();
    assert!(added["total"]["labels"].as_u64().unwrap() >= total as u64);
    assert_eq!(added["labelled_images"], labelled.len());
}

#[test]
fn uncertain_boxes_are_marked_where_the_format_can() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache, list) = drawn(dir.path(), 20);
    let mut counts = Vec::new();
    for (format, mark) in [("coco", "crowd_regions"), ("voc", "difficult_objects"), ("cvat", "difficult_objects")] {
        let out = dir.path().join(format);
        let words: [&dyn AsRef<OsStr>; 12] = [
            &cache,
            &"--labelled",
            &list,
            &"--conf",
            &"0.6",
            &"--uncertain",
            &"0",
            &"--to",
            &format,
            &"--out",
            &out,
            &"--json",
        ];
        let report = label(&words).expect(0).json();
        let (labels, uncertain) = (&report["total"]["labels"], &report["total"]["uncertain"]);
        assert!(uncertain.as_u64().unwrap() > 0, "{report}");
        let told = stats(Path::new(report["data_set"]["data"].as_str().unwrap()));
        let split = &told["splits"][0];
        assert_eq!(split[mark], *uncertain, "{format}: {told}");
        counts.push((labels.clone(), uncertain.clone()));
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    let out = dir.path().join("yolo");
    let words: [&dyn AsRef<OsStr>; 11] =
        [&cache, &"--labelled", &list, &"--conf", &"0.6", &"--uncertain", &"0", &"--to", &"yolo", &"--out", &out];
    label(&words).expect(0).says(&["YOLO cannot mark uncertain boxes", "teacher_boxes.csv", "background"]);
    let table = fs::read_to_string(out.join("teacher_boxes.csv")).unwrap();
    assert_eq!(table.lines().filter(|row| row.ends_with(",uncertain")).count() as u64, counts[0].1.as_u64().unwrap());
}

#[test]
fn only_listed_images_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache, list) = drawn(dir.path(), 20);
    let chosen = dir.path().join("chosen.txt");
    let last = names(&data.with_file_name("images/train")).pop().unwrap();
    fs::write(&chosen, format!("images/train/{last}\n")).unwrap();
    let out = dir.path().join("out");
    let words: [&dyn AsRef<OsStr>; 11] =
        [&cache, &"--labelled", &list, &"--list", &chosen, &"--conf", &"0.1", &"--to", &"yolo", &"--out", &out];
    let run = label(&words).expect(0);
    assert!(run.stdout.starts_with("1 image labelled by the teacher"), "{run:?}");
    assert_eq!(names(&out.join("images/train")), [last]);
}

#[test]
fn wrong_wishes_are_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache, list) = drawn(dir.path(), 20);
    let out = dir.path().join("out");
    let refused = |more: &[&dyn AsRef<OsStr>], says: &[&str]| {
        let words: [&dyn AsRef<OsStr>; 5] = [&cache, &"--to", &"yolo", &"--out", &out];
        label(&[&words[..], more].concat()).refused(says);
        assert!(!out.exists());
    };
    let none = dir.path().join("none.txt");
    fs::write(&none, "").unwrap();
    refused(&[&"--labelled", &none], &["no image has labels", "--conf"]);
    refused(&[&"--conf", &"0.5", &"--precision", &"0.9"], &["cannot be used with"]);
    refused(&[&"--conf", &"1.5"], &["a number from 0 to 1"]);
    let wrong = dir.path().join("wrong.txt");
    fs::write(&wrong, "nowhere.jpg\n").unwrap();
    refused(&[&"--labelled", &wrong], &["nowhere.jpg", "no image of the cache"]);
    refused(&[&"--list", &wrong], &["nowhere.jpg", "no image of the cache"]);
    label(&[&dir.path().join("absent"), &"--to", &"yolo", &"--out", &out]).refused(&["not a cache"]);

    // Nothing is left to the teacher, or nothing is sure enough: that is told.
    let told = |name: &str, more: &[&dyn AsRef<OsStr>], says: &[&str]| {
        let out = dir.path().join(name);
        let words: [&dyn AsRef<OsStr>; 7] = [&cache, &"--conf", &"1", &"--to", &"yolo", &"--out", &out];
        label(&[&words[..], more].concat()).expect(0).says(says);
    };
    told("all", &[], &["every image has labels already", "--missing-labels unlabelled"]);
    told("unsure", &[&"--labelled", &list], &["nothing that is sure enough on 8 images without labels"]);

    // An image that is another one than the teacher saw is named and left out.
    let folder = data.with_file_name("images/train");
    let all = names(&folder);
    let (first, last) = (&all[all.len() / 2], &all[all.len() - 1]);
    fs::copy(folder.join(first), folder.join(last)).unwrap();
    let words: [&dyn AsRef<OsStr>; 9] =
        [&cache, &"--labelled", &list, &"--conf", &"0.1", &"--to", &"coco", &"--out", &out];
    let run = label(&words).expect(1);
    assert!(run.stdout.contains(last) && run.stdout.contains("changed since the cache was made"), "{run:?}");
    assert_eq!(names(&out.join("images/train")).len(), all.len() - 1);
    label(&words).refused(&["already exists"]);
    fs::remove_file(folder.join(last)).unwrap();
    let other = dir.path().join("other");
    let words: [&dyn AsRef<OsStr>; 9] =
        [&cache, &"--labelled", &list, &"--conf", &"0.1", &"--to", &"coco", &"--out", &other];
    label(&words).refused(&[last, "not in the data set", "--data", "--list"]);
}

#[test]
fn ctrl_c_and_a_full_disk_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache, list) = drawn(dir.path(), 200);
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let out = place.join("out");
    let words: [&OsStr; 10] = [
        "label".as_ref(),
        cache.as_os_str(),
        "--labelled".as_ref(),
        list.as_os_str(),
        "--conf".as_ref(),
        "0.1".as_ref(),
        "--to".as_ref(),
        "yolo".as_ref(),
        "--out".as_ref(),
        out.as_os_str(),
    ];
    let mut child = command(&words).spawn().unwrap();
    while names(&place).is_empty() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let run = finished(child.wait_with_output().unwrap());
    // It may have been done before the signal came.
    if run.code != 0 {
        run.expect(130).says(&["interrupted; nothing was written"]);
        assert_eq!(names(&place), [] as [&str; 0]);
    }
    let script = r#"
        mount -t tmpfs -o size=200k tmpfs "$DISK" || exit 77
        "$BIN" label "$CACHE" --conf 0.1 --labelled "$LIST" --to yolo --out "$DISK/out"; echo "first: $?"; ls -A "$DISK"
    "#;
    let Some(run) = on_small_disk(script, &[], &[("DISK", &place), ("CACHE", &cache), ("LIST", &list)]) else { return };
    assert!(run.stdout.trim().ends_with("first: 2"), "{run:?}");
    run.says(&["no space left", "Nothing was written"]);
}
