//! How an image becomes a model's input, as data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an image becomes a model's input. The default is Ultralytics' rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct InputRule {
    /// How it is fitted into the input.
    pub fit: Fit,
    /// The order of the colour planes.
    pub colours: Colours,
    /// What the 256 levels of a colour become.
    pub values: InputValues,
}

/// How an image is fitted into the input. All three scale as OpenCV's INTER_LINEAR does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Scaled by one factor, in the middle, the rest grey.
    #[default]
    Letterbox,
    /// Scaled by one factor, at the top left corner, the rest grey.
    TopLeft,
    /// Each side scaled to the input's.
    Stretch,
}

/// The order of the colour planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Colours {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
}

/// What the 256 levels of a colour become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum InputValues {
    /// Levels divided by 255.
    #[default]
    #[serde(rename = "0-1")]
    Unit,
    /// The levels themselves.
    #[serde(rename = "0-255")]
    Levels,
    /// Levels divided by 255, minus the mean of ImageNet's pictures, divided by their standard deviation, colour by colour.
    #[serde(rename = "imagenet")]
    ImageNet,
}

/// Mean and standard deviation of ImageNet's red, green and blue, as torchvision and `transformers` have them.
const IMAGENET: [(f32, f32); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];

impl Fit {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Letterbox, Self::TopLeft, Self::Stretch];

    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Letterbox => "letterbox",
            Self::TopLeft => "top-left",
            Self::Stretch => "stretch",
        }
    }

    /// The rule in words, as in [`crate::Teacher::letterbox`].
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Letterbox => {
                "scaled by min(input_height / height, input_width / width) with bilinear interpolation \
                 (OpenCV INTER_LINEAR), centred, the rest grey 114, as Ultralytics LetterBox(auto=False)"
            }
            Self::TopLeft => {
                "scaled by min(input_height / height, input_width / width) with bilinear interpolation \
                 (OpenCV INTER_LINEAR), sides rounded down, at the top left corner, the rest grey 114, as YOLOX preproc"
            }
            Self::Stretch => {
                "each side scaled to the input's with bilinear interpolation (OpenCV INTER_LINEAR), nothing beside it"
            }
        }
    }
}

impl Colours {
    /// Every order.
    pub const ALL: [Self; 2] = [Self::Rgb, Self::Bgr];

    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
        }
    }
}

impl InputValues {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Unit, Self::Levels, Self::ImageNet];

    /// As in the manifest and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unit => "0-1",
            Self::Levels => "0-255",
            Self::ImageNet => "imagenet",
        }
    }

    /// The input value of a level of a colour: 0 red, 1 green, 2 blue.
    pub fn of_level(self, level: u8, colour: usize) -> f32 {
        match self {
            Self::Levels => f32::from(level),
            Self::Unit | Self::ImageNet => self.of_unit(f32::from(level) / 255.0, colour),
        }
    }

    /// The input value of `unit` (a level divided by 255) of a colour: 0 red, 1 green, 2 blue.
    pub fn of_unit(self, unit: f32, colour: usize) -> f32 {
        match self {
            Self::Unit => unit,
            Self::Levels => unit * 255.0,
            Self::ImageNet => {
                let (mean, deviation) = IMAGENET.get(colour).copied().unwrap_or((0.0, 1.0));
                (unit - mean) / deviation
            }
        }
    }
}

impl InputRule {
    /// Whether it is Ultralytics' rule, the one that students have.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How pixel values become input values, in words, as in [`crate::Teacher::normalisation`].
    pub fn normalisation(&self) -> String {
        let colours = match self.colours {
            Colours::Rgb => "RGB",
            Colours::Bgr => "BGR",
        };
        let values = match self.values {
            InputValues::Unit => "8-bit levels divided by 255",
            InputValues::Levels => "8-bit levels",
            InputValues::ImageNet => {
                "8-bit levels divided by 255, minus ImageNet's mean, divided by its standard deviation"
            }
        };
        format!("{colours}, {values}")
    }
}

impl std::fmt::Display for InputRule {
    /// `letterbox,rgb,0-1`, as on the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{},{}", self.fit.as_str(), self.colours.as_str(), self.values.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_are_those_of_the_manifest() {
        let rule = InputRule { fit: Fit::TopLeft, colours: Colours::Bgr, values: InputValues::Levels };
        assert_eq!(
            serde_json::to_value(rule).unwrap(),
            serde_json::json!({"fit": "top-left", "colours": "bgr", "values": "0-255"})
        );
        assert_eq!((rule.to_string().as_str(), rule.is_default()), ("top-left,bgr,0-255", false));
        assert_eq!(InputRule::default().normalisation(), "RGB, 8-bit levels divided by 255");
        for fit in Fit::ALL {
            assert_eq!(serde_json::to_value(fit).unwrap(), fit.as_str());
        }
        for values in InputValues::ALL {
            assert_eq!(serde_json::to_value(values).unwrap(), values.as_str());
        }
        for colours in Colours::ALL {
            assert_eq!(serde_json::to_value(colours).unwrap(), colours.as_str());
        }
    }

    #[test]
    fn values_are_those_of_the_projects() {
        assert_eq!(InputValues::Unit.of_unit(0.25, 1), 0.25);
        assert_eq!(InputValues::Levels.of_level(114, 2), 114.0);
        assert_eq!(InputValues::Levels.of_unit(0.5, 2), 127.5);
        // transformers: (1 - 0.485) / 0.229
        assert!((InputValues::ImageNet.of_level(255, 0) - 2.248_908_3).abs() < 1e-6);
    }
}
