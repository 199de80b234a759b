//! `logitcache synth`

use super::{
    Status,
    args::SynthArgs,
    print, print_json,
    progress::{Progress, Unit},
};
use crate::{
    Result,
    dataset::synth::{SynthConfig, SynthSummary, synth},
    words::counted,
};
use indicatif::HumanCount;
use std::{
    num::NonZeroU32,
    ops::ControlFlow,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

pub fn run(args: &SynthArgs, quiet: bool) -> Result<Status> {
    let stop = super::stop_on_ctrl_c();
    let progress = Mutex::new(Progress::new(u64::from(args.images.get()), Unit::Images, quiet));
    let config = SynthConfig {
        images: args.images.get(),
        imgsz: args.imgsz,
        seed: args.seed,
        labelled: args.labelled.map(NonZeroU32::get),
        overwrite: args.overwrite,
    };
    let summary = synth(&args.out, &config, &|_| {
        progress.lock().unwrap_or_else(PoisonError::into_inner).advance(false);
        if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    let summary = summary?;
    if args.json {
        print_json(&summary)?
    } else {
        print(&show(&summary))?
    }
    Ok(Status::Done)
}

fn show(s: &SynthSummary) -> String {
    let objects: usize = s.objects.iter().map(|class| class.objects as usize).sum();
    let classes: Vec<_> = s.objects.iter().map(|class| format!("{} {}", class.name, class.objects)).collect();
    let labelled = s.labelled_yaml.as_ref().map(|path| format!("{}\n", path.display())).unwrap_or_default();
    let unlabelled = match s.unlabelled_images {
        0 => String::new(),
        n => format!(" ({} without labels)", HumanCount(n)),
    };
    format!(
        "{}\n{labelled}{} train{unlabelled} and {}, {} ({} small): {}",
        s.data_yaml.display(),
        HumanCount(s.train_images),
        counted(s.val_images, "val image"),
        counted(objects, "object"),
        HumanCount(s.small_objects),
        classes.join(", ")
    )
}
