//! A data set that changes under a cache: moved, labels mended, an image replaced.

use crate::support::{Run, build, build_args, command, content, logitcache, shapes, verify, wait_for_parts};
use sha2::{Digest, Sha256};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

fn inspect(cache: &Path, image: &str) -> Run {
    logitcache(&[OsStr::new("inspect"), cache.as_os_str(), "--image".as_ref(), image.as_ref(), "--json".as_ref()])
}

fn sha256(path: &Path) -> String {
    logitcache::cache::to_hex(&Sha256::digest(fs::read(path).unwrap()))
}

#[test]
fn a_data_set_that_moved_is_still_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[]).expect(0);
    let before = content(&cache);
    let moved = dir.path().join("another/place");
    fs::create_dir_all(&moved).unwrap();
    fs::rename(data.parent().unwrap(), moved.join("renamed")).unwrap();
    let data_now = moved.join("renamed/data.yaml");

    // The cache needs no pictures to be read, and takes the data set at its new place for the one it was built from.
    verify(&cache).expect(0);
    inspect(&cache, "0").expect(0);
    build(&data, &cache, &[]).refused(&[data.to_str().unwrap(), "no such file"]);
    build(&data_now, &cache, &[]).expect(0).says(&["0 of"]);
    assert_eq!(content(&cache), before);
    let summary = logitcache(&[OsStr::new("inspect"), cache.as_os_str(), "--json".as_ref()]).expect(0).json();
    let root = cache.join(summary["dataset"]["root"].as_str().unwrap());
    assert_eq!(root.canonicalize().unwrap(), moved.join("renamed").canonicalize().unwrap());
    verify(&cache).expect(0);
    let fresh = dir.path().join("elsewhere/fresh");
    build(&data_now, &fresh, &[]).expect(0);
    assert_eq!(content(&fresh), before);
}

#[test]
fn class_names_in_another_order_are_another_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let cache = dir.path().join("cache");
    build(&data, &cache, &[]).expect(0);
    let text = fs::read_to_string(&data).unwrap();
    fs::write(&data, text.replace("0: circle", "0: ring").replace("1: ring", "1: circle")).unwrap();
    build(&data, &cache, &[]).refused(&["dataset.class_names", "circle", "ring", "--overwrite"]);
}

/// The image's file and its label file in the data set that `data` describes.
fn files_of(data: &Path, image: &serde_json::Value) -> (PathBuf, PathBuf) {
    let path = image["path"].as_str().unwrap();
    let root = data.parent().unwrap();
    (root.join(path), root.join(path.replacen("images/", "labels/", 1)).with_extension("txt"))
}

/// What is cached is not read again: it keeps the labels and the digest of the bytes that the teacher saw, by which a reader
/// notices the change. What is not cached yet is taken as it is now.
#[test]
fn a_build_goes_on_with_the_data_set_as_it_is_now() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 150);
    let whole = dir.path().join("whole");
    build(&data, &whole, &[]).expect(0);

    let cache = dir.path().join("cache");
    let settings = [("--images-per-part", "5")];
    let mut child = command(&build_args(&data, &cache, &settings)).spawn().unwrap();
    wait_for_parts(&mut child, &cache, 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let done = inspect(&cache, "0").expect(0).json();
    let summary = logitcache(&[OsStr::new("inspect"), whole.as_os_str(), "--json".as_ref()]).expect(0).json();
    let last_id = (summary["images"].as_u64().unwrap() - 1).to_string();
    let last = inspect(&whole, &last_id).expect(0).json();
    inspect(&cache, &last_id).refused(&["no image has the id"]);

    let ((done_image, done_label), (last_image, last_label)) = (files_of(&data, &done), files_of(&data, &last));
    let replacement = files_of(&data, &inspect(&whole, "1").expect(0).json()).0;
    for (image, label) in [(&done_image, &done_label), (&last_image, &last_label)] {
        fs::copy(&replacement, image).unwrap();
        fs::write(label, "4 0.5 0.5 0.25 0.5\n").unwrap();
    }

    build(&data, &cache, &settings).expect(0).says(&["done before"]);
    verify(&cache).expect(0);
    assert_eq!(inspect(&cache, "0").expect(0).json(), done);
    assert_ne!(done["file_sha256"], sha256(&done_image));
    let now = inspect(&cache, &last_id).expect(0).json();
    assert_ne!(now["file_sha256"], last["file_sha256"]);
    assert_eq!(now["file_sha256"], sha256(&last_image));
    let labels = now["labels"].as_array().unwrap();
    assert_eq!((labels.len(), &labels[0]["class"]), (1, &"star".into()), "{now}");

    // Only a new start sees all of it.
    build(&data, &cache, &[("--overwrite", "")]).expect(0);
    let fresh = dir.path().join("fresh");
    build(&data, &fresh, &[]).expect(0);
    assert_eq!(content(&cache), content(&fresh));
    assert_eq!(inspect(&cache, "0").expect(0).json()["file_sha256"], sha256(&done_image));
}
