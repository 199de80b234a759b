//! The size of a model's input as users give it, programs say it and files keep it.

use crate::types::ImageSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Height and width of a model's input in pixels. As text `640`, which is a square, or `480x640`; in JSON `640` or
/// `[480, 640]`. The height comes first, as in Ultralytics' `imgsz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Sides", into = "Sides")]
pub struct InputSize {
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
}

impl InputSize {
    /// Sides are multiples of it: the coarsest stride of the usual heads.
    pub const STEP_PX: u32 = 32;
    /// The longest side: the number of anchors and the memory grow with the area.
    pub const MOST_PX: u32 = 8192;

    /// A square.
    pub fn square(side: u32) -> Self {
        Self { height: side, width: side }
    }

    /// Whether a model can take it whose coarsest stride is `stride`.
    pub fn is_possible(self, stride: u32) -> bool {
        let possible = |side: u32| (1..=Self::MOST_PX).contains(&side) && side.is_multiple_of(stride);
        possible(self.height) && possible(self.width)
    }

    /// For sentences: `640 x 640`, or `480 x 640 (height x width)`.
    pub fn in_words(self) -> String {
        let order = if self.height == self.width { "" } else { " (height x width)" };
        format!("{} x {}{order}", self.height, self.width)
    }
}

impl From<u32> for InputSize {
    fn from(side: u32) -> Self {
        Self::square(side)
    }
}

impl From<ImageSize> for InputSize {
    fn from(size: ImageSize) -> Self {
        Self { height: size.height, width: size.width }
    }
}

impl From<InputSize> for ImageSize {
    fn from(size: InputSize) -> Self {
        Self { width: size.width, height: size.height }
    }
}

impl fmt::Display for InputSize {
    /// As it is given: `640` or `480x640`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.height == self.width {
            write!(f, "{}", self.height)
        } else {
            write!(f, "{}x{}", self.height, self.width)
        }
    }
}

impl FromStr for InputSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (height, width) = text.split_once('x').unwrap_or((text, text));
        let side = |text: &str| text.parse::<u32>().ok().filter(|side| *side > 0);
        let size = side(height).zip(side(width)).map(|(height, width)| Self { height, width });
        size.filter(|size| size.is_possible(Self::STEP_PX)).ok_or_else(|| {
            let (step, most) = (Self::STEP_PX, Self::MOST_PX);
            format!(
                "expected a multiple of {step} from {step} to {most}, or two of them, HEIGHTxWIDTH, such as 480x640"
            )
        })
    }
}

/// As JSON has it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Sides {
    /// Both sides of a square.
    Square(u32),
    /// Height and width.
    HeightWidth([u32; 2]),
}

impl From<Sides> for InputSize {
    fn from(sides: Sides) -> Self {
        match sides {
            Sides::Square(side) => Self::square(side),
            Sides::HeightWidth([height, width]) => Self { height, width },
        }
    }
}

impl From<InputSize> for Sides {
    fn from(InputSize { height, width }: InputSize) -> Self {
        if height == width { Self::Square(height) } else { Self::HeightWidth([height, width]) }
    }
}

impl JsonSchema for InputSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "InputSize".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Sides::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_side_or_height_and_width() {
        let tall = InputSize { height: 640, width: 480 };
        for (text, size, json, words) in [
            ("640", 640.into(), "640", "640 x 640"),
            ("32", 32.into(), "32", "32 x 32"),
            ("8192", 8192.into(), "8192", "8192 x 8192"),
            ("640x480", tall, "[640,480]", "640 x 480 (height x width)"),
        ] {
            assert_eq!(text.parse(), Ok(size));
            assert_eq!((size.to_string().as_str(), size.in_words().as_str()), (text, words));
            assert_eq!(serde_json::to_string(&size).unwrap(), json);
            assert_eq!(serde_json::from_str::<InputSize>(json).unwrap(), size);
        }
        assert_eq!("64x64".parse(), Ok(InputSize::square(64)));
        assert_eq!(serde_json::from_str::<InputSize>("[64,64]").unwrap(), 64.into());
        assert_eq!(InputSize::from(ImageSize::from(tall)), tall);
    }

    #[test]
    fn what_is_no_size_is_told_with_the_bounds() {
        let wrong = ["0", "31", "33", "100000", "8224", "-64", "64.0", "many", "", "18446744073709551616"];
        for text in wrong.into_iter().chain(["480x", "x640", "480x640x3", "480 x 640", "480,640", "480X640", "48x640"])
        {
            let expected = "expected a multiple of 32 from 32 to 8192, or two of them, HEIGHTxWIDTH, such as 480x640";
            assert_eq!(text.parse::<InputSize>().unwrap_err(), expected, "{text:?}");
        }
        for json in ["\"640\"", "[480]", "[480, 640, 3]", "-1", "null"] {
            assert!(serde_json::from_str::<InputSize>(json).is_err(), "{json}");
        }
    }
}
