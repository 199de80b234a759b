//! Process-level tests of training: exit status, output, and what is on disk afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, dead_code)]
#![cfg(feature = "libtorch")]

mod classes;
#[path = "../../../tests/common/mod.rs"]
mod common;
mod demo;
mod exports;
mod field_files;
mod objects;
mod prune;
mod qat;
mod sizes;
mod starts;
#[path = "../../../tests/cli/support.rs"]
mod support;
mod train;
mod views;

use std::{path::Path, process::Child, thread, time::Duration};

/// Waits until a run that goes on has written this file.
fn wait_for_file(child: &mut Child, file: &Path) {
    while !file.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        thread::sleep(Duration::from_millis(5));
    }
}
