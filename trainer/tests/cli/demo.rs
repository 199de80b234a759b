//! `demo` from end to end, with few pictures and one pass over them.

use crate::support::{args, logitcache};
use std::fs;

#[test]
fn the_whole_way_and_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("a demo");
    let small = |seed| {
        args(["demo", "--overwrite"], &[("--dir", &dir)], &[("--images", "20"), ("--epochs", "1"), ("--seed", seed)])
    };
    let run = logitcache(&small("3")).expect(0);
    let shown: Vec<&str> = run.stdout.lines().filter_map(|line| line.strip_prefix("$ logitcache ")).collect();
    let commands: Vec<&str> = shown.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(commands, ["synth", "build", "train", "train", "report", "eval"]);
    assert!(shown.iter().all(|line| line.contains("a demo/")), "paths with a space are quoted: {shown:?}");
    for model in ["labels-only/best.onnx", "distilled/best.onnx", "teacher.onnx", "mAP@0.5:0.95"] {
        assert!(run.stdout.contains(model), "{}", run.stdout);
    }
    assert!(run.stdout.trim_end().ends_with("report.html: open it in a browser."), "{}", run.stdout);
    assert!(fs::read_to_string(dir.join("report.html")).unwrap().contains("<html"));

    let labels = || fs::read(dir.join("shapes/labels/train/000000.txt")).unwrap();
    let first = labels();
    logitcache(&small("4")).expect(0);
    assert_ne!(labels(), first, "another seed draws other pictures");
}
