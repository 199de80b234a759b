//! What a scene's tiles show: an image in its letterbox, or a cached view of it.

use super::{Rect, Renderer, Scene, Tile};
use crate::{
    preprocess::LetterboxPlan,
    types::{BoxXyxyPx, ViewChange},
};

/// One of a scene's pictures, as large as the window.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Position of the image in the training set.
    pub image: usize,
    /// The image's letterbox.
    pub plan: LetterboxPlan,
    /// Which view of it; [`ViewChange::NONE`] for the letterbox as it is.
    pub change: ViewChange,
    /// From the letterbox to the view.
    scene: Scene,
}

impl Picture {
    /// A view of an image.
    pub fn new(image: usize, plan: LetterboxPlan, change: ViewChange) -> Self {
        Self { image, plan, change, scene: Scene::of_view(&change, image, plan.input) }
    }

    /// An image in its letterbox.
    pub fn letterboxed(image: usize, plan: LetterboxPlan) -> Self {
        Self::new(image, plan, ViewChange::NONE)
    }

    /// A box of the image in pixels of the picture; nothing is clipped.
    pub fn to_picture(&self, image_px: BoxXyxyPx) -> BoxXyxyPx {
        self.of_letterbox(self.plan.to_input(image_px))
    }

    /// The part of the picture that shows the image, outward to whole pixels; the rest is grey.
    pub fn area(&self) -> Rect {
        let (left, top) = self.plan.origin();
        let (x1, y1, size) = (left as f32, top as f32, self.plan.resized);
        let b = self.of_letterbox(BoxXyxyPx { x1, y1, x2: x1 + size.width as f32, y2: y1 + size.height as f32 });
        let area =
            Rect { x1: b.x1.floor() as i32, y1: b.y1.floor() as i32, x2: b.x2.ceil() as i32, y2: b.y2.ceil() as i32 };
        area.intersection(Rect::of_size(self.plan.input))
    }

    /// The pixels, `[H, W, 3]`: `letterbox` itself or, of a view, drawn from it into `buffer`. Of a view, only those are
    /// defined that `tile` shows in the window.
    pub fn pixels<'a>(
        &self,
        tile: &Tile,
        renderer: &mut Renderer,
        letterbox: &'a [u8],
        buffer: &'a mut Vec<u8>,
    ) -> &'a [u8] {
        if self.change == ViewChange::NONE {
            return letterbox;
        }
        buffer.resize(letterbox.len(), 0);
        let shown = tile.area.intersection(Rect::of_size(self.plan.input)).shifted(tile.shift.map(|shift| -shift));
        renderer.render_view_part(&self.change, &self.scene, letterbox, shown, buffer);
        buffer
    }

    fn of_letterbox(&self, letterbox_px: BoxXyxyPx) -> BoxXyxyPx {
        self.scene.tiles.first().map_or(letterbox_px, |tile| self.scene.place(tile, letterbox_px))
    }
}
