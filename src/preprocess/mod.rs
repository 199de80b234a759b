//! Pictures into model input: decoding, letterbox and its inverse.
//!
//! The reference is what Ultralytics does at inference: `cv2.imdecode(IMREAD_COLOR)`, `LetterBox(auto=False)`, RGB,
//! divided by 255. For JPEG, PNG and BMP the pixels are the same bytes as OpenCV's, and so is the bilinear resize:
//! one level of difference in one pixel can move a class probability of a single anchor by several hundredths, so
//! equality is worth more here than a few per cent of time.
//!
//! ```text
//! bytes -- decode --> RgbImage -- Preprocessor::letterbox_into --> [3, H, W] f32
//!                        |
//!                        +-- Letterbox::fit --> LetterboxPlan -- to_image --> boxes in pixels of the image
//! ```

mod decode;
mod exif;
mod ifd;
mod jpeg;
mod jpeg_markers;
mod letterbox;
mod resize;
mod tensor;
mod tiff;
mod ycbcr;

pub use decode::{DecodeError, DecodeLimits, RgbImage, decode, decode_into, size_of};
#[doc(hidden)]
pub use exif::exif_orientation;
pub use letterbox::LetterboxPlan;
pub use tensor::{PAD_GREY, Preprocessor};

/// How images become a model's input, in the words by which a manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputRule {
    /// How pixel values become input values.
    pub normalisation: &'static str,
    /// How an image is fitted into the input.
    pub letterbox: &'static str,
}

impl InputRule {
    /// What [`Preprocessor`] and [`LetterboxPlan`] do.
    pub const ULTRALYTICS: Self = Self { normalisation: "RGB, 8-bit levels divided by 255", letterbox: LETTERBOX_RULE };
}

/// See [`InputRule::letterbox`].
pub const LETTERBOX_RULE: &str = "scaled by min(input_height / height, input_width / width) with bilinear interpolation \
     (OpenCV INTER_LINEAR), centred, the rest grey 114, as Ultralytics LetterBox(auto=False)";

/// What decodes and scales pictures. A change that can move a pixel changes this, and with it what a build may go on with.
pub const DECODER: &str = "logitcache 2 (OpenCV levels)";
