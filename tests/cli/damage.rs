//! Damage anywhere in a cache: `verify` names the file, and no command panics over it.

use crate::support::{PARTS_OF_8, Run, build, build_args, logitcache, shapes, verify};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// Every file of the cache, relative to it, sorted.
fn files(cache: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![cache.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path.strip_prefix(cache).unwrap().to_owned()) }
        }
    }
    found.sort();
    found
}

/// A finished cache of four parts, and its files.
fn cache_of_parts(dir: &Path) -> (PathBuf, Vec<PathBuf>) {
    let data = shapes(dir, 40);
    let cache = dir.join("cache");
    build(&data, &cache, &[PARTS_OF_8]).expect(0);
    verify(&cache).expect(0);
    let files = files(&cache);
    // Four file pairs and the manifest: a finished build leaves no lock file and nothing temporary.
    assert_eq!(files.len(), 9, "{files:?}");
    (cache, files)
}

/// `verify` fails and names the file.
#[track_caller]
fn assert_named(cache: &Path, file: &Path, what: &str) {
    let name = file.to_str().unwrap();
    let text = verify(cache).expect(2).says(&[]);
    assert!(format!("{}{}", text.stdout, text.stderr).contains(name), "{what}: {text:?}");
}

/// `inspect` reads no more than it must, so it may or may not notice; it says which.
#[track_caller]
fn assert_inspect_survives(cache: &Path, what: &str) {
    let whole = logitcache(&[OsStr::new("inspect"), cache.as_os_str()]);
    let image = logitcache(&["inspect".as_ref(), cache.as_os_str(), "--image".as_ref(), "0".as_ref()]);
    for run in [whole, image] {
        assert!(matches!(run.code, 0 | 2) && !run.stderr.contains("panicked"), "{what}: {run:?}");
        assert_eq!(run.code == 2, run.stderr.starts_with("error: "), "{what}: {run:?}");
        assert_eq!(run.code == 2, run.stdout.is_empty(), "{what}: {run:?}");
    }
}

/// `inspect` cannot go on without the file.
#[track_caller]
fn assert_inspect_names(cache: &Path, file: &Path) -> Run {
    logitcache(&[OsStr::new("inspect"), cache.as_os_str()]).expect(2).says(&["error: ", file.to_str().unwrap()])
}

#[test]
fn one_flipped_byte_anywhere_is_reported_with_its_file() {
    const POSITIONS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let (cache, files) = cache_of_parts(dir.path());
    let good: Vec<Vec<u8>> = files.iter().map(|file| fs::read(cache.join(file)).unwrap()).collect();
    let total: usize = good.iter().map(Vec::len).sum();

    let mut rng = ChaCha8Rng::seed_from_u64(20);
    for round in 0..POSITIONS {
        // Once in every file, whatever its size; then anywhere in all bytes of the cache.
        let (file, at) = if round < files.len() {
            (round, rng.random_range(0..good[round].len()))
        } else {
            let mut at = rng.random_range(0..total);
            let file = good.iter().position(|bytes| {
                let inside = at < bytes.len();
                at -= if inside { 0 } else { bytes.len() };
                inside
            });
            (file.unwrap(), at)
        };
        let mut bad = good[file].clone();
        bad[at] ^= rng.random_range(1..=u8::MAX);
        let path = cache.join(&files[file]);
        fs::write(&path, &bad).unwrap();
        let what = format!("byte {at} of {} became {}", files[file].display(), bad[at]);
        assert_named(&cache, &files[file], &what);
        assert_inspect_survives(&cache, &what);
        fs::write(&path, &good[file]).unwrap();
    }
    verify(&cache).expect(0);
}

#[test]
fn cut_and_missing_files_are_named_by_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, files) = cache_of_parts(dir.path());
    let args = build_args(&dir.path().join("shapes/data.yaml"), &cache, &[PARTS_OF_8]);
    for file in &files {
        let path = cache.join(file);
        let good = fs::read(&path).unwrap();
        for length in [0, 1, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            assert_named(&cache, file, &format!("{} cut to {length} bytes", file.display()));
            assert_inspect_names(&cache, file);
            // A build does not go on with a damaged cache, and changes nothing in it.
            logitcache(&args).expect(2).says(&["error: ", file.to_str().unwrap()]);
            assert_eq!(fs::read(&path).unwrap(), &good[..length]);
        }
        fs::remove_file(&path).unwrap();
        assert_named(&cache, file, &format!("{} removed", file.display()));
        assert_inspect_names(&cache, file);
        fs::write(&path, &good).unwrap();
    }
    verify(&cache).expect(0);
}

#[test]
fn files_too_many_are_mentioned_and_harm_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, _) = cache_of_parts(dir.path());
    let extra = ["notes.txt", "images/part-000000999-01234567.parquet", "predictions/.tmp-part-1-0", ".lock"];
    for name in extra {
        fs::write(cache.join(name), "something").unwrap();
    }
    let run = verify(&cache).expect(0);
    for name in extra {
        assert!(run.stdout.contains(&format!("note: {name}: ")), "{name}: {run:?}");
    }
    assert!(run.stdout.contains("valid: "), "{run:?}");
    assert_inspect_survives(&cache, "files too many");
}
