//! The largest numbers that a cache may have (`docs/format.md`, "Limits"). `tests/schemas.rs` reads that page and
//! compares: a limit that changes here alone fails there.

/// Views of an image beside the image itself.
pub const MAX_VIEWS: u32 = 1000;
/// Values in the list of one row (classes, DFL bins of four sides).
pub const MAX_LIST_LEN: usize = 1 << 16;
/// Strides of a head.
pub const MAX_STRIDES: usize = 16;
/// Predictions of a head for one image; their numbers are INT32.
pub const MAX_ANCHORS: u64 = i32::MAX as u64;
/// Rows of an image, its labels, and bytes of its path.
pub const MAX_ROWS_OF_IMAGE: usize = 1 << 24;
/// Rows of a row group.
pub const MAX_ROWS_OF_GROUP: u64 = i32::MAX as u64;
/// Bytes of a page: more would overflow Parquet's 32-bit sizes.
pub const MAX_PAGE_BYTES: i64 = i32::MAX as i64;
/// Bytes of a manifest; a longer one is refused before memory is taken for it.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 30;
/// Bytes of a footer: 4,096 row groups of 32 columns need a tenth of it.
pub const MAX_FOOTER_BYTES: usize = 1 << 28;
/// Elements of a schema: the Parquet parser recurses per element; ours has under 40.
pub const MAX_SCHEMA_ELEMENTS: u64 = 64;
