//! Teachers of other families through the whole program: every command works with their caches, or says why not.

use crate::support::{Run, args, fixture, logitcache, shapes};
use std::{
    fs,
    path::{Path, PathBuf},
};

const NAMES: &str = "circle\nsquare\ntriangle\nstar\ncross\nring\n";

fn model(name: &str) -> PathBuf {
    fixture("families").join(format!("{name}.onnx"))
}

struct Setup {
    dir: tempfile::TempDir,
    data: PathBuf,
    names: PathBuf,
}

impl Setup {
    fn new(images: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = shapes(dir.path(), images);
        let names = dir.path().join("names.txt");
        fs::write(&names, NAMES).unwrap();
        Self { dir, data, names }
    }

    fn run<const N: usize>(&self, words: [&str; N], paths: &[(&str, &Path)], values: &[(&str, &str)]) -> Run {
        logitcache(&args(words, paths, values))
    }

    fn build(&self, name: &str, out: &Path, more: &[(&str, &str)]) -> Run {
        let teacher = model(name);
        let paths: [(&str, &Path); 4] =
            [("--teacher", &teacher), ("--data", &self.data), ("--out", out), ("--names", &self.names)];
        self.run(["build"], &paths, &[&[("--jobs", "1")], more].concat())
    }
}

/// `words` with the cache as the first argument.
fn with_cache(command: &str, cache: &Path, more: &[&str]) -> Run {
    let mut words: Vec<std::ffi::OsString> = vec![command.into(), cache.into()];
    words.extend(more.iter().map(Into::into));
    logitcache(&words)
}

#[test]
fn every_command_takes_every_family() {
    let setup = Setup::new(6);
    // Name, head, input rule where it is not a student's, whether students' losses are known.
    let cases = [
        ("rtdetr", "detr-sigmoid", Some("stretch"), false),
        ("rtdetr-ultralytics", "detr-sigmoid", Some("stretch"), false),
        ("dfine-hf", "detr-sigmoid", Some("stretch"), false),
        ("rfdetr", "detr-sigmoid", Some("stretch"), false),
        ("yolox", "yolov8-direct", Some("top-left"), true),
        ("yolo-nas", "yolov8-dfl", None, true),
        ("yolov5", "yolov8-direct", None, true),
        ("yolo26-end2end", "yolov8-direct", None, true),
    ];
    for (name, head, fit, on_grid) in cases {
        let out = setup.dir.path().join(name);
        setup.build(name, &out, &[]).expect(0);
        with_cache("verify", &out, &[]).expect(0);
        let shown = with_cache("inspect", &out, &["--json"]).expect(0).json();
        assert_eq!(shown["teacher"]["head"], head, "{name}");
        assert_eq!(shown["teacher"]["input_rule"]["fit"].as_str(), fit, "{name}");
        assert_eq!(
            (shown["complete"].as_bool(), shown["failures"].as_array().unwrap().len()),
            (Some(true), 0),
            "{name}"
        );
        assert!(shown["rows"].as_u64().unwrap() > 0, "{name}");
        let picture = setup.dir.path().join(format!("{name}.png"));
        with_cache("inspect", &out, &["--image", "0", "--out", picture.to_str().unwrap()]).expect(0);
        // The same build finds nothing to do; another rule is another cache.
        assert!(setup.build(name, &out, &[]).expect(0).stdout.contains("nothing was left to do"), "{name}");
        let other = if name == "yolox" { "rgb" } else { "bgr" };
        setup.build(name, &out, &[("--input-rule", other)]).refused(&["normalisation"]);

        let teacher = model(name);
        let paths: [(&str, &Path); 3] = [("--model", &teacher), ("--data", &setup.data), ("--names", &setup.names)];
        let scores = setup.run(["eval", "--json"], &paths, &[("--latency-runs", "0"), ("--split", "val")]);
        assert!(scores.expect(0).json()["models"].as_array().is_some(), "{name}");
        let html = setup.dir.path().join(format!("{name}.html"));
        with_cache("report", &out, &["--out", html.to_str().unwrap()]).expect(0);
        let audit =
            with_cache("audit", &out, &["--teacher", teacher.to_str().unwrap(), "--jobs", "1", "--min-cosine", "0.5"]);
        if on_grid {
            audit.expect(0);
        } else {
            audit.refused(&["queries"]);
        }
    }
}

/// RF-DETR's 91 slots are COCO's sparse ids: labels find their class by its name, whatever its number.
#[test]
fn sparse_ids_are_matched_by_name() {
    let setup = Setup::new(6);
    let slots = [("circle", 1), ("ring", 13), ("triangle", 44), ("square", 67), ("star", 72), ("cross", 90)];
    let name_of = |slot: usize| {
        let used = slots.iter().find(|(_, id)| *id == slot);
        used.map_or_else(|| format!("unused {slot}"), |(name, _)| (*name).to_owned())
    };
    fs::write(&setup.names, (0..91).map(name_of).collect::<Vec<_>>().join("\n")).unwrap();
    let out = setup.dir.path().join("sparse");
    setup.build("rfdetr-coco", &out, &[]).expect(0);
    with_cache("verify", &out, &[]).expect(0);
    let reader = logitcache::cache::CacheReader::open(&out).unwrap();
    let names = &reader.manifest().teacher.class_names;
    assert_eq!((names.len(), names[44].as_str(), names[0].as_str()), (91, "triangle", "unused 0"));
    let ids: std::collections::BTreeSet<u32> = reader
        .images()
        .flat_map(|image| image.unwrap().labels.unwrap().iter().map(|label| label.class_id).collect::<Vec<_>>())
        .collect();
    assert!(ids.len() > 2 && ids.iter().all(|id| slots.iter().any(|(_, slot)| *slot as u32 == *id)), "{ids:?}");
}

#[test]
fn inspect_tells_what_a_file_is() {
    let shown = |name: &str| with_cache("inspect", &model(name), &[]).expect(0).stdout;
    let rtdetr = shown("rtdetr");
    for part in ["RT-DETR", "stretch,rgb,0-1", "20 queries", "no NMS needed", "from the teacher's objects", "6 classes"]
    {
        assert!(rtdetr.contains(part), "{part:?} is missing in: {rtdetr}");
    }
    let yolox = shown("yolox");
    for part in ["YOLOX", "top-left,bgr,0-255", "objectness times class", "84 anchors (strides 8, 16, 32)"] {
        assert!(yolox.contains(part), "{part:?} is missing in: {yolox}");
    }
    let nas = with_cache("inspect", &model("yolo-nas"), &["--json"]).expect(0).json();
    assert_eq!((nas["bins"].as_u64(), nas["needs_nms"].as_bool()), (Some(17), Some(true)));
    with_cache("inspect", &model("detr-hf"), &[]).refused(&["DETR", "softmax", "--family rt-detr-hf"]);
    with_cache("inspect", &model("detr-hf"), &["--family", "rt-detr-hf", "--input-rule", "stretch,imagenet"]).expect(0);
    let detr = with_cache("inspect", &model("detr-hf"), &["--family", "detr"]).expect(0).stdout;
    assert!(detr.contains("log-odds of the softmax") && detr.contains("stretch,rgb,imagenet"), "{detr}");
    assert!(detr.contains("6 classes"), "{detr}");
    with_cache("inspect", &model("yolox"), &["--image", "0"]).refused(&["is a model", "predict"]);
    with_cache("inspect", &fixture("cache-v1"), &["--family", "yolox"]).refused(&["--family", "Leave out"]);
    with_cache("inspect", &model("yolox"), &["--input-rule", "rgb,bgr"]).expect(2).says(&["second time"]);
}

/// As training decides: anchor by anchor only where the teacher's anchors are those of every
/// student.
#[test]
fn inspect_tells_who_can_learn_from_a_file() {
    for (name, by_anchors, why) in [
        ("yolov8-dynamic", true, ""),
        ("yolo26-no-dfl", true, ""),
        ("yolov8-p2", false, "the teacher has the strides [4, 8, 16, 32], the student [8, 16, 32]"),
        ("yolov8-p6", false, "the teacher has a stride of 64 pixels, which does not divide 32"),
    ] {
        let path = fixture("models").join(format!("{name}.onnx"));
        let shown = with_cache("inspect", &path, &["--json"]).expect(0).json();
        let line = shown["distillation"][1].as_str().unwrap().to_owned();
        assert_eq!(line.contains("anchor by anchor"), by_anchors, "{name}: {line}");
        assert_eq!(line.contains("from the teacher's objects"), !by_anchors, "{name}: {line}");
        assert!(line.contains(why), "{name}: {line}");
    }
}

/// The teacher of `demo` knows these shapes: shown in a wrong way it sees less, and the build says so.
#[test]
fn a_wrong_rule_is_flagged_by_what_it_costs() {
    let setup = Setup::new(16);
    let teacher = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/teacher.onnx");
    let build = |name: &str, rule: &str| {
        let out = setup.dir.path().join(name);
        let paths: [(&str, &Path); 3] = [("--teacher", &teacher), ("--data", &setup.data), ("--out", &out)];
        setup.run(["build"], &paths, &[("--jobs", "1"), ("--input-rule", rule)]).expect(0)
    };
    build("range", "0-255").says(&[
        "warning: images are prepared for the teacher by the rule letterbox,rgb,0-255",
        "detects nothing, or far too much",
        "with --input-rule",
    ]);
    let right = build("right", "rgb").stderr;
    assert!(!right.contains("prepared for the teacher by the rule"), "{right}");
}
