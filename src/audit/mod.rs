//! `audit`: is training from the cache the same as training with the live teacher?
//!
//! The teacher runs again over a sample of the cache's images. For every distillation loss the gradient with respect to the student's
//! logits is computed twice, from what the cache holds and from everything that the live teacher says, and the two are compared.
//! Beside that: what the selection left out, what float16 costs, whether stored values are still those of the teacher.

mod ciou;
mod gradient;
mod image;
mod report;
mod run;

pub use gradient::{Agreement, HeadRows, Student, Targets, Term, gradient};
pub use report::{AuditReport, BlankImages, DriftReport, DroppedShares, Limits, LostCosine, TermFidelity, WorstImage};
pub use run::{Audit, AuditOptions};
