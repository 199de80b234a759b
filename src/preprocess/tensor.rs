//! Drawing a picture into the model's input tensor.

use super::{Colours, InputRule, decode::RgbImage, letterbox::LetterboxPlan, resize::RowResizer};

/// Level of the bars beside the image.
pub const PAD_GREY: u8 = 114;

/// Fills input tensors from pictures. One per thread: it keeps the buffers of the resize between images, so that the
/// hot path does not allocate.
#[derive(Debug)]
pub struct Preprocessor {
    resizer: RowResizer,
    /// Level to input value of red, green, blue; tables, since they equal the arithmetic and cost less.
    values: [[f32; 256]; 3],
    colours: Colours,
}

impl Default for Preprocessor {
    /// By Ultralytics' rule.
    fn default() -> Self {
        Self::new(&InputRule::default())
    }
}

impl Preprocessor {
    /// Fills tensors by this rule; where the image lies, the plan says.
    pub fn new(rule: &InputRule) -> Self {
        let table = |colour| std::array::from_fn(|level| rule.values.of_level(level as u8, colour));
        Self { resizer: RowResizer::default(), values: [table(0), table(1), table(2)], colours: rule.colours }
    }

    /// Draws `image` into `out`, the model's input `[3, height, width]` (planes row major, their order and values as the
    /// rule says), as `plan` says. Every value of `out` is written; the rest around the image becomes [`PAD_GREY`].
    ///
    /// # Panics
    /// When `image` is not of the plan's size or `out` not of the input's: both are mistakes of the caller, not of data.
    pub fn letterbox_into(&mut self, image: &RgbImage, plan: &LetterboxPlan, out: &mut [f32]) {
        let (width, height) = (plan.input.width as usize, plan.input.height as usize);
        assert_eq!(out.len(), 3 * width * height, "the tensor does not have the input's size");

        let (left, top) = plan.origin();
        let (columns, rows) = (plan.resized.width as usize, plan.resized.height as usize);
        let values = &self.values;
        let grey = values.each_ref().map(|of_level| of_level[usize::from(PAD_GREY)]);
        let mut planes = planes(out, self.colours);
        for (plane, grey) in planes.iter_mut().zip(grey) {
            plane[..top * width].fill(grey);
            plane[(top + rows) * width..].fill(grey);
        }
        for_each_row(&mut self.resizer, image, plan, |y, levels| {
            let start = (top + y) * width;
            for (plane, grey) in planes.iter_mut().zip(grey) {
                let row = &mut plane[start..start + width];
                row[..left].fill(grey);
                row[left + columns..].fill(grey);
            }
            draw(levels, planes.each_mut().map(|plane| &mut plane[start + left..start + left + columns]), values);
        });
    }

    /// The same picture as levels: `out` is `[height, width, 3]`, RGB, 0..=255. As [`Preprocessor::levels_into`] has
    /// it they are the values of [`Preprocessor::letterbox_into`].
    ///
    /// # Panics
    /// As [`Preprocessor::letterbox_into`].
    pub fn letterbox_levels_into(&mut self, image: &RgbImage, plan: &LetterboxPlan, out: &mut [u8]) {
        let (width, height) = (plan.input.width as usize, plan.input.height as usize);
        assert_eq!(out.len(), 3 * width * height, "the picture does not have the input's size");
        let (left, top) = plan.origin();
        let columns = plan.resized.width as usize;
        out.fill(PAD_GREY);
        for_each_row(&mut self.resizer, image, plan, |y, levels| {
            let start = ((top + y) * width + left) * 3;
            out[start..start + columns * 3].copy_from_slice(levels);
        });
    }

    /// Levels `[height, width, 3]`, RGB, as the model's input: `out` is `[3, height, width]`, planes and values by the rule.
    ///
    /// # Panics
    /// When `levels` and `out` are not of one length: a mistake of the caller, not of data.
    pub fn levels_into(&self, levels: &[u8], out: &mut [f32]) {
        assert_eq!(levels.len(), out.len(), "the picture does not have the input's size");
        draw(levels, planes(out, self.colours), &self.values);
    }
}

/// The planes of red, green and blue in a tensor `[3, height, width]`.
fn planes(out: &mut [f32], colours: Colours) -> [&mut [f32]; 3] {
    let area = out.len() / 3;
    let (first, rest) = out.split_at_mut(area);
    let (green, last) = rest.split_at_mut(area);
    match colours {
        Colours::Rgb => [first, green, last],
        Colours::Bgr => [last, green, first],
    }
}

/// Pixels `[n, 3]` into stretches of the planes, by a table for each colour.
fn draw(levels: &[u8], [red, green, blue]: [&mut [f32]; 3], values: &[[f32; 256]; 3]) {
    let (levels, _) = levels.as_chunks::<3>();
    for (((level, red), green), blue) in levels.iter().zip(red).zip(green).zip(blue) {
        *red = values[0][usize::from(level[0])];
        *green = values[1][usize::from(level[1])];
        *blue = values[2][usize::from(level[2])];
    }
}

/// Hands over the rows of the resized image, `[width, 3]`, from the top.
fn for_each_row(resizer: &mut RowResizer, image: &RgbImage, plan: &LetterboxPlan, mut draw: impl FnMut(usize, &[u8])) {
    assert_eq!(image.size, plan.image, "the plan was made for another image size");
    assert_eq!(image.pixels.len(), image.size.width as usize * image.size.height as usize * 3, "pixels are missing");
    let (columns, rows) = (plan.resized.width as usize, plan.resized.height as usize);
    if plan.resized == plan.image {
        for (y, levels) in image.pixels.chunks_exact(columns * 3).enumerate() {
            draw(y, levels);
        }
        return;
    }
    resizer.start(plan.image, plan.resized);
    for y in 0..rows {
        draw(y, resizer.row(&image.pixels, y));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        preprocess::{Fit, InputValues},
        types::ImageSize,
    };
    use proptest::prelude::*;

    #[test]
    fn planes_are_red_green_blue_with_grey_beside() {
        let image = RgbImage { size: ImageSize { width: 2, height: 1 }, pixels: vec![255, 0, 51, 0, 255, 102] };
        let plan = LetterboxPlan::fit(image.size, 4, 2);
        let mut out = vec![f32::NAN; 3 * 4 * 2];
        Preprocessor::default().letterbox_into(&image, &plan, &mut out);
        let grey = 114.0 / 255.0;
        let plane = |a: f32, b: f32| [grey, grey, a, b, grey, grey, grey, grey];
        assert_eq!(out, [plane(1.0, 0.0), plane(0.0, 1.0), plane(0.2, 0.4)].concat());
    }

    #[test]
    fn other_rules_have_other_planes_and_values() {
        let image = RgbImage { size: ImageSize { width: 2, height: 1 }, pixels: vec![255, 0, 51, 0, 255, 102] };
        let rule = InputRule { fit: Fit::TopLeft, colours: Colours::Bgr, values: InputValues::Levels };
        let input = ImageSize { width: 2, height: 2 };
        let plan = LetterboxPlan::by(rule.fit, image.size, input);
        let mut out = vec![f32::NAN; 3 * 4];
        Preprocessor::new(&rule).letterbox_into(&image, &plan, &mut out);
        let plane = |a: f32, b: f32| [a, b, 114.0, 114.0];
        assert_eq!(out, [plane(51.0, 102.0), plane(0.0, 255.0), plane(255.0, 0.0)].concat());

        let rule = InputRule { fit: Fit::Stretch, values: InputValues::ImageNet, ..InputRule::default() };
        let plan = LetterboxPlan::by(rule.fit, image.size, image.size);
        let mut out = vec![f32::NAN; 3 * 2];
        Preprocessor::new(&rule).letterbox_into(&image, &plan, &mut out);
        let expected = [2.248_908_3, -2.117_904, -2.035_714_3, 2.428_571_5, -0.915_555_6, -0.026_666_6];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{out:?}");
    }

    proptest! {
        #[test]
        fn levels_are_the_values_of_the_tensor(
            (width, height) in (1u32..90, 1u32..90), (columns, rows) in (1u32..80, 1u32..80), seed: u8,
        ) {
            let level = |i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed;
            let image = RgbImage {
                size: ImageSize { width, height },
                pixels: (0..width * height * 3).map(level).collect(),
            };
            let plan = LetterboxPlan::fit(image.size, rows, columns);
            let area = (rows * columns) as usize;
            let (mut tensor, mut levels) = (vec![f32::NAN; 3 * area], vec![0u8; 3 * area]);
            let mut preprocessor = Preprocessor::default();
            preprocessor.letterbox_into(&image, &plan, &mut tensor);
            preprocessor.letterbox_levels_into(&image, &plan, &mut levels);
            for (i, &level) in levels.iter().enumerate() {
                prop_assert_eq!(tensor[i % 3 * area + i / 3], f32::from(level) / 255.0);
            }
            let mut from_levels = vec![f32::NAN; 3 * area];
            preprocessor.levels_into(&levels, &mut from_levels);
            prop_assert_eq!(from_levels, tensor);
        }
    }

    #[test]
    #[should_panic(expected = "another image size")]
    fn a_plan_for_another_size_is_refused() {
        let image = RgbImage { size: ImageSize { width: 1, height: 1 }, pixels: vec![0; 3] };
        let plan = LetterboxPlan::fit(ImageSize { width: 2, height: 1 }, 4, 4);
        Preprocessor::default().letterbox_into(&image, &plan, &mut [0.0; 48]);
    }
}
