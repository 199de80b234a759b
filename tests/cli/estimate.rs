//! The size that a build tells before it starts is about the size that it has in the end.

use crate::support::{build, fixture, shapes};
use std::{fs, path::Path};

/// Bytes of `indicatif`'s form, such as "3.61 MiB".
fn bytes(text: &str) -> f64 {
    let mut words = text.split_whitespace();
    let number: f64 = words.next().unwrap().parse().unwrap();
    number
        * match words.next().unwrap() {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            other => panic!("{other}"),
        }
}

fn size(folder: &Path) -> f64 {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files.map(|file| file.metadata().unwrap().len() as f64).sum()
}

#[test]
fn estimates_are_right_within_a_factor_of_two() {
    let dir = tempfile::tempdir().unwrap();
    let (few, more) = (dir.path().join("few"), dir.path().join("more"));
    [&few, &more].iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let (few, more) = (shapes(&few, 2), shapes(&more, 60));
    let demo = fixture("../../assets/teacher.onnx");
    let demo = demo.to_str().unwrap();
    // The committed model has random weights and so keeps most anchors; the demonstration's knows the shapes and keeps few.
    let cases: [(&Path, &[(&str, &str)]); 9] = [
        (&few, &[]),
        (&few, &[("--teacher", demo)]),
        (&more, &[("--teacher", demo)]),
        (&more, &[("--teacher", demo), ("--logits", "float16"), ("--coverage", "1"), ("--class-coverage", "1")]),
        (&more, &[("--teacher", demo), ("--images-per-part", "5")]),
        (&more, &[("--imgsz", "64")]),
        (&more, &[("--store", "cls"), ("--top-k", "50")]),
        (&more, &[("--profile", "dense"), ("--imgsz", "64")]),
        (&few, &[("--views", "3"), ("--min-score", "0.001")]),
    ];
    for (number, (data, settings)) in cases.into_iter().enumerate() {
        let out = dir.path().join(format!("cache{number}"));
        let run = build(data, &out, settings).expect(0);
        let line =
            run.stderr.lines().find_map(|line| line.strip_prefix("estimate  ")).unwrap_or_else(|| panic!("{run:?}"));
        let (estimate, most) = line.split_once(" (at most ").unwrap();
        let (estimate, most, size) = (bytes(estimate), bytes(most.split_once(')').unwrap().0), size(&out));
        assert!((0.5..=2.0).contains(&(estimate / size)), "{settings:?}: {estimate} estimated, {size} needed");
        assert!(most >= 0.8 * size && most >= estimate, "{settings:?}: at most {most}, {size} needed");
        println!("{settings:?}: {estimate:.0} estimated, {size:.0} needed, at most {most:.0}");
    }
}
