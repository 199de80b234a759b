//! Where the letterboxed pictures come from: the mapped pixel cache, or the image files each time. The same levels.

use super::{TrainImage, pixel_cache::PixelCache};
use crate::{
    Error, Result,
    pipeline::{changed_since, read_file},
    preprocess::{DecodeLimits, LetterboxPlan, Preprocessor, RgbImage, decode_into},
    types::{FailureStage, ImageSize},
};
use sha2::{Digest, Sha256};
use std::fmt;

/// Levels of one letterboxed picture, in bytes.
pub(super) fn bytes_per_image(input: ImageSize) -> usize {
    3 * input.width as usize * input.height as usize
}

/// Reads, decodes and letterboxes pictures; one per thread, it keeps its buffers.
#[derive(Debug)]
pub(super) struct Decoder {
    image: RgbImage,
    preprocessor: Preprocessor,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { image: RgbImage::empty(), preprocessor: Preprocessor::default() }
    }
}

impl Decoder {
    /// Makes `levels` the letterboxed picture, `[H, W, 3]`.
    pub fn picture(
        &mut self,
        image: &TrainImage,
        input: ImageSize,
        levels: &mut Vec<u8>,
    ) -> std::result::Result<LetterboxPlan, PictureError> {
        let fail = |stage| move |reason| PictureError::Unusable(stage, reason);
        let bytes = read_file(&image.path).map_err(fail(FailureStage::Read))?;
        if let Some(expected) = image.expected_sha256 {
            let found: [u8; 32] = Sha256::digest(&bytes).into();
            if found != expected {
                return Err(PictureError::Changed { expected, found });
            }
        }
        decode_into(&bytes, &DecodeLimits::default(), &mut self.image)
            .map_err(|reason| fail(FailureStage::Decode)(reason.to_string()))?;
        let plan = LetterboxPlan::fit(self.image.size, input.height, input.width);
        levels.resize(bytes_per_image(input), 0);
        self.preprocessor.letterbox_levels_into(&self.image, &plan, levels);
        Ok(plan)
    }
}

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PictureError {
    /// The file cannot be read or is no picture.
    Unusable(FailureStage, String),
    /// The file is not the one that the teacher saw.
    Changed { expected: [u8; 32], found: [u8; 32] },
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(_, reason) => f.write_str(reason),
            Self::Changed { expected, found } => f.write_str(&changed_since(expected, found).unwrap_or_default()),
        }
    }
}

/// The source of pictures of a training set.
#[derive(Debug)]
pub(super) enum Pixels {
    /// Position in the file of each image.
    Mapped { cache: PixelCache, places: Vec<usize>, plans: Vec<LetterboxPlan> },
    /// Decoded each time.
    Files,
}

impl Pixels {
    /// The letterboxed picture of `image`, which is number `index` of the set; `levels` is a buffer that it may lie in.
    pub fn picture<'a>(
        &'a self,
        (index, image): (usize, &TrainImage),
        input: ImageSize,
        decoder: &mut Decoder,
        levels: &'a mut Vec<u8>,
    ) -> Result<(LetterboxPlan, &'a [u8])> {
        match self {
            Self::Mapped { cache, places, plans } => Ok((plans[index], cache.picture(places[index]))),
            Self::Files => match decoder.picture(image, input, levels) {
                Ok(plan) => Ok((plan, levels)),
                Err(failure) => Err(Error::Dataset {
                    path: image.path.clone(),
                    found: format!("image {} ({}): {failure}", image.image_id, image.relative),
                    remedy: "Restore the file, then resume; or leave the image out of the data set.".into(),
                }),
            },
        }
    }
}
