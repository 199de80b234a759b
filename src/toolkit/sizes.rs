//! Sizes of boxes on the COCO scale, and what counts as odd.

/// Below this area a box is small, in square pixels.
pub(crate) const SMALL_PX2: f64 = 32.0 * 32.0;
/// From this area on a box is large.
pub(crate) const LARGE_PX2: f64 = 96.0 * 96.0;
/// A box with a side below this is tiny, in pixels.
pub(super) const TINY_SIDE_PX: f64 = 2.0;
/// An image with a side below this is odd, in pixels.
pub(super) const ODD_SIDE_PX: u32 = 32;
/// An image whose longer side is more than so many times the shorter one is odd.
pub(super) const ODD_ASPECT: f64 = 10.0;
