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
    finish, print,
};
use std::process::ExitCode;

/// Parse, run, print the error, choose the exit code.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == "--version") {
        // For `logitcache --version`.
        return finish(
            print(&format!("{}, libtorch {}", env!("CARGO_PKG_VERSION"), native::version())).map(|()| Status::Done),
        );
    }
    let Cli { quiet, command } = Cli::parse();
    finish(match command {
        Command::Train(args) => train::run(&args, quiet),
        Command::Export(args) => export::run(&args, quiet),
        _ => Err(Error::Mismatch {
            found: "logitcache-train has only the commands `train` and `export`".into(),
            remedy: "Run `logitcache` with the same arguments: it starts logitcache-train where needed.".into(),
        }),
    })
}
