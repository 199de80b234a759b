//! `train` on data of which nothing can be used, and on labels that it does not read: the reasons
//! are named.

use crate::support::{args, build, fixture, logitcache};
use std::{ffi::OsString, fs, path::Path};

fn train(source: [(&str, &Path); 1], out: &Path, more: [&str; 2]) -> crate::support::Run {
    let values = [("--model", "yolov8p"), ("--epochs", "1"), ("--threads", "1"), ("--val-split", "none")];
    let mut all = args(["train"], &[source[0], ("--out", out)], &values);
    all.extend(more.iter().filter(|word| !word.is_empty()).map(OsString::from));
    logitcache(&all)
}

#[test]
fn a_cache_without_images_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (pics, cache, run) = (dir.path().join("pics"), dir.path().join("cache"), dir.path().join("run"));
    fs::create_dir(&pics).unwrap();
    fs::write(pics.join("a.jpg"), "").unwrap();
    fs::write(pics.join("b.png"), "<html>").unwrap();
    build(&pics, &cache, &[]).expect(2);
    let reasons =
        ["the cache holds no images; 2 failed", "a.jpg: the file is empty", "b.png: not an image", "logitcache build"];
    train([("--cache", &cache)], &run, ["", ""]).refused(&reasons);
    assert!(!run.exists());
}

#[test]
fn labels_that_are_not_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (data, run) = (dir.path().join("studio"), dir.path().join("run"));
    for folder in ["images", "labels"] {
        fs::create_dir_all(data.join(folder)).unwrap();
    }
    fs::copy(fixture("images/good/baseline_444.jpg"), data.join("images/a.jpg")).unwrap();
    fs::write(data.join("labels/a.txt"), "0 .5 .5 .5 .5\n").unwrap();
    fs::write(data.join("classes.txt"), "circle\n").unwrap();
    let words = ["has no labels", "1 label file is in", "classes.txt is there", "data.yaml with the line"];
    train([("--data", &data)], &run, ["--distill", "none"]).refused(&words);
    assert!(!run.exists());
}
