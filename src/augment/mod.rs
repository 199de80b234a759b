//! Random changes of pictures: what they are, how they are drawn, and the pixels and boxes that follow.
//!
//! ```text
//! image ── letterbox ──┬───────────────────────────────► Picture ──┐
//!                      └── ViewChange, stored ── a view ───► Picture ──┤
//! seed, epoch, image ── Draws ── Augment::scene ── Scene: tiles of pictures, map to the window, mirror ── Renderer
//! ```

mod draws;
mod geometry;
mod hsv;
mod picture;
mod render;
#[cfg(test)]
mod tests;
mod view;

pub use crate::types::Views;
pub use draws::{Augment, Draws, GRID_STEP_PX, Geometry, shuffled};
pub use geometry::{AxisMap, Rect, Scene, Tile, mirror_box};
pub use hsv::HsvChange;
pub use picture::Picture;
pub use render::Renderer;
pub use view::{DrawViews, VIEW_RULE, with_views};
