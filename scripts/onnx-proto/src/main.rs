//! Writes `src/detector/onnx/proto.rs` of the main crate: `cargo run --manifest-path scripts/onnx-proto/Cargo.toml`.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile([here.join("onnx.proto")], [here])?;
    let out = std::env::temp_dir().join(format!("onnx-proto-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    // Weights are by far the largest fields: as `Bytes` they stay slices of the file's buffer.
    prost_build::Config::new()
        .bytes([".onnx.TensorProto.raw_data"])
        .disable_comments(["."])
        .out_dir(&out)
        .compile_fds(files)?;
    let code = fs::read_to_string(out.join("onnx.rs"))?;
    let header = "//! ONNX messages, generated from `scripts/onnx-proto/onnx.proto` by `cargo run --manifest-path scripts/onnx-proto/Cargo.toml`.\n\n#![allow(missing_docs, clippy::all)]\n\n";
    fs::write(here.join("../../src/detector/onnx/proto.rs"), format!("{header}{code}"))?;
    fs::remove_dir_all(&out)?;
    Ok(())
}
