//! The program's commands: as the program, and as functions.

use crate::error::{raised, refused};
use crossbeam_channel::RecvTimeoutError;
use logitcache::{
    cli::{self, Event, progress::Unit},
    install::{self, Package},
};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use std::{
    ffi::OsString,
    io::Write,
    panic,
    path::PathBuf,
    sync::{
        Mutex, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// Time between two looks at whether Python was asked to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// As a Rust program that panicked.
const PANICKED: u8 = 101;

/// Tells the program where its pieces lie: the interpreter, the folder of the packages, that of ONNX Runtime's library.
#[pyfunction]
pub fn run_from(python: PathBuf, site_packages: PathBuf, onnxruntime: Option<PathBuf>) {
    install::run_from(Package { python, site_packages, onnxruntime });
}

/// Runs the program; `words` are those of its command line, its name first. Gives the exit status.
#[pyfunction]
pub fn main(py: Python<'_>, words: Vec<OsString>) -> u8 {
    py.detach(|| {
        let status = panic::catch_unwind(|| cli::main_with(&words)).unwrap_or(PANICKED);
        // Nothing flushes it at the end of a process that is not a Rust program.
        let _ = std::io::stdout().flush();
        status
    })
}

/// The arguments of a command: name, default and choices of each.
#[pyfunction]
pub fn settings(command: &str) -> Vec<(String, Option<String>, Vec<String>)> {
    cli::settings(command).into_iter().map(|setting| (setting.name, setting.default, setting.choices)).collect()
}

/// Runs a command as a function. `tell` is called with what happens: ``("note", text)``, ``("total", amount, unit)``,
/// ``("done", amount, failed)``. Ctrl-C, or an exception in `tell`, ends the command as the program's Ctrl-C does; then the
/// exception is raised. Gives the report as JSON, and the error that ended the command, if one did.
#[pyfunction]
pub fn call(py: Python<'_>, words: Vec<OsString>, tell: &Bound<'_, PyAny>) -> PyResult<(String, Option<Py<PyAny>>)> {
    static STOP: AtomicBool = AtomicBool::new(false);
    static RUNNING: Mutex<()> = Mutex::new(());
    // A command takes every processor, and one flag stops it.
    let _one_at_a_time = match RUNNING.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => {
            let found = "another command of logitcache runs in this process";
            return Err(refused(py, None, found, "Wait until it has ended, or run this one in a process of its own."));
        }
    };
    STOP.store(false, Ordering::Relaxed);
    let (sender, events) = crossbeam_channel::unbounded();
    let command = thread::spawn(move || cli::call(&words, sender, &STOP));
    let mut raised_meanwhile = None;
    loop {
        // The last of many that came at once says it all.
        let mut latest = None;
        let received = py.detach(|| events.recv_timeout(LOOK_EVERY));
        let ended = matches!(received, Err(RecvTimeoutError::Disconnected));
        let handled = received.into_iter().chain(events.try_iter()).try_for_each(|event| match event {
            Event::Note(text) => tell.call1(("note", text)).map(drop),
            Event::Total(total, unit) => tell.call1(("total", total, name(unit))).map(drop),
            Event::Done(done, failed) => {
                latest = Some((done, failed));
                Ok(())
            }
        });
        let told =
            handled.and_then(|()| latest.map_or(Ok(()), |(done, failed)| tell.call1(("done", done, failed)).map(drop)));
        if raised_meanwhile.is_none()
            && let Err(error) = told.and_then(|()| py.check_signals())
        {
            STOP.store(true, Ordering::Relaxed);
            raised_meanwhile = Some(error);
        }
        if ended {
            break;
        }
    }
    let called =
        py.detach(|| command.join()).map_err(|_| PyRuntimeError::new_err("a fault of logitcache: see stderr"))?;
    if let Some(error) = raised_meanwhile {
        return Err(error);
    }
    let called = called.map_err(|error| refused(py, None, &error.to_string(), "See the function's documentation."))?;
    let error = called.outcome.err().map(|error| raised(py, error).into_value(py).into_any());
    Ok((called.report, error))
}

fn name(unit: Unit) -> &'static str {
    match unit {
        Unit::Images => "images",
        Unit::Views => "views",
        Unit::Bytes => "bytes",
    }
}
