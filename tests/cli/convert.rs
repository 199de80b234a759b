//! `convert` as a user runs it: a real build to an archive and back, killed, interrupted, out of space.

use crate::support::{
    PARTS_OF_8, PARTS_OF_16, Run, args, build, command, content, finished, finished_parts, logitcache, on_small_disk,
    shapes, verify, wait_for_parts,
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

fn convert_args(cache: &Path, profile: &str, out: &Path) -> Vec<OsString> {
    let mut all = args(["convert"], &[("--out", out)], &[("--profile", profile)]);
    all.push(cache.into());
    all
}

fn convert(cache: &Path, profile: &str, out: &Path) -> Run {
    logitcache(&convert_args(cache, profile, out))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["images", "predictions"]
        .iter()
        .flat_map(|table| fs::read_dir(folder.join(table)).unwrap())
        .map(|entry| entry.unwrap().path().strip_prefix(folder).unwrap().to_owned())
        .collect();
    found.sort();
    found
}

#[track_caller]
fn assert_same_parts(a: &Path, b: &Path) {
    assert_eq!(files(a), files(b));
    for file in files(a) {
        assert!(fs::read(a.join(&file)).unwrap() == fs::read(b.join(&file)).unwrap(), "{}", file.display());
    }
}

#[test]
fn a_build_becomes_an_archive_and_the_same_files_again() {
    for profile in ["mapped", "dense"] {
        let dir = tempfile::tempdir().unwrap();
        let data = shapes(dir.path(), 40);
        let [cache, archive, back] = ["cache", "ship/archive", "far/from/here"].map(|name| dir.path().join(name));
        build(&data, &cache, &[PARTS_OF_16, ("--profile", profile)]).expect(0);
        let mut json = convert_args(&cache, "archive", &archive);
        json.push("--json".into());
        let report = logitcache(&json).expect(0).json();
        assert_eq!(report["content_sha256"].as_str().unwrap(), content(&cache));
        assert!(report["bytes"].as_u64() < report["source_bytes"].as_u64(), "{report}");
        assert_eq!((&report["profile"], &report["parts"]), (&"archive".into(), &2.into()));
        verify(&archive).expect(0);
        assert_eq!(content(&archive), content(&cache));
        let shown = logitcache(&[OsStr::new("inspect"), archive.as_os_str()]).expect(0).stdout;
        assert!(shown.contains(&format!("archive of a {profile} cache, complete")), "{shown}");

        let run = convert(&archive, profile, &back).expect(0);
        assert!(run.stdout.contains(", as before"), "{run:?}");
        verify(&back).expect(0);
        assert_same_parts(&cache, &back);
        // The pictures are found from there.
        let picture = dir.path().join("picture.png");
        let draw = args(["inspect", "--image", "0"], &[("--out", &picture)], &[]);
        logitcache(&[draw, vec![back.clone().into()]].concat()).expect(0);
        assert!(picture.is_file());
        // And a build goes on with it, finding nothing to do.
        build(&data, &back, &[PARTS_OF_16, ("--profile", profile)]).expect(0).says(&["to do     0 of "]);
    }
}

#[test]
fn what_needs_a_map_refuses_an_archive_with_the_command_to_run() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 10);
    let (cache, archive) = (dir.path().join("cache"), dir.path().join("archive"));
    build(&data, &cache, &[]).expect(0);
    convert(&cache, "archive", &archive).expect(0);
    let command = format!("`logitcache convert {} --profile mapped --out NEW_FOLDER`", archive.display());
    let image = [&args(["inspect", "--image", "0"], &[], &[])[..], &[archive.clone().into()]].concat();
    logitcache(&image).refused(&["is an archive, which cannot be mapped", &command]);
    build(&data, &archive, &[]).refused(&["a build cannot be resumed from it", &command, "--overwrite"]);
    verify(&archive).expect(0);
    build(&data, &archive, &[("--overwrite", "")]).expect(0);
    let build_archive = build(&data, &dir.path().join("x"), &[("--profile", "archive")]);
    build_archive.expect(2).says(&["invalid value 'archive'", "mapped, dense"]);
}

#[test]
fn killed_at_ten_moments_it_goes_on_to_the_same_files() {
    const MOMENTS: u32 = 10;
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 80);
    let (cache, whole) = (dir.path().join("cache"), dir.path().join("whole"));
    build(&data, &cache, &[PARTS_OF_8]).expect(0);
    let started = Instant::now();
    convert(&cache, "archive", &whole).expect(0);
    let duration = started.elapsed();
    let mut killed_midway = 0;
    for moment in 0..MOMENTS {
        let out = dir.path().join(format!("killed{moment}"));
        let mut child = command(&convert_args(&cache, "archive", &out)).spawn().unwrap();
        thread::sleep(duration * moment / MOMENTS);
        child.kill().unwrap();
        killed_midway += u32::from(finished(child.wait_with_output().unwrap()).code != 0);
        let done = fs::read_to_string(out.join("manifest.json")).is_ok_and(|text| text.contains("\"complete\": true"));
        let again = convert(&cache, "archive", &out);
        if done {
            again.refused(&["it already holds a finished cache"])
        } else {
            again.expect(0)
        };
        verify(&out).expect(0);
        assert_same_parts(&whole, &out);
        assert_eq!(content(&out), content(&whole));
        fs::remove_dir_all(&out).unwrap();
    }
    assert!(killed_midway > 0, "no kill came before the end of a conversion");
}

#[test]
fn ctrl_c_keeps_finished_parts_and_says_how_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 200);
    let (cache, out) = (dir.path().join("cache"), dir.path().join("out"));
    build(&data, &cache, &[("--images-per-part", "7"), ("--profile", "dense")]).expect(0);
    let mut child = command(&convert_args(&cache, "archive", &out)).spawn().unwrap();
    wait_for_parts(&mut child, &out, 1);
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let run = finished(child.wait_with_output().unwrap()).expect(130);
    assert!(run.stdout.is_empty(), "{run:?}");
    run.says(&["interrupted; ", "images are converted; run the same command to go on"]);
    verify(&out).expect(0);
    assert!(finished_parts(&out) < 23);
    convert(&cache, "archive", &out).expect(0).says(&["images converted before"]);
    verify(&out).expect(0);
    assert_eq!(content(&out), content(&cache));
}

#[test]
fn a_full_disk_is_a_clear_error_and_the_conversion_goes_on_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 120);
    let (cache, archive, disk) = (dir.path().join("cache"), dir.path().join("archive"), dir.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    // One image a part: the footers, which the estimate leaves out, do not fit as well.
    build(&data, &cache, &[("--profile", "dense"), ("--images-per-part", "1")]).expect(0);
    convert(&cache, "archive", &archive).expect(0);
    let script = r#"
        mount -t tmpfs -o size=1000k tmpfs "$DISK" || exit 77
        "$BIN" convert "$ARCHIVE" --profile dense --out "$DISK/cache"; echo "before: $?"
        mount -o remount,size=10000k "$DISK" || exit 77
        "$BIN" convert "$ARCHIVE" --profile dense --out "$DISK/cache"; echo "first: $?"
        "$BIN" verify "$DISK/cache"; echo "verify: $?"
        mount -o remount,size=64m "$DISK" || exit 77
        "$BIN" convert "$ARCHIVE" --profile dense --out "$DISK/cache"; echo "second: $?"
        "$BIN" verify "$DISK/cache"; echo "verify: $?"
        cp -r "$DISK/cache" "$COPY"
    "#;
    let copy = dir.path().join("copy");
    let Some(run) = on_small_disk(script, &[], &[("DISK", &disk), ("ARCHIVE", &archive), ("COPY", &copy)]) else {
        return;
    };
    let run = run.expect(0);
    assert!(run.stdout.contains("before: 2\nfirst: 2") && run.stdout.contains("second: 0"), "{run:?}");
    assert_eq!(run.stdout.matches("verify: 0").count(), 2, "{run:?}");
    run.says(&[
        "the new cache needs about",
        "no space left",
        "run the same command to go on",
        "images converted before",
    ]);
    assert_same_parts(&cache, &copy);
}
