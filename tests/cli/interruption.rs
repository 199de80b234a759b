//! Killed, interrupted, out of space, two at once: nothing finished is lost, and the same command goes on.

use crate::common::shared;
use crate::support::{
    PARTS_OF_8, args, build, build_args, command, content, finished, finished_parts, first_images, logitcache,
    on_small_disk, shapes, teacher, verify, wait_for_parts,
};
use std::{fs, thread, time::Instant};

#[test]
fn killed_at_twenty_moments_ends_with_the_same_content() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 80);
    let whole = dir.path().join("whole");
    let started = Instant::now();
    build(&data, &whole, &[PARTS_OF_8]).expect(0);
    let duration = started.elapsed();
    let expected = content(&whole);

    let mut killed_midway = 0;
    for moment in 0..20u32 {
        let cache = dir.path().join(format!("killed{moment}"));
        let mut child = command(&build_args(&data, &cache, &[PARTS_OF_8])).spawn().unwrap();
        thread::sleep(duration * moment / 20);
        child.kill().unwrap();
        if finished(child.wait_with_output().unwrap()).code != 0 {
            killed_midway += 1;
        }
        build(&data, &cache, &[PARTS_OF_8]).expect(0);
        assert_eq!(content(&cache), expected, "killed at {moment}/20");
        verify(&cache).expect(0);
        fs::remove_dir_all(&cache).unwrap();
    }
    assert!(killed_midway > 0, "no kill came before the end of a build");
}

/// 24 images of COCO128 under the real teacher, 8 parts of 3 images: each time a new cache is killed, and the same command then runs to its end.
#[test]
fn a_real_build_killed_at_twenty_moments_ends_with_the_same_content() {
    const MOMENTS: usize = 20;
    const PARTS: usize = 8;
    let Some(shared) = shared() else { return };
    let dir = tempfile::tempdir().unwrap();
    let data = first_images(&shared.join("data/coco128"), dir.path(), 24);
    let teacher = shared.join("models/yolov12n.onnx");
    let settings =
        [("--teacher", teacher.to_str().unwrap()), ("--imgsz", "640"), ("--images-per-part", "3"), ("--jobs", "2")];
    let whole = dir.path().join("whole");
    let started = Instant::now();
    build(&data, &whole, &settings).expect(0);
    let time_of_a_part = started.elapsed() / PARTS as u32;
    let expected = content(&whole);
    assert_eq!(finished_parts(&whole), PARTS);

    for moment in 0..MOMENTS {
        // Evenly over the work, not over a time that another load would stretch: as many finished parts, then a fraction of one.
        let (parts, rest) = (moment * PARTS / MOMENTS, moment * PARTS % MOMENTS);
        let cache = dir.path().join(format!("killed{moment}"));
        let mut child = command(&build_args(&data, &cache, &settings)).spawn().unwrap();
        wait_for_parts(&mut child, &cache, parts);
        thread::sleep(time_of_a_part * rest as u32 / MOMENTS as u32);
        child.kill().unwrap();
        let killed = finished(child.wait_with_output().unwrap());
        assert!(rest > 0 || killed.code == -1, "it ended before {parts} of {PARTS} parts were there: {killed:?}");

        let kept = finished_parts(&cache);
        let run = build(&data, &cache, &settings).expect(0);
        // The last part may be there without being in the manifest yet; all before it are not done again.
        assert!(kept < 2 || run.stderr.contains("done before"), "{kept} parts: {}", run.stderr);
        assert_eq!(content(&cache), expected, "killed at {moment}/{MOMENTS}");
        verify(&cache).expect(0);
        fs::remove_dir_all(&cache).unwrap();
    }
}

#[test]
fn killed_again_and_again_it_keeps_the_finished_parts() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 80);
    let whole = dir.path().join("whole");
    build(&data, &whole, &[PARTS_OF_8]).expect(0);

    let cache = dir.path().join("cache");
    for parts in 1..=3 {
        let mut child = command(&build_args(&data, &cache, &[PARTS_OF_8])).spawn().unwrap();
        wait_for_parts(&mut child, &cache, parts);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let run = build(&data, &cache, &[PARTS_OF_8]).expect(0);
    assert!(run.stderr.contains("done before"), "{}", run.stderr);
    assert_eq!(content(&cache), content(&whole));
    verify(&cache).expect(0);
}

#[test]
fn ctrl_c_commits_what_is_done_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 200);
    let cache = dir.path().join("cache");
    let child = command(&build_args(&data, &cache, &[("--images-per-part", "10")])).spawn().unwrap();
    let pid = child.id().to_string();
    let mut child = child;
    wait_for_parts(&mut child, &cache, 1);
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let run = finished(child.wait_with_output().unwrap()).expect(130).says(&["run the same command to go on"]);
    assert!(!run.stdout.contains("content sha256"));
    verify(&cache).expect(0);
    let images = logitcache(
        &args(["inspect", "--json"], &[], &[]).into_iter().chain([cache.clone().into()]).collect::<Vec<_>>(),
    )
    .expect(0)
    .json();
    let kept = images["images"].as_u64().unwrap();
    assert!(kept >= 10 && images["complete"] == false, "{images}");

    build(&data, &cache, &[]).expect(0).says(&["done before"]);
    let whole = dir.path().join("whole");
    build(&data, &whole, &[]).expect(0);
    assert_eq!(content(&cache), content(&whole));
}

#[test]
fn two_builds_in_one_folder_cannot_both_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 200);
    let cache = dir.path().join("cache");
    let mut first = command(&build_args(&data, &cache, &[("--images-per-part", "5")])).spawn().unwrap();
    wait_for_parts(&mut first, &cache, 1);
    let second = build(&data, &cache, &[]);
    let first = finished(first.wait_with_output().unwrap()).expect(0);
    second.expect(2).says(&["process", "holds its lock"]);
    assert!(first.stdout.contains("content sha256"));
}

#[test]
fn a_full_disk_is_a_clear_error_and_the_build_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 120);
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let script = r#"
        mount -t tmpfs -o size=10000k tmpfs "$DISK" || exit 77
        "$BIN" "$@" --out "$DISK/cache"; echo "first: $?"
        "$BIN" verify "$DISK/cache"; echo "verify: $?"
        mount -o remount,size=64m "$DISK" || exit 77
        "$BIN" "$@" --out "$DISK/cache"; echo "second: $?"
        "$BIN" verify "$DISK/cache"; echo "verify: $?"
        cp -r "$DISK/cache" "$COPY"
    "#;
    let copy = dir.path().join("copy");
    let teacher = teacher();
    // Every anchor kept, so that the estimate is exact for the values; one image a part, so that the footers, which it leaves
    // out, do not fit as well.
    let build_args = args(
        ["build", "--imgsz", "160", "--images-per-part", "1", "--profile", "dense"],
        &[("--teacher", &teacher), ("--data", &data)],
        &[],
    );
    let Some(run) = on_small_disk(script, &build_args, &[("DISK", &disk), ("COPY", &copy)]) else {
        return;
    };
    let run = run.expect(0);
    assert!(run.stdout.contains("first: 2"), "{run:?}");
    assert!(run.stdout.contains("second: 0"), "{run:?}");
    assert_eq!(run.stdout.matches("verify: 0").count(), 2, "{run:?}");
    let run = run.says(&["space", "run the same command"]);
    assert!(run.stderr.contains("done before"), "{run:?}");
    let whole = dir.path().join("whole");
    build(&data, &whole, &[("--profile", "dense")]).expect(0);
    assert_eq!(content(&copy), content(&whole));
}

/// The names come through a pipe, so that the signal comes for sure before the first image.
#[test]
fn a_signal_while_a_build_is_prepared_ends_it_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let (cache, pipe) = (dir.path().join("cache"), dir.path().join("names.txt"));
    if !std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        crate::support::skipped("there is no mkfifo");
        return;
    }
    let child = command(&build_args(&data, &cache, &[("--names", pipe.to_str().unwrap())])).spawn().unwrap();
    // Opens as soon as the other side reads.
    let mut names = fs::File::options().write(true).open(&pipe).unwrap();
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    // The handler runs in a thread of its own; whatever is written before it has run, is read after it.
    thread::sleep(std::time::Duration::from_millis(200));
    std::io::Write::write_all(&mut names, b"circle\nsquare\ntriangle\nstar\ncross\nring\n").unwrap();
    drop(names);
    finished(child.wait_with_output().unwrap()).expect(130).says(&["run the same command to go on"]);
    build(&data, &cache, &[]).expect(0);
}
