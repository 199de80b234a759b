//! `logitcache select`: the same choice each time, what is labelled is not chosen, refusals, and the data set of the chosen.

use crate::support::{Run, build, command, finished, logitcache, names, shapes};
use serde_json::Value;
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

const METHODS: [&str; 5] = ["combined", "uncertainty", "balance", "diversity", "random"];

/// A detector of the drawn classes that knows nothing of them, with scores from 0 to 1.
const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/families/yolov5.onnx");

fn select(words: &[&dyn AsRef<OsStr>]) -> Run {
    let words = words.iter().map(|word| word.as_ref());
    logitcache(&[OsStr::new("select")].into_iter().chain(words).collect::<Vec<_>>())
}

/// Drawn shapes, the cache of the committed teacher, and a list of the first images.
fn drawn(dir: &Path, views: &str) -> (PathBuf, PathBuf, PathBuf) {
    let (data, cache, list) = (shapes(dir, 40), dir.join("cache"), dir.join("labelled.txt"));
    build(&data, &cache, &[("--teacher", TEACHER), ("--imgsz", "64"), ("--views", views)]).expect(0);
    fs::write(&list, names(&data.with_file_name("images/train"))[..8].join("\n")).unwrap();
    (data, cache, list)
}

fn paths(report: &Value) -> Vec<String> {
    report["selected"].as_array().unwrap().iter().map(|image| image["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_choice_is_the_same_each_time_and_never_of_what_is_labelled() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache, list) = drawn(dir.path(), "0");
    let labelled = fs::read_to_string(&list).unwrap();
    let labelled: HashSet<String> = labelled.lines().map(|name| format!("images/train/{name}")).collect();
    let mut choices = HashSet::new();
    for method in METHODS {
        let words =
            ["select", cache.to_str().unwrap(), "--labelled", list.to_str().unwrap(), "--budget", "3", "--json"];
        let words = [&words[..], &["--method", method]].concat();
        let run =
            |threads: &str| finished(command(&words).env("RAYON_NUM_THREADS", threads).output().unwrap()).expect(0);
        let (one, two) = (run("1"), run("2"));
        assert_eq!(one.stdout, two.stdout, "{method}");
        let report = one.json();
        let chosen = paths(&report);
        assert_eq!((chosen.len(), chosen.iter().collect::<HashSet<_>>().len()), (3, 3), "{method}");
        assert!(chosen.iter().all(|path| !labelled.contains(path)), "{method}: {chosen:?}");
        assert_eq!((&report["labelled_images"], &report["candidates"]), (&8.into(), &24.into()));
        assert!(report["selected"][0]["disagreement"].is_null());
        choices.insert(chosen);
    }
    // The most uncertain images may be the most diverse ones too.
    assert!(choices.len() >= METHODS.len() - 1, "each method chooses in its own way: {choices:?}");
    let seed = |seed: &str| {
        let words: [&dyn AsRef<OsStr>; 10] =
            [&cache, &"--labelled", &list, &"--budget", &"6", &"--method", &"random", &"--seed", &seed, &"--json"];
        paths(&select(&words).expect(0).json())
    };
    assert_ne!(seed("0"), seed("1"));
    let all: [&dyn AsRef<OsStr>; 5] = [&cache, &"--labelled", &list, &"--budget", &"100"];
    select(&all).expect(0).says(&["only 24 images without labels", "all were chosen"]);
}

#[test]
fn views_that_the_teacher_sees_differently_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache, list) = drawn(dir.path(), "2");
    let words: [&dyn AsRef<OsStr>; 8] =
        [&cache, &"--labelled", &list, &"--budget", &"24", &"--method", &"disagreement", &"--json"];
    let report = select(&words).expect(0).json();
    let values: Vec<f64> =
        report["selected"].as_array().unwrap().iter().map(|image| image["disagreement"].as_f64().unwrap()).collect();
    assert!(values.is_sorted_by(|a, b| a >= b) && values.iter().all(|v| (0.0..1.0).contains(v)), "{values:?}");
    assert_eq!((&report["labelled_images"], &report["candidates"]), (&8.into(), &24.into()));
}

#[test]
fn the_chosen_images_are_a_data_set_without_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache, list) = drawn(dir.path(), "0");
    for (format, unlabelled) in [("yolo", true), ("label-studio", true), ("cvat", false), ("coco", false)] {
        let out = dir.path().join(format);
        let words: [&dyn AsRef<OsStr>; 10] =
            [&cache, &"--labelled", &list, &"--budget", &"5", &"--to", &format, &"--out", &out, &"--json"];
        let report = select(&words).expect(0).json();
        let chosen = paths(&report);
        assert_eq!(names(&out.join("images/train")).len(), 5);
        let table = fs::read_to_string(out.join("selected.csv")).unwrap();
        let listed: Vec<&str> = table.lines().skip(1).map(|row| row.split_once(',').unwrap().0).collect();
        assert_eq!(listed, chosen, "the order of the choice");
        let data = report["data_set"]["data"].as_str().unwrap();
        let stats = logitcache(&["data", "stats", data, "--json"]).expect(0).json();
        assert_eq!((&stats["images"], &stats["boxes"]), (&5.into(), &0.into()), "{stats}");
        assert_eq!(stats["splits"][0]["unlabelled_images"], if unlabelled { 5 } else { 0 }, "{format}");
        assert_eq!(stats["classes"].as_array().unwrap().len(), report["data_set"]["classes"].as_array().unwrap().len());
    }
    // The table serves as a list for the other commands.
    let listed = dir.path().join("listed");
    let file = dir.path().join("yolo/selected.txt");
    let words: [&OsStr; 7] = [
        "data".as_ref(),
        "subset".as_ref(),
        data.as_os_str(),
        "--list".as_ref(),
        file.as_os_str(),
        "--out".as_ref(),
        listed.as_os_str(),
    ];
    let run = logitcache(&words).expect(0);
    assert!(run.stdout.contains("5 images"), "{run:?}");
}

#[test]
fn wrong_wishes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache, list) = drawn(dir.path(), "0");
    select(&[&cache, &"--budget", &"5"]).refused(&[
        "each of the 32 images has labels",
        "--labelled",
        "--missing-labels unlabelled",
    ]);
    select(&[&cache, &"--budget", &"0"]).refused(&["--budget"]);
    select(&[&cache]).refused(&["--budget"]);
    let views: [&dyn AsRef<OsStr>; 7] = [&cache, &"--budget", &"5", &"--labelled", &list, &"--method", &"disagreement"];
    select(&views).refused(&["augmented views", "--views", "--method"]);
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    select(&[&cache, &"--budget", &"5", &"--labelled", &list, &"--out", &out]).refused(&["already exists"]);
    assert_eq!(names(&out), [] as [&str; 0]);
    select(&[&cache, &"--budget", &"5", &"--labelled", &list, &"--link"]).refused(&["--out"]);
}
