//! The cache on disk: records, writer, manifest, mapped reader, verification. `docs/format.md` is the normative description.

mod record;

pub use record::{ImageRecord, Predictions};
