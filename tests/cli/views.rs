//! `build --views`: as many records as asked for, the same whatever the threads, parts and kills, and of pictures that can be drawn.

use crate::support::{
    PARTS_OF_8, Run, build, build_args, command, content, finished_parts, logitcache, shapes, verify, wait_for_parts,
};
use logitcache::cache::{CacheReader, ImageKey, Manifest, to_hex};
use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path, thread, time::Duration};

const VIEWS: [(&str, &str); 2] = [("--views", "2"), ("--seed", "7")];

fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    VIEWS.iter().chain(more).copied().collect()
}

fn inspect(cache: &Path, more: &[&dyn AsRef<OsStr>]) -> Run {
    let words = [OsStr::new("inspect"), cache.as_os_str()];
    logitcache(&words.into_iter().chain(more.iter().map(|w| w.as_ref())).collect::<Vec<_>>())
}

/// The digest of every record.
fn records(cache: &Path) -> BTreeMap<ImageKey, String> {
    let reader = CacheReader::open(cache).unwrap();
    reader.images().map(|image| image.unwrap()).map(|i| ((i.image_id, i.view), to_hex(&i.record_sha256))).collect()
}

#[test]
fn records_grow_with_the_views_and_the_first_ones_stay_what_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 40);
    let caches = ["0", "1", "2", "5"].map(|views| {
        let out = dir.path().join(views);
        build(&data, &out, &[("--views", views), ("--seed", "7")]).expect(0);
        verify(&out).expect(0);
        (views.parse::<usize>().unwrap(), out)
    });
    let plain = records(&caches[0].1);
    let most = records(&caches[3].1);
    let images = plain.len();
    assert!(images > 20);
    for (views, cache) in &caches {
        let found = records(cache);
        assert_eq!(found.len(), images * (views + 1), "{views} views");
        let summary = inspect(cache, &[&"--json"]).expect(0).json();
        assert_eq!(summary["images"], images, "images are counted, not their views");
        assert_eq!(summary["label_boxes"], inspect(&caches[0].1, &[&"--json"]).expect(0).json()["label_boxes"]);
        assert_eq!(summary["settings"]["views"], *views);
        // Neither the image itself nor a view depends on how many views there are.
        assert!(found.iter().all(|(key, record)| most[key] == *record), "{views} views");
    }
    assert!(plain.iter().all(|(key, record)| most[key] == *record && key.1 == 0));
    let distinct: std::collections::BTreeSet<_> = most.values().collect();
    assert_eq!(distinct.len(), most.len(), "no view is another");

    // Without views a seed changes nothing, with views it decides.
    build(&data, &caches[0].1, &[("--views", "0"), ("--seed", "8")]).expect(0).says(&["0 of"]);
    let other = dir.path().join("other");
    build(&data, &other, &[("--views", "2"), ("--seed", "8")]).expect(0);
    assert!(records(&other).iter().all(|(key, record)| (most[key] == *record) == (key.1 == 0)));
    build(&data, &other, &[("--views", "2"), ("--seed", "7")])
        .refused(&["settings.view_seed: 8 in the cache, 7 now", "--overwrite"]);
    build(&data, &other, &[("--views", "3"), ("--seed", "8")]).refused(&["settings.views: 2 in the cache, 3 now"]);
    build(&data, &other, &[]).refused(&["settings.views: 2 in the cache, 0 now"]);
    build(&data, &dir.path().join("many"), &[("--views", "1001")]).expect(2).says(&["1001", "1000"]);
}

#[test]
fn content_with_views_does_not_depend_on_threads_or_parts() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 40);
    let digest = |name: &str, more: &[(&'static str, &'static str)]| {
        let out = dir.path().join(name);
        build(&data, &out, &with(more)).expect(0);
        verify(&out).expect(0);
        content(&out)
    };
    let one = digest("a", &[("--jobs", "1")]);
    assert_eq!(digest("b", &[("--jobs", "2")]), one);
    assert_eq!(digest("c", &[("--jobs", "3"), ("--images-per-part", "7")]), one);
    // Batches that begin and end within the views of an image.
    let batch = digest("d", &[("--batch", "4"), ("--jobs", "1")]);
    assert_eq!(digest("e", &[("--batch", "4"), ("--jobs", "2"), ("--images-per-part", "5")]), batch);
}

#[test]
fn a_killed_build_with_views_goes_on_to_the_same_content() {
    const MOMENTS: u32 = 10;
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 40);
    let whole = dir.path().join("whole");
    let settings = with(&[PARTS_OF_8]);
    let started = std::time::Instant::now();
    build(&data, &whole, &settings).expect(0);
    let (duration, expected) = (started.elapsed(), content(&whole));

    let (mut killed, mut kept) = (0, 0);
    for moment in 0..MOMENTS {
        let cache = dir.path().join(format!("killed{moment}"));
        let mut child = command(&build_args(&data, &cache, &settings)).spawn().unwrap();
        thread::sleep(duration * moment / MOMENTS);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        // What is there is sound, and holds whole images only.
        if let Ok(Some(manifest)) = Manifest::load_if_present(&cache) {
            verify(&cache).expect(0);
            assert_eq!(manifest.records(), manifest.images() * 3);
            kept += usize::from(manifest.images() > 0);
        }
        build(&data, &cache, &settings).expect(0);
        assert_eq!(content(&cache), expected, "killed at {moment}/{MOMENTS}");
        verify(&cache).expect(0);
        fs::remove_dir_all(&cache).unwrap();
    }
    // One that has begun to keep parts.
    let cache = dir.path().join("late");
    let mut child = command(&build_args(&data, &cache, &settings)).spawn().unwrap();
    wait_for_parts(&mut child, &cache, 2);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(finished_parts(&cache) >= 2);
    build(&data, &cache, &settings).expect(0).says(&["done before"]);
    assert_eq!(content(&cache), expected);
    assert!(killed > 0, "no kill came before the end of a build ({kept} left parts)");
}

#[test]
fn an_interrupted_build_keeps_whole_images() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 150);
    let cache = dir.path().join("cache");
    let settings = with(&[("--images-per-part", "10")]);
    let mut child = command(&build_args(&data, &cache, &settings)).spawn().unwrap();
    wait_for_parts(&mut child, &cache, 1);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let run = crate::support::finished(child.wait_with_output().unwrap()).expect(130);
    run.says(&["images are in the cache; run the same command to go on"]);
    verify(&cache).expect(0);
    thread::sleep(Duration::from_millis(1));
    build(&data, &cache, &settings).expect(0).says(&["done before"]);
    let whole = dir.path().join("whole");
    build(&data, &whole, &VIEWS).expect(0);
    assert_eq!(content(&cache), content(&whole));
}

#[test]
fn an_image_fails_once_and_comes_back_with_all_its_views() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 30);
    let images = dir.path().join("shapes/images/train");
    let mut files: Vec<_> = fs::read_dir(&images).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let whole = fs::read(&files[5]).unwrap();
    fs::write(&files[5], &whole[..100]).unwrap();
    let cache = dir.path().join("cache");
    let settings = with(&[("--images-per-part", "8")]);
    let run = build(&data, &cache, &settings).expect(1);
    assert!(run.stdout.contains(&format!("{} images, each with 2 views", files.len() - 1)), "{}", run.stdout);
    assert!(run.stdout.contains("1 image failed"), "{}", run.stdout);
    verify(&cache).expect(0);
    let summary = inspect(&cache, &[&"--json"]).expect(0).json();
    assert_eq!((summary["images"].as_u64(), summary["complete"].as_bool()), (Some(files.len() as u64 - 1), Some(true)));
    assert_eq!(summary["failures"].as_array().unwrap().len(), 1);

    fs::write(&files[5], &whole).unwrap();
    build(&data, &cache, &settings).expect(0).says(&["failed before and tried again"]);
    verify(&cache).expect(0);
    let clean = dir.path().join("clean");
    build(&data, &clean, &settings).expect(0);
    assert_eq!(content(&cache), content(&clean));
}

#[test]
fn a_view_is_shown_and_drawn_as_the_teacher_saw_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let cache = dir.path().join("cache");
    build(&data, &cache, &with(&[("--min-score", "0")])).expect(0);
    let plain = inspect(&cache, &[&"--image", &"1", &"--json"]).expect(0).json();
    let view = inspect(&cache, &[&"--image", &"1", &"--view", &"2", &"--json"]).expect(0).json();
    assert_eq!((&plain["view"], &view["view"]), (&0.into(), &2.into()));
    assert_eq!((&plain["path"], &plain["labels"]), (&view["path"], &view["labels"]));
    let scale = |json: &serde_json::Value| json["change"]["scale"].as_f64().unwrap();
    assert!(scale(&plain) == 1.0 && scale(&view) != 1.0);
    let text = inspect(&cache, &[&"--image", &"1", &"--view", &"2"]).expect(0).stdout;
    assert!(text.contains("view 2  scaled by "), "{text}");
    assert!(inspect(&cache, &[]).expect(0).stdout.contains("each with 2 views"));

    let picture = |view: &str| {
        let out = dir.path().join(format!("{view}.png"));
        inspect(&cache, &[&"--image", &"1", &"--view", &view, &"--out", &out]).expect(0);
        logitcache::preprocess::decode(&fs::read(out).unwrap(), &Default::default()).unwrap()
    };
    let pictures = ["0", "1", "2"].map(picture);
    assert_eq!([pictures[1].size.width, pictures[1].size.height], [160, 160], "the teacher's input");
    assert!(pictures[1] != pictures[2] && pictures[0] != pictures[1]);
    inspect(&cache, &[&"--image", &"1", &"--view", &"3"]).refused(&["image 1 has no view 3", "0 to 2"]);
    inspect(&cache, &[&"--view", &"1"]).expect(2).says(&["--image"]);
}
