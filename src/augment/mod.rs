//! Random changes of a letterboxed picture: what they are, how they are drawn, and the pixels and boxes that follow.
//!
//! ```text
//! seed, epoch, image ── Draws ── Augment::scene ── Scene: tiles, map to the window, mirror ── Renderer ── HsvChange
//! ```

mod draws;
mod geometry;
mod hsv;
mod render;
#[cfg(test)]
mod tests;

pub use draws::{Augment, Draws, GRID_STEP_PX, Geometry, shuffled};
pub use geometry::{AxisMap, Rect, Scene, Tile, mirror_box};
pub use hsv::HsvChange;
pub use render::Renderer;
