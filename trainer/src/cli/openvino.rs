//! OpenVINO's intermediate representation, made by the user's own Python package `openvino`.

use crate::{Error, Result, fsio, outputs::ONNX_PRODUCER};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// The interpreter on the PATH: that of the environment which is active.
const PYTHON: &str = "python3";

/// The ONNX file comes in, the .xml and the .bin go out, each after its length: what writes files is Rust.
const PROGRAM: &str = r#"
import io, pathlib, sys, tempfile
import openvino
half, name = sys.argv[1] == "half", sys.argv[2]
model = openvino.convert_model(io.BytesIO(sys.stdin.buffer.read()))
model.set_friendly_name(name)
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "model.xml")
    openvino.save_model(model, path, compress_to_fp16=half)
    for part in (path.read_bytes(), path.with_suffix(".bin").read_bytes()):
        sys.stdout.buffer.write(len(part).to_bytes(8, "little") + part)
"#;

/// What Python says last where the package is not there.
const NO_PACKAGE: &str = "ModuleNotFoundError: No module named 'openvino'";

/// Writes `onnx`, the bytes of a model, as `out` (.xml) and the .bin beside it; with `half` its weights are float16.
///
/// # Errors
/// [`Error::Trainer`] where Python or its package `openvino` is not there, or fails; [`Error::Io`].
pub fn write(onnx: &[u8], half: bool, out: &Path) -> Result<()> {
    let refuse = |found: String, remedy: &str| Error::Trainer { found, remedy: remedy.to_owned() };
    let install = "Install it (pip install openvino) in the Python environment that is active, or write ONNX, which \
        OpenVINO reads as well: leave `format=` out.";
    let child = Command::new(PYTHON)
        .args(["-c", PROGRAM, if half { "half" } else { "float" }, ONNX_PRODUCER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.map_err(|error| refuse(format!("{PYTHON} cannot be run: {error}"), install))?;
    // Everything is read before anything is written, so neither waits for the other. A program that ended early says why below.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(onnx));
    let output = child.wait_with_output().map_err(|error| Error::io(PYTHON, "run", error))?;
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it gave no files").trim();
    if !output.status.success() && last == NO_PACKAGE {
        return Err(refuse(format!("{PYTHON} has no package openvino, which makes OpenVINO files"), install));
    }
    let [xml, bin] = parts(&output.stdout).filter(|_| output.status.success()).ok_or_else(|| {
        refuse(
            format!("{PYTHON} with the package openvino failed: {last}"),
            "Check that this Python runs, try a newer openvino, or write ONNX: leave `format=` out.",
        )
    })?;
    fsio::write_atomic(&out.with_extension("bin"), bin)?;
    Ok(fsio::write_atomic(out, xml)?)
}

fn parts(bytes: &[u8]) -> Option<[&[u8]; 2]> {
    let part = |bytes: &'_ [u8]| -> Option<usize> {
        let length = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
        usize::try_from(length).ok()?.checked_add(8)
    };
    let (xml, rest) = bytes.split_at_checked(part(bytes)?)?;
    let (bin, rest) = rest.split_at_checked(part(rest)?)?;
    rest.is_empty().then_some([&xml[8..], &bin[8..]])
}
