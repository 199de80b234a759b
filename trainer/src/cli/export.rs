//! `logitcache export`

use super::{check, openvino};
use crate::{
    Error, Result,
    dataset::Dataset,
    outputs::{self, OutputFile},
    student::onnx::{self, ExportOptions, NmsInside},
};
use logitcache::{
    cache::MadeFolder,
    cli::{
        Status,
        args::{ExportArgs, ExportFormat},
        output, print, read_names,
    },
    detector::runtime,
    run::{BEST_WEIGHTS, CONFIG_NAME, LAST_WEIGHTS, RunConfig},
    words::counted,
};
use std::path::{Path, PathBuf};

pub fn run(args: &ExportArgs, quiet: bool) -> Result<Status> {
    refuse_output(args)?;
    let source = weights_of(&args.source)?;
    let inputs = [Some(&args.source), Some(&source), args.names.as_ref(), args.check.as_ref()];
    for out in [&args.out, &args.out.with_extension("bin")] {
        outputs::refuse_input(out, inputs.into_iter().flatten().map(PathBuf::as_path))?;
    }
    // Nothing is written where it could not be checked.
    let pictures = match &args.check {
        Some(place) => {
            runtime::init(args.ort_lib.as_deref())?;
            Some(Dataset::of_pictures(std::slice::from_ref(place))?)
        }
        None => None,
    };
    if !quiet && source.ends_with(LAST_WEIGHTS) && args.source.is_dir() {
        output::note("note: no epoch of this run was validated yet: these are its last weights");
    }
    let names = args.names.as_deref().map(read_names).transpose()?;
    let options = options(args);
    let (state, description) = onnx::source(&source, names, args.imgsz)?;
    match args.format {
        ExportFormat::Onnx => onnx::export(&args.out, &state, &description, &options)?,
        // OpenVINO rounds the weights itself.
        ExportFormat::Openvino => {
            let float = onnx::bytes(&state, &description, &ExportOptions { half: false, ..options })?;
            openvino::write(&float, options.half, &args.out)?;
        }
    }
    print(&format!("{} from {}", args.out.display(), source.display()))?;
    let Some(pictures) = pictures else { return Ok(Status::Done) };
    let found = check::run(&args.out, &state, description.imgsz, &options, &pictures, args.ort_lib.as_deref())?;
    let alone = match options.nms {
        Some(_) => format!(", {} that only one of the two has", counted(found.alone, "detection")),
        None => String::new(),
    };
    print(&format!(
        "checked on {}, {}: the largest difference from the student is {:.2e} in a probability, {:.2e} px in a box{alone}",
        counted(found.images, "image"),
        counted(found.boxes, "box"),
        found.score,
        found.box_px,
    ))?;
    if found.boxes == 0 {
        output::note("note: the student sees nothing on these images, so no box was compared");
    }
    if found.are_small(&options) {
        return Ok(Status::Done);
    }
    output::note("error: this is more than rounding makes: do not use the file");
    Ok(Status::SomeFailed)
}

fn options(args: &ExportArgs) -> ExportOptions {
    let nms = NmsInside { conf: args.conf, iou: args.iou, max_det: args.max_det.get() };
    ExportOptions { half: args.half, dynamic: args.dynamic, nms: args.nms.then_some(nms), opset: args.opset }
}

/// What may not be written, or not so.
fn refuse_output(args: &ExportArgs) -> Result<()> {
    let mismatch = |found: String, remedy: &str| Err(Error::Mismatch { found, remedy: remedy.to_owned() });
    let ExportFormat::Openvino = args.format else {
        return outputs::refuse_foreign_file(&args.out, OutputFile::Onnx, args.overwrite);
    };
    if args.out.extension().is_none_or(|extension| extension != "xml") {
        return mismatch(
            format!("{} is not the name of an .xml file, which an OpenVINO file is", args.out.display()),
            "Give `out=` a name that ends with .xml; the .bin is written beside it.",
        );
    }
    if args.check.is_some() {
        return mismatch(
            "ONNX Runtime, which runs the check, does not read OpenVINO files".to_owned(),
            "Leave `check=` out, or check the ONNX file: leave `format=` out.",
        );
    }
    outputs::refuse_foreign_file(&args.out, OutputFile::Openvino, args.overwrite)?;
    let weights = args.out.with_extension("bin");
    if !args.overwrite && !args.out.exists() && weights.exists() {
        return mismatch(
            format!("{} already exists, and this program did not write it", weights.display()),
            "Choose another `out=`, or replace it with `overwrite=true`.",
        );
    }
    Ok(())
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
    if RunConfig::load(source)?.is_some_and(|config| config.qat_sha256.is_some()) {
        return refuse(
            "this run was trained for 8-bit integers, and the file that computes with them is its best.onnx",
            "Use best.onnx. For a float32 file of its weights name them: weights/best.safetensors.",
        );
    }
    let weights = [BEST_WEIGHTS, LAST_WEIGHTS].map(|name| source.join(name)).into_iter().find(|path| path.is_file());
    match weights {
        Some(weights) => Ok(weights),
        None if MadeFolder::of(source) == Some(MadeFolder::Cache) => refuse(
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
