//! The five sizes of YOLOv8 (Ultralytics' `cfg/models/v8/yolov8.yaml`, `scales`).

use std::{fmt, str::FromStr};

/// A size of YOLOv8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// `yolov8n`: 3.2 million parameters with 80 classes.
    N,
    /// `yolov8s`: 11.2 million.
    S,
    /// `yolov8m`: 25.9 million.
    M,
    /// `yolov8l`: 43.7 million.
    L,
    /// `yolov8x`: 68.2 million.
    X,
}

impl Scale {
    /// All sizes, smallest first.
    pub const ALL: [Self; 5] = [Self::N, Self::S, Self::M, Self::L, Self::X];

    /// The name as users write it: `yolov8n` to `yolov8x`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::N => "yolov8n",
            Self::S => "yolov8s",
            Self::M => "yolov8m",
            Self::L => "yolov8l",
            Self::X => "yolov8x",
        }
    }

    /// Bottlenecks in a C2f block that the table gives 3 or 6 of: `max(round(base * depth), 1)`.
    pub(super) fn repeats(self, base: usize) -> usize {
        // depth is 1/3, 2/3 or 1 (0.33, 0.67 and 1.00 in the table).
        let thirds = match self {
            Self::N | Self::S => 1,
            Self::M => 2,
            Self::L | Self::X => 3,
        };
        base * thirds / 3
    }

    /// Channels of a layer that the table gives `base` of: `min(base, max_channels) * width`, rounded up to a multiple of 8.
    pub(super) fn channels(self, base: usize) -> usize {
        let (width_quarters, max_channels) = match self {
            Self::N => (1, 1024),
            Self::S => (2, 1024),
            Self::M => (3, 768),
            Self::L => (4, 512),
            Self::X => (5, 512),
        };
        (base.min(max_channels) * width_quarters).div_ceil(4).next_multiple_of(8)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scale {
    type Err = String;

    /// Reads `yolov8n` to `yolov8x`, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|scale| scale.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("{text:?} is none of yolov8n, yolov8s, yolov8m, yolov8l, yolov8x"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for scale in Scale::ALL {
            assert_eq!(scale.to_string().parse(), Ok(scale));
        }
        assert_eq!("YOLOv8N".parse(), Ok(Scale::N));
        assert!("yolov8".parse::<Scale>().unwrap_err().contains("yolov8x"));
    }

    #[test]
    fn channels_and_repeats_follow_the_table() {
        let channels = |scale: Scale| [64, 128, 256, 512, 1024].map(|base| scale.channels(base));
        assert_eq!(channels(Scale::N), [16, 32, 64, 128, 256]);
        assert_eq!(channels(Scale::S), [32, 64, 128, 256, 512]);
        assert_eq!(channels(Scale::M), [48, 96, 192, 384, 576]);
        assert_eq!(channels(Scale::L), [64, 128, 256, 512, 512]);
        assert_eq!(channels(Scale::X), [80, 160, 320, 640, 640]);
        assert_eq!(
            Scale::ALL.map(|scale| (scale.repeats(3), scale.repeats(6))),
            [(1, 2), (1, 2), (2, 4), (3, 6), (3, 6)]
        );
    }
}
