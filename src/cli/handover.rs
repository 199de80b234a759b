//! `train` and `export` run in a second executable, `logitcache-train`, so that no other command loads libtorch.

use super::Status;
use crate::{
    Error, Result,
    install::{self, Package},
};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const NAME: &str = "logitcache-train";

/// The release of PyTorch whose libtorch the trainer is built for; another one may have other functions or other layouts.
const TORCH: &str = "2.11.0";

/// Becomes the trainer, with these arguments.
///
/// # Errors
/// [`Error::Trainer`] where the trainer or the libtorch that it was built for is not there.
pub fn to_trainer(arguments: &[OsString]) -> Result<Status> {
    let trainer = trainer()?;
    become_it(Command::new(&trainer).args(arguments), &trainer)
}

/// The trainer's executable, which lies beside this one, or in the Python package.
///
/// # Errors
/// [`Error::Trainer`] where it is not there, or where the package has no PyTorch beside it that it can use.
pub fn trainer() -> Result<PathBuf> {
    if let Some(package) = install::package() {
        return of_package(package);
    }
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

/// The trainer of the Python package. It finds libtorch in `torch/lib` beside the package (its RPATH says so), and would
/// start with whatever version lies there.
fn of_package(package: &Package) -> Result<PathBuf> {
    let refuse = |found: String, remedy: &str| Err(Error::Trainer { found, remedy: remedy.into() });
    let trainer = package.site_packages.join("logitcache").join("bin").join(NAME);
    if !trainer.is_file() {
        return refuse(
            format!("this installation has no trainer: {} was not found", trainer.display()),
            "Install a wheel of logitcache that has it (Linux), or build from source (docs/how-to/install.md).",
        );
    }
    let torch = package.site_packages.join("torch");
    let remedy = "Install the version that the trainer was built for: pip install \"logitcache[train]\".";
    let Ok(text) = fs::read_to_string(torch.join("version.py")) else {
        return refuse(format!("the trainer needs PyTorch {TORCH}, and {} was not found", torch.display()), remedy);
    };
    match torch_version(&text) {
        // 2.11.0+cpu is the same release, built for another device.
        Some(version) if version.split('+').next() == Some(TORCH) => Ok(trainer),
        version => refuse(
            format!(
                "the trainer needs PyTorch {TORCH}; {} is version {}",
                torch.display(),
                version.unwrap_or("unknown")
            ),
            remedy,
        ),
    }
}

/// What `torch/version.py` says: `__version__ = '2.11.0+cu130'`.
fn torch_version(text: &str) -> Option<&str> {
    let value = text.lines().find_map(|line| line.strip_prefix("__version__")?.trim_start().strip_prefix('='))?;
    Some(value.trim().trim_matches(['\'', '"']))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_has_the_trainer_and_the_release_of_torch_that_it_was_built_for() {
        let dir = tempfile::tempdir().unwrap();
        let package = Package { python: PathBuf::new(), site_packages: dir.path().to_owned(), onnxruntime: None };
        let refused = |parts: &[&str]| {
            let error = of_package(&package).unwrap_err().to_string();
            parts.iter().for_each(|part| assert!(error.contains(part), "{part} is missing in: {error}"));
        };
        refused(&["no trainer", "logitcache/bin/logitcache-train"]);
        fs::create_dir_all(dir.path().join("logitcache/bin")).unwrap();
        fs::write(dir.path().join("logitcache/bin/logitcache-train"), "").unwrap();
        refused(&["needs PyTorch 2.11.0", "torch was not found", "logitcache[train]"]);
        fs::create_dir(dir.path().join("torch")).unwrap();
        let version = |text: &str| fs::write(dir.path().join("torch/version.py"), text).unwrap();
        version("from typing import Optional\n__version__ = '2.11.1+cu130'\ncuda = '13.0'\n");
        refused(&["needs PyTorch 2.11.0", "is version 2.11.1+cu130"]);
        version("debug = False\n");
        refused(&["is version unknown"]);
        for same in ["__version__ = '2.11.0+cu130'\n", "__version__ = \"2.11.0\"\n"] {
            version(same);
            assert!(of_package(&package).is_ok());
        }
    }

    #[test]
    fn the_release_of_torch_is_that_of_the_environment_it_is_built_in() {
        let pinned = include_str!("../../requirements/train.txt");
        assert!(pinned.lines().any(|line| line == format!("torch=={TORCH}")));
    }
}
