//! Unusual pictures come out right; bad ones are named, and everything else is cached.

use crate::support::{build, content, fixture, logitcache, shapes, verify};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};

fn copy_all(from: &Path, to: &Path) -> usize {
    fs::create_dir_all(to).unwrap();
    let files: Vec<_> = fs::read_dir(from).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    for file in &files {
        fs::copy(file, to.join(file.file_name().unwrap())).unwrap();
    }
    files.len()
}

fn inspect(cache: &Path, more: &[&OsStr]) -> serde_json::Value {
    let mut args: Vec<OsString> = vec!["inspect".into(), cache.into(), "--json".into()];
    args.extend(more.iter().map(|a| (*a).to_owned()));
    logitcache(&args).expect(0).json()
}

#[test]
fn unusual_pictures_are_cached() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let count = copy_all(&fixture("images/good"), &images);
    // A name that is not UTF-8, and one that looks like our escape of such names.
    let picture = fs::read(fs::read_dir(&images).unwrap().next().unwrap().unwrap().path()).unwrap();
    fs::write(images.join(OsStr::from_bytes(b"caf\xe9 \xff.png")), &picture).unwrap();
    fs::write(images.join("percent:caf%E9.png"), &picture).unwrap();
    let cache = dir.path().join("cache");
    build(&images, &cache, &[]).expect(0);
    verify(&cache).expect(0);
    let summary = inspect(&cache, &[]);
    assert_eq!(summary["images"], count + 2);
    assert_eq!(summary["failures"].as_array().unwrap().len(), 0);
}

#[test]
fn bad_pictures_are_named_and_the_others_are_cached() {
    let dir = tempfile::tempdir().unwrap();
    let images = dir.path().join("images");
    let good = copy_all(&fixture("images/good"), &images);
    let bad = copy_all(&fixture("images/bad"), &images.join("bad"));
    fs::create_dir(images.join("folder.jpg")).unwrap();
    symlink(images.join("nowhere.jpg"), images.join("broken_link.jpg")).unwrap();
    symlink("loop.jpg", images.join("loop.jpg")).unwrap();
    symlink(&images, images.join("loop")).unwrap();
    let cache = dir.path().join("cache");
    let run = build(&images, &cache, &[]).expect(1);
    verify(&cache).expect(0);
    let summary = inspect(&cache, &[]);
    assert_eq!(summary["images"], good, "{summary}");
    assert_eq!(summary["complete"], true);
    let failures = summary["failures"].as_array().unwrap();
    let reason = |name: &str| {
        let found = failures.iter().find(|f| f["path"].as_str().unwrap().ends_with(name));
        found.unwrap_or_else(|| panic!("{name} is not among the failures: {failures:#?}"))["reason"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for name in ["huge.png", "huge.jpg"] {
        assert!(reason(name).contains("60000 x 60000"), "{}", reason(name));
    }
    for name in ["truncated.png", "truncated_baseline.jpg", "empty.jpg", "text.jpg", "broken_link.jpg", "loop.jpg"] {
        assert!(!reason(name).is_empty());
        assert!(run.stdout.contains(name) || failures.len() > 20, "{}", run.stdout);
    }
    assert!(failures.len() >= bad, "{} of {bad}", failures.len());
}

#[test]
fn bad_label_files_are_named_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 30);
    let labels = dir.path().join("shapes/labels/train");
    let mut files: Vec<_> = fs::read_dir(&labels).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let bad = ["0 0.5 0.5 0.1 0.1\n99 0.5 0.5 0.1 0.1\n", "0 NaN 0.5 0.1 0.1\n", "0 1.5 0.5 0.1 0.1\n", "a cat sat\n"];
    let originals: Vec<_> = files.iter().take(bad.len()).map(|f| fs::read(f).unwrap()).collect();
    for (file, text) in files.iter().zip(bad) {
        fs::write(file, text).unwrap();
    }
    let cache = dir.path().join("cache");
    let run = build(&data, &cache, &[]).expect(1);
    let summary = inspect(&cache, &[]);
    let failures = summary["failures"].as_array().unwrap();
    assert_eq!(failures.len(), bad.len(), "{failures:#?}");
    for (failure, (file, line)) in failures.iter().zip(files.iter().zip([2, 1, 1, 1])) {
        assert_eq!(failure["stage"], "labels");
        let reason = failure["reason"].as_str().unwrap();
        assert!(reason.contains(&*file.file_name().unwrap().to_string_lossy()), "{reason}");
        assert!(reason.contains(&format!("{line}")), "{reason}");
        assert!(run.stdout.contains(reason), "{}", run.stdout);
    }
    verify(&cache).expect(0);

    // Mended, the same command takes them in, and the result is that of a build that never failed.
    for (file, text) in files.iter().zip(&originals) {
        fs::write(file, text).unwrap();
    }
    build(&data, &cache, &[]).expect(0).says(&["failed before and tried again"]);
    verify(&cache).expect(0);
    let clean = dir.path().join("clean");
    build(&data, &clean, &[]).expect(0);
    assert_eq!(content(&cache), content(&clean));
}

#[test]
fn labels_can_be_left_out_or_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let labels = dir.path().join("shapes/labels/train");
    let removed = fs::read_dir(&labels).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(removed).unwrap();
    let images = fs::read_dir(dir.path().join("shapes/images/train")).unwrap().count();
    let labelled = |name: &str, more: &[(&str, &str)]| {
        let cache = dir.path().join(name);
        build(&data, &cache, more).expect(0);
        inspect(&cache, &[])["labelled_images"].as_u64().unwrap() as usize
    };
    assert_eq!(labelled("background", &[]), images);
    assert_eq!(labelled("unlabelled", &[("--missing-labels", "unlabelled")]), images - 1);
    assert_eq!(labelled("ignored", &[("--ignore-labels", "")]), 0);
}
