//! The five sizes of YOLO26 (Ultralytics' `cfg/models/26/yolo26.yaml`, `scales`).

/// A size of YOLO26. The number of parameters is that with 80 classes, of both branches of the
/// head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// `yolo26n`: 2.6 million.
    N,
    /// `yolo26s`: 10.0 million.
    S,
    /// `yolo26m`: 21.9 million.
    M,
    /// `yolo26l`: 26.3 million.
    L,
    /// `yolo26x`: 59.0 million.
    X,
}

impl Scale {
    /// All sizes, smallest first.
    pub const ALL: [Self; 5] = [Self::N, Self::S, Self::M, Self::L, Self::X];

    /// The name as users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::N => "yolo26n",
            Self::S => "yolo26s",
            Self::M => "yolo26m",
            Self::L => "yolo26l",
            Self::X => "yolo26x",
        }
    }

    /// Inner blocks where the table gives 2: `max(round(2 * depth), 1)`.
    pub(super) fn repeats(self) -> usize {
        match self {
            Self::N | Self::S | Self::M => 1,
            Self::L | Self::X => 2,
        }
    }

    /// Whether C3k2 blocks have inner blocks of C3k where the table does not say it, too.
    pub(super) fn has_c3k_everywhere(self) -> bool {
        matches!(self, Self::M | Self::L | Self::X)
    }

    /// Channels of a layer that the table gives `base` of: `min(base, max_channels) * width`,
    /// rounded up to a multiple of 8.
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

    /// The figures in the comments of `yolo26.yaml`.
    #[test]
    fn counts_are_those_of_ultralytics() {
        let counts = Scale::ALL.map(|scale| net(scale, 80).num_parameters());
        assert_eq!(counts, [2_572_280, 10_009_784, 21_896_248, 26_299_704, 58_993_368]);
    }
}
