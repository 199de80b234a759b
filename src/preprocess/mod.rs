//! Pictures into model input: decoding, letterbox and its inverse.
//!
//! The reference is what Ultralytics does at inference: `cv2.imdecode(IMREAD_COLOR)`, `LetterBox(auto=False)`, RGB,
//! divided by 255; other detectors take images by another [`InputRule`]. For JPEG, PNG and BMP the pixels are the same bytes as OpenCV's, and so is the bilinear resize:
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
mod rule;
mod tensor;
mod tiff;
mod ycbcr;

pub use decode::{DecodeError, DecodeLimits, RgbImage, decode, decode_into, size_of};
#[doc(hidden)]
pub use exif::exif_orientation;
pub use letterbox::LetterboxPlan;
pub use logitcache_format::{Colours, Fit, InputRule, InputValues};
pub use rule::StatedInputRule;
pub use tensor::{PAD_GREY, Preprocessor};

/// How an image is fitted into a student's input, in words.
pub const LETTERBOX_RULE: &str = Fit::Letterbox.in_words();

/// What decodes and scales pictures. A change that can move a pixel changes this, and with it what a build may go on with.
pub const DECODER: &str = "logitcache 2 (OpenCV levels)";
