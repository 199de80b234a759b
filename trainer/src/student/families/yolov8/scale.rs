//! The five sizes of YOLOv8 (Ultralytics' `cfg/models/v8/yolov8.yaml`, `scales`), and two smaller ones of our own.
//!
//! `yolov8p` and `yolov8f` (pico and femto, after nano) are not Ultralytics': the same network, as deep as `yolov8n`, half and a
//! quarter as wide. They are for demonstrations and for the smallest devices; there are no trained weights to download.

/// A size of YOLOv8. The number of parameters is that with 80 classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// `yolov8f`, ours: 0.5 million parameters, 0.27 million with 6 classes.
    F,
    /// `yolov8p`, ours: 0.8 million, 0.61 million with 6 classes.
    P,
    /// `yolov8n`: 3.2 million.
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
    pub const ALL: [Self; 7] = [Self::F, Self::P, Self::N, Self::S, Self::M, Self::L, Self::X];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F => "yolov8f",
            Self::P => "yolov8p",
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
            Self::F | Self::P | Self::N | Self::S => 1,
            Self::M => 2,
            Self::L | Self::X => 3,
        };
        base * thirds / 3
    }

    /// Channels of a layer that the table gives `base` of: `min(base, max_channels) * width`, rounded up to a multiple of 8.
    pub(super) fn channels(self, base: usize) -> usize {
        let (width_sixteenths, max_channels) = match self {
            Self::F => (1, 512),
            Self::P => (2, 512),
            Self::N => (4, 1024),
            Self::S => (8, 1024),
            Self::M => (12, 768),
            Self::L => (16, 512),
            Self::X => (20, 512),
        };
        (base.min(max_channels) * width_sixteenths).div_ceil(16).next_multiple_of(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_and_repeats_follow_the_table() {
        let channels = |scale: Scale| [64, 128, 256, 512, 1024].map(|base| scale.channels(base));
        assert_eq!(channels(Scale::F), [8, 8, 16, 32, 32]);
        assert_eq!(channels(Scale::P), [8, 16, 32, 64, 64]);
        assert_eq!(channels(Scale::N), [16, 32, 64, 128, 256]);
        assert_eq!(channels(Scale::S), [32, 64, 128, 256, 512]);
        assert_eq!(channels(Scale::M), [48, 96, 192, 384, 576]);
        assert_eq!(channels(Scale::L), [64, 128, 256, 512, 512]);
        assert_eq!(channels(Scale::X), [80, 160, 320, 640, 640]);
        assert_eq!(
            Scale::ALL.map(|scale| (scale.repeats(3), scale.repeats(6))),
            [(1, 2), (1, 2), (1, 2), (1, 2), (2, 4), (3, 6), (3, 6)]
        );
    }
}
