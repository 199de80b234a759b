//! Where the pieces of this installation lie: beside the executable, or in a Python environment.

use std::{env, io, path::PathBuf, process::Command, sync::OnceLock};

static PACKAGE: OnceLock<Package> = OnceLock::new();

/// The Python package `logitcache`, inside whose interpreter the program then runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The interpreter.
    pub python: PathBuf,
    /// The folder that holds the package and, with `pip install`, those that it needs.
    pub site_packages: PathBuf,
    /// The folder of the ONNX Runtime library in the package `onnxruntime`; none where that is not installed.
    pub onnxruntime: Option<PathBuf>,
}

/// Tells the program that it runs from the Python package. The first call counts.
pub fn run_from(package: Package) {
    // A second one comes from the same interpreter and says the same.
    let _ = PACKAGE.set(package);
}

/// The package that the program runs from; `None` for an executable of its own.
pub fn package() -> Option<&'static Package> {
    PACKAGE.get()
}

/// A command that starts this program again.
///
/// # Errors
/// Where the system does not tell which executable this is.
pub fn program() -> io::Result<Command> {
    let Some(package) = package() else { return env::current_exe().map(Command::new) };
    let mut command = Command::new(&package.python);
    // -P: a folder `logitcache` in the current folder is not the package.
    command.args(["-P", "-m", "logitcache"]);
    Ok(command)
}
