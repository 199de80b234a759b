//! What a user says and the program could not heed is refused or told: nothing is ignored in silence.

use crate::support::{build, build_args, logitcache, shapes, teacher};
use serde_json::json;
use std::{ffi::OsString, fs, path::Path};

/// A COCO file of one image of `shapes`, with these class names.
fn coco(dir: &Path, yaml: &Path, names: &[&str]) -> std::path::PathBuf {
    let images = yaml.with_file_name("images").join("train");
    let first = fs::read_dir(&images).unwrap().map(|entry| entry.unwrap().file_name()).min().unwrap();
    let categories: Vec<_> = (0..).zip(names).map(|(id, name)| json!({"id": id, "name": name})).collect();
    let annotations: Vec<_> = (0..names.len())
        .map(|id| json!({"id": id, "image_id": 1, "category_id": id, "bbox": [1, 1, 20, 20], "iscrowd": 0}))
        .collect();
    let file = json!({
        "images": [{"id": 1, "file_name": first.to_str().unwrap()}],
        "annotations": annotations,
        "categories": categories,
    });
    let path = dir.join("a.json");
    fs::write(&path, file.to_string()).unwrap();
    path
}

#[test]
fn a_misspelled_split_of_data_without_splits() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = shapes(dir.path(), 5);
    let images = yaml.with_file_name("images").join("train");
    let out = dir.path().join("cache");
    let words = ["no split \"tset\"", "has no splits"];
    build(&images, &out, &[("--split", "tset")]).refused(&words);
    let json = coco(dir.path(), &yaml, &["circle"]);
    let images = images.to_str().unwrap();
    build(&json, &out, &[("--images", images), ("--split", "tset")]).refused(&words);
    assert!(!out.exists());
    build(&json, &out, &[("--images", images), ("--split", "val")]).expect(0);
}

#[test]
fn options_without_effect() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = shapes(dir.path(), 5);
    let images = yaml.with_file_name("images").join("train");
    let out = dir.path().join("cache");
    let unlabelled = ("--missing-labels", "unlabelled");
    build(&yaml, &out, &[("--seed", "7")]).refused(&["--views"]);
    build(&yaml, &out, &[("--coverage", "0")]).refused(&["--coverage", "above 0"]);
    build(&images, &out, &[unlabelled]).refused(&["--missing-labels unlabelled is about label files"]);
    let json = coco(dir.path(), &yaml, &["circle"]);
    build(&json, &out, &[("--images", images.to_str().unwrap()), unlabelled])
        .refused(&["--missing-labels unlabelled is about label files", "COCO"]);
    let mut words = build_args(&yaml, &out, &[unlabelled]);
    words.push("--ignore-labels".into());
    logitcache(&words).refused(&["--ignore-labels"]);
    assert!(!out.exists());
    build(&yaml, &out, &[unlabelled]).expect(0);

    let page = dir.path().join("page.html");
    let report = |more: &[&str]| -> Vec<OsString> {
        let fixed: [OsString; 5] =
            ["report".into(), out.clone().into(), "--out".into(), page.clone().into(), "--no-models".into()];
        fixed.into_iter().chain(more.iter().map(OsString::from)).collect()
    };
    logitcache(&report(&["--data", "nowhere"])).refused(&["--no-models", "--data"]);
    // A cache and a run are no data sets, and a run is no cache.
    let error = build(&out, &dir.path().join("other"), &[]);
    error.refused(&["this is the folder of a cache, not a data set"]);
    let run = dir.path().join("run");
    fs::create_dir_all(run.join("weights")).unwrap();
    fs::write(run.join("config.json"), "{}").unwrap();
    build(&run, &dir.path().join("other"), &[]).refused(&["the folder of a training run, not a data set"]);
    let shards = dir.path().join("shards");
    ["predictions", "shards"].iter().for_each(|name| fs::create_dir_all(shards.join(name)).unwrap());
    build(&shards, &dir.path().join("other"), &[]).refused(&["the folder of a cache, not a data set"]);
    logitcache(&["verify".into(), OsString::from(&run)]).refused(&["a training run, not a cache"]);
}

#[test]
fn names_that_are_given_twice_or_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = shapes(dir.path(), 5);
    let images = yaml.with_file_name("images").join("train");
    let out = dir.path().join("cache");
    let json = coco(dir.path(), &yaml, &["circle", "star", "star"]);
    let notes = |value: &serde_json::Value| value["notes"].to_string();
    let run = build(&json, &out, &[("--images", images.to_str().unwrap()), ("--json", "")]).expect(0);
    assert!(notes(&run.json()).contains("treated as one: \\\"star\\\" (classes [1, 2])"), "{}", run.stdout);

    let names = dir.path().join("names.txt");
    fs::write(&names, "square\ncircle\ntriangle\nstar\ncross\nring\n").unwrap();
    let other = dir.path().join("other");
    let run = build(&yaml, &other, &[("--names", names.to_str().unwrap()), ("--json", "")]).expect(0);
    let words = "class names of the model were replaced by those given: \\\"circle\\\" is \\\"square\\\"";
    assert!(notes(&run.json()).contains(words), "{}", run.stdout);
    let words: Vec<OsString> = ["eval", "--imgsz", "160", "--latency-runs", "0", "--json", "--model"]
        .iter()
        .map(OsString::from)
        .chain([teacher().into(), "--data".into(), yaml.into(), "--names".into(), names.into()])
        .collect();
    assert!(notes(&logitcache(&words).expect(0).json()).contains("were replaced by those given"));
}
