//! A data set whose classes the teacher does not know: every way out that a message names is gone to its end (docs/classes.md).

use crate::support::{Run, args, build, build_args, command, finished, logitcache, shapes};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

const SMALL: [&str; 11] =
    ["--epochs", "1", "--batch", "4", "--precision", "fp32", "--threads", "2", "--lr", "1e-3", "--quiet"];

/// A folder with a data set of shapes, two of whose classes have other names.
struct Setup(tempfile::TempDir);

impl Setup {
    fn new() -> Self {
        let setup = Self(tempfile::tempdir().unwrap());
        let data = shapes(setup.0.path(), 15);
        let text = fs::read_to_string(&data).unwrap();
        fs::write(setup.data(), text.replace("triangle", "Tri_angle").replace("star", "raccoon")).unwrap();
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("shapes/other.yaml")
    }

    fn build(&self, out: &str, more: &[&str]) -> Run {
        let mut all = build_args(&self.data(), &self.path(out), &[("--imgsz", "64")]);
        all.extend(more.iter().map(OsString::from));
        logitcache(&all)
    }

    fn train(&self, cache: &str, out: &str, more: &[&str]) -> Run {
        let mut all = args(["train", "--model", "yolov8p", "--json"], &[("--out", &self.path(out))], &[]);
        all.extend([OsString::from("--cache"), self.path(cache).into()]);
        all.extend(SMALL.iter().filter(|word| **word != "--quiet").chain(more).map(OsString::from));
        logitcache(&all)
    }
}

impl Setup {
    /// Those of a run's student.
    fn class_names(&self, run: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(run).join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        serde_json::from_value(config["class_names"].clone()).unwrap()
    }
}

const MAPS: [&str; 4] = ["--map", "Tri_angle=triangle", "--map", "raccoon=star"];

#[test]
fn a_map_leads_from_build_to_report() {
    let setup = Setup::new();
    setup.build("cache", &MAPS).expect(0);
    let run = setup.train("cache", "run", &[]).expect(0);
    let run =
        run.says(&["validate  3 images", "validation: the class \"raccoon\" is mapped to the model's class \"star\""]);
    assert!(run.json()["last"]["cls_loss"].as_f64().unwrap() > 0.0);
    let config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(setup.path("run/config.json")).unwrap()).unwrap();
    assert_eq!(config["data"]["class_map"]["raccoon"], "star");
    // With the same labels from the data set: the map is the cache's.
    let data = setup.data();
    let again = setup.train("cache", "again", &["--data", data.to_str().unwrap()]).expect(0);
    assert!(!again.stderr.contains("other labels"), "{}", again.stderr);
    // A map of one's own goes before it.
    let other = ["--data", data.to_str().unwrap(), "--map", "raccoon=ring"];
    setup
        .train("cache", "other", &other)
        .expect(0)
        .says(&["\"raccoon\" is mapped to the model's class \"ring\"", "other labels"]);

    let page = setup.path("page.html");
    let words = [OsString::from("report"), setup.path("run").into(), "--out".into(), (&page).into()];
    let report = logitcache(&words).expect(0);
    assert!(!report.stderr.contains("not scored"), "{}", report.stderr);

    // Without a cache the student's classes are the data set's own.
    let alone = ["train", "--distill", "none", "--model", "yolov8p", "--map", "raccoon=star"];
    logitcache(&args(alone, &[("--data", &data), ("--out", &setup.path("alone"))], &[])).expect(2).says(&["--cache"]);
}

#[test]
fn a_cache_without_labels_teaches_alone_or_gets_them_later() {
    let setup = Setup::new();
    let data = setup.data();
    let data = data.to_str().unwrap();
    setup.build("cache", &["--ignore-labels"]).expect(0);
    setup.train("cache", "run", &[]).refused(&["--cls-loss bckd", "--data", "--map", "docs/classes.md"]);
    setup.train("cache", "run", &["--cls-loss", "bckd"]).expect(0).says(&["no validation", "\"raccoon\""]);
    setup.train("cache", "labels", &["--data", data]).refused(&[
        "--map \"Tri_angle=triangle\" --map \"raccoon=NAME\"",
        "leave --data out",
        "--cls-loss bckd",
        "docs/classes.md",
    ]);
    let more = [&["--data", data][..], &MAPS].concat();
    let run = setup.train("cache", "labels", &more).expect(0).says(&["validate  3 images"]);
    assert!(run.json()["last"]["cls_loss"].as_f64().unwrap() > 0.0);
    // A class that the teacher does not have is learned from the labels.
    let more = ["--data", data, "--map", "Tri_angle=triangle", "--map", "raccoon="];
    let run = setup.train("cache", "raccoon", &more).expect(0);
    run.says(&["the teacher knows 5 of them", "From labels alone it learns: raccoon", "validate  3 images"]);
    assert_eq!(setup.class_names("raccoon"), ["circle", "ring", "triangle", "square", "raccoon", "cross"]);
    setup.train("cache", "none", &["--map", "=star"]).expect(2).says(&["--map", "the data set's class"]);
    // Asked for, a validation that cannot be is refused.
    let asked = ["--cls-loss", "bckd", "--val-split", "val"];
    setup.train("cache", "asked", &asked).refused(&["the split val", "--map", "--val-split none"]);
    setup.train("cache", "asked", &["--cls-loss", "bckd", "--val-split", "none"]).expect(0);
}

/// The two commands of the message as they stand there, with a smaller student, fewer epochs and smaller pictures.
#[test]
fn a_teacher_of_ones_own() {
    let setup = Setup::new();
    let refused = build(&setup.data(), Path::new("cache"), &[]).expect(2);
    let commands: Vec<&str> = refused.stderr.lines().filter_map(|l| l.trim().strip_prefix("logitcache ")).collect();
    assert_eq!(commands.len(), 2, "{}", refused.stderr);
    for words in commands {
        let words = words.replace("yolov8s.pt", "yolov8p");
        let mut all: Vec<&str> = words.split_whitespace().collect();
        if all[0] == "train" {
            all.extend(SMALL.iter().chain(&["--imgsz", "64"]));
        }
        finished(command(&all).current_dir(setup.0.path()).output().unwrap()).expect(0);
    }
    let run = setup.train("cache", "run", &[]).expect(0);
    assert!(run.json()["last"]["cls_loss"].as_f64().unwrap() > 0.0);
    assert!(setup.class_names("run").contains(&"raccoon".into()));
}

/// A data set of some of the teacher's classes, in another order: the student has these, whatever else the teacher knows.
#[test]
fn the_students_classes_are_the_data_sets() {
    let setup = Setup::new();
    let root = setup.path("shapes");
    for split in ["train", "val"] {
        for entry in fs::read_dir(root.join("labels").join(split)).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let kept = text.lines().filter_map(|line| {
                let (id, rest) = line.split_once(' ')?;
                let id: usize = id.parse().ok()?;
                (id < 3).then(|| format!("{} {rest}\n", 2 - id))
            });
            fs::write(&path, kept.collect::<String>()).unwrap();
        }
    }
    let names = ["triangle", "ring", "circle"];
    let yaml = format!("train: images/train\nval: images/val\nnames: [{}]\n", names.join(", "));
    fs::write(setup.data(), yaml).unwrap();
    setup.build("cache", &[]).expect(0);
    for more in [&[][..], &["--cls-loss", "bckd"], &["--distill", "pseudo-labels"]] {
        let run = setup.train("cache", "run", &[&["--overwrite"], more].concat()).expect(0);
        let run = run.says(&["3 classes", "the teacher knows 3 of them, and 3 classes of its own are left out"]);
        assert!(run.json()["last"]["distill_cls_loss"].as_f64().unwrap() > 0.0);
        assert_eq!(setup.class_names("run"), names);
    }
    let (model, data) = (setup.path("run/best.onnx"), setup.data());
    let eval = args(["eval", "--json", "--latency-runs", "0"], &[("--model", &model), ("--data", &data)], &[]);
    assert_eq!(logitcache(&eval).expect(0).json()["models"][0]["num_classes"], 3);
}
