//! `build --shard` and `cache merge --shards`: whatever the workers do, the cache is that of one machine.

use crate::support::{
    Run, args, build, build_args, command, content, finished, finished_parts, logitcache, names, on_small_disk, shapes,
    teacher, verify, wait_for_parts,
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// One image a part, so that a worker can be stopped between two.
const PARTS_OF_1: (&str, &str) = ("--images-per-part", "1");

fn shard(data: &Path, cache: &Path, shard: &str, more: &[(&str, &str)]) -> Run {
    build(data, cache, &[&[("--shard", shard), ("--jobs", "1")], more].concat())
}

fn start(data: &Path, cache: &Path, shard: &str, more: &[(&str, &str)]) -> Child {
    let options = [&[("--shard", shard), ("--jobs", "1")], more].concat();
    command(&build_args(data, cache, &options)).spawn().unwrap()
}

fn merge(cache: &Path) -> Run {
    logitcache(&args(["cache", "merge"], &[("--shards", cache)], &[]))
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

fn manifest(cache: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(cache.join("manifest.json")).unwrap()).unwrap()
}

/// Everything that a published cache must be.
fn is_sound(cache: &Path, expected: &str) {
    assert_eq!(content(cache), expected);
    verify(cache).expect(0);
    let manifest = manifest(cache);
    assert_eq!(manifest["complete"], true);
    let named: HashSet<String> = manifest["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| format!("{}.parquet", part["name"].as_str().unwrap()))
        .collect();
    for folder in ["images", "predictions"] {
        let there: HashSet<String> = names(&cache.join(folder)).into_iter().collect();
        assert!(named.is_subset(&there));
        for other in there.difference(&named) {
            assert!(other.ends_with(".parquet.stale"), "{folder}/{other} is neither named nor set aside");
        }
    }
    for folder in ["", "shards"] {
        let names = names(&cache.join(folder));
        assert!(!names.iter().any(|name| name.starts_with(".tmp-") || name.contains("progress")), "{names:?}");
    }
    // Each image once: by the columns, read without the program's own order.
    let images: i64 = manifest["parts"].as_array().unwrap().iter().map(|part| part["images"].as_i64().unwrap()).sum();
    assert_eq!(images as u64 + manifest["failures"].as_array().unwrap().len() as u64, manifest["dataset"]["samples"]);
}

/// The shapes with a list of their images, which does not change when the images are moved away; the list's data.yaml and the
/// folder of the images.
fn listed(dir: &Path, images: u32) -> (PathBuf, PathBuf) {
    let data = shapes(dir, images);
    let folder = data.parent().unwrap().join("images/train");
    let lines: Vec<String> = names(&folder).iter().map(|name| format!("./images/train/{name}\n")).collect();
    fs::write(data.with_file_name("list.txt"), lines.concat()).unwrap();
    let text = fs::read_to_string(&data).unwrap();
    let text: Vec<&str> =
        text.lines().map(|line| if line.starts_with("train:") { "train: list.txt" } else { line }).collect();
    assert!(text.contains(&"train: list.txt"));
    let listed = data.with_file_name("listed.yaml");
    fs::write(&listed, text.join("\n")).unwrap();
    (listed, folder)
}

#[test]
fn any_number_of_shards_in_any_order_gives_the_cache_of_one_machine() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 60);
    let whole = dir.path().join("whole");
    build(&data, &whole, &[]).expect(0);
    let expected = content(&whole);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // With 64 shards some have no image at all.
    for count in [1, 2, 7, 64] {
        let cache = dir.path().join(count.to_string());
        // Every tenth is run twice.
        let mut order: Vec<usize> = (1..=count).chain((1..=count).step_by(10)).collect();
        order.shuffle(&mut random);
        for (at, number) in order.iter().enumerate() {
            let run = shard(&data, &cache, &format!("{number}/{count}"), &[PARTS_OF_1]).expect(0);
            let seen: HashSet<&usize> = order[..=at].iter().collect();
            assert_eq!(run.stdout.contains("content sha256"), seen.len() == count, "{}", run.stdout);
        }
        is_sound(&cache, &expected);
        assert_eq!(names(&cache.join("shards")).len(), count + 1);
        // Whatever comes after is no harm.
        let run = shard(&data, &cache, &format!("1/{count}"), &[("--json", "")]).expect(0).json();
        assert_eq!((&run["content_sha256"], &run["complete"]), (&expected.clone().into(), &true.into()));
        assert_eq!((&run["shard"]["published"], &run["images_this_run"]), (&true.into(), &0.into()));
        merge(&cache).expect(0);
        build(&data, &cache, &[]).expect(0).says(&["done before"]);
        is_sound(&cache, &expected);
    }
}

#[test]
fn augmented_views_do_not_depend_on_the_shards() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    let views = [("--views", "2"), ("--seed", "5")];
    build(&data, &whole, &views).expect(0);
    for number in ["3/3", "1/3", "2/3"] {
        shard(&data, &cache, number, &views).expect(0);
    }
    is_sound_with_views(&cache, &content(&whole));
}

fn is_sound_with_views(cache: &Path, expected: &str) {
    assert_eq!(content(cache), expected);
    verify(cache).expect(0);
}

/// Workers of ten shards, each of them started and killed at random moments, several at once and some of them twice. Only
/// workers whose shard is not finished count as killed.
fn killed(kills: usize, images: u32, seed: u64) {
    const SHARDS: u32 = 10;
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), images);
    let whole = dir.path().join("whole");
    build(&data, &whole, &[]).expect(0);
    let expected = content(&whole);
    let cache = dir.path().join("cache");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Workers live up to the time that a whole shard takes.
    let started = Instant::now();
    shard(&data, &dir.path().join("first"), "1/10", &[PARTS_OF_1]).expect(0);
    let life = started.elapsed();

    let is_finished = |number: u32| cache.join(format!("shards/{number:06}-of-{SHARDS:06}.json")).exists();
    let (mut killed, mut running): (usize, Vec<(u32, Child)>) = (0, Vec::new());
    while killed < kills {
        // The last shard is never begun here, so that nothing is published while there are kills to come.
        let open: Vec<u32> = (1..SHARDS).filter(|number| !is_finished(*number)).collect();
        let Some(&(mut number)) = open.get(random.random_range(0..open.len().max(1))) else { break };
        if let Some((other, _)) = running.first().filter(|_| random.random_bool(0.25)) {
            number = *other;
        }
        // Workers need not have the same parts.
        let part = ["1", "2", "3"][random.random_range(0..3)];
        running.push((number, start(&data, &cache, &format!("{number}/{SHARDS}"), &[("--images-per-part", part)])));
        // The more kills, the less may be done between two of them.
        thread::sleep(life.mul_f64(random.random_range(0.0..(12.0 / kills as f64).min(0.4))));
        if running.len() > 3 {
            let (number, mut victim) = running.swap_remove(random.random_range(0..running.len()));
            victim.kill().unwrap();
            let run = finished(victim.wait_with_output().unwrap());
            assert!(run.code == -1 || run.code == 0, "{run:?}");
            killed += usize::from(run.code == -1 && !is_finished(number));
        }
    }
    for (_, mut child) in running {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    println!("{killed} workers were killed before their shard was finished");
    assert!(killed > 0);
    merge(&cache).expect(75).says(&["10"]);
    let mut order: Vec<u32> = (1..=SHARDS).chain([3]).collect();
    order.shuffle(&mut random);
    // Two at a time.
    for pair in order.chunks(2) {
        let workers: Vec<Child> =
            pair.iter().map(|number| start(&data, &cache, &format!("{number}/{SHARDS}"), &[PARTS_OF_1])).collect();
        for worker in workers {
            finished(worker.wait_with_output().unwrap()).expect(0);
        }
    }
    is_sound(&cache, &expected);
    build(&data, &cache, &[]).expect(0).says(&["done before"]);
    is_sound(&cache, &expected);
}

#[test]
fn killed_workers_lose_nothing_and_leave_nothing() {
    killed(20, 100, 7);
}

#[test]
#[ignore = "the same with 200 kills; takes minutes: cargo test --test cli two_hundred -- --ignored"]
fn two_hundred_killed_workers_lose_nothing() {
    killed(200, 2000, 11);
}

#[test]
fn a_shard_that_is_built_twice_at_once_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 200);
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    build(&data, &whole, &[]).expect(0);
    let expected = content(&whole);
    // A slow worker has begun a part; its shard is then done by another, in other parts, and the cache is published.
    let mut slow = start(&data, &cache, "1/2", &[]);
    let images = cache.join("images");
    let is_written = || images.exists() && names(&images).iter().any(|name| name.starts_with(".tmp-"));
    while !is_written() && slow.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    signal(&slow, "-STOP");
    assert!(is_written(), "the slow worker ended too early");
    let abandoned = images.join(".tmp-part.parquet-1-0");
    fs::write(&abandoned, "left by a killed worker").unwrap();
    shard(&data, &cache, "1/2", &[("--images-per-part", "7")]).expect(0);
    shard(&data, &cache, "2/2", &[]).expect(0);
    assert_eq!(content(&cache), expected);
    assert!(!abandoned.exists(), "a temporary file that nobody writes is still there");
    assert!(is_written(), "a temporary file of a worker that lives is gone");
    // Meanwhile nobody else can have the cache for himself.
    build(&data, &cache, &[]).expect(2).says(&["holds its lock"]);
    signal(&slow, "-CONT");
    let run = finished(slow.wait_with_output().unwrap()).expect(0);
    assert!(run.stdout.contains(&expected), "{run:?}");
    is_sound(&cache, &expected);
    let stale = |folder: &str| names(&cache.join(folder)).iter().filter(|name| name.ends_with(".stale")).count();
    assert!(stale("images") > 0 && stale("images") == stale("predictions"));
    assert!(!cache.join(".lock").exists());
    verify(&cache).expect(0);
    build(&data, &cache, &[]).expect(0);
    is_sound(&cache, &expected);
    // Only who starts again removes what was set aside, and the records.
    build(&data, &cache, &[("--overwrite", "")]).expect(0);
    assert_eq!(stale("images"), 0);
    assert!(!cache.join("shards").exists());
    assert_eq!(content(&cache), expected);
}

#[test]
fn missing_shards_are_named_and_the_last_one_can_be_stood_in_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 30);
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    build(&data, &whole, &[]).expect(0);
    for number in [1, 3, 7] {
        shard(&data, &cache, &format!("{number}/7"), &[]).expect(0);
    }
    let run = merge(&cache).expect(75).says(&["4 shards of 7 have no record yet: 2, 4 to 6", "--shard 2/7"]);
    assert!(run.stdout.is_empty());
    assert!(!cache.join("manifest.json").exists());
    // Neither a build of the whole nor a conversion takes the parts for leftovers.
    let parts = finished_parts(&cache);
    build(&data, &cache, &[]).refused(&["built in shards", "--shard"]);
    let convert = args(["convert", "--profile", "archive"], &[("--out", &cache)], &[]);
    logitcache(&[convert, vec![whole.clone().into()]].concat()).refused(&["built in shards"]);
    assert_eq!(finished_parts(&cache), parts);
    for number in [2, 4, 5, 6] {
        shard(&data, &cache, &format!("{number}/7"), &[]).expect(0);
    }
    is_sound(&cache, &content(&whole));
    // The last worker died between its record and the manifest.
    let published = fs::read(cache.join("manifest.json")).unwrap();
    fs::remove_file(cache.join("manifest.json")).unwrap();
    logitcache(&args(["inspect"], &[], &[]).into_iter().chain([cache.clone().into()]).collect::<Vec<_>>())
        .refused(&["built in shards"]);
    // Four at once: one of them publishes, the others find that it is done.
    let words = args(["cache", "merge"], &[("--shards", &cache)], &[]);
    let four: Vec<Child> = (0..4).map(|_| command(&words).spawn().unwrap()).collect();
    for child in four {
        let run = finished(child.wait_with_output().unwrap()).expect(0);
        assert!(run.stdout.contains(&content(&whole)), "{}", run.stdout);
    }
    assert_eq!(fs::read(cache.join("manifest.json")).unwrap(), published);
    is_sound(&cache, &content(&whole));
    let report = logitcache(&args(["cache", "merge", "--json"], &[("--shards", &cache)], &[])).expect(0).json();
    assert_eq!((report["shards"].as_u64(), report["complete"].as_bool()), (Some(7), Some(true)));
    // Of what was not built in shards.
    merge(&whole).refused(&["no shards were built here"]);
    merge(&dir.path().join("none")).refused(&["no shards"]);
    shard(&data, &whole, "1/2", &[]).refused(&["not built in shards"]);
}

#[test]
fn a_damaged_shard_is_made_anew_and_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 30);
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    build(&data, &whole, &[]).expect(0);
    let expected = content(&whole);
    let part = |folder: &str, at: usize| {
        let folder = cache.join(folder);
        let parts: Vec<String> = names(&folder).into_iter().filter(|name| name.ends_with(".parquet")).collect();
        folder.join(&parts[at])
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    let redo = |number: &str| shard(&data, &cache, number, &[PARTS_OF_1]).expect(0);
    redo("1/3");
    flip(&part("predictions", 0));
    fs::remove_file(part("images", 1)).unwrap();
    redo("2/3");
    // Its own work is done, and it says whose is not.
    let last = redo("3/3");
    assert!(last.stdout.contains("shard 1 is damaged") && last.stdout.contains("--shard 1/3"), "{last:?}");
    assert!(!cache.join("manifest.json").exists());
    let run = merge(&cache).refused(&["shard 1 of 3 is damaged", "--shard 1/3"]);
    assert!(!run.stderr.contains("verify"), "{run:?}");
    let run = shard(&data, &cache, "3/3", &[PARTS_OF_1, ("--json", "")]).expect(0).json();
    assert_eq!((&run["shard"]["damaged"]["number"], &run["shard"]["published"]), (&1.into(), &false.into()));
    assert!(redo("1/3").stdout.contains("published"));
    is_sound(&cache, &expected);

    // A damaged record; one that names too little; a damaged part of a shard that is not finished.
    let record = cache.join("shards/000002-of-000003.json");
    let text = fs::read_to_string(&record).unwrap();
    let mut short: serde_json::Value = serde_json::from_str(&text).unwrap();
    short["parts"].as_array_mut().unwrap().pop();
    for damaged in ["{", &short.to_string()] {
        fs::write(&record, damaged).unwrap();
        fs::remove_file(cache.join("manifest.json")).unwrap();
        merge(&cache).refused(&["shard 2 of 3 is damaged", "--shard 2/3"]);
        assert!(redo("2/3").stdout.contains("published"));
        is_sound(&cache, &expected);
    }
    fs::remove_file(cache.join("manifest.json")).unwrap();
    fs::rename(&record, cache.join("shards/000002-of-000003.progress.json")).unwrap();
    flip(&part("images", 12));
    redo("2/3").says(&["8 of 8 images"]);
    is_sound(&cache, &expected);
}

#[test]
fn more_shards_than_images_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let run = shard(&data, &dir.path().join("cache"), "1/1000", &[]).expect(0);
    run.says(&["there are 1,000 shards for 8 images: 992 shards have none"]);
}

#[test]
fn shards_of_other_settings_images_or_numbers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 30);
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    build(&data, &whole, &[]).expect(0);
    shard(&data, &cache, "1/3", &[]).expect(0);
    let before = (names(&cache.join("shards")), names(&cache.join("images")));
    let is_as_before = || assert_eq!((names(&cache.join("shards")), names(&cache.join("images"))), before);

    shard(&data, &cache, "2/3", &[("--top-k", "5")]).refused(&["top_k: 3000 in the cache, 5 now", "--out"]);
    shard(&data, &cache, "2/4", &[]).refused(&["shards: 3 in the cache, 4 now"]);
    shard(&data, &cache, "1/3", &[("--imgsz", "96")]).refused(&["input_width: 160 in the cache, 96 now"]);
    shard(&data, &cache, "1/3", &[("--overwrite", "")]).refused(&["--overwrite"]);
    for wrong in ["0/3", "4/3", "3", "a/b"] {
        shard(&data, &cache, wrong, &[]).refused(&["expected I/N"]);
    }
    is_as_before();
    // Another size or time of an image, another image.
    let folder = data.parent().unwrap().join("images/train");
    let image = folder.join(&names(&folder)[20]);
    let changed = fs::metadata(&image).unwrap().modified().unwrap();
    let set_time = |time| File::options().append(true).open(&image).unwrap().set_modified(time).unwrap();
    set_time(changed + Duration::from_secs(1));
    shard(&data, &cache, "2/3", &[]).refused(&["sizes or times of images"]);
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, [&bytes[..], b"more"].concat()).unwrap();
    set_time(changed);
    shard(&data, &cache, "2/3", &[]).refused(&["sizes or times of images"]);
    fs::write(&image, bytes).unwrap();
    set_time(changed);
    // Labels that are gone would be taken for background.
    let labels = data.parent().unwrap().join("labels");
    fs::rename(&labels, labels.with_file_name("away")).unwrap();
    shard(&data, &cache, "2/3", &[]).refused(&["sizes or times of images or label files"]);
    fs::rename(labels.with_file_name("away"), &labels).unwrap();
    fs::copy(&image, folder.join("zzz.png")).unwrap();
    shard(&data, &cache, "2/3", &[]).refused(&["samples: 24 in the cache, 25 now"]);
    fs::remove_file(folder.join("zzz.png")).unwrap();
    is_as_before();
    // The cache is none the worse.
    for number in ["3/3", "2/3"] {
        shard(&data, &cache, number, &[]).expect(0);
    }
    is_sound(&cache, &content(&whole));
}

#[test]
fn images_that_are_not_mounted_are_not_recorded_as_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, folder) = listed(dir.path(), 60);
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    build(&data, &whole, &[]).expect(0);
    let away = folder.with_file_name("away");

    // From the beginning.
    fs::rename(&folder, &away).unwrap();
    shard(&data, &cache, "1/2", &[]).expect(75).says(&["none of the 24 images of shard 1/2 is there", "mounted"]);
    assert!(!cache.join("shards").exists());
    fs::rename(&away, &folder).unwrap();
    shard(&data, &cache, "1/2", &[]).expect(0);
    fs::rename(&folder, &away).unwrap();
    shard(&data, &cache, "2/2", &[]).expect(75).says(&["none of the 24 images of shard 2/2 is there"]);
    fs::rename(&away, &folder).unwrap();

    // In the midst of the work: what is done is kept, nothing is recorded.
    let parts = finished_parts(&cache);
    let mut worker = start(&data, &cache, "2/2", &[PARTS_OF_1]);
    wait_for_parts(&mut worker, &cache, parts + 1);
    signal(&worker, "-STOP");
    fs::rename(&folder, &away).unwrap();
    signal(&worker, "-CONT");
    let run = finished(worker.wait_with_output().unwrap()).expect(75);
    run.says(&["cannot be read any more"]);
    merge(&cache).expect(75).says(&["1 shard of 2 has no record yet: 2"]);
    fs::rename(&away, &folder).unwrap();
    shard(&data, &cache, "2/2", &[]).expect(0).says(&["done before"]);
    is_sound(&cache, &content(&whole));
}

#[test]
fn a_folder_of_images_that_others_found_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let folder = data.parent().unwrap().join("images/train");
    let cache = dir.path().join("cache");
    // Nobody has found it: a wrong path.
    shard(&folder.join("none"), &cache, "1/2", &[]).refused(&["no such file or folder"]);
    shard(&folder, &cache, "1/2", &[]).expect(0);
    let away = folder.with_file_name("away");
    fs::rename(&folder, &away).unwrap();
    shard(&folder, &cache, "2/2", &[]).expect(75);
    fs::create_dir(&folder).unwrap();
    shard(&folder, &cache, "2/2", &[]).expect(75).says(&["no images found"]);
    fs::remove_dir(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    let run = shard(&folder, &cache, "2/2", &[]).expect(0);
    assert!(run.stdout.contains("published"), "{run:?}");
}

#[test]
fn images_that_fail_are_recorded_and_tried_again_by_a_build_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let folder = data.parent().unwrap().join("images/train");
    let (whole, cache) = (dir.path().join("whole"), dir.path().join("cache"));
    build(&data, &whole, &[]).expect(0);
    let image = folder.join(&names(&folder)[1]);
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, "no image").unwrap();
    shard(&data, &cache, "8/8", &[]).expect(0);
    let run = shard(&data, &cache, "1/8", &[("--json", "")]).expect(1).json();
    assert_eq!((run["failures"].as_array().unwrap().len(), run["images"].as_u64()), (1, Some(1)), "{run}");
    for number in 2..8 {
        let last = shard(&data, &cache, &format!("{number}/8"), &[]).expect(0);
        assert_eq!(last.stdout.contains("published"), number == 7);
    }
    let run = merge(&cache).expect(1);
    assert!(run.stdout.contains("1 image failed"), "{}", run.stdout);
    fs::write(&image, bytes).unwrap();
    build(&data, &cache, &[]).expect(0);
    is_sound(&cache, &content(&whole));
    // The manifest is another one now, and stays.
    shard(&data, &cache, "8/8", &[]).expect(2);
}

#[test]
fn what_may_pass_has_a_status_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 200);
    let cache = dir.path().join("cache");
    fs::create_dir(&cache).unwrap();
    // A build has the cache for itself.
    let lock = File::create(cache.join(".lock")).unwrap();
    lock.lock().unwrap();
    shard(&data, &cache, "1/2", &[]).expect(75).says(&["holds its lock"]);
    drop(lock);
    shard(&data, &cache, "1/2", &[]).expect(0);
    let lock = File::open(cache.join(".lock")).ok();
    assert!(lock.is_none(), "a worker that has ended leaves no lock");

    // An interruption is one, as everywhere.
    let mut worker = start(&data, &cache, "2/2", &[PARTS_OF_1]);
    wait_for_parts(&mut worker, &cache, 2);
    signal(&worker, "-STOP");
    signal(&worker, "-TERM");
    signal(&worker, "-CONT");
    finished(worker.wait_with_output().unwrap()).expect(130).says(&["run the same command to go on"]);
    let run = shard(&data, &cache, "2/2", &[]).expect(0).says(&["done before"]);
    assert!(run.stdout.contains("published"), "{run:?}");

    // No teacher will come by waiting.
    let run = shard(&data, &dir.path().join("new"), "1/2", &[("--teacher", "none.onnx")]);
    run.refused(&["none.onnx"]);
}

#[test]
fn a_full_disk_may_pass() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 60);
    let (disk, copy) = (dir.path().join("disk"), dir.path().join("copy"));
    fs::create_dir(&disk).unwrap();
    let script = r#"
        mount -t tmpfs -o size=5000k tmpfs "$DISK" || exit 77
        "$BIN" "$@" --out "$DISK/cache"; echo "first: $?"
        "$BIN" cache merge --shards "$DISK/cache"; echo "merge: $?"
        mount -o remount,size=64m "$DISK" || exit 77
        "$BIN" "$@" --out "$DISK/cache"; echo "second: $?"
        cp -r "$DISK/cache" "$COPY"
    "#;
    let teacher = teacher();
    let words = args(
        ["build", "--imgsz", "160", "--images-per-part", "1", "--profile", "dense", "--shard", "1/1"],
        &[("--teacher", &teacher), ("--data", &data)],
        &[],
    );
    let Some(run) = on_small_disk(script, &words, &[("DISK", &disk), ("COPY", &copy)]) else { return };
    let run = run.expect(0).says(&["space", "run the same command", "done before"]);
    for line in ["first: 75", "merge: 75", "second: 0"] {
        assert!(run.stdout.contains(line), "{run:?}");
    }
    let whole = dir.path().join("whole");
    build(&data, &whole, &[("--profile", "dense")]).expect(0);
    is_sound(&copy, &content(&whole));
}

/// What the example for Kubernetes runs in each pod.
fn script_of_a_pod() -> String {
    let yaml = fs::read_to_string(crate::common::root().join("examples/kubernetes-job.yaml")).unwrap();
    let (_, script) = yaml.split_once("            - |\n").unwrap();
    script.lines().map_while(|line| line.strip_prefix("              ")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_signal_that_ends_a_pod_reaches_the_worker() {
    let dir = tempfile::tempdir().unwrap();
    let (program, ready) = (dir.path().join("logitcache"), dir.path().join("ready"));
    let worker = format!(
        "#!/bin/sh\ntrap 'trap \"\" TERM; echo told; exit 130' TERM\n: > '{}'\nwhile :; do sleep 0.05; done\n",
        ready.display()
    );
    fs::write(&program, worker).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &script_of_a_pod()]).env("PATH", path).stdout(std::process::Stdio::piped());
    let names = [("TEACHER", "t"), ("DATA", "d"), ("CACHE", "c"), ("SHARDS", "1"), ("JOB_COMPLETION_INDEX", "0")];
    let mut shell = shell.envs(names).spawn().unwrap();
    while !ready.exists() && shell.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    signal(&shell, "-TERM");
    let run = finished(shell.wait_with_output().unwrap()).expect(130);
    assert_eq!(run.stdout, "told\n");
}

/// The examples for schedulers, whose commands are run here without one.
#[test]
fn the_examples_for_schedulers_build_a_cache() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 20);
    let (whole, teacher) = (dir.path().join("whole"), teacher());
    let program = crate::support::program();
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    // The examples leave the input size to the teacher.
    build(&data, &whole, &[("--imgsz", "640")]).expect(0);
    let expected = content(&whole);
    let example = |name: &str| crate::common::root().join("examples").join(name);
    let task = |command: &mut Command, cache: &Path, number: &str| {
        let paths = [("TEACHER", teacher.as_path()), ("DATA", &data), ("CACHE", cache)];
        command.envs(paths).env("PATH", &path).envs([("SHARDS", "3"), ("SLURM_ARRAY_TASK_ID", number)]);
        command.envs([("JOB_COMPLETION_INDEX", number), ("SLURM_JOB_ID", "815")]);
        finished(command.output().unwrap())
    };

    let slurm = dir.path().join("slurm");
    let run_slurm = |number: &str| task(Command::new("bash").arg(example("slurm-array.sh")), &slurm, number);
    for number in ["3", "1", "2"] {
        run_slurm(number).expect(0);
    }
    is_sound(&slurm, &expected);
    run_slurm("4").expect(2);
    // What may pass is put back into the queue.
    let scontrol = dir.path().join("scontrol");
    fs::write(&scontrol, "#!/bin/sh\necho scontrol \"$@\"\n").unwrap();
    fs::set_permissions(&scontrol, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let lock = File::create(slurm.join(".lock")).unwrap();
    lock.lock().unwrap();
    let with_scontrol = format!("{}:{path}", dir.path().display());
    let script = format!("PATH={with_scontrol} bash {}", example("slurm-array.sh").display());
    let run = task(Command::new("bash").args(["-c", &script]), &slurm, "1").expect(75);
    assert!(run.stdout.contains("scontrol requeue 815"), "{run:?}");
    drop(lock);

    let script = script_of_a_pod();
    let pods = dir.path().join("pods");
    for number in ["2", "0", "1"] {
        task(Command::new("sh").args(["-c", &script]), &pods, number).expect(0);
    }
    is_sound(&pods, &expected);
    task(Command::new("sh").args(["-c", &script]), &pods, "3").expect(2);
}
