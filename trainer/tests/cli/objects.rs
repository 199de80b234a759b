//! Teachers whose places are not the student's anchors, and pseudo-labels: every cache can teach.

use crate::support::{Run, args, build, fixture, logitcache, shapes};
use std::{
    fs,
    path::{Path, PathBuf},
};

struct Setup {
    dir: tempfile::TempDir,
    data: PathBuf,
    names: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = shapes(dir.path(), 12);
        let names = dir.path().join("names.txt");
        fs::write(&names, "circle\nsquare\ntriangle\nstar\ncross\nring\n").unwrap();
        Self { dir, data, names }
    }

    /// A cache of a family's fixture.
    fn cache(&self, family: &str) -> PathBuf {
        let out = self.dir.path().join(family);
        let teacher = fixture("families").join(format!("{family}.onnx"));
        let paths: [(&str, &Path); 4] =
            [("--teacher", &teacher), ("--data", &self.data), ("--out", &out), ("--names", &self.names)];
        logitcache(&args(["build", "--jobs", "1"], &paths, &[])).expect(0);
        out
    }

    fn train(&self, cache: &Path, more: &[(&str, &str)]) -> Run {
        let fixed = [
            ("--model", "yolov8f"),
            ("--epochs", "1"),
            ("--batch", "4"),
            ("--precision", "fp32"),
            ("--threads", "2"),
            ("--val-split", "none"),
        ];
        let paths: [(&str, &Path); 2] = [("--cache", cache), ("--out", &self.dir.path().join("run"))];
        let is_given = |flag: &str| more.iter().any(|(given, _)| *given == flag);
        let values: Vec<_> =
            fixed.into_iter().filter(|(flag, _)| !is_given(flag)).chain(more.iter().copied()).collect();
        logitcache(&args(["train", "--json", "--overwrite"], &paths, &values))
    }
}

#[test]
fn teachers_of_other_places_teach_by_their_objects() {
    let setup = Setup::new();
    let classes: &[(&str, &str)] = &[("--cls-loss", "bckd"), ("--imgsz", "96"), ("--distill", "cls")];
    let yolo26: &[(&str, &str)] = &[("--model", "yolo26n")];
    for (family, why, more) in [
        ("rtdetr", "belong to queries", &[][..]),
        ("yolov5", "several boxes in a cell", yolo26),
        ("yolox", "takes images by the rule", classes),
    ] {
        let run = setup.train(&setup.cache(family), more).expect(0).says(&[why, "the teacher's objects"]);
        let last = &run.json()["last"];
        let of = |part: &str| last[format!("distill_{part}_loss")].as_f64().unwrap();
        assert!(of("cls") > 0.0, "{family} {last}");
        let learns_boxes = more != classes;
        assert_eq!((of("box") > 0.0, of("dfl") > 0.0), (learns_boxes, learns_boxes), "{family} {last}");
    }
}

/// With `--alpha 0` the labels do not count: what the run learns is what a data set of the teacher's boxes teaches.
#[test]
fn pseudo_labels_are_a_baseline_of_any_cache() {
    let setup = Setup::new();
    let cache = setup.dir.path().join("cache");
    let teacher = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/teacher.onnx");
    let paths: [(&str, &Path); 3] = [("--teacher", &teacher), ("--data", &setup.data), ("--out", &cache)];
    logitcache(&args(["build", "--jobs", "1"], &paths, &[("--views", "1")])).expect(0);
    let hard = [("--distill", "pseudo-labels")];
    let run = setup.train(&cache, &[&hard[..], &[("--alpha", "0")]].concat()).expect(0);
    let run = run.says(&["its objects as labels", "the views in the cache are not used"]);
    let last = run.json()["last"].clone();
    for part in ["box", "cls", "dfl"] {
        assert!(last[format!("distill_{part}_loss")].as_f64().unwrap() > 0.0, "{last}");
    }
    setup.train(&cache, &[&hard[..], &[("--cls-loss", "bckd")]].concat()).refused(&["--cls-loss", "labels"]);
    setup.train(&cache, &[&hard[..], &[("--temperature", "3")]].concat()).refused(&["--temperature", "labels"]);
}

/// Of an unlabelled cache a softmax cannot teach scores; pseudo-labels can.
#[test]
fn pseudo_labels_need_no_labels() {
    let setup = Setup::new();
    let cache = setup.dir.path().join("cache");
    build(&setup.data, &cache, &[("--imgsz", "64"), ("--min-score", "0"), ("--ignore-labels", "")]).expect(0);
    let run = setup.train(&cache, &[("--distill", "pseudo-labels")]).expect(0);
    assert!(run.json()["last"]["distill_cls_loss"].as_f64().unwrap() > 0.0);
}
