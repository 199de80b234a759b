//! `logitcache select`

use super::{
    Status,
    args::SelectArgs,
    data::{notes, show, some_failed, summary, with_progress},
    output,
};
use crate::{
    Result,
    select::{self, ClassExpected, SelectOptions, SelectReport, Selected},
    words::{SHOWN, counted},
};
use indicatif::HumanCount;

pub fn run(args: &SelectArgs, quiet: bool) -> Result<Status> {
    let options = SelectOptions {
        cache: args.cache.clone(),
        budget: args.budget,
        method: args.method,
        labelled: args.labelled.clone(),
        seed: args.seed,
        data: args.data.clone(),
        images_dir: args.images.clone(),
        out: args.out.clone(),
        to: args.to,
        link: args.link,
    };
    let report = with_progress(quiet, |run| select::select(&options, run))?;
    notes(quiet, &report.notes);
    show(args.json, &report, || shown(&report))?;
    Ok(report.data_set.as_ref().map_or(Status::Done, |manifest| some_failed(&manifest.failures)))
}

fn shown(report: &SelectReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{} of {} without labels ({} have labels); method {}",
        counted(report.selected.len() as u64, "image"),
        HumanCount(report.candidates),
        HumanCount(report.labelled_images),
        report.method.as_str()
    )];
    let row = |(rank, image): (usize, &Selected)| {
        vec![
            (rank + 1).to_string(),
            format!("{:.1}", image.uncertainty_bits),
            image.disagreement.map_or_else(String::new, |value| format!("{value:.2}")),
            format!("{:.1}", image.expected_objects),
            image.path.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = report.selected.iter().take(SHOWN).enumerate().map(row).collect();
    let head = ["", "uncertainty (bits)", "disagreement", "expected objects", "image"];
    lines.push(output::table(&head, &[true, true, true, true, false], &rows));
    if report.selected.len() > SHOWN {
        let more = HumanCount((report.selected.len() - SHOWN) as u64);
        lines.push(format!("... and {more} more (--json and --out have them)"));
    }
    let row = |class: &ClassExpected| {
        let numbers = [class.labelled, class.candidates, class.selected].map(|value| format!("{value:.0}"));
        [class.name.clone()].into_iter().chain(numbers).collect()
    };
    let seen = report.classes.iter().filter(|class| class.labelled + class.candidates >= 0.5);
    let rows: Vec<Vec<String>> = seen.map(row).collect();
    let head = ["objects", "labelled", "expected on candidates", "on the chosen"];
    lines.push(output::table(&head, &[false, true, true, true], &rows));
    report.data_set.iter().for_each(|manifest| lines.extend(summary(manifest)));
    lines
}
