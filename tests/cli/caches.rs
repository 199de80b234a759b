//! `logitcache cache merge`, `subset` and `diff`.

use crate::support::{Run, build, content, fixture, logitcache, shapes, verify};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

fn cache(words: &[&dyn AsRef<OsStr>]) -> Run {
    let words = words.iter().map(|word| word.as_ref());
    logitcache(&[OsStr::new("cache")].into_iter().chain(words).collect::<Vec<_>>())
}

fn inspect(cache: &Path, id: i64) -> Value {
    let id = id.to_string();
    let words: Vec<&OsStr> =
        vec!["inspect".as_ref(), cache.as_os_str(), "--image".as_ref(), id.as_ref(), "--json".as_ref()];
    logitcache(&words).expect(0).json()
}

/// Everything of an image but its number.
fn without_id(mut image: Value) -> Value {
    image["image_id"] = Value::Null;
    image
}

fn images(cache: &Path) -> i64 {
    let words: Vec<&OsStr> = vec!["inspect".as_ref(), cache.as_os_str(), "--json".as_ref()];
    logitcache(&words).expect(0).json()["images"].as_i64().unwrap()
}

fn built(dir: &Path, images: u32) -> (PathBuf, PathBuf) {
    let (data, cache) = (shapes(dir, images), dir.join("cache"));
    build(&data, &cache, &[]).expect(0);
    (data, cache)
}

#[test]
fn the_parts_of_a_cache_united_are_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let (_, whole) = built(dir.path(), 20);
    let before = content(&whole);
    let count = images(&whole);
    let list = |name: &str, ids: std::ops::Range<i64>| {
        let paths: Vec<String> = ids.map(|id| inspect(&whole, id)["path"].as_str().unwrap().to_owned()).collect();
        let file = dir.path().join(name);
        fs::write(&file, paths.join("\n")).unwrap();
        file
    };
    let (first, second) = (dir.path().join("first"), dir.path().join("deeper/second"));
    let report =
        cache(&[&"subset", &whole, &"--list", &list("a.txt", 0..5), &"--out", &first, &"--json"]).expect(0).json();
    assert_eq!(
        (report["images"].as_i64(), report["content_sha256"].as_str()),
        (Some(5), Some(content(&first).as_str()))
    );
    cache(&[&"subset", &whole, &"--list", &list("b.txt", 5..count), &"--out", &second]).expect(0);
    for part in [&first, &second] {
        verify(part).expect(0);
    }
    for id in 5..count {
        assert_eq!(without_id(inspect(&second, id - 5)), without_id(inspect(&whole, id)));
    }
    let united = dir.path().join("united");
    cache(&[&"merge", &first, &second, &"--out", &united]).expect(0);
    verify(&united).expect(0);
    assert_eq!(content(&united), before, "the same images in the same order: the same content");
    assert_eq!(content(&whole), before);
    let diff = cache(&[&"diff", &whole, &united, &"--json"]).expect(0).json();
    assert_eq!((&diff["same_content"], &diff["mean_disagreement"]), (&Value::Bool(true), &Value::from(0.0)));
    // The images are found from the new place.
    let words: Vec<&OsStr> =
        vec!["inspect".as_ref(), second.as_os_str(), "--image".as_ref(), "0".as_ref(), "--out".as_ref()];
    let picture = dir.path().join("picture.png");
    logitcache(&[words, vec![picture.as_os_str()]].concat()).expect(0);
}

#[test]
fn a_subset_by_class_has_the_images_with_such_labels() {
    let dir = tempfile::tempdir().unwrap();
    let (_, whole) = built(dir.path(), 30);
    let shows = |id: i64| {
        let labels = inspect(&whole, id)["labels"].as_array().unwrap().clone();
        labels.iter().any(|label| label["class"] == "circle")
    };
    let wanted: Vec<i64> = (0..images(&whole)).filter(|&id| shows(id)).collect();
    assert!(!wanted.is_empty() && (wanted.len() as i64) < images(&whole));
    let out = dir.path().join("circles");
    cache(&[&"subset", &whole, &"--class", &"circle", &"--out", &out]).expect(0);
    verify(&out).expect(0);
    assert_eq!(images(&out), wanted.len() as i64);
    for (number, id) in (0i64..).zip(wanted) {
        assert_eq!(without_id(inspect(&out, number)), without_id(inspect(&whole, id)));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (data, whole) = built(dir.path(), 10);
    let out = dir.path().join("out");
    cache(&[&"subset", &whole, &"--class", &"cat", &"--out", &out]).refused(&["no class \"cat\"; it has: ", "--class"]);
    let list = dir.path().join("list.txt");
    fs::write(&list, "nothing.png\n").unwrap();
    cache(&[&"subset", &whole, &"--list", &list, &"--out", &out]).refused(&["is no image of the cache"]);
    cache(&[&"subset", &whole, &"--out", &whole]).refused(&["already exists", "--out"]);
    cache(&[&"merge", &whole, &"--out", &out]).expect(2).says(&["2"]);
    cache(&[&"merge", &whole, &whole, &"--out", &out]).refused(&["is in two of the caches", "--ensemble"]);
    let views = dir.path().join("views");
    build(&data, &views, &[("--views", "1")]).expect(0);
    cache(&[&"subset", &views, &"--out", &out]).refused(&["1 augmented views", "--views"]);
    let other_settings = dir.path().join("other");
    build(&data, &other_settings, &[("--min-score", "0.2")]).expect(0);
    cache(&[&"merge", &whole, &other_settings, &"--out", &out]).refused(&["settings.min_score", "one teacher"]);
    let larger = dir.path().join("larger");
    build(&data, &larger, &[("--imgsz", "192")]).expect(0);
    cache(&[&"merge", &whole, &larger, &"--ensemble", &"--out", &out]).refused(&["the input size", "192"]);
    let archive = dir.path().join("archive");
    let words: Vec<&OsStr> = vec![
        "convert".as_ref(),
        whole.as_os_str(),
        "--profile".as_ref(),
        "archive".as_ref(),
        "--out".as_ref(),
        archive.as_os_str(),
    ];
    logitcache(&words).expect(0);
    cache(&[&"subset", &archive, &"--out", &out]).refused(&["an archive", "convert"]);
    cache(&[&"diff", &whole, &fixture("cache-v1")]).expect(2);
    assert!(!out.exists());
    let hidden = fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0);
}

/// The mean of a teacher with itself is that teacher, as far as it was stored.
#[test]
fn an_ensemble_is_the_mean() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let settings = [("--logits", "float16"), ("--views", "1")];
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    build(&data, &a, &settings).expect(0);
    let out = dir.path().join("same");
    cache(&[&"merge", &a, &a, &"--ensemble", &"--out", &out]).expect(0);
    verify(&out).expect(0);
    let (before, after) = (inspect(&a, 0), inspect(&out, 0));
    let by_anchor = |image: &Value| -> Vec<(i64, f64, String)> {
        let of = |p: &Value| {
            (p["anchor"].as_i64().unwrap(), p["score"].as_f64().unwrap(), p["class"].as_str().unwrap().to_owned())
        };
        image["predictions"].as_array().unwrap().iter().map(of).collect()
    };
    let (before, after) = (by_anchor(&before), by_anchor(&after));
    assert!(!after.is_empty() && after.len() <= before.len());
    for (anchor, score, class) in &after {
        let (_, old, of) = before.iter().find(|p| p.0 == *anchor).unwrap();
        assert!((score - old).abs() < 2e-3 && of == class, "{anchor}: {old} {score}");
    }
    // A copy of the teacher under another name: caches of different files are taken too.
    let other = dir.path().join("teacher.onnx");
    fs::copy(fixture("models/yolov8-dynamic.onnx"), &other).unwrap();
    let other_words = [("--teacher", other.to_str().unwrap()), settings[0], settings[1]];
    build(&data, &b, &other_words).expect(0);
    let two = dir.path().join("two");
    cache(&[&"merge", &a, &b, &"--ensemble", &"--out", &two]).expect(0);
    verify(&two).expect(0);
    let diff = cache(&[&"diff", &a, &two]).expect(0);
    assert!(diff.stdout.contains("mean disagreement"), "{diff:?}");
}

#[test]
fn a_cache_behind_a_link_finds_its_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let (_, whole) = built(dir.path(), 20);
    let (real, link) = (dir.path().join("far/away/real"), dir.path().join("link"));
    fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let list = dir.path().join("a.txt");
    let first = inspect(&whole, 0)["path"].as_str().unwrap().to_owned();
    let second = inspect(&whole, 1)["path"].as_str().unwrap().to_owned();
    let root = |cache: &Path| {
        let manifest: Value = serde_json::from_slice(&fs::read(cache.join("manifest.json")).unwrap()).unwrap();
        // As the system sees it from the folder that the cache lies in.
        cache.canonicalize().unwrap().join(manifest["dataset"]["root"].as_str().unwrap()).canonicalize().unwrap()
    };
    for (name, image) in [("one", &first), ("two", &second)] {
        fs::write(&list, image).unwrap();
        cache(&[&"subset", &whole, &"--list", &list, &"--out", &link.join(name)]).expect(0);
        assert_eq!(root(&link.join(name)), root(&whole), "{name}");
    }
    let both = link.join("both");
    cache(&[&"merge", &link.join("one"), &link.join("two"), &"--out", &both]).expect(0);
    assert_eq!(root(&both), root(&whole));
    verify(&both).expect(0);
}
