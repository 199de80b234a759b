//! `train` and `export`; the arguments are those of `logitcache`.

mod export;
mod progress;
mod train;

use crate::Error;
use clap::Parser;
use logitcache::cli::{
    args::{Cli, Command},
    finish,
};
use std::process::ExitCode;

/// Parse, run, print the error, choose the exit code.
pub fn main() -> ExitCode {
    let Cli { quiet, command } = Cli::parse();
    finish(match command {
        Command::Train(args) => train::run(&args, quiet),
        Command::Export(args) => export::run(&args),
        _ => Err(Error::Mismatch {
            found: "logitcache-train knows only `train` and `export`".into(),
            remedy: "Run `logitcache` with the same arguments: it hands over what is meant for here.".into(),
        }),
    })
}
