//! A command that another program calls as a function: nothing is printed. Its report, its notes and how far it is are handed
//! over, and its errors come back as values.

use super::{
    Status,
    args::{Cli, Command},
    flags::as_settings,
    progress::Unit,
    run,
};
use crate::{Error, Result};
use clap::{CommandFactory, Parser};
use crossbeam_channel::Sender;
use std::{cell::RefCell, ffi::OsString, iter, path::PathBuf, sync::atomic::AtomicBool};

/// What a command tells while it runs.
#[derive(Debug)]
pub enum Event {
    /// A line for the user; one of a harm begins with `warning: `.
    Note(String),
    /// So much of a unit is to do.
    Total(u64, Unit),
    /// So much of it is through, and how many of these failed.
    Done(u64, u64),
}

/// How a command ended.
#[derive(Debug)]
pub struct Called {
    /// The object that `--json` prints; empty where the command ended before it.
    pub report: String,
    /// As of the program.
    pub outcome: Result<Status>,
}

/// A command that was not begun: its arguments are wrong, in the words of a function's arguments.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotCalled(pub String);

/// An argument of a command, as that of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// `top_k` for `--top-k`.
    pub name: String,
    /// What holds where it is not given, as it would be written; none where that is not one value.
    pub default: Option<String>,
    /// The values that it can have; empty where they are not a few.
    pub choices: Vec<String>,
}

struct Call {
    events: Sender<Event>,
    stop: &'static AtomicBool,
    report: String,
}

thread_local! {
    static CALL: RefCell<Option<Call>> = const { RefCell::new(None) };
}

/// Runs a command of those with `--json` on this thread, which is to be a new one. `words` are those of its command line,
/// without the program's name; `stop` is looked at as Ctrl-C is.
///
/// # Errors
/// [`NotCalled`] where the words are no such command.
pub fn call(words: &[OsString], events: Sender<Event>, stop: &'static AtomicBool) -> Result<Called, NotCalled> {
    let cli = Cli::try_parse_from(iter::once(&OsString::from("logitcache")).chain(words)).map_err(in_words)?;
    if matches!(
        cli.command,
        Command::Train(_)
            | Command::Serve(_)
            | Command::Export(_)
            | Command::Demo(_)
            | Command::Completions(_)
            | Command::Man(_)
    ) {
        return Err(NotCalled("this command cannot be called as a function; run the program `logitcache`".into()));
    }
    CALL.set(Some(Call { events, stop, report: String::new() }));
    let outcome = run(cli, words);
    Ok(Called { report: CALL.take().map(|call| call.report).unwrap_or_default(), outcome })
}

/// The arguments of a command in the order of its help text; none of what is no command.
pub fn settings(command: &str) -> Vec<Setting> {
    let program = Cli::command();
    let Some(command) = program.find_subcommand(command) else { return Vec::new() };
    let of = |argument: &clap::Arg| Setting {
        name: argument.get_id().to_string(),
        default: match argument.get_default_values() {
            [one] if argument.get_num_args().is_none_or(|values| values.takes_values()) => {
                one.to_str().map(str::to_owned)
            }
            _ => None,
        },
        choices: argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect(),
    };
    command.get_arguments().map(of).collect()
}

/// Whether the command of this thread was called, and then what to do with a line for the user.
pub(super) fn note(text: &str) -> bool {
    tell(|| Event::Note(as_settings(text)))
}

/// Takes a result of a command that was called.
pub(super) fn report(text: &str) -> bool {
    CALL.with_borrow_mut(|call| call.as_mut().map(|call| text.clone_into(&mut call.report)).is_some())
}

/// Where the progress of the command of this thread goes, if it was called.
pub(super) fn events() -> Option<Sender<Event>> {
    CALL.with_borrow(|call| call.as_ref().map(|call| call.events.clone()))
}

/// What stops the command of this thread, if it was called.
pub(super) fn stop() -> Option<&'static AtomicBool> {
    CALL.with_borrow(|call| call.as_ref().map(|call| call.stop))
}

fn tell(event: impl FnOnce() -> Event) -> bool {
    // A caller that does not listen has nothing to be told.
    events().map(|events| drop(events.send(event()))).is_some()
}

/// What clap says of arguments, without the usage of the program.
fn in_words(error: clap::Error) -> NotCalled {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default().trim();
    NotCalled(as_settings(first.strip_prefix("error: ").unwrap_or(first)))
}

/// The two texts of an error, with the place that it names, as of a function: what was found, and what to do.
pub fn found_and_remedy(error: &Error) -> (Option<PathBuf>, String, String) {
    let (path, found, remedy) = match error {
        Error::Later(error) => return found_and_remedy(error),
        Error::Io { path, action, source } => (Some(path), format!("cannot {action}: {source}"), ""),
        Error::NoSpace { path, action, source, remedy } => {
            (Some(path), format!("cannot {action}: no space left ({source})"), remedy.as_str())
        }
        Error::Dataset { path, found, remedy }
        | Error::Model { path, found, remedy }
        | Error::Cache { path, found, remedy }
        | Error::Run { path, found, remedy } => (Some(path), found.clone(), remedy.as_str()),
        Error::Runtime { found, remedy } => (None, format!("ONNX Runtime: {found}"), remedy.as_str()),
        Error::Trainer { found, remedy } | Error::Classes { found, remedy } | Error::Mismatch { found, remedy } => {
            (None, found.clone(), remedy.as_str())
        }
        Error::Interrupted { remedy } => (None, "interrupted".to_owned(), remedy.as_str()),
    };
    (path.cloned(), as_settings(&found), as_settings(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    static STOP: AtomicBool = AtomicBool::new(false);

    fn called(words: &[&str]) -> (Result<Called, NotCalled>, Vec<Event>) {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let (sender, events) = crossbeam_channel::unbounded();
        let result = thread::spawn(move || call(&words, sender, &STOP)).join().unwrap();
        (result, events.into_iter().collect())
    }

    #[test]
    fn a_command_gives_its_report_and_tells_how_far_it_is() {
        let cache = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cache-v1");
        let (result, events) = called(&["verify", "--json", cache]);
        let called = result.unwrap();
        assert_eq!(called.outcome.unwrap(), Status::Done);
        let report: serde_json::Value = serde_json::from_str(&called.report).unwrap();
        let bytes = report["bytes"].as_u64().unwrap();
        assert!(matches!(events.first(), Some(&Event::Total(total, Unit::Bytes)) if total == bytes), "{events:?}");
        assert!(matches!(events.last(), Some(&Event::Done(done, 0)) if done == bytes), "{events:?}");
    }

    #[test]
    fn errors_come_back_in_the_words_of_a_function() {
        let refused = |words: &[&str]| called(words).0.unwrap_err().to_string();
        let build = ["build", "--teacher=t", "--data=d", "--out=o"];
        let message = refused(&[&build[..], &["--coverage=2"]].concat());
        assert!(message.starts_with("invalid value '2' for 'coverage=': expected"), "{message}");
        let message = refused(&[&build[..], &["--logits=x"]].concat());
        assert!(message.contains("'logits='") && message.contains("8bit-dfl"), "{message}");
        assert!(refused(&["build", "--teacher=t"]).contains("data="));
        assert!(refused(&["train", "--cache=c", "--model=yolov8f", "--out=x"]).contains("run the program"));

        let (result, _) = called(&[&build[..], &["--profile=dense", "--top-k=5"]].concat());
        let (path, found, remedy) = found_and_remedy(&result.unwrap().outcome.unwrap_err());
        assert_eq!(path, None);
        assert!(found.starts_with("top_k= was given") && !remedy.contains("--"), "{found} {remedy}");
    }

    #[test]
    fn settings_are_the_options_of_the_program() {
        let build = settings("build");
        let of = |name: &str| build.iter().find(|setting| setting.name == name).unwrap();
        assert_eq!(of("images_per_part").default.as_deref(), Some("4096"));
        assert_eq!((of("overwrite").default.as_deref(), of("top_k").default.as_deref()), (None, None));
        assert_eq!(of("store").choices, ["all", "cls"]);
        assert!(settings("nothing").is_empty());
    }
}
