//! `logitcache verify`

use super::{Status, args::VerifyArgs, print, print_json};
use indicatif::{HumanBytes, HumanCount};
use logitcache::{
    Result,
    cache::{VerifyReport, verify},
};

pub fn run(args: &VerifyArgs) -> Result<Status> {
    let report = verify(&args.cache)?;
    if args.json {
        print_json(&report)?
    } else {
        print(&show(&report))?
    }
    Ok(if report.is_sound() { Status::Done } else { Status::Failed })
}

fn show(report: &VerifyReport) -> String {
    let mut lines: Vec<String> = report.problems.iter().map(|p| format!("{}: {}", p.file, p.problem)).collect();
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    if report.is_sound() {
        lines.push(format!(
            "sound: {} images, {} predictions, {} in {} parts; every byte and every rule of the format checked",
            HumanCount(report.images),
            HumanCount(report.rows),
            HumanBytes(report.bytes),
            HumanCount(report.parts)
        ));
        lines.extend(report.content_sha256.iter().map(|digest| format!("content sha256 {digest}")));
    } else {
        lines.push(format!(
            "{} problems. Restore the named files from a copy, or build again with --overwrite.",
            HumanCount(report.problems.len() as u64)
        ));
    }
    lines.join("\n")
}
