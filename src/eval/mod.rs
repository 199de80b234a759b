//! What a detector is worth: detections from raw head outputs, scores against the ground truth.
//!
//! [`detect`] decodes one image's head outputs and suppresses doubles, exactly as Ultralytics does; it needs no ONNX Runtime, so a
//! student in training is judged by the same code as a finished file. [`Inference`] runs an ONNX file over images through the pipeline that
//! `build` uses. [`score`] holds detections against the truth, [`compare`] two models against chance, and [`Eval`] does all of it for
//! several models on one data set. [`TeacherSight`] says what a cache tells of its teacher.

mod agreement;
mod bootstrap;
mod cached;
mod calibration;
mod coco;
mod confidence;
mod curves;
mod frontier;
mod inference;
mod latency;
mod matches;
mod memory;
mod nms;
mod report;
mod run;
mod score;
mod table;

pub use agreement::{PAIRED_IOU, disagreement};
pub use bootstrap::{COVERAGE, Comparison, Difference, NUM_DRAWS, compare};
pub use cached::{Quantiles, TeacherSight, entropy_bits, evenly, row_detections, scored_image, teacher_boxes};
pub use calibration::{Calibration, ScoreBin};
pub use curves::PrecisionRecall;
pub use inference::{DetectedImage, Inference, InferenceOptions};
pub use latency::{Latency, latency};
pub(crate) use latency::{TimedSession, WARM_UP_RUNS, thread_counts};
pub use matches::Matches;
pub use memory::memory_of_session;
pub use nms::{Candidate, NmsOptions, before_suppression, detect, kept_rows};
pub use report::{EvalReport, EvalSettings, ModelReport};
pub use run::{Eval, EvalOptions};
pub use score::{BestF1, ClassScores, CocoScores, ScoredImage, Scores, SmallObjects, score, score_and_matches};
