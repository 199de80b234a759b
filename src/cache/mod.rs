//! The cache on disk: records, writer, manifest, mapped reader, verification. `docs/format.md` is the normative description.

pub mod columns;
mod digest;
mod footer;
mod manifest;
mod manifest_file;
mod map;
mod pages;
mod record;
mod row_group;
mod table_file;
mod writer;

pub use digest::{ContentHasher, ImageDigests, Sha256Bytes, labels_digest, record_digest};
pub use manifest::{
    ContentDigests, DatasetInfo, FORMAT_NAME, FORMAT_VERSION, FileEntry, Format, KNOWN_FEATURES, LabelsState, Manifest,
    MissingLabels, PartEntry, SettingDifference, Settings, Teacher,
};
pub use manifest_file::{MANIFEST_NAME, manifest_path};
pub use record::{ImageRecord, Predictions};
pub use writer::PartWriter;

/// What to do about a damaged file.
const REMEDY_VERIFY: &str =
    "Run `logitcache verify` to see what is damaged; restore those files from a copy, or build again with --overwrite.";
