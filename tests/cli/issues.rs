//! `logitcache issues`: faults put into labels are found, refusals, files, and that nothing is left
//! half written.

use crate::support::{Run, build, command, finished, logitcache, names, on_small_disk, shapes, skipped};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

fn issues(words: &[&dyn AsRef<OsStr>]) -> Run {
    let words = words.iter().map(|word| word.as_ref());
    logitcache(&[OsStr::new("issues")].into_iter().chain(words).collect::<Vec<_>>())
}

/// Drawn shapes and the cache of the committed teacher, which knows nothing of them.
fn drawn(dir: &Path, images: u32) -> (PathBuf, PathBuf) {
    let (data, cache) = (shapes(dir, images), dir.join("cache"));
    build(&data, &cache, &[]).expect(0);
    (data, cache)
}

#[test]
fn a_list_is_the_same_each_time_and_as_long_as_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache) = drawn(dir.path(), 40);
    for method in ["soft", "objectlab", "fiftyone"] {
        let run = |top: &str| issues(&[&cache, &"--method", &method, &"--top", &top, &"--json"]).expect(0);
        let (all, few) = (run("100000"), run("5"));
        assert_eq!(all.stdout, run("100000").stdout, "{method}");
        let (all, few) = (all.json(), few.json());
        let list = |report: &Value| report["issues"].as_array().unwrap().clone();
        assert_eq!(list(&few), list(&all)[..list(&few).len()], "{method}");
        assert!(list(&few).len() <= 5);
        assert_eq!(list(&all).len() as u64, all["suspicions"].as_u64().unwrap());
        let scores: Vec<f64> = list(&all).iter().map(|issue| issue["score"].as_f64().unwrap()).collect();
        assert!(
            scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|s| (0.0..=1.0).contains(s)),
            "{method}: {scores:?}"
        );
        assert_eq!(all["images"], 32);
        assert!(all["labels"].as_u64().unwrap() > 32);
    }
}

#[test]
fn the_labels_of_today_are_judged_with_data() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = drawn(dir.path(), 20);
    let report = |words: &[&dyn AsRef<OsStr>]| {
        issues(&[&[&cache as &dyn AsRef<OsStr>, &"--json"], words].concat()).expect(0).json()
    };
    let before = report(&[]);
    // The labels did not change: the list is the same.
    let now = report(&[&"--data", &data]);
    assert_eq!(now["issues"], before["issues"]);
    let labels = data.with_file_name("labels/train");
    let file = labels.join(names(&labels).remove(3));
    let rows = fs::read_to_string(&file).unwrap();
    let row = rows.lines().next().unwrap().to_owned();
    let doubled = row.rsplit_once(' ').unwrap().0.to_owned() + " 0.123";
    fs::write(&file, format!("{rows}{doubled}\n{}", doubled.replace("0.123", "0.125"))).unwrap();
    let doubles = report(&[&"--data", &data, &"--kind", &"duplicate"]);
    let first = &doubles["issues"][0];
    assert!(first["score"].as_f64().unwrap() > 0.9 && first["kind"] == "duplicate", "{doubles}");
    let stem = file.file_stem().unwrap().to_str().unwrap();
    assert!(first["path"].as_str().unwrap().contains(stem), "{first}");
    assert_eq!(report(&[])["issues"], before["issues"], "the cache is as it was");

    fs::write(&file, "0 nonsense\n").unwrap();
    let run = issues(&[&cache, &"--data", &data, &"--json"]).expect(1).json();
    assert!(run["failures"][0]["path"].as_str().unwrap().contains(stem), "{run}");
    fs::remove_dir_all(&labels).unwrap();
    let empty = issues(&[&cache, &"--data", &data]);
    assert_eq!(empty.code, 2);
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = drawn(dir.path(), 10);
    issues(&[&dir.path().join("none")]).refused(&["there is no such folder"]);
    issues(&[&cache, &"--method", &"objectlab", &"--kind", &"duplicate"])
        .refused(&["objectlab does not look for `duplicate`", "--kind"]);
    issues(&[&cache, &"--method", &"magic"]).expect(2).says(&["soft, objectlab, fiftyone"]);
    issues(&[&cache, &"--top", &"0"]).expect(2).says(&["from 1 to"]);
    let unlabelled = dir.path().join("unlabelled");
    build(&data.with_file_name("images"), &unlabelled, &[]).expect(0);
    issues(&[&unlabelled]).refused(&["the cache has no labels", "--data"]);
    let ignored = dir.path().join("ignored");
    build(&data, &ignored, &[("--ignore-labels", "")]).expect(0);
    issues(&[&ignored]).refused(&["built without the labels"]);
    // They can still be judged as they are now.
    issues(&[&ignored, &"--data", &data]).expect(0);
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    issues(&[&cache, &"--out", &out]).refused(&["already exists", "--out"]);
    assert_eq!(names(&out), [] as [&str; 0]);
}

#[test]
fn the_review_has_all_its_files_and_needs_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = drawn(dir.path(), 20);
    let out = dir.path().join("review");
    let before = fs::read(cache.join("manifest.json")).unwrap();
    let report = issues(&[&cache, &"--out", &out, &"--top", &"30", &"--pictures", &"7", &"--json"]).expect(0).json();
    assert_eq!(
        names(&out),
        ["coco.json", "cvat", "images.csv", "index.html", "issues.csv", "issues.json", "label-studio"]
    );
    assert_eq!(fs::read(cache.join("manifest.json")).unwrap(), before);
    let told: Value = serde_json::from_str(&fs::read_to_string(out.join("issues.json")).unwrap()).unwrap();
    assert_eq!(told, report);
    let page = fs::read_to_string(out.join("index.html")).unwrap();
    assert_eq!(page.matches("<article class=\"issue\"").count(), 7);
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 7);
    assert!(!page.contains("://") && !page.contains("<script"), "the page needs no network");
    let count = report["issues"].as_array().unwrap().len();
    assert_eq!(count, 30);
    assert_eq!(fs::read_to_string(out.join("issues.csv")).unwrap().lines().count(), count + 1);
    let coco: Value = serde_json::from_str(&fs::read_to_string(out.join("coco.json")).unwrap()).unwrap();
    assert_eq!(coco["annotations"].as_array().unwrap().len(), count);
    let tasks: Value = serde_json::from_str(&fs::read_to_string(out.join("label-studio/tasks.json")).unwrap()).unwrap();
    let regions =
        tasks.as_array().unwrap().iter().map(|task| task["predictions"][0]["result"].as_array().unwrap().len());
    assert_eq!(regions.sum::<usize>(), count);
    assert_eq!(fs::read_to_string(out.join("cvat/annotations.xml")).unwrap().matches("<box ").count(), count);
    // Our own readers open two of them.
    for (file, format) in [(out.join("coco.json"), "coco"), (out.join("cvat/annotations.xml"), "cvat")] {
        let images = data.parent().unwrap();
        let words: Vec<&OsStr> = vec![
            "data".as_ref(),
            "stats".as_ref(),
            file.as_os_str(),
            "--images".as_ref(),
            images.as_os_str(),
            "--json".as_ref(),
        ];
        let stats = logitcache(&words).expect(0).json();
        assert_eq!((&stats["format"], stats["boxes"].as_u64().unwrap() as usize), (&format.into(), count));
    }

    // Without the images there is a page without pictures, and a note.
    fs::rename(data.with_file_name("images"), data.with_file_name("moved")).unwrap();
    let other = dir.path().join("other");
    issues(&[&cache, &"--out", &other, &"--top", &"3"]).expect(0).says(&["3 pictures could not be drawn"]);
    assert!(fs::read_to_string(other.join("index.html")).unwrap().contains("no picture"));
}

#[test]
fn ctrl_c_and_a_full_disk_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache) = drawn(dir.path(), 60);
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let out = place.join("out");
    let words: Vec<&OsStr> = vec![
        "issues".as_ref(),
        cache.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
        "--pictures".as_ref(),
        "1000".as_ref(),
    ];
    let mut child = command(&words).spawn().unwrap();
    while names(&place).is_empty() && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    finished(child.wait_with_output().unwrap()).expect(130).says(&["interrupted; nothing was written"]);
    assert_eq!(names(&place), [] as [&str; 0]);

    let script = r#"
        mount -t tmpfs -o size=100k tmpfs "$DISK" || exit 77
        "$BIN" issues "$CACHE" --out "$DISK/out"; echo "first: $?"; ls -A "$DISK"
    "#;
    let Some(run) = on_small_disk(script, &[], &[("DISK", &place), ("CACHE", &cache)]) else { return };
    assert!(run.stdout.trim().ends_with("first: 2"), "{run:?}");
    run.says(&["no space left", "Nothing was written"]);
}

#[test]
fn faults_in_coco128_come_first() {
    let Some(shared) = crate::common::shared() else { return };
    let (teacher, data) = (shared.join("models/yolov12n.onnx"), shared.join("data/coco128"));
    if !teacher.exists() {
        return skipped("no teacher of COCO128 here");
    }
    let dir = tempfile::tempdir().unwrap();
    // Thirty images are enough to see faults; the whole set takes a minute.
    let few = dir.path().join("few");
    fs::create_dir_all(few.join("images")).unwrap();
    fs::create_dir_all(few.join("labels")).unwrap();
    for name in names(&data.join("images/train2017")).into_iter().take(30) {
        fs::copy(data.join("images/train2017").join(&name), few.join("images").join(&name)).unwrap();
        let label = Path::new(&name).with_extension("txt");
        if data.join("labels/train2017").join(&label).exists() {
            fs::copy(data.join("labels/train2017").join(&label), few.join("labels").join(&label)).unwrap();
        }
    }
    let yaml = fs::read_to_string(data.join("data.yaml")).unwrap();
    let yaml: Vec<&str> = yaml.lines().filter(|line| !line.starts_with("path:")).collect();
    fs::write(few.join("data.yaml"), yaml.join("\n").replace("images/train2017", "images")).unwrap();
    let cache = dir.path().join("cache");
    let data_yaml = few.join("data.yaml");
    let words: Vec<&OsStr> = vec![
        "build".as_ref(),
        "--teacher".as_ref(),
        teacher.as_os_str(),
        "--data".as_ref(),
        data_yaml.as_os_str(),
        "--out".as_ref(),
        cache.as_os_str(),
    ];
    logitcache(&words).expect(0);
    // In six files the first label is of another class.
    let mut spoiled = Vec::new();
    for name in names(&few.join("labels")).into_iter().step_by(5) {
        let file = few.join("labels").join(&name);
        let text = fs::read_to_string(&file).unwrap();
        let (class, rest) = text.split_once(' ').unwrap();
        fs::write(&file, format!("{} {rest}", if class == "0" { 22 } else { 0 })).unwrap();
        spoiled.push(Path::new(&name).file_stem().unwrap().to_str().unwrap().to_owned());
    }
    let report = issues(&[&cache, &"--data", &few.join("data.yaml"), &"--kind", &"class", &"--json"]).expect(0).json();
    let first = report["issues"].as_array().unwrap().iter().take(spoiled.len());
    let hits = first.filter(|issue| spoiled.iter().any(|stem| issue["path"].as_str().unwrap().contains(stem))).count();
    assert!(hits * 2 >= spoiled.len(), "{hits} of {}: {report}", spoiled.len());
}
