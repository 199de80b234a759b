//! `demo` never removes what is not its own. The whole demonstration is run by the trainer's tests.

use crate::support::{args, logitcache};
use std::{fs, path::Path};

fn demo(dir: &Path, more: &[(&str, &str)]) -> crate::support::Run {
    logitcache(&args(["demo"], &[("--dir", dir)], more))
}

#[test]
fn a_folder_with_other_things_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), "years of work").unwrap();
    for overwrite in [&[][..], &["--overwrite"][..]] {
        let mut words = args(["demo"], &[("--dir", dir.path())], &[]);
        words.extend(overwrite.iter().map(Into::into));
        logitcache(&words)
            .refused(&["holds thesis.txt, which does not belong to a demonstration", "new or empty folder"]);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
}

#[test]
fn an_earlier_demonstration_is_kept_without_overwrite() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("cache")).unwrap();
    demo(dir.path(), &[]).refused(&["holds cache of an earlier demonstration", "--overwrite"]);
    assert!(dir.path().join("cache").is_dir());
}

#[test]
fn a_file_is_no_folder() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    demo(&file, &[]).refused(&["file: cannot read the folder"]);
}

#[test]
fn numbers_out_of_range_are_usage_errors() {
    for (flag, value) in [("--images", "0"), ("--epochs", "0"), ("--seed", "-1")] {
        demo(Path::new("never"), &[(flag, value)]).expect(2);
    }
}
