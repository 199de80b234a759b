//! Random changes of a letterboxed picture: what they are, how they are drawn, and the pixels and boxes that follow.
//!
//! ```text
//! seed, epoch, image ── Draws ── Augment::scene ── Scene: tiles, map to the window, mirror ── Renderer ── HsvChange
//! seed, image, view ─── Views::change ── ViewChange, stored ── its scene ────────────────────┘
//! ```

mod draws;
mod geometry;
mod hsv;
mod render;
#[cfg(test)]
mod tests;
mod view;

pub use crate::types::Views;
pub use draws::{Augment, Draws, GRID_STEP_PX, Geometry, shuffled};
pub use geometry::{AxisMap, Rect, Scene, Tile, mirror_box};
pub use hsv::HsvChange;
pub use render::Renderer;
pub use view::{DrawViews, VIEW_RULE, with_views};
