//! The five sizes of YOLO11 (Ultralytics' `cfg/models/11/yolo11.yaml`, `scales`).

/// A size of YOLO11. The number of parameters is that with 80 classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// `yolo11n`: 2.6 million.
    N,
    /// `yolo11s`: 9.5 million.
    S,
    /// `yolo11m`: 20.1 million.
    M,
    /// `yolo11l`: 25.4 million.
    L,
    /// `yolo11x`: 57.0 million.
    X,
}

impl Scale {
    /// All sizes, smallest first.
    pub const ALL: [Self; 5] = [Self::N, Self::S, Self::M, Self::L, Self::X];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::N => "yolo11n",
            Self::S => "yolo11s",
            Self::M => "yolo11m",
            Self::L => "yolo11l",
            Self::X => "yolo11x",
        }
    }

    /// Inner blocks where the table gives 2: `max(round(2 * depth), 1)`.
    pub(super) fn repeats(self) -> usize {
        match self {
            Self::N | Self::S | Self::M => 1,
            Self::L | Self::X => 2,
        }
    }

    /// Whether every C3k2 has inner blocks of C3k; else only those that the table says it of.
    pub(super) fn has_c3k_everywhere(self) -> bool {
        matches!(self, Self::M | Self::L | Self::X)
    }

    /// Channels of a layer that the table gives `base` of: `min(base, max_channels) * width`, rounded up to a multiple of 8.
    pub(super) fn channels(self, base: usize) -> usize {
        let (width_quarters, max_channels) = match self {
            Self::N => (1, 1024),
            Self::S => (2, 1024),
            Self::M | Self::L => (4, 512),
            Self::X => (6, 512),
        };
        (base.min(max_channels) * width_quarters).div_ceil(4).next_multiple_of(8)
    }
}

#[cfg(test)]
mod tests {
    use super::super::net;
    use super::*;

    /// The figures in the comments of `yolo11.yaml`.
    #[test]
    fn counts_are_those_of_ultralytics() {
        let counts = Scale::ALL.map(|scale| net(scale, 80).num_parameters());
        assert_eq!(counts, [2_624_080, 9_458_752, 20_114_688, 25_372_160, 56_966_176]);
    }
}
