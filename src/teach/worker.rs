//! The build's part of the pipeline: the teacher runs, anchors are selected, a record is made.

use super::select::{Selected, Selector};
use crate::{
    cache::ImageRecord,
    detector::DetectorSession,
    pipeline::{Outcome, Prepared, Worker},
    types::{Failure, FailureStage, TruthBox},
};

/// One session with its selector; owned by one thread.
pub struct TeacherWorker {
    /// Runs the teacher.
    pub session: DetectorSession,
    /// Selects anchors.
    pub selector: Selector,
    /// Images per run.
    pub batch: usize,
}

impl Worker for TeacherWorker {
    type Output = Box<ImageRecord>;

    /// Always runs the full batch, so that an image's result does not depend on how many came with it.
    fn run(&mut self, pixels: &[f32], images: Vec<Outcome<Prepared>>) -> Vec<Outcome<Self::Output>> {
        let Self { session, selector, batch } = self;
        let heads = session.run(*batch, pixels);
        let teach_one = |(i, image): (usize, Outcome<Prepared>)| {
            let image = image?;
            let selected = match &heads {
                Ok(heads) => heads.view(i).and_then(|head| selector.select_with(head, image.to_image())),
                Err(reason) => Err(reason.to_string()),
            };
            match selected {
                Ok(selected) => Ok(Box::new(record(image, selected))),
                Err(reason) => {
                    let reason = if image.view == 0 { reason } else { format!("view {}: {reason}", image.view) };
                    Err(Failure { image_id: image.image_id, path: image.path, stage: FailureStage::Teacher, reason })
                }
            }
        };
        images.into_iter().enumerate().map(teach_one).collect()
    }
}

/// Joins what is known of the image with what the teacher said.
fn record(image: Prepared, selected: Selected) -> ImageRecord {
    ImageRecord {
        image_id: image.image_id,
        view: image.view,
        path: image.path,
        size: image.plan.image,
        file_sha256: image.file_sha256,
        letterbox: image.plan.letterbox,
        change: image.change,
        dropped_max_score: selected.dropped_max_score,
        dropped_mean_prob: selected.dropped_mean_prob,
        dropped_score_sum: selected.dropped_score_sum,
        rest_mean_prob: selected.rest_mean_prob,
        labels: image.truth.map(|truth| truth.iter().filter_map(TruthBox::label).collect()),
        predictions: selected.predictions,
    }
}
