//! Where an image lies in the model's input, and the way back for boxes.

use super::Fit;
use crate::types::{BoxXyxyPx, ImageSize, Letterbox};

/// An image of one size fitted into an input of another: all that is needed to draw it there and to bring boxes back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LetterboxPlan {
    /// The image, after EXIF orientation.
    pub image: ImageSize,
    /// The model's input.
    pub input: ImageSize,
    /// The image as it lies in the input, without the grey.
    pub resized: ImageSize,
    /// The part that the cache keeps. Of a stretched image its scale is the smaller of the two sides'.
    pub letterbox: Letterbox,
    /// The rule by which it was fitted.
    pub fit: Fit,
}

impl LetterboxPlan {
    /// Fits an image into an input of `input_height` x `input_width` as Ultralytics' `LetterBox(auto=False,
    /// scaleup=True, center=True)` does: double precision, ties to even, the smaller half of an odd rest at the left
    /// and top, thin images at least one pixel thick. A size of zero is taken as one.
    ///
    /// Source: `ultralytics.data.augment.LetterBox.get_params`, version 8.4.190.
    pub fn fit(image: ImageSize, input_height: u32, input_width: u32) -> Self {
        let image = at_least_one(image);
        let input = at_least_one(ImageSize { width: input_width, height: input_height });
        let scale =
            (f64::from(input.height) / f64::from(image.height)).min(f64::from(input.width) / f64::from(image.width));
        let side = |pixels: u32, most: u32| ((f64::from(pixels) * scale).round_ties_even() as u32).clamp(1, most);
        let resized = ImageSize { width: side(image.width, input.width), height: side(image.height, input.height) };
        let pad = |whole: u32, part: u32| (f64::from(whole - part) / 2.0 - 0.1).round_ties_even().max(0.0) as f32;
        let letterbox = Letterbox {
            scale: scale as f32,
            pad_left: pad(input.width, resized.width),
            pad_top: pad(input.height, resized.height),
        };
        Self { image, input, resized, letterbox, fit: Fit::Letterbox }
    }

    /// Fits an image into an input by any rule.
    ///
    /// Source of [`Fit::TopLeft`]: `yolox.data.data_augment.preproc`: single precision is not used there either, sides are
    /// rounded down, at least one pixel here.
    pub fn by(fit: Fit, image: ImageSize, input: ImageSize) -> Self {
        let plan = Self::fit(image, input.height, input.width);
        let (image, input) = (plan.image, plan.input);
        match fit {
            Fit::Letterbox => plan,
            Fit::TopLeft => {
                let scale = (f64::from(input.height) / f64::from(image.height))
                    .min(f64::from(input.width) / f64::from(image.width));
                let side = |pixels: u32, most: u32| ((f64::from(pixels) * scale) as u32).clamp(1, most);
                let resized =
                    ImageSize { width: side(image.width, input.width), height: side(image.height, input.height) };
                let letterbox = Letterbox { scale: scale as f32, pad_left: 0.0, pad_top: 0.0 };
                Self { resized, letterbox, fit, ..plan }
            }
            Fit::Stretch => {
                let letterbox = Letterbox { pad_left: 0.0, pad_top: 0.0, ..plan.letterbox };
                Self { resized: input, letterbox, fit, ..plan }
            }
        }
    }

    /// A box in input pixels as a box in pixels of the image, clipped to it.
    ///
    /// Each axis is divided by its own scale, `resized / image`: that is where the resize put the pixels, and it
    /// differs from the common [`Letterbox::scale`] by up to half a pixel over the whole side.
    ///
    /// Source: `ultralytics.utils.ops.scale_boxes`, version 8.4.190.
    pub fn to_image(&self, box_input_px: BoxXyxyPx) -> BoxXyxyPx {
        let (scale_x, scale_y) = self.axis_scales();
        let (width, height) = (self.image.width as f32, self.image.height as f32);
        let x = |x: f32| ((x - self.letterbox.pad_left) / scale_x).clamp(0.0, width);
        let y = |y: f32| ((y - self.letterbox.pad_top) / scale_y).clamp(0.0, height);
        BoxXyxyPx { x1: x(box_input_px.x1), y1: y(box_input_px.y1), x2: x(box_input_px.x2), y2: y(box_input_px.y2) }
    }

    /// A box in pixels of the image as a box in input pixels; nothing is clipped.
    pub fn to_input(&self, box_image_px: BoxXyxyPx) -> BoxXyxyPx {
        let (scale_x, scale_y) = self.axis_scales();
        let x = |x: f32| x * scale_x + self.letterbox.pad_left;
        let y = |y: f32| y * scale_y + self.letterbox.pad_top;
        BoxXyxyPx { x1: x(box_image_px.x1), y1: y(box_image_px.y1), x2: x(box_image_px.x2), y2: y(box_image_px.y2) }
    }

    /// Input pixels per image pixel along x and along y. At the top left corner it is one for both, as YOLOX divides by it.
    fn axis_scales(&self) -> (f32, f32) {
        if self.fit == Fit::TopLeft {
            return (self.letterbox.scale, self.letterbox.scale);
        }
        let scale = |resized: u32, image: u32| (f64::from(resized) / f64::from(image)) as f32;
        (scale(self.resized.width, self.image.width), scale(self.resized.height, self.image.height))
    }

    /// First grey-free column and row of the input.
    pub fn origin(&self) -> (usize, usize) {
        (self.letterbox.pad_left as usize, self.letterbox.pad_top as usize)
    }
}

fn at_least_one(size: ImageSize) -> ImageSize {
    ImageSize { width: size.width.max(1), height: size.height.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn size(width: u32, height: u32) -> ImageSize {
        ImageSize { width, height }
    }

    #[test]
    fn an_odd_rest_leaves_its_smaller_half_at_the_top() {
        let plan = LetterboxPlan::fit(size(640, 427), 640, 640);
        assert_eq!(plan.resized, size(640, 427));
        assert_eq!(plan.letterbox, Letterbox { scale: 1.0, pad_left: 0.0, pad_top: 106.0 });
    }

    #[test]
    fn a_thin_image_keeps_one_pixel() {
        assert_eq!(LetterboxPlan::fit(size(1, 10_000), 640, 640).resized, size(1, 640));
    }

    #[test]
    fn a_box_that_is_not_a_number_stays_one() {
        let plan = LetterboxPlan::fit(size(10, 10), 640, 640);
        let box_px = plan.to_image(BoxXyxyPx { x1: f32::NAN, ..BoxXyxyPx::default() });
        assert!(box_px.x1.is_nan() && box_px.y2 == 0.0);
    }

    #[test]
    fn other_rules_leave_no_grey_or_leave_it_at_the_right_and_bottom() {
        let input = size(640, 480);
        let corner = LetterboxPlan::by(Fit::TopLeft, size(500, 333), input);
        // 640 / 500 = 1.28: 333 rows become 426.24, rounded down.
        assert_eq!((corner.resized, corner.origin(), corner.letterbox.scale), (size(640, 426), (0, 0), 1.28));
        assert_eq!(corner.to_image(BoxXyxyPx { x1: 64.0, y1: 128.0, x2: 128.0, y2: 256.0 }).y2, 200.0);
        let stretched = LetterboxPlan::by(Fit::Stretch, size(320, 960), input);
        assert_eq!((stretched.resized, stretched.origin(), stretched.letterbox.scale), (input, (0, 0), 0.5));
        let back = stretched.to_image(BoxXyxyPx { x1: 64.0, y1: 120.0, x2: 640.0, y2: 480.0 });
        assert_eq!(back, BoxXyxyPx { x1: 32.0, y1: 240.0, x2: 320.0, y2: 960.0 });
        let plain = LetterboxPlan::by(Fit::Letterbox, size(500, 333), input);
        assert_eq!(plain, LetterboxPlan::fit(size(500, 333), 480, 640));
    }

    proptest! {
        #[test]
        fn the_resized_image_lies_inside_the_input(
            (width, height) in (0u32..70_000, 0u32..70_000), (rows, columns) in (0u32..2_000, 0u32..2_000),
        ) {
            let plan = LetterboxPlan::fit(size(width, height), rows, columns);
            let (left, top) = plan.origin();
            prop_assert!(left + plan.resized.width as usize <= plan.input.width as usize);
            prop_assert!(top + plan.resized.height as usize <= plan.input.height as usize);
            prop_assert!(plan.resized.width == plan.input.width || plan.resized.height == plan.input.height);
        }

        #[test]
        fn a_box_comes_back(
            (width, height) in (1u32..8_000, 1u32..8_000), side in 32u32..1_300, corners in prop::array::uniform4(0f32..1.0),
        ) {
            let plan = LetterboxPlan::fit(size(width, height), side, side);
            let [a, b, c, d] = corners;
            let (w, h) = (width as f32, height as f32);
            let box_px = BoxXyxyPx { x1: a * w, y1: b * h, x2: c * w, y2: d * h };
            let back = plan.to_image(plan.to_input(box_px));
            // Adding the padding costs up to half a unit in the last place of the input coordinate.
            let tolerance = |image: u32, resized: u32| 2e-4 * (image as f32 / resized as f32) + 1e-3;
            let (tx, ty) = (tolerance(width, plan.resized.width), tolerance(height, plan.resized.height));
            prop_assert!((back.x1 - box_px.x1).abs() <= tx && (back.x2 - box_px.x2).abs() <= tx, "{back:?} {box_px:?}");
            prop_assert!((back.y1 - box_px.y1).abs() <= ty && (back.y2 - box_px.y2).abs() <= ty, "{back:?} {box_px:?}");
        }
    }
}
