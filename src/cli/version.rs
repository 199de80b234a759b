//! `logitcache --version`: the program and the libraries that it finds. `-V` gives the version alone.

use super::handover;
use crate::{detector::runtime, install};
use std::process::{Command, Stdio};

/// "logitcache 0.1.0", then a line for ONNX Runtime and one for the trainer; what is missing is told as missing.
pub fn long() -> String {
    format!("{}\nONNX Runtime  {}\ntrainer       {}", env!("CARGO_PKG_VERSION"), onnx_runtime(), trainer())
}

fn onnx_runtime() -> String {
    match runtime::init(None) {
        Ok(runtime) => format!("{} at {}", runtime.version, runtime.path.display()),
        Err(error) => first_line(&format!("not found: {error}")),
    }
}

/// What the trainer's executable says of itself: only it loads libtorch.
fn trainer() -> String {
    let trainer = match handover::trainer() {
        Ok(trainer) => trainer,
        Err(_) if install::package().is_none() => return "not installed".into(),
        // The package has a trainer; what it lacks is PyTorch.
        Err(error) => return first_line(&format!("cannot be used: {error}")),
    };
    let output = Command::new(&trainer).arg("--version").stdin(Stdio::null()).output();
    let says = match &output {
        Ok(output) if output.status.success() => first_line(&String::from_utf8_lossy(&output.stdout)),
        Ok(output) => format!("cannot be used: {}", first_line(&String::from_utf8_lossy(&output.stderr))),
        Err(error) => format!("cannot be used: {error}"),
    };
    format!("{says} at {}", trainer.display())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}
