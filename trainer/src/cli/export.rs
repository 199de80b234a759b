//! `logitcache export`

use crate::{Result, student::onnx, train::BEST_WEIGHTS};
use logitcache::cli::{Status, args::ExportArgs, print, read_names};

pub fn run(args: &ExportArgs) -> Result<Status> {
    let source = if args.source.is_dir() { args.source.join(BEST_WEIGHTS) } else { args.source.clone() };
    let names = args.names.as_deref().map(read_names).transpose()?;
    onnx::export_file(&source, names, args.imgsz, &args.out)?;
    print(&format!("{} from {}", args.out.display(), source.display()))?;
    Ok(Status::Done)
}
