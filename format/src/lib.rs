//! The cache on disk: records, writer, manifest, mapped reader, verification. `docs/format.md` is the normative
//! description.
//!
//! [`CacheReader`] opens a cache; [`PartWriter`] and [`Manifest`] make one; [`verify()`] checks one completely.
//!
//! ```
//! # fn main() -> Result<(), logitcache_format::Error> {
//! # let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/cache-v1"));
//! let cache = logitcache_format::CacheReader::open(folder)?;
//! for image in cache.images() {
//!     let image = image?;
//!     // Columns are slices of the memory map; nothing was copied yet.
//!     for (score, b) in logitcache_format::decode_f32(image.predictions.scores).zip(image.predictions.boxes_xyxy_px()) {
//!         assert!((0.0..=1.0).contains(&score) && b.x1 <= b.x2);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod archive;
mod checked;
mod codebook;
pub mod columns;
mod digest;
mod error;
mod footer;
pub mod fsio;
mod grid;
mod head;
mod input_rule;
mod input_size;
mod leftovers;
pub mod limits;
mod made;
mod manifest;
mod manifest_file;
mod map;
mod name_map;
mod odds;
mod pages;
mod part;
pub mod paths;
mod reader;
mod record;
mod row_group;
mod shards;
mod storage;
mod table_file;
pub mod types;
mod verify;
mod view;
mod writer;

pub use checked::{content_digests, for_each_image, part_digests};
pub use codebook::{Codebook, lower_sides};
pub use digest::{ContentHasher, ImageDigests, Sha256Bytes, labels_digest, record_digest, to_hex};
pub use error::{Error, Result};
pub use grid::{Cell, Grid, Level, expected_bin};
pub use head::{HeadKind, Places};
pub use input_rule::{Colours, Fit, InputRule, InputValues};
pub use leftovers::{clear, is_part, is_part_set_aside, remove_leftovers};
pub use made::{MadeFolder, RUN_CONFIG_NAME, RUN_WEIGHTS_FOLDER};
pub use manifest::{
    ARCHIVE_FEATURE, ContentDigests, DETECT, DatasetInfo, FORMAT_NAME, FORMAT_VERSION, FileEntry, Format,
    KNOWN_FEATURES, KNOWN_TASKS, LabelsState, Manifest, MissingLabels, PartEntry, SettingDifference, Settings, Teacher,
};
pub use manifest_file::{MANIFEST_NAME, manifest_path};
#[doc(hidden)]
pub use map::Map;
pub use name_map::NameMap;
pub use odds::{log_odds, sigmoid};
pub use reader::CacheReader;
pub use record::{ImageKey, ImageRecord, Predictions, rows_with_class_logits};
pub use shards::{JOB_NAME, MAX_SHARDS, Publication, SHARDS_FOLDER, Shard, ShardJob, ShardRecord, ShardedCache};
pub use storage::{Bytes, Folder, Publish, Storage};
pub use verify::{Problem, VerifyReport, ViewRule, verify, verify_with_progress};
pub use view::{ImageView, LabelColumns, PredictionColumns, Values, decode_f16, decode_f32, decode_i32};
pub use writer::{PartWriter, ROW_GROUP_BYTES, ROW_GROUP_IMAGES};

/// What to do about a damaged file.
const REMEDY_VERIFY: &str =
    "Run `verify()` to see what is damaged; restore those files from a copy, or build again with `overwrite=true`.";
