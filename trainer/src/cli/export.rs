//! `logitcache export`

use crate::{
    Error, Result,
    outputs::{self, OutputFile},
    student::onnx,
};
use logitcache::{
    cache::MANIFEST_NAME,
    cli::{Status, args::ExportArgs, output, print, read_names},
    run::{BEST_WEIGHTS, CONFIG_NAME, LAST_WEIGHTS},
};
use std::path::{Path, PathBuf};

pub fn run(args: &ExportArgs, quiet: bool) -> Result<Status> {
    outputs::refuse_foreign_file(&args.out, OutputFile::Onnx, args.overwrite)?;
    let source = weights_of(&args.source)?;
    if !quiet && source.ends_with(LAST_WEIGHTS) && args.source.is_dir() {
        output::note("note: no epoch of this run was validated yet: these are its last weights");
    }
    let names = args.names.as_deref().map(read_names).transpose()?;
    onnx::export_file(&source, names, args.imgsz, &args.out)?;
    print(&format!("{} from {}", args.out.display(), source.display()))?;
    Ok(Status::Done)
}

/// The file to export: of a run its best weights, else its last ones.
fn weights_of(source: &Path) -> Result<PathBuf> {
    let refuse = |found: &str, remedy: &str| {
        Err(Error::Run { path: source.to_owned(), found: found.to_owned(), remedy: remedy.to_owned() })
    };
    let suffix = source.extension().unwrap_or_default().to_ascii_lowercase();
    if suffix == "onnx" {
        return refuse(
            "this is an ONNX file already",
            "Copy it, or give the run or the weights that it was made from.",
        );
    }
    if !source.is_dir() {
        return Ok(source.to_owned());
    }
    let weights = [BEST_WEIGHTS, LAST_WEIGHTS].map(|name| source.join(name)).into_iter().find(|path| path.is_file());
    match weights {
        Some(weights) => Ok(weights),
        None if source.join(MANIFEST_NAME).is_file() => refuse(
            "this is a cache: it holds a teacher's outputs, not weights",
            "Train a student from it (`logitcache train --cache`), and export that run.",
        ),
        None if source.join(CONFIG_NAME).is_file() => refuse(
            "no epoch of this run is finished, so there are no weights yet",
            "Resume the run: `logitcache train --resume`.",
        ),
        None => refuse(
            "this folder is not a run of `logitcache train`",
            "Give a run's folder, or a .safetensors or .pt file.",
        ),
    }
}
