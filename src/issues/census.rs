//! Which images of a cache are labelled, and a sample of them to learn from.

use super::{labels::Labels, seen::Seen};
use crate::{
    Result,
    cache::{CacheReader, ImageView, Teacher},
    eval::evenly,
    toolkit::Run,
    types::{Failure, FailureStage},
};
use rayon::prelude::*;

/// Images that the scores are calibrated by and the weights are learned from.
const SAMPLE: usize = 2000;
/// Images that are judged at once: what is held in memory beside the sample.
const CHUNK: usize = 128;

/// View 0 of every image, a few at a time.
///
/// # Errors
/// [`crate::Error::Cache`] of a damaged cache, [`crate::Error::Interrupted`], and those of `take`.
pub(crate) fn for_each_chunk(
    reader: &CacheReader,
    run: &Run<'_>,
    mut take: impl FnMut(&[ImageView<'_>]) -> Result<()>,
) -> Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    for image in reader.images() {
        let image = image?;
        if image.view != 0 {
            continue;
        }
        chunk.push(image);
        if chunk.len() == CHUNK {
            run.go_on()?;
            take(&chunk)?;
            chunk.clear();
        }
    }
    run.go_on()?;
    take(&chunk)
}

/// Which images are there to be judged.
#[derive(Default)]
pub(crate) struct Census {
    /// Of every image in order, whether it is labelled.
    pub(crate) labelled: Vec<bool>,
    /// Labels of all of them.
    pub(crate) labels: u64,
    /// Images whose labels cannot be read; they count as not labelled.
    pub(crate) failures: Vec<Failure>,
}

impl Census {
    /// # Errors
    /// As of [`for_each_chunk`].
    pub(crate) fn take(reader: &CacheReader, labels: &Labels<'_>, run: &Run<'_>) -> Result<Self> {
        let mut census = Self::default();
        for_each_chunk(reader, run, |chunk| {
            let counts: Vec<_> = chunk.par_iter().map(|image| Ok(labels.get(image)?.map(|own| own.len()))).collect();
            for (image, count) in chunk.iter().zip(counts) {
                let count = count.unwrap_or_else(|reason| {
                    let (image_id, path, stage) = (image.image_id, image.path.to_owned(), FailureStage::Labels);
                    census.failures.push(Failure { image_id, path, stage, reason });
                    None
                });
                census.labelled.push(count.is_some());
                census.labels += count.unwrap_or_default() as u64;
            }
            Ok(())
        })?;
        Ok(census)
    }

    /// Labelled images.
    pub(crate) fn images(&self) -> usize {
        self.labelled.iter().filter(|labelled| **labelled).count()
    }

    /// At most [`SAMPLE`] labelled images, evenly spread over the cache.
    ///
    /// # Errors
    /// As of [`for_each_chunk`].
    pub(crate) fn sample(&self, reader: &CacheReader, labels: &Labels<'_>, run: &Run<'_>) -> Result<Vec<Seen>> {
        let labelled = (0..self.labelled.len()).filter(|&at| self.labelled.get(at) == Some(&true));
        let mut wanted = evenly(labelled.collect(), SAMPLE).into_iter().peekable();
        let (mut at, mut sample) = (0, Vec::new());
        for_each_chunk(reader, run, |chunk| {
            for image in chunk {
                if wanted.next_if_eq(&at).is_some() {
                    sample.extend(see(image, &reader.manifest().teacher, labels));
                }
                at += 1;
            }
            Ok(())
        })?;
        Ok(sample)
    }
}

/// An image with its labels; `None` without any that can be read.
pub(crate) fn see(image: &ImageView<'_>, teacher: &Teacher, labels: &Labels<'_>) -> Option<Seen> {
    Some(Seen::of(image, teacher, labels.get(image).ok()??))
}
