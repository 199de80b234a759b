//! Over all images: measuring, choosing, writing.

use super::{
    ClassExpected, SelectOptions, SelectReport, Selected, Strategy,
    choose::choose,
    measure::{Measure, Measured},
    write,
};
use crate::{
    Error, Result,
    cache::{CacheReader, open_finished},
    issues::{census::for_each_chunk, labels::UNLABELLED},
    toolkit::{List, Run, folder::NewFolder},
    words::counted,
};
use rayon::prelude::*;
use std::collections::HashSet;

/// Chooses the images to label next.
///
/// # Errors
/// [`Error::Cache`] of a cache that is unfinished or damaged; [`Error::Mismatch`] where `out` exists, where every image has labels, or
/// where a method needs views that the cache lacks; [`Error::Dataset`] of a list that does not fit; [`Error::Io`],
/// [`Error::NoSpace`] and [`Error::Interrupted`], after which nothing is left.
pub fn select(options: &SelectOptions, run: &Run<'_>) -> Result<SelectReport> {
    if let Some(out) = &options.out {
        NewFolder::refuse_existing(out)?;
    }
    let reader = open_finished(&options.cache)?;
    let manifest = reader.manifest();
    if options.method == Strategy::Disagreement && manifest.settings.views == 0 {
        return Err(Error::Mismatch {
            found: "the method disagreement compares augmented views, and the cache has none".into(),
            remedy: "Build the cache with `views=4`, or choose another `method=`.".into(),
        });
    }
    let labelled = options.labelled.as_deref().map(|list| List::ids(list, &reader)).transpose()?;
    let all = measure(&reader, labelled.as_ref(), run)?;
    let candidates = all.iter().filter(|image| !image.labelled).count();
    if candidates == 0 {
        return Err(Error::Mismatch {
            found: format!("each of the {} has labels", counted(all.len(), "image")),
            remedy: format!(
                "{UNLABELLED} Or name the images that have labels with `labelled=`; all others can then be chosen."
            ),
        });
    }
    let num_classes = manifest.teacher.num_classes as usize;
    let chosen = choose(options.method, &all, options.budget, options.seed, num_classes, run)?;
    let mut notes = Vec::new();
    if chosen.len() < options.budget {
        notes.push(format!("there are only {} without labels: all were chosen", counted(candidates, "image")));
    }
    let selected = chosen.iter().map(|&at| of(&reader, &all[at])).collect::<Result<Vec<_>>>()?;
    let mut report = SelectReport {
        written_by: format!("logitcache {}", env!("CARGO_PKG_VERSION")),
        cache: options.cache.clone(),
        content_sha256: manifest.digests.as_ref().map(|digests| digests.content_sha256.clone()),
        method: options.method,
        labelled_images: (all.len() - candidates) as u64,
        candidates: candidates as u64,
        selected,
        classes: classes(&reader, &all, &chosen),
        notes,
        data_set: None,
    };
    drop(all);
    if let Some(out) = &options.out {
        report.data_set = Some(write::data_set(out, options, &reader, &report, run)?);
    }
    Ok(report)
}

/// Every image in order.
fn measure(reader: &CacheReader, labelled: Option<&HashSet<i64>>, run: &Run<'_>) -> Result<Vec<Measured>> {
    let measure = Measure::new(reader);
    let mut all = Vec::new();
    (run.total)(manifest_images(reader));
    for_each_chunk(reader, run, |chunk| {
        let of = |image: &crate::cache::ImageView<'_>| {
            let labelled = labelled.map_or(image.labels.is_some(), |ids| ids.contains(&image.image_id));
            let measured = measure.of(image, labelled);
            (run.done)(false);
            measured
        };
        all.extend(chunk.par_iter().map(of).collect::<Result<Vec<_>>>()?);
        Ok(())
    })?;
    Ok(all)
}

/// Images of a cache, each counted once.
fn manifest_images(reader: &CacheReader) -> u64 {
    reader.len() as u64 / (u64::from(reader.manifest().settings.views) + 1)
}

fn of(reader: &CacheReader, image: &Measured) -> Result<Selected> {
    let path = reader.image(image.image_id, 0)?.map(|view| view.path.to_owned()).unwrap_or_default();
    let expected_objects = image.objects.iter().map(|(_, count)| f64::from(*count)).sum();
    Ok(Selected {
        image_id: image.image_id,
        path,
        uncertainty_bits: image.uncertainty_bits,
        disagreement: image.disagreement,
        expected_objects,
    })
}

/// Objects of each class.
fn classes(reader: &CacheReader, all: &[Measured], chosen: &[usize]) -> Vec<ClassExpected> {
    let names = reader.manifest().teacher.class_names.iter();
    let class = |(class_id, name): (u32, &String)| ClassExpected {
        name: name.clone(),
        class_id,
        labelled: 0.0,
        candidates: 0.0,
        selected: 0.0,
    };
    let mut classes: Vec<ClassExpected> = (0u32..).zip(names).map(class).collect();
    let mut add = |image: &Measured, to: fn(&mut ClassExpected) -> &mut f64| {
        for &(class, count) in &image.objects {
            if let Some(class) = classes.get_mut(class as usize) {
                *to(class) += f64::from(count);
            }
        }
    };
    for image in all {
        add(image, if image.labelled { |class| &mut class.labelled } else { |class| &mut class.candidates });
    }
    chosen.iter().for_each(|&at| add(&all[at], |class| &mut class.selected));
    classes
}
