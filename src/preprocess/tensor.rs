//! Drawing a picture into the model's input tensor.

use super::{decode::RgbImage, letterbox::LetterboxPlan, resize::RowResizer};

/// Level of the bars beside the image.
pub const PAD_GREY: u8 = 114;

/// Fills input tensors from pictures. One per thread: it keeps the buffers of the resize between images, so that the
/// hot path does not allocate.
#[derive(Debug)]
pub struct Preprocessor {
    resizer: RowResizer,
    /// Level to `level / 255`; a table, since it equals the division and costs less.
    unit: [f32; 256],
}

impl Default for Preprocessor {
    fn default() -> Self {
        Self { resizer: RowResizer::default(), unit: std::array::from_fn(|level| level as f32 / 255.0) }
    }
}

impl Preprocessor {
    /// Draws `image` into `out`, the model's input `[3, height, width]` (red, green, blue planes, row major, 0..=1), as
    /// `plan` says. Every value of `out` is written; the rest around the image becomes [`PAD_GREY`].
    ///
    /// # Panics
    /// When `image` is not of the plan's size or `out` not of the input's: both are mistakes of the caller, not of data.
    pub fn letterbox_into(&mut self, image: &RgbImage, plan: &LetterboxPlan, out: &mut [f32]) {
        let (width, height) = (plan.input.width as usize, plan.input.height as usize);
        assert_eq!(out.len(), 3 * width * height, "the tensor does not have the input's size");

        let (left, top) = plan.origin();
        let (columns, rows) = (plan.resized.width as usize, plan.resized.height as usize);
        let unit = &self.unit;
        let grey = unit[usize::from(PAD_GREY)];
        let (red, rest) = out.split_at_mut(width * height);
        let (green, blue) = rest.split_at_mut(width * height);
        let mut planes = [red, green, blue];
        for plane in &mut planes {
            plane[..top * width].fill(grey);
            plane[(top + rows) * width..].fill(grey);
        }
        for_each_row(&mut self.resizer, image, plan, |y, levels| {
            let start = (top + y) * width;
            let [red, green, blue] = planes.each_mut().map(|plane| {
                let row = &mut plane[start..start + width];
                row[..left].fill(grey);
                row[left + columns..].fill(grey);
                &mut row[left..left + columns]
            });
            let (levels, _) = levels.as_chunks::<3>();
            for (((level, red), green), blue) in levels.iter().zip(red).zip(green).zip(blue) {
                *red = unit[usize::from(level[0])];
                *green = unit[usize::from(level[1])];
                *blue = unit[usize::from(level[2])];
            }
        });
    }

    /// The same picture as levels: `out` is `[height, width, 3]`, RGB, 0..=255. Divided by 255 they are the values of
    /// [`Preprocessor::letterbox_into`].
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

    /// Levels `[height, width, 3]`, RGB, as the model's input: `out` is `[3, height, width]`, each value `level / 255`.
    ///
    /// # Panics
    /// When `levels` and `out` are not of one length: a mistake of the caller, not of data.
    pub fn levels_into(&self, levels: &[u8], out: &mut [f32]) {
        assert_eq!(levels.len(), out.len(), "the picture does not have the input's size");
        let area = out.len() / 3;
        let (red, rest) = out.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let (levels, _) = levels.as_chunks::<3>();
        for (((level, red), green), blue) in levels.iter().zip(red).zip(green).zip(blue) {
            *red = self.unit[usize::from(level[0])];
            *green = self.unit[usize::from(level[1])];
            *blue = self.unit[usize::from(level[2])];
        }
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
    use crate::types::ImageSize;
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
