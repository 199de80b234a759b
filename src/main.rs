//! The `logitcache` executable: parse, run, print the error, choose the exit code.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::args::Cli::parse()) {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            cli::output::note(&format!("error: {error}"));
            ExitCode::from(cli::status_of(&error) as u8)
        }
    }
}
