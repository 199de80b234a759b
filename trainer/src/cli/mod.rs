//! `train` and `export`; the arguments are those of `logitcache`.

mod check;
mod export;
mod openvino;
mod progress;
mod train;

use crate::{Error, student::native};
use clap::Parser;
use logitcache::cli::{
    Status,
    args::{Cli, Command},
    fetch_places, finish, print,
};
use std::{ffi::OsString, process::ExitCode};

/// Parse, run, print the error, choose the exit code.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == "--version") {
        // For `logitcache --version`.
        return finish(
            print(&format!("{}, libtorch {}", env!("CARGO_PKG_VERSION"), native::version())).map(|()| Status::Done),
        );
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let mut cli = Cli::parse_from(&words);
    let fetched = fetch_places(&mut cli, words.get(1..).unwrap_or_default());
    let Cli { quiet, command, .. } = cli;
    finish(fetched.and_then(|()| match command {
        Command::Train(args) => train::run(&args, quiet),
        Command::Export(args) => export::run(&args, quiet),
        _ => Err(Error::Mismatch {
            found: "logitcache-train has only the commands `train` and `export`".into(),
            remedy: "Run `logitcache` with the same arguments: it starts logitcache-train where needed.".into(),
        }),
    }))
}
