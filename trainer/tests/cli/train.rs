//! `train` as a user meets it: the same weights after a kill or a Ctrl-C, refusals in words, nothing lost.

use crate::support::{Run, args, build, command, finished, logitcache, program, shapes, teacher};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

/// A labelled data set and a cache of it at 64 pixels: small enough that a step takes a fraction of a second.
struct Setup {
    dir: tempfile::TempDir,
    data: PathBuf,
    cache: PathBuf,
}

impl Setup {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = shapes(dir.path(), 15);
        let cache = dir.path().join("cache");
        // Random weights say little of anything, so every anchor is kept.
        build(&data, &cache, &[("--imgsz", "64"), ("--min-score", "0")]).expect(0);
        Self { dir, data, cache }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// `train` in float32 on the cache, 3 epochs of 3 steps.
fn train_args(cache: &Path, out: &Path, more: &[(&str, &str)]) -> Vec<OsString> {
    let fixed = [
        ("--model", "yolov8n"),
        ("--epochs", "3"),
        ("--batch", "4"),
        ("--precision", "fp32"),
        ("--threads", "2"),
        ("--lr", "1e-3"),
    ];
    let mut values: Vec<(&str, &str)> = fixed.to_vec();
    for (flag, value) in more {
        match values.iter_mut().find(|(f, _)| f == flag) {
            Some(found) => found.1 = value,
            None => values.push((flag, value)),
        }
    }
    let mut all = args(["train"], &[("--cache", cache), ("--out", out)], &values);
    all.retain(|a| !a.is_empty());
    all
}

fn train(cache: &Path, out: &Path, more: &[(&str, &str)]) -> Run {
    logitcache(&train_args(cache, out, more))
}

/// Rows of results.csv without the columns that depend on the clock.
fn results(run: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(run.join("results.csv")).unwrap();
    let rows: Vec<Vec<String>> = text.lines().map(|l| l.split(',').map(str::to_owned).collect()).collect();
    let clock = ["time", "data_wait", "images_per_s"];
    let kept: Vec<usize> = (0..rows[0].len()).filter(|&c| !clock.contains(&rows[0][c].as_str())).collect();
    rows.iter().map(|row| kept.iter().map(|&c| row[c].clone()).collect()).collect()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("weights/last.safetensors")).unwrap()
}

/// Epochs that are written.
fn epochs_done(run: &Path) -> usize {
    fs::read_to_string(run.join("results.csv")).map_or(0, |text| text.lines().count().saturating_sub(1))
}

fn wait_for(child: &mut Child, mut ready: impl FnMut() -> bool) {
    while !ready() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_or_interrupted_it_goes_on_to_the_same_bits() {
    let setup = Setup::new();
    let whole = setup.path("whole");
    let run = train(&setup.cache, &whole, &[]).expect(0).says(&["random weights", "validate  3 images"]);
    assert!(run.stdout.contains("3 epochs, complete") && run.stdout.contains("best.onnx"), "{}", run.stdout);
    assert_eq!(epochs_done(&whole), 3);
    assert!(!whole.join("pixels").exists(), "a complete run needs no decoded pictures");

    // Killed before the first epoch is written, after it, and after the second.
    for kill_after in 0..3 {
        let out = setup.path(&format!("killed{kill_after}"));
        let mut child = command(&train_args(&setup.cache, &out, &[])).spawn().unwrap();
        wait_for(&mut child, || out.join("config.json").exists() && epochs_done(&out) >= kill_after);
        child.kill().unwrap();
        finished(child.wait_with_output().unwrap()).expect(-1);
        train(&setup.cache, &out, &[("--resume", "")]).expect(0);
        assert!(weights(&out) == weights(&whole), "killed after {kill_after} epochs: other weights");
        assert_eq!(results(&out), results(&whole), "killed after {kill_after} epochs");
    }

    // Interrupted in the middle of an epoch: the step under way is finished and kept.
    let out = setup.path("interrupted");
    let mut child = command(&train_args(&setup.cache, &out, &[])).spawn().unwrap();
    wait_for(&mut child, || epochs_done(&out) >= 1);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let run = finished(child.wait_with_output().unwrap()).expect(130).says(&["interrupted", "--resume"]);
    assert!(run.stdout.contains("unfinished"), "{}", run.stdout);
    train(&setup.cache, &out, &[("--resume", "")]).expect(0);
    assert!(weights(&out) == weights(&whole), "interrupted: other weights");
    assert_eq!(results(&out), results(&whole));

    // Places are kept for reports and are no settings: the run goes on after its cache was moved.
    let kept = |run: &Path| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(run.join("config.json")).unwrap()).unwrap()
    };
    assert_eq!(kept(&out)["data"]["cache"], "../cache");
    assert_eq!(kept(&out)["data"]["val_split"], "val");
    let moved = setup.path("moved");
    fs::rename(&setup.cache, &moved).unwrap();
    train(&moved, &out, &[("--resume", "")]).expect(0);
    assert_eq!(kept(&out)["data"]["cache"], "../moved");
    fs::rename(&moved, &setup.cache).unwrap();

    // A complete run has nothing left to do, and its settings are its own.
    train(&setup.cache, &out, &[("--resume", "")]).expect(0);
    assert!(weights(&out) == weights(&whole));
    train(&setup.cache, &out, &[]).refused(&["already holds a run", "--resume", "--overwrite"]);
    let other = train(&setup.cache, &out, &[("--resume", ""), ("--lr", "5e-4"), ("--alpha", "0.5")]);
    other.refused(&["settings.lr: 0.001 in the run, 0.0005 now", "settings.alpha: 0.7 in the run, 0.5 now"]);

    // A checkpoint that was cut, or of other bytes, is refused; the weights stay.
    let state = out.join("state.safetensors");
    let bytes = fs::read(&state).unwrap();
    for damaged in [&bytes[..bytes.len() / 2], &[0u8; 64][..]] {
        fs::write(&state, damaged).unwrap();
        train(&setup.cache, &out, &[("--resume", "")]).refused(&["state.safetensors", "damaged", "--overwrite"]);
        assert!(weights(&out) == weights(&whole));
    }
    train(&setup.cache, &out, &[("--overwrite", ""), ("--epochs", "1")]).expect(0);
    assert_eq!(epochs_done(&out), 1);
}

#[test]
fn a_student_is_trained_exported_and_used_again() {
    let setup = Setup::new();
    let run = setup.path("plain");
    // Labels alone, without a cache.
    let plain = [
        "train",
        "--distill",
        "none",
        "--model",
        "yolov8n",
        "--epochs",
        "1",
        "--batch",
        "8",
        "--imgsz",
        "64",
        "--json",
    ];
    let report = logitcache(&args(plain, &[("--data", &setup.data), ("--out", &run)], &[])).expect(0).json();
    assert_eq!((report["complete"].as_bool(), report["epochs"].as_u64()), (Some(true), Some(1)), "{report}");
    assert_eq!(report["last"]["distill_cls_loss"].as_f64(), Some(0.0));
    for name in
        ["config.json", "results.csv", "curves.svg", "best.onnx", "state.safetensors", "weights/best.safetensors"]
    {
        assert!(run.join(name).is_file(), "{name}");
    }

    // The ONNX file is the one that `export` makes, and is taken by `predict` and `build`.
    let exported = setup.path("exported.onnx");
    logitcache(
        &args(["export"], &[("--out", &exported)], &[]).into_iter().chain([run.clone().into()]).collect::<Vec<_>>(),
    )
    .expect(0);
    assert!(fs::read(&exported).unwrap() == fs::read(run.join("best.onnx")).unwrap());
    let cache = setup.path("second");
    build(&setup.data, &cache, &[("--teacher", exported.to_str().unwrap()), ("--imgsz", "64"), ("--min-score", "0")])
        .expect(0);

    // A report finds the data set that it was validated on, as the run keeps it.
    let page = setup.path("report.html");
    let words = args(["report", "--max-pictures", "2"], &[("--out", &page)], &[]);
    let report = logitcache(&words.into_iter().chain([run.clone().into()]).collect::<Vec<_>>()).expect(0);
    assert!(!report.stderr.contains("not scored"), "{}", report.stderr);
    assert!(fs::read_to_string(&page).unwrap().contains("student after (plain)"));

    // From its weights a next student starts; with other classes the class branch is made anew, and that is said.
    let start = run.join("weights/best.safetensors");
    let next = setup.path("next");
    let quick = [("--model", start.to_str().unwrap()), ("--epochs", "1"), ("--cls-loss", "bckd")];
    train(&cache, &next, &quick).expect(0).says(&["0.7 x labels", "bckd"]);
    let fewer = setup.data.with_file_name("fewer.yaml");
    let text = fs::read_to_string(&setup.data).unwrap();
    let names = text.find("names:").unwrap();
    fs::write(&fewer, format!("{}names: [circle, ring, triangle, square, star, cross, dot]\n", &text[..names]))
        .unwrap();
    let other = ["train", "--distill", "none", "--epochs", "1", "--batch", "8", "--imgsz", "64", "--val-split", "none"];
    let other = args(other, &[("--model", &start), ("--data", &fewer), ("--out", &setup.path("other"))], &[]);
    logitcache(&other).expect(0).says(&["has 6 classes, not 7", "random weights"]);
}

/// The other families: trained, taken up again from their weights, and read as any export is.
#[test]
fn yolo11_and_yolo26_are_students_too() {
    let setup = Setup::new();
    for name in ["yolo11n", "yolo26n"] {
        let (first, second) = (setup.path(&format!("{name}-first")), setup.path(&format!("{name}-second")));
        let quick = [("--epochs", "1"), ("--val-split", "none"), ("--precision", "bf16")];
        train(&setup.cache, &first, &[&quick[..], &[("--model", name)]].concat()).expect(0);
        let weights = first.join("weights/best.safetensors");
        let again = [("--model", weights.to_str().unwrap())];
        train(&setup.cache, &second, &[&quick[..], &again].concat()).expect(0).says(&[name]);
        let (model, data) = (second.join("best.onnx"), setup.data.as_path());
        let words = ["eval", "--json", "--latency-runs", "0", "--split", "val"];
        let report = logitcache(&args(words, &[("--model", &model), ("--data", data)], &[])).expect(0).json();
        assert_eq!(report["models"][0]["num_classes"], 6);
    }
}

/// A head of two branches without bins: its distances learn the teacher's boxes, and the shares of
/// its branches, which change from epoch to epoch, are those of a run that was not killed.
#[test]
fn a_yolo26_learns_anchors_and_objects_and_goes_on_to_the_same_bits() {
    let setup = Setup::new();
    let (whole, killed) = (setup.path("whole"), setup.path("killed"));
    let more = [("--model", "yolo26n"), ("--epochs", "2"), ("--val-split", "none")];
    let run = train(&setup.cache, &whole, &[&more[..], &[("--json", "")]].concat()).expect(0);
    let last = run.says(&["gives each object one anchor"]).json()["last"].clone();
    for part in ["box_loss", "cls_loss", "dfl_loss", "distill_box_loss", "distill_cls_loss", "distill_dfl_loss"] {
        assert!(last[part].as_f64().unwrap() > 0.0, "{part}: {last}");
    }
    let mut child = command(&train_args(&setup.cache, &killed, &more)).spawn().unwrap();
    wait_for(&mut child, || epochs_done(&killed) >= 1);
    child.kill().unwrap();
    finished(child.wait_with_output().unwrap()).expect(-1);
    train(&setup.cache, &killed, &[&more[..], &[("--resume", "")]].concat()).expect(0);
    assert!(weights(&killed) == weights(&whole), "other weights");
    assert_eq!(results(&killed), results(&whole));

    // Its export is a teacher: of a student with bins by boxes and classes, of one with distances
    // by these, too.
    let (teacher, cache) = (whole.join("best.onnx"), setup.path("taught"));
    build(&setup.data, &cache, &[("--teacher", teacher.to_str().unwrap()), ("--imgsz", "64"), ("--min-score", "0")])
        .expect(0);
    for (student, learns_sides) in [("yolov8f", false), ("yolo26n", true)] {
        let more = [("--model", student), ("--epochs", "1"), ("--val-split", "none"), ("--json", "")];
        let run = train(&cache, &setup.path(student), &more).expect(0);
        assert_eq!(run.stderr.contains("no DFL logits"), !learns_sides, "{run:?}");
        let last = run.json()["last"].clone();
        let of = |part: &str| last[format!("distill_{part}_loss")].as_f64().unwrap();
        assert!(of("box") > 0.0 && of("cls") > 0.0, "{last}");
        assert_eq!(of("dfl") > 0.0, learns_sides, "{last}");
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let setup = Setup::new();
    let out = setup.path("run");
    let quick = |more: &[(&str, &str)]| {
        let mut all = vec![("--epochs", "1"), ("--val-split", "none"), ("--overwrite", "")];
        all.extend(more);
        train(&setup.cache, &out, &all)
    };
    quick(&[("--imgsz", "96")]).refused(&["--imgsz 96", "built at 64"]);
    quick(&[("--distill", "none")]).refused(&["--distill none does not use it"]);
    quick(&[("--model", "yolov9q")]).refused(&["yolov9q", "yolov8n"]);
    quick(&[("--device", "tpu")]).refused(&["tpu", "cuda"]);
    quick(&[("--device", "cuda:0")]).refused(&["cuda:0", "--device cpu"]);
    quick(&[("--alpha", "1.5")]).expect(2).says(&["--alpha", "0 to 1"]);
    quick(&[("--lr", "nan")]).expect(2).says(&["--lr", "above 0"]);
    quick(&[("--model", teacher().to_str().unwrap())]).refused(&["yolov8-dynamic.onnx", "fused"]);
    let text = setup.path("words.pt");
    fs::write(&text, "no checkpoint").unwrap();
    quick(&[("--model", text.to_str().unwrap())]).refused(&["words.pt"]);
    train(&setup.path("nowhere"), &out, &[]).refused(&["nowhere"]);
    logitcache(&args(["train", "--model", "yolov8n"], &[("--out", &out)], &[])).refused(&["--cache", "--distill none"]);
    let foreign = setup.path("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("chapter1.tex"), "years of work").unwrap();
    train(&setup.cache, &foreign, &[("--overwrite", "")]).refused(&["chapter1.tex"]);
    assert!(foreign.join("chapter1.tex").exists());

    // Other classes, fewer images.
    let yaml = fs::read_to_string(&setup.data).unwrap();
    fs::write(&setup.data, yaml.replace("triangle", "Triangel")).unwrap();
    let data = setup.data.to_str().unwrap();
    quick(&[("--data", data)]).refused(&["Triangel"]);
    fs::write(&setup.data, &yaml).unwrap();
    let images = setup.data.parent().unwrap().join("images/train");
    let mut names: Vec<PathBuf> = fs::read_dir(&images).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let name = |at: usize| names[at].file_name().unwrap().to_str().unwrap();
    let aside = setup.path("aside");
    fs::rename(&names[0], &aside).unwrap();
    quick(&[("--data", data)]).refused(&["not in the data set", name(0)]);
    fs::rename(&aside, &names[0]).unwrap();

    // A picture that changed since the teacher saw it.
    let bytes = fs::read(&names[1]).unwrap();
    fs::copy(&names[2], &names[1]).unwrap();
    quick(&[]).refused(&["changed", name(1)]);
    fs::write(&names[1], &bytes).unwrap();

    // Changed labels and an added picture are told, and no reason to stop.
    let label = setup.data.parent().unwrap().join("labels/train").join(name(3)).with_extension("txt");
    fs::write(&label, "0 0.5 0.5 0.25 0.25\n").unwrap();
    fs::copy(&names[2], images.join("added.png")).unwrap();
    quick(&[("--data", data)]).expect(0).says(&["other labels", name(3), "not in the cache", "added.png"]);
}

#[test]
fn without_labels_softmax_alone_is_refused_and_the_others_teach() {
    let setup = Setup::new();
    let cache = setup.path("unlabelled");
    build(&setup.data, &cache, &[("--imgsz", "64"), ("--min-score", "0"), ("--ignore-labels", "")]).expect(0);
    let out = setup.path("run");
    train(&cache, &out, &[]).refused(&["softmax", "bckd"]);
    let report = train(&cache, &out, &[("--cls-loss", "bckd"), ("--epochs", "1"), ("--json", "")]).expect(0).json();
    assert_eq!(report["last"]["cls_loss"].as_f64(), Some(0.0), "no labels, no loss against them: {report}");
    assert!(report["last"]["distill_cls_loss"].as_f64().unwrap() > 0.0, "{report}");
}

#[test]
fn a_loss_that_is_no_number_names_the_step_and_keeps_the_checkpoint() {
    let setup = Setup::new();
    let out = setup.path("run");
    let rates = [("--lr", "1e9"), ("--warmup-lr", "1e9"), ("--optimizer", "sgd")];
    train(&setup.cache, &out, &[&rates[..], &[("--epochs", "40"), ("--val-split", "none")]].concat())
        .expect(2)
        .says(&["error: step ", "epoch", "images: ", "--lr"]);
}

#[test]
fn losses_that_rise_are_told_where_nothing_is_validated() {
    let setup = Setup::new();
    let rates = [("--lr", "1000"), ("--warmup-lr", "1e-9"), ("--warmup-epochs", "1"), ("--epochs", "3")];
    let run =
        train(&setup.cache, &setup.path("run"), &[&rates[..], &[("--val-split", "none"), ("--json", "")]].concat());
    let report = run.expect(0).json();
    let notes = report["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains("the losses rose")), "{report}");
}

#[test]
fn a_full_disk_keeps_the_last_checkpoint() {
    let setup = Setup::new();
    let mount = setup.path("disk");
    fs::create_dir(&mount).unwrap();
    // One epoch's files fit (weights twice, the state), the next state beside the old one does not.
    let run = mount.join("run");
    let program = program();
    let program = program.display();
    let line = |more: &[(&str, &str)]| {
        let words = train_args(&setup.cache, &run, more);
        words.iter().map(|w| format!("'{}'", w.to_str().unwrap())).collect::<Vec<_>>().join(" ")
    };
    let script = format!(
        "mount -t tmpfs -o size=112m none '{0}' || exit 77; '{program}' {1}; echo status $?; ls -a '{2}'; mount -o remount,size=400m '{0}' && '{program}' {3}; echo status $?",
        mount.display(),
        line(&[]),
        run.display(),
        line(&[("--resume", "")]),
    );
    let output = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).output();
    match output {
        Ok(o) if o.status.code() == Some(0) => {
            let run = finished(o);
            let (first, second) = run.stdout.split_once("status 2").unwrap_or_else(|| panic!("{run:?}"));
            assert!(!first.contains("complete"), "{run:?}");
            assert!(run.stderr.contains("no space left") && run.stderr.contains("--resume"), "{run:?}");
            assert!(!second.contains(".tmp-"), "nothing half there: {run:?}");
            assert!(second.contains("3 epochs, complete") && second.contains("status 0"), "{run:?}");
            assert!(run.stderr.contains("done before"), "the checkpoint was used: {run:?}");
        }
        _ => println!("skipped: no file system can be mounted in a namespace here"),
    }
}

#[test]
fn no_other_command_loads_libtorch() {
    let needed = |program: &Path| {
        let output = Command::new("readelf").arg("-d").arg(program).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let main = program();
    assert!(needed(&main).contains("libc.so") && !needed(&main).contains("libtorch"), "{}", needed(&main));
    assert!(needed(&main.with_file_name("logitcache-train")).contains("libtorch_cpu.so"));

    // Alone, it says what is missing.
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("logitcache");
    fs::copy(&main, &copy).unwrap();
    let output = Command::new(&copy).args(["train", "--model", "yolov8n", "--out", "x"]).output().unwrap();
    finished(output).refused(&["logitcache-train", "make setup"]);
}
