//! `logitcache report` as a user meets it: one page that holds what the folders say, names what is missing and fetches nothing.

use crate::{
    common,
    support::{Run, args, build, first_images, logitcache, shapes, teacher},
};
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

/// A class name that would run if it were not escaped.
const HOSTILE: &str = "<script>alert('x')</script>";

/// `results.csv` of a distilled run: the second epoch is the best by mAP@0.5:0.95, not by mAP@0.5.
const RESULTS: &str = "\
epoch,time,train/box_loss,train/cls_loss,train/dfl_loss,distill/box_loss,distill/cls_loss,distill/dfl_loss,metrics/precision(B),metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),metrics/small_recall50,lr/pg0,data_wait,images_per_s
1,10.500,3.100000,5.800000,4.300000,5.900000,5.500000,12.700000,0.100000,0.200000,0.310000,0.123456,0.400000,0.00001000,0.0000,7.40
2,20.500,3.000000,5.700000,4.200000,5.800000,5.400000,12.600000,0.110000,0.210000,0.320000,0.234567,0.410000,0.00002000,0.0000,7.50
3,31.500,2.900000,5.600000,4.100000,5.700000,5.300000,12.500000,0.120000,0.220000,0.330000,0.200000,,0.00003000,0.0000,7.60
";

/// A labelled data set of drawn shapes and a cache of it at 160 pixels, one class of a hostile name.
struct Setup {
    dir: tempfile::TempDir,
    data: PathBuf,
    cache: PathBuf,
    names: PathBuf,
}

impl Setup {
    fn new(images: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = shapes(dir.path(), images);
        let text = fs::read_to_string(&data).unwrap();
        assert!(text.contains("triangle"), "{text}");
        fs::write(&data, text.replace("triangle", &format!("{HOSTILE:?}"))).unwrap();
        let names = dir.path().join("names.txt");
        let all = ["circle", "ring", HOSTILE, "square", "star", "cross"];
        fs::write(&names, all.join("\n")).unwrap();
        let cache = dir.path().join("cache");
        build(&data, &cache, &[("--names", names.to_str().unwrap()), ("--min-score", "0")]).expect(0);
        Self { dir, data, cache, names }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A run's folder as docs and schemas describe it, its model that of the fixtures.
    fn run(&self, name: &str, alpha: f64, data: Value) -> PathBuf {
        let run = self.path(name);
        fs::create_dir_all(&run).unwrap();
        let config = json!({
            "producer": "logitcache 0.1.0", "model": "yolov8n", "start": "random", "class_names": ["circle", HOSTILE], "imgsz": 160,
            "images": 16, "images_sha256": "0".repeat(64), "cache_sha256": null, "threads": 2, "device": "cpu", "data": data,
            "settings": {"epochs": 3, "alpha": alpha, "lr": 0.001, "note": "<img src=x onerror=alert(1)>"},
        });
        fs::write(run.join("config.json"), config.to_string()).unwrap();
        fs::write(run.join("results.csv"), RESULTS).unwrap();
        fs::copy(teacher(), run.join("best.onnx")).unwrap();
        run
    }

    fn report_args(&self, folders: &[&Path], more: &[(&str, &str)]) -> Vec<OsString> {
        let out = self.path("report.html");
        let fixed = [("--imgsz", "160"), ("--jobs", "2")];
        let mut all = args(["report"], &[("--out", &out), ("--names", &self.names)], &[&fixed, more].concat());
        all.retain(|word| !word.is_empty());
        all.extend(folders.iter().map(|folder| folder.as_os_str().to_owned()));
        all
    }

    fn report(&self, folders: &[&Path], more: &[(&str, &str)]) -> Run {
        logitcache(&self.report_args(folders, more))
    }

    fn page(&self) -> String {
        fs::read_to_string(self.path("report.html")).unwrap()
    }
}

/// Elements that have no end tag.
const VOID: [&str; 4] = ["meta", "link", "img", "br"];

/// Every element is closed where it was opened, and nothing can be run or fetched. Gives the names of the elements.
#[track_caller]
fn well_formed(page: &str) -> Vec<String> {
    let (mut open, mut all): (Vec<&str>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a page of HTML");
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        assert!(!tag.contains('<'), "a tag within a tag: {tag}");
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed in the wrong order");
        } else {
            all.push(name.to_owned());
            if name == "style" {
                rest = &rest[rest.find("</style>").expect("the style ends")..];
            }
            if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
        for attribute in ["src=\"", "href=\""] {
            for value in tag.split(attribute).skip(1) {
                assert!(value.starts_with("data:") || value.starts_with('#'), "it asks for {value}");
            }
        }
        assert!(!tag.contains(" on"), "something can be run: {tag}");
    }
    assert_eq!(open, Vec::<&str>::new(), "never closed");
    assert!(!all.iter().any(|name| name == "script"), "a script");
    for word in ["@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
    all
}

/// The exact value in a run's line of the comparison table.
#[track_caller]
fn compared(page: &str, run: &str, column: &str) -> Option<f64> {
    let line =
        page.split(&format!("<tr data-run=\"{run}\">")).nth(1).unwrap_or_else(|| panic!("{run} is not compared"));
    let line = &line[..line.find("</tr>").unwrap()];
    let cell = line.split(&format!("data-column=\"{column}\">")).nth(1).unwrap_or_else(|| panic!("{column}: {line}"));
    let cell = &cell[..cell.find("</td>").unwrap()];
    cell.split("<data value=\"").nth(1).map(|value| value[..value.find('"').unwrap()].parse().unwrap())
}

const SECTIONS: [&str; 6] = ["comparison", "curves", "scores", "teacher", "pictures", "configuration"];

#[test]
fn a_page_of_runs_and_a_cache() {
    let setup = Setup::new(24);
    let first = setup.run("a", 0.7, json!({}));
    let second = setup.run("b<i>&\"'", 0.5, json!({}));
    let before = teacher();
    let data = setup.data.to_str().unwrap();
    let more =
        [("--data", data), ("--split", "train"), ("--max-pictures", "3"), ("--before", before.to_str().unwrap())];
    let run = setup.report(&[&first, &setup.cache, &second], &more).expect(0).says(&["are in a cache"]);
    assert!(run.stdout.contains("2 runs, 1 cache, 3 pictures"), "{}", run.stdout);
    let page = setup.page();
    assert!(page.len() < 5_000_000, "{}", page.len());
    let elements = well_formed(&page);
    let count = |name: &str| elements.iter().filter(|e| *e == name).count();
    for section in SECTIONS {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    assert!(!page.contains("class=\"nothing\""), "something is missing");
    // Labels, teacher, before, after; for 3 images.
    assert_eq!(count("img"), 12);
    for word in [
        "student before",
        "student after (a)",
        "teacher (cache)",
        "&lt;script&gt;alert",
        "b&lt;i&gt;&amp;",
        "calibration error",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("<i>") && !page.contains("<img src=x"));

    // What the table says is what the files say.
    for (column, value) in [
        ("best_epoch", Some(2.0)),
        ("map50", Some(0.32)),
        ("map50_95", Some(0.234567)),
        ("small_recall", Some(0.41)),
        ("seconds_per_epoch", Some(10.5)),
    ] {
        assert_eq!(compared(&page, "a", column), value, "{column}");
    }
    assert!(
        page.contains("<th scope=\"row\">alpha</th><td title=\"0.7\">0.7</td><td title=\"0.5\">0.5</td>"),
        "what differs is compared"
    );
    assert!(!page.contains("<th scope=\"row\">lr</th>"), "and nothing else");

    // The scores are those of `eval`.
    let words = ["eval", "--quiet", "--json", "--latency-runs", "0", "--imgsz", "160"];
    let paths = [("--model", before.as_path()), ("--data", &setup.data), ("--names", &setup.names)];
    let eval = logitcache(&args(words, &paths, &[("--split", "train")])).expect(0).json();
    let ap = eval["models"][0]["scores"]["coco"]["ap_50"].as_f64().unwrap();
    assert!(page.contains(&format!("mAP@0.5</th><td class=\"n\">{ap:.3}</td>")), "{ap}");

    // The same again, to the byte.
    setup.report(&[&first, &setup.cache, &second], &more).expect(0);
    assert!(setup.page() == page, "another page of the same folders");
}

#[test]
fn a_cache_alone_needs_no_model() {
    let setup = Setup::new(12);
    let none = setup.path("no-library.so");
    setup.report(&[&setup.cache], &[("--ort-lib", none.to_str().unwrap()), ("--max-pictures", "2")]).expect(0);
    let page = setup.page();
    let elements = well_formed(&page);
    assert_eq!(elements.iter().filter(|e| *e == "img").count(), 4, "labels and teacher of two images");
    assert!(page.contains("No run was given") && page.contains("No model was scored"));
    // Every kept anchor after suppression is in a bin.
    let bins = page.split("The bins in numbers").nth(1).unwrap();
    let counts = bins.split("<tr><th scope=\"row\">").skip(1).map(|row| {
        let cell = row.split("<td class=\"n\">").nth(1).unwrap();
        cell[..cell.find('<').unwrap()].parse::<u64>().unwrap()
    });
    assert!(counts.sum::<u64>() > 0);
}

#[test]
fn what_is_missing_is_told() {
    let setup = Setup::new(12);
    let run = setup.run("run", 0.7, json!({}));
    fs::remove_file(run.join("best.onnx")).unwrap();
    setup.report(&[&run], &[]).expect(0).says(&["note: run: there is no best.onnx"]);
    let page = setup.page();
    well_formed(&page);
    for words in ["there is no best.onnx", "No model was scored", "There is no cache", "There are no pictures"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(
        page.contains("mAP@0.5:0.95") && page.contains("<svg role=\"img\" aria-label=\"learning rate\""),
        "curves are there"
    );

    // A run that has just begun.
    let begun = setup.run("begun", 0.7, json!({}));
    fs::remove_file(begun.join("results.csv")).unwrap();
    setup
        .report(&[&run, &begun], &[("--no-models", "")])
        .expect(0)
        .says(&["begun: no epoch is finished", "--no-models"]);
    assert_eq!(compared(&setup.page(), "begun", "map50"), None);

    // Where it was validated is not known, then known from the configuration, then gone.
    let whole = setup.run("whole", 0.7, json!({}));
    setup.report(&[&whole], &[]).expect(0).says(&["no run records its validation data set", "--data", "--before"]);
    let places =
        json!({"cache": "../cache", "val_source": "../shapes/data.yaml", "val_images_dir": null, "val_split": "val"});
    let whole = setup.run("whole", 0.7, places);
    setup
        .report(&[&whole], &[("--max-pictures", "1")])
        .expect(0)
        .says(&["the pictures show images that were trained on"]);
    let page = setup.page();
    assert!(page.contains("teacher (cache)") && page.contains("student after (whole)"));
    assert!(!page.contains("No model was scored"), "the recorded data set was found");
    fs::rename(&setup.cache, setup.path("elsewhere")).unwrap();
    fs::rename(setup.path("shapes"), setup.path("moved")).unwrap();
    setup.report(&[&whole], &[]).expect(0).says(&[
        "the cache of whole cannot be shown",
        "the models are not scored",
        "--data",
    ]);
}

#[test]
fn an_image_that_changed_or_went_is_named_and_left_out() {
    let setup = Setup::new(12);
    let root = setup.data.parent().unwrap();
    let mut paths: Vec<_> =
        fs::read_dir(root.join("images/train")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    // Images with objects, which are drawn: a teacher of random weights finds none of them.
    let labels = |path: &Path| root.join("labels/train").join(path.file_name().unwrap()).with_extension("txt");
    paths.retain(|path| fs::metadata(labels(path)).is_ok_and(|label| label.len() > 0));
    let drawn = |run: &Run| {
        let words = run.stdout.split(", ").find(|part| part.ends_with("pictures")).unwrap().to_owned();
        words.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let all = drawn(&setup.report(&[&setup.cache], &[("--max-pictures", "100")]).expect(0));
    assert!(all >= paths.len(), "{all}");
    fs::copy(&paths[1], &paths[0]).unwrap();
    fs::remove_file(&paths[2]).unwrap();
    let name = |at: usize| paths[at].file_name().unwrap().to_str().unwrap();
    let run = setup.report(&[&setup.cache], &[("--max-pictures", "100")]).expect(0);
    let run = run.says(&["changed since the cache was made", name(0), name(2)]);
    assert_eq!(drawn(&run), all - 2);
    // Not to be read where it is scored: the others are, and the status says so.
    fs::write(&paths[3], "no picture").unwrap();
    let model = setup.run("run", 0.7, json!({}));
    let data = [("--data", setup.data.to_str().unwrap()), ("--split", "train"), ("--max-pictures", "1")];
    let run = setup.report(&[&model], &data).expect(1);
    assert!(run.stdout.contains("could not be scored") && run.stdout.contains(name(3)), "{}", run.stdout);
}

#[test]
fn a_page_never_outgrows_its_limit() {
    let setup = Setup::new(5);
    let noise = setup.path("noise");
    let data = noise.join("data.yaml");
    for (split, count) in [("train", 40), ("val", 1)] {
        fs::create_dir_all(noise.join("images").join(split)).unwrap();
        fs::create_dir_all(noise.join("labels").join(split)).unwrap();
        for i in 0..count {
            // Noise compresses badly.
            let mut state = 88_172_645_463_325_252u64 + i;
            let level = |_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            };
            let pixels: Vec<u8> = (0..480 * 480 * 3).map(level).collect();
            let picture = noise.join(format!("images/{split}/{i:02}.png"));
            image::save_buffer(&picture, &pixels, 480, 480, image::ExtendedColorType::Rgb8).unwrap();
            fs::write(noise.join(format!("labels/{split}/{i:02}.txt")), "0 0.5 0.5 0.01 0.01\n").unwrap();
        }
    }
    let text = fs::read_to_string(&setup.data).unwrap();
    fs::write(&data, format!("train: images/train\nval: images/val\n{}", &text[text.find("names:").unwrap()..]))
        .unwrap();
    let cache = setup.path("noisy");
    build(&data, &cache, &[("--names", setup.names.to_str().unwrap())]).expect(0);
    setup
        .report(&[&cache], &[("--max-pictures", "40")])
        .expect(0)
        .says(&["more pictures would make the file larger than 5 MB"]);
    let page = setup.page();
    assert!(page.len() < 5_000_000 && page.len() > 2_500_000, "{}", page.len());
    well_formed(&page);
}

#[test]
fn other_things_are_refused() {
    let setup = Setup::new(5);
    let run = setup.run("run", 0.7, json!({}));
    let nowhere = setup.path("nowhere");
    setup.report(&[&nowhere], &[]).refused(&["nowhere", "no such folder", "logitcache train"]);
    setup.report(&[setup.data.parent().unwrap()], &[]).refused(&["shapes", "neither a training run", "nor a cache"]);
    setup.report(&[], &[]).expect(2).says(&["RUN|CACHE"]);
    let no_page = setup.path("report.txt");
    logitcache(
        &args(["report"], &[("--out", &no_page)], &[]).into_iter().chain([run.clone().into()]).collect::<Vec<_>>(),
    )
    .refused(&["report.txt", ".html"]);
    setup.report(&[&run], &[("--data", nowhere.to_str().unwrap())]).refused(&["nowhere", "no such file"]);
    setup.report(&[&run], &[("--images", "x")]).expect(2).says(&["--data"]);
    setup
        .report(&[&run], &[("--ort-lib", nowhere.to_str().unwrap()), ("--data", setup.data.to_str().unwrap())])
        .refused(&["nowhere"]);
    let missing = setup.path("missing.onnx");
    setup
        .report(&[&run], &[("--before", missing.to_str().unwrap()), ("--data", setup.data.to_str().unwrap())])
        .refused(&["missing.onnx"]);
    fs::write(run.join("results.csv"), "epoch,time\n1,soon\n").unwrap();
    setup.report(&[&run], &[]).refused(&["results.csv", "line 2", "soon"]);
    fs::write(run.join("config.json"), "[1, 2").unwrap();
    setup.report(&[&run], &[]).refused(&["config.json", "not a run's configuration"]);
    fs::write(setup.cache.join("manifest.json"), "{}").unwrap();
    setup.report(&[&setup.cache], &[]).refused(&["manifest.json"]);
    assert!(!setup.path("report.html").exists(), "nothing is written by what was refused");
}

#[test]
fn photographs_under_the_real_teacher() {
    let Some(shared) = common::shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = first_images(&shared.join("data/coco128"), dir.path(), 32);
    let (cache, out) = (dir.path().join("cache"), dir.path().join("report.html"));
    let model = shared.join("models/yolov12n.onnx");
    logitcache(&args(["build", "--quiet"], &[("--teacher", &model), ("--data", &data), ("--out", &cache)], &[]))
        .expect(0);
    let run = dir.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("results.csv"), RESULTS).unwrap();
    fs::copy(&model, run.join("best.onnx")).unwrap();
    let mut all = args(["report", "--quiet"], &[("--out", &out), ("--data", &data)], &[("--max-pictures", "4")]);
    all.extend([cache.into_os_string(), run.into_os_string()]);
    logitcache(&all).expect(0);
    let page = fs::read_to_string(&out).unwrap();
    well_formed(&page);
    let error = page.split("data-column=\"expected_error\"><data value=\"").nth(1).unwrap();
    let error: f64 = error[..error.find('"').unwrap()].parse().unwrap();
    assert!((0.0..0.2).contains(&error), "a real teacher's scores are about right: {error}");
    // The student is the teacher, so at the same anchors it says the same: to the rounding of stored logits.
    let soft = page.split("<table class=\"soft\">").nth(1).expect("class distributions are shown");
    let values: Vec<f64> = soft
        .split("<span class=\"value\">")
        .skip(1)
        .map(|v| v[..v.find('<').unwrap()].parse().unwrap())
        .take(10)
        .collect();
    assert!(values.chunks(2).all(|pair| (pair[0] - pair[1]).abs() <= 0.002), "{values:?}");
}

/// What `eval` measured, drawn and in a table: the same model twice, once under another name and in a larger file.
#[test]
fn accuracy_and_cost_of_an_evaluation_are_shown() {
    let setup = Setup::new(8);
    let larger = setup.path("larger.onnx");
    // A field that readers skip.
    let mut bytes = fs::read(teacher()).unwrap();
    bytes.extend([0x32, 0x04, b'n', b'o', b't', b'e']);
    fs::write(&larger, bytes).unwrap();
    let out = setup.path("scores");
    let models = [("--model", teacher()), ("--model", larger)];
    let models: Vec<(&str, &Path)> = models.iter().map(|(flag, path)| (*flag, path.as_path())).collect();
    let folders: [(&str, &Path); 3] = [("--data", &setup.data), ("--out", &out), ("--names", &setup.names)];
    let values = [("--imgsz", "160"), ("--latency-runs", "2"), ("--jobs", "1")];
    let run = logitcache(&args(["eval", "--json"], &[&models[..], &folders].concat(), &values)).expect(0);
    let report = run.json();
    let measured = &report["models"][0];
    assert_eq!(measured["memory_bytes"].as_u64().is_some(), cfg!(target_os = "linux"), "{measured}");
    let memory = [0, 1].map(|model| report["models"][model]["memory_bytes"].as_f64());
    if let [Some(first), Some(second)] = memory {
        // What the first has freed is not taken for nothing by the second.
        assert!(first > 1e6 && first < 1e9 && (0.5..2.0).contains(&(second / first)), "{first} and {second} bytes");
    }

    setup.report(&[&out], &[]).expect(0);
    let page = setup.page();
    well_formed(&page);
    for text in ["Accuracy and cost", "Accuracy over latency", "data-model=\"larger.onnx\"", "fp32", "160 x 160"] {
        assert!(page.contains(text), "{text} is missing");
    }
    fs::write(out.join("eval.json"), "{}").unwrap();
    setup.report(&[&out], &[]).refused(&["eval.json", "not a report of `eval`"]);
}
