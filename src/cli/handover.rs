//! `train` and `export` run in a second executable, `logitcache-train`, so that no other command loads libtorch.

use super::Status;
use crate::{Error, Result};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

const NAME: &str = "logitcache-train";

/// Becomes the trainer, with the arguments that this process was given.
///
/// # Errors
/// [`Error::Trainer`] where the trainer or the libtorch that it was built for is not there.
pub fn to_trainer() -> Result<Status> {
    let trainer = trainer()?;
    become_it(Command::new(&trainer).args(env::args_os().skip(1)), &trainer)
}

/// The trainer's executable, which lies beside this one.
///
/// # Errors
/// [`Error::Trainer`] where it is not there.
pub fn trainer() -> Result<PathBuf> {
    let here = env::current_exe().map_err(|e| Error::io(NAME, "find", e))?;
    let trainer = here.with_file_name(NAME);
    if trainer.is_file() {
        return Ok(trainer);
    }
    Err(Error::Trainer {
        found: format!("{} was not found", trainer.display()),
        remedy: "Build it: `make setup`, then `cargo build --release`.".into(),
    })
}

#[cfg(unix)]
fn become_it(command: &mut Command, trainer: &Path) -> Result<Status> {
    use std::os::unix::process::CommandExt;
    // Comes back only where it failed; otherwise signals and the exit status are the trainer's own.
    Err(Error::io(trainer, "run", command.exec()))
}

#[cfg(not(unix))]
fn become_it(command: &mut Command, trainer: &Path) -> Result<Status> {
    let status = command.status().map_err(|e| Error::io(trainer, "run", e))?;
    std::process::exit(status.code().unwrap_or(Status::Failed as i32))
}
