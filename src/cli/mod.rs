//! The command line: one thin file per command.

pub mod args;
mod audit;
mod bounds;
mod build;
mod caches;
mod call;
mod convert;
mod data;
mod demo;
mod embedded;
mod eval;
mod flags;
mod handover;
mod inference;
mod inspect;
mod issues;
mod label;
mod manual;
pub mod output;
mod places;
mod predict;
pub mod progress;
mod quantize;
mod report;
mod select;
mod serve;
mod synth;
mod verify;
mod version;

pub use build::read_names;
pub use call::{Called, Event, NotCalled, Setting, call, found_and_remedy, settings};

use crate::{Error, Result, remote};
use args::{Cli, Command};
use clap::{CommandFactory, FromArgMatches, Parser};
use std::{
    env,
    ffi::OsString,
    io,
    path::Path,
    process::{self, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

/// Exit status of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// All done.
    Done = 0,
    /// Done, but some items failed; each was named.
    SomeFailed = 1,
    /// Could not do it.
    Failed = 2,
    /// Could not do it, but the same command may succeed later (`EX_TEMPFAIL`).
    TryLater = 75,
    /// Ctrl-C; what was finished is kept.
    Interrupted = 130,
}

/// The `logitcache` executable: parse, run, print the error, choose the exit code.
pub fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().collect();
    ExitCode::from(main_with(&words))
}

/// As [`main`], with these words of a command line, the program's name first; gives the exit status.
pub fn main_with(words: &[OsString]) -> u8 {
    status_after(run(parse(words), words.get(1..).unwrap_or_default()))
}

/// The arguments; looks for the libraries only where it is asked which there are.
fn parse(words: &[OsString]) -> Cli {
    if words.get(1).is_none_or(|first| first != "--version") {
        return Cli::parse_from(words);
    }
    let arguments = Cli::command().long_version(version::long()).get_matches_from(words);
    Cli::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit())
}

/// Prints the error, chooses the exit code.
pub fn finish(result: Result<Status>) -> ExitCode {
    ExitCode::from(status_after(result))
}

fn status_after(result: Result<Status>) -> u8 {
    match result {
        Ok(status) => status as u8,
        Err(error) => {
            output::error(&error);
            status_of(&error) as u8
        }
    }
}

/// Makes local copies of what the arguments name in object stores, and puts their paths there.
///
/// # Errors
/// Where a place cannot be had, or the command cannot use one in a store.
pub fn fetch_places(cli: &mut Cli, words: &[OsString]) -> Result<()> {
    if let Some(folder) = &cli.cache_dir {
        remote::keep_copies_in(folder);
    }
    places::fetch(&mut cli.command, words)
}

/// Runs a command; `words` are what `cli` was parsed from, without the program's name.
fn run(mut cli: Cli, words: &[OsString]) -> Result<Status> {
    // The trainer fetches what it needs itself.
    if !matches!(cli.command, Command::Train(_) | Command::Export(_)) {
        fetch_places(&mut cli, words)?;
    }
    match cli.command {
        Command::Train(_) | Command::Export(_) => handover::to_trainer(words),
        Command::Audit(args) => audit::run(&args, cli.quiet),
        Command::Build(args) => build::run(&args, cli.quiet),
        Command::Cache(args) => caches::run(&args, cli.quiet),
        Command::Convert(args) => convert::run(&args, cli.quiet),
        Command::Data(args) => data::run(&args, cli.quiet),
        Command::Eval(args) => eval::run(&args, cli.quiet),
        Command::Inspect(args) => inspect::run(&args),
        Command::Issues(args) => issues::run(&args, cli.quiet),
        Command::Select(args) => select::run(&args, cli.quiet),
        Command::Label(args) => label::run(&args, cli.quiet),
        Command::Serve(args) => serve::run(&args, cli.quiet),
        Command::Predict(args) => predict::run(&args, cli.quiet),
        Command::Quantize(args) => quantize::run(&args, cli.quiet),
        Command::Report(args) => report::run(&args, cli.quiet),
        Command::Verify(args) => verify::run(&args, cli.quiet),
        Command::Synth(args) => synth::run(&args, cli.quiet),
        Command::Demo(args) => demo::run(&args, cli.quiet),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::pages(&args),
    }
}

/// The exit status that an error stands for.
fn status_of(error: &Error) -> Status {
    match error {
        Error::Interrupted { .. } => Status::Interrupted,
        Error::Later(_) => Status::TryLater,
        _ => Status::Failed,
    }
}

/// A flag that the first Ctrl-C (or SIGTERM) raises: a long command then finishes what is in flight. A second one ends the
/// program at once, which costs no more than the unfinished part.
pub fn stop_on_ctrl_c() -> &'static AtomicBool {
    stop_on_ctrl_c_with(process::exit)
}

/// As [`stop_on_ctrl_c`], where `exit` ends the program at the second signal.
pub fn stop_on_ctrl_c_with(exit: fn(i32) -> !) -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    if let Some(stop) = call::stop() {
        return stop;
    }
    let handler = ctrlc::set_handler(move || {
        if STOP.swap(true, Ordering::Relaxed) {
            exit(Status::Interrupted as i32);
        }
    });
    if handler.is_err() {
        output::note("note: Ctrl-C will stop this at once; finished work is kept in any case");
    }
    &STOP
}

/// Prints a command's result.
pub fn print(text: &str) -> Result<()> {
    output::result(text).map_err(stdout_error)
}

/// Prints a command's result as one JSON object.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| stdout_error(io::Error::other(e)))?;
    print(&text)
}

fn stdout_error(source: io::Error) -> Error {
    Error::io(Path::new("<stdout>"), "write to", source)
}
