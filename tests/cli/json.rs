//! `--json`: one object on stdout that holds what the text says; on failure nothing but words on stderr.

use crate::support::{Run, build, fixture, logitcache, shapes, teacher, verify};
use std::{ffi::OsStr, fs, path::Path};

fn run(words: &[&dyn AsRef<OsStr>]) -> Run {
    logitcache(&words.iter().map(|w| w.as_ref()).collect::<Vec<_>>())
}

#[test]
fn every_command_prints_one_object() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("shapes/data.yaml");
    let drawn = run(&[&"synth", &"--out", &data.parent().unwrap(), &"--images", &"10", &"--imgsz", &"96", &"--json"]);
    let drawn = drawn.expect(0).json();
    assert_eq!(drawn["data_yaml"], data.to_str().unwrap());
    let train = drawn["train_images"].as_u64().unwrap();
    assert_eq!(train + drawn["val_images"].as_u64().unwrap(), 10);

    let cache = dir.path().join("cache");
    let built = build(&data, &cache, &[("--json", "")]).expect(0).json();
    assert_eq!(built["images"], train);
    assert_eq!(built["complete"], true);
    assert_eq!(built["failures"], serde_json::json!([]));

    let summary = run(&[&"inspect", &cache, &"--json"]).expect(0).json();
    let report = run(&[&"verify", &cache, &"--json"]).expect(0).json();
    for field in ["images", "rows", "content_sha256"] {
        assert_eq!(summary[field], built[field], "{field}");
        assert_eq!(report[field], built[field], "{field}");
    }
    assert_eq!(report["problems"], serde_json::json!([]));

    let image = run(&[&"inspect", &cache, &"--image", &"0", &"--json"]).expect(0).json();
    assert_eq!(image["image_id"], 0);
    let by_path = run(&[&"inspect", &cache, &"--image", &image["path"].as_str().unwrap(), &"--json"]).expect(0).json();
    assert_eq!(by_path, image);
}

#[test]
fn a_build_with_failed_images_still_prints_its_object() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    fs::create_dir(&images).unwrap();
    fs::copy(fixture("images/good/baseline_444.jpg"), images.join("good.jpg")).unwrap();
    fs::write(images.join("empty.jpg"), "").unwrap();
    let built = build(&images, &dir.path().join("cache"), &[("--json", "")]).expect(1).json();
    assert_eq!(built["images"], 1);
    assert_eq!(built["failures"][0]["path"], "empty.jpg");
    assert_eq!(built["failures"][0]["stage"], "decode");
}

#[test]
fn a_damaged_cache_is_reported_as_an_object_too() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache");
    build(&shapes(dir.path(), 5), &cache, &[]).expect(0);
    let part = fs::read_dir(cache.join("predictions")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&part).unwrap();
    let report = run(&[&"verify", &cache, &"--json"]).expect(2).json();
    let problems = report["problems"].as_array().unwrap();
    assert_eq!(problems.len(), 1, "{report}");
    assert_eq!(problems[0]["file"], part.strip_prefix(&cache).unwrap().to_str().unwrap());
    verify(&cache).expect(2);
}

#[test]
fn what_fails_prints_nothing_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    let teacher = teacher();
    let missing: [&[&dyn AsRef<OsStr>]; 5] = [
        &[&"build", &"--teacher", &teacher, &"--data", &none, &"--out", &dir.path(), &"--json"],
        &[&"inspect", &none, &"--json"],
        &[&"inspect", &none, &"--image", &"0", &"--json"],
        &[&"verify", &none, &"--json"],
        // A folder that is not empty.
        &[&"synth", &"--out", &Path::new(env!("CARGO_MANIFEST_DIR")), &"--json"],
    ];
    for words in missing {
        run(words).refused(&[]);
    }
}
