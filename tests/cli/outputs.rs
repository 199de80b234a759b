//! What is written over and what is not: one rule for every command. And what shells and `man` get.

use crate::support::{Run, args, build, logitcache, shapes, teacher};
use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const MINE: &str = "years of work";

fn run(words: &[&dyn AsRef<OsStr>]) -> Run {
    logitcache(&words.iter().map(|word| word.as_ref()).collect::<Vec<_>>())
}

/// Drawn pictures, a cache of them.
fn setup(dir: &Path) -> (PathBuf, PathBuf) {
    let (data, cache) = (shapes(dir, 6), dir.join("cache"));
    build(&data, &cache, &[]).expect(0);
    (data, cache)
}

/// A file at `out` of somebody else is refused and kept; with `--overwrite` it goes; the command's own is replaced.
fn file_rule(out: &Path, command: &dyn Fn(&[&str]) -> Run) {
    command(&[]).expect(0);
    command(&[]).expect(0);
    fs::write(out, MINE).unwrap();
    command(&[]).refused(&[out.file_name().unwrap().to_str().unwrap(), "did not write it", "--overwrite"]);
    assert_eq!(fs::read_to_string(out).unwrap(), MINE);
    command(&["--overwrite"]).expect(0);
    assert!(fs::read(out).unwrap() != MINE.as_bytes());
    command(&[]).expect(0);
    fs::remove_file(out).unwrap();
    fs::create_dir(out).unwrap();
    command(&["--overwrite"]).refused(&["is a folder"]);
    fs::remove_dir(out).unwrap();
}

#[test]
fn files_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = setup(dir.path());
    let words = |words: &[&dyn AsRef<OsStr>], more: &[&str]| -> Run {
        let words = words.iter().map(|word| word.as_ref().to_owned());
        logitcache(&words.chain(more.iter().map(OsString::from)).collect::<Vec<_>>())
    };
    for name in ["a.png", "a.jpg"] {
        let out = dir.path().join(name);
        file_rule(&out, &|more| words(&[&"inspect", &cache, &"--image", &"0", &"--out", &out], more));
    }
    // A format without a place for a mark: its own file counts as somebody else's.
    let out = dir.path().join("a.bmp");
    words(&[&"inspect", &cache, &"--image", &"0", &"--out", &out], &[]).expect(0);
    words(&[&"inspect", &cache, &"--image", &"0", &"--out", &out], &[]).refused(&["a.bmp", "--overwrite"]);

    let out = dir.path().join("page.html");
    file_rule(&out, &|more| words(&[&"report", &cache, &"--no-models", &"--max-pictures", &"0", &"--out", &out], more));

    let (scores, model) = (dir.path().join("scores"), teacher());
    for name in ["eval.json", "eval.csv", "eval.md"] {
        file_rule(&scores.join(name), &|more| {
            let fixed: [&dyn AsRef<OsStr>; 12] = [
                &"eval",
                &"--quiet",
                &"--latency-runs",
                &"0",
                &"--imgsz",
                &"160",
                &"--model",
                &model,
                &"--data",
                &data,
                &"--out",
                &scores,
            ];
            words(&fixed, more)
        });
    }
    // What else is in the folder is not touched.
    fs::write(scores.join("notes.txt"), MINE).unwrap();
    let out = dir.path().join("man");
    file_rule(&out.join("logitcache-build.1"), &|more| words(&[&"man", &"--out", &out], more));
    assert_eq!(fs::read_to_string(scores.join("notes.txt")).unwrap(), MINE);
}

#[test]
fn nothing_is_written_into_a_cache_or_over_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = setup(dir.path());
    let (model, own) = (teacher(), dir.path().join("own.onnx"));
    fs::copy(&model, &own).unwrap();
    let manifest = fs::read(cache.join("manifest.json")).unwrap();
    let is_refused = |command: &[&dyn AsRef<OsStr>], says: &str| {
        run(&[command, &[&"--overwrite"]].concat()).refused(&[says, "--out"]);
        assert!(fs::read(cache.join("manifest.json")).unwrap() == manifest);
        assert!(fs::read(&own).unwrap() == fs::read(&model).unwrap());
        assert_eq!(crate::support::names(&cache), ["images", "manifest.json", "predictions"]);
    };
    let inside = "the folder of a cache";
    let place = |name: &str| cache.join(name);
    is_refused(&[&"quantize", &own, &"--cache", &cache, &"--out", &place("manifest.json")], inside);
    is_refused(&[&"quantize", &own, &"--cache", &cache, &"--out", &own], "which this command reads");
    is_refused(&[&"inspect", &cache, &"--image", &"0", &"--out", &place("a.png")], inside);
    is_refused(&[&"report", &cache, &"--no-models", &"--out", &place("images/a.html")], inside);
    is_refused(&[&"eval", &"--model", &own, &"--data", &data, &"--out", &cache], inside);
    is_refused(&[&"man", &"--out", &cache], inside);
    let labels = dir.path().join("eval.json");
    fs::write(&labels, "{}").unwrap();
    is_refused(&[&"eval", &"--model", &own, &"--data", &labels, &"--out", &dir.path()], "which this command reads");
    assert_eq!(fs::read_to_string(labels).unwrap(), "{}");
}

#[test]
fn folders_of_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let images = data.with_file_name("images");
    // Results of somebody else: the name alone does not make them ours.
    let out = dir.path().join("theirs");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("detections.json"), r#"[{"image_id": 1, "category_id": 0}]"#).unwrap();
    let model = teacher();
    let predict = |more: &[&dyn AsRef<OsStr>]| {
        let fixed: [&dyn AsRef<OsStr>; 9] =
            [&"predict", &images, &"--imgsz", &"160", &"--conf", &"0.0009", &"--model", &model, &"--out"];
        run(&[&fixed, more].concat())
    };
    predict(&[&out]).refused(&["theirs", "detections.json", "--overwrite"]);
    predict(&[&out, &"--overwrite"]).expect(0);
    predict(&[&out]).expect(0);
    // Insisting does not go as far as the pictures themselves.
    predict(&[&images, &"--overwrite"]).refused(&["is in the output folder"]);

    let drawn = dir.path().join("drawn");
    let synth = |more: &[&dyn AsRef<OsStr>]| {
        run(&[&[&"synth", &"--images", &"3", &"--out" as &dyn AsRef<OsStr>, &drawn], more].concat())
    };
    synth(&[]).expect(0);
    synth(&[]).refused(&["not empty", "--overwrite"]);
    synth(&[&"--overwrite"]).expect(0);
    fs::write(drawn.join("chapter1.tex"), MINE).unwrap();
    synth(&[&"--overwrite"]).refused(&["chapter1.tex"]);
    fs::write(drawn.join("data.yaml"), "train: images\n").unwrap();
    synth(&[&"--overwrite"]).refused(&["not empty"]);
    assert_eq!(fs::read_to_string(drawn.join("data.yaml")).unwrap(), "train: images\n");
}

/// Five columns, as Ultralytics writes labels; six with `--save-conf`.
#[test]
fn label_files_have_a_score_where_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let data = shapes(dir.path(), 6);
    let (images, model) = (data.with_file_name("images"), teacher());
    let columns = |more: &[&str]| {
        let out = dir.path().join(format!("out{}", more.len()));
        let fixed =
            args(["predict", "--imgsz", "160", "--conf", "0.0009"], &[("--model", &model), ("--out", &out)], &[]);
        let words = fixed.into_iter().chain([images.clone().into()]).chain(more.iter().map(OsString::from));
        logitcache(&words.collect::<Vec<_>>()).expect(0);
        let mut rows: Vec<Vec<String>> = Vec::new();
        for entry in fs::read_dir(out.join("labels/train")).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            rows.extend(text.lines().map(|line| line.split(' ').map(str::to_owned).collect()));
        }
        rows.sort();
        rows
    };
    let (plain, scored) = (columns(&[]), columns(&["--save-conf"]));
    assert!(!plain.is_empty() && plain.iter().all(|row| row.len() == 5) && scored.iter().all(|row| row.len() == 6));
    let mut without: Vec<&[String]> = scored.iter().map(|row| &row[..5]).collect();
    without.sort();
    assert_eq!(plain.iter().map(Vec::as_slice).collect::<Vec<_>>(), without);
    run(&[&"predict", &images, &"--model", &model, &"--save-conf"]).refused(&["--out"]);
}

#[test]
fn numbers_out_of_bounds_are_refused_with_the_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = setup(dir.path());
    let (model, out) = (teacher(), dir.path().join("out"));
    let build: Vec<OsString> = args(["build"], &[("--teacher", &model), ("--data", &data), ("--out", &out)], &[]);
    let eval = args(["eval"], &[("--model", &model), ("--data", &data), ("--out", &out)], &[]);
    let predict = args(["predict", "x.jpg"], &[("--model", &model), ("--out", &out)], &[]);
    let audit = args(["audit"], &[("--teacher", &model)], &[]).into_iter().chain([cache.clone().into()]).collect();
    let inspect = args(["inspect", "--image", "0"], &[], &[]).into_iter().chain([cache.clone().into()]).collect();
    let report = args(["report"], &[("--out", &out.join("a.html"))], &[]).into_iter().chain([cache.into()]).collect();
    let export = args(["export", "x.pt"], &[("--out", &out.join("a.onnx"))], &[]);
    let synth = args(["synth"], &[("--out", &out)], &[]);
    let demo = args(["demo"], &[("--dir", &out)], &[]);
    let cases: [(&Vec<OsString>, &str, &str, &str); 24] = [
        (&build, "--imgsz", "0", "a multiple of 32 from 32 to 8192"),
        (&build, "--imgsz", "100000", "a multiple of 32 from 32 to 8192"),
        (&build, "--batch", "1025", "from 1 to 1024"),
        (&build, "--jobs", "0", "from 1 to 1024"),
        (&build, "--jobs", "100000", "from 1 to 1024"),
        (&build, "--top-k", "0", "from 1 to"),
        (&build, "--images-per-part", "18446744073709551615", "from 1 to 1000000"),
        (&build, "--views", "100000", "from 0 to"),
        (&build, "--coverage", "1.1", "above 0, up to 1"),
        (&eval, "--imgsz", "33", "a multiple of 32"),
        (&eval, "--latency-runs", "1000000", "from 0 to 100000"),
        (&eval, "--conf", "2", "from 0 to 1"),
        (&predict, "--imgsz", "0", "a multiple of 32"),
        (&predict, "--jobs", "-1", "from 1 to 1024"),
        (&audit, "--sample", "-1", "from 0 to"),
        (&audit, "--temperature", "0", "above 0"),
        (&inspect, "--view", "-1", "from 0 to"),
        (&report, "--max-pictures", "100000", "from 0 to 1000"),
        (&export, "--imgsz", "0", "a multiple of 32"),
        (&synth, "--images", "0", "from 1 to 999999"),
        (&synth, "--imgsz", "63", "from 64 to 4096"),
        (&demo, "--images", "4", "from 5 to"),
        (&demo, "--epochs", "0", "from 1 to 100000"),
        (&demo, "--seed", "-1", "invalid"),
    ];
    for (words, flag, value, expected) in cases {
        let words = words.iter().cloned().chain([format!("{flag}={value}").into()]);
        logitcache(&words.collect::<Vec<_>>()).refused(&[flag, value, expected]);
    }
    assert!(!out.exists(), "a refused command leaves nothing behind");
}

#[test]
fn a_path_that_is_no_cache_is_told_for_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (data, cache) = setup(dir.path());
    for command in ["verify", "inspect"] {
        run(&[&command, &dir.path().join("cahce")]).refused(&["cahce", "there is no such folder"]);
        run(&[&command, &cache.join("manifest.json")]).refused(&["a cache is a folder", cache.to_str().unwrap()]);
        run(&[&command, &data]).refused(&["data.yaml", "a cache is a folder"]);
        run(&[&command, &data.parent().unwrap()]).refused(&["manifest.json", "not a cache"]);
    }
    // A data set that has moved is no fault of the cache.
    fs::rename(data.parent().unwrap(), dir.path().join("moved")).unwrap();
    let audit = args(["audit"], &[("--teacher", &teacher())], &[]).into_iter().chain([cache.into()]);
    let run = logitcache(&audit.collect::<Vec<_>>()).refused(&["has moved or was removed", "none exists", "--data"]);
    assert!(!run.stderr.contains("--overwrite"), "{run:?}");
}

#[test]
fn errors_name_the_file_that_was_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (_, cache) = setup(dir.path());
    let nowhere = dir.path().join("nowhere/a.png");
    let run =
        run(&[&"inspect", &cache, &"--image", &"0", &"--out", &nowhere]).refused(&["nowhere/a.png: cannot create"]);
    assert!(!run.stderr.contains(".tmp-"), "{run:?}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let commands = [
        "audit", "build", "convert", "eval", "inspect", "predict", "verify", "train", "report", "export", "synth",
        "demo",
    ];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&[&"completions", &shell]).expect(0).stdout;
        for word in commands.iter().chain(&["save-conf", "coverage"]) {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    run(&[&"completions", &"csh"]).refused(&["csh", "bash", "zsh", "fish"]);
    let bash = tempfile::NamedTempFile::new().unwrap();
    fs::write(bash.path(), run(&[&"completions", &"bash"]).stdout).unwrap();
    let complete = "source \"$0\"; COMP_WORDS=(logitcache pre); COMP_CWORD=1; _logitcache logitcache pre logitcache; echo \"${COMPREPLY[@]}\"";
    match Command::new("bash").args(["-c", complete]).arg(bash.path()).output() {
        Ok(found) => assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "predict", "{found:?}"),
        Err(_) => crate::support::skipped("there is no bash"),
    }

    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("man1");
    let pages = run(&[&"man", &"--out", &out]).expect(0);
    assert!(pages.stdout.contains("pages in "), "{pages:?}");
    let page = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    for command in commands {
        assert!(page("logitcache.1").contains(command), "{command}");
        let own = page(&format!("logitcache-{command}.1"));
        assert!(
            own.contains(&format!(".TH logitcache\\-{command}")) || own.contains(&format!(".TH logitcache-{command}")),
            "{own}"
        );
    }
    assert!(page("logitcache-predict.1").contains("save\\-conf"));
    assert!(!out.join("logitcache-help.1").exists());
}

#[test]
fn the_version_says_which_libraries_there_are() {
    let version = format!("logitcache {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&[&"-V"]).expect(0).stdout.trim(), version);
    let long = run(&[&"--version"]).expect(0).stdout;
    let lines: Vec<&str> = long.trim().lines().collect();
    assert_eq!(lines[0], version);
    assert!(lines[1].starts_with("ONNX Runtime  1.") && lines[1].contains("libonnxruntime"), "{long}");
    assert!(lines[2].starts_with("trainer       "), "{long}");

    // Without any of them, from a folder without an environment.
    let dir = tempfile::tempdir().unwrap();
    let alone = dir.path().join("logitcache");
    fs::copy(crate::support::program(), &alone).unwrap();
    let output = Command::new(&alone).arg("--version").current_dir(dir.path()).env_clear().output().unwrap();
    let long = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success()
            && long.contains("ONNX Runtime  not found")
            && long.contains("trainer       not installed"),
        "{long}"
    );
    // A trainer whose libtorch is not there.
    let trainer = dir.path().join("logitcache-train");
    fs::write(&trainer, "#!/bin/sh\necho 'libtorch_cpu.so: cannot open shared object file' >&2\nexit 127\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&trainer, mode).unwrap();
    let output = Command::new(&alone).arg("--version").current_dir(dir.path()).env_clear().output().unwrap();
    let long = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && long.contains("trainer       cannot be used: libtorch_cpu.so: cannot open"),
        "{long}"
    );
}
