//! Names of an exported file's tensors: of a convolution those of the state dict, of the other operations
//! a number.

use super::net::{ConvSpec, Then};

/// What the network is run on.
pub(super) const IMAGES: &str = "images";

/// Counts the operations that have no name of their own, in the order in which they are carried out.
#[derive(Debug, Default)]
pub(super) struct Unnamed(usize);

impl Unnamed {
    /// The name of the next one, whatever it is.
    pub fn next(&mut self, op: &str) -> String {
        self.0 += 1;
        format!("{op}_{}", self.0)
    }
}

impl ConvSpec {
    /// The convolution's own output, before its activation; its weights' names begin with it too.
    pub(super) fn output_name(&self) -> String {
        match self.then {
            Then::NormSilu | Then::Norm => format!("{}.conv", self.name),
            Then::Bias => self.name.clone(),
        }
    }

    /// The sigmoid of its output.
    pub(super) fn sigmoid_name(&self) -> String {
        format!("{}.sigmoid", self.name)
    }

    /// Its output times the sigmoid of it.
    pub(super) fn silu_name(&self) -> String {
        format!("{}.silu", self.name)
    }
}

/// The two parts of a split map.
pub(super) fn halves(split: &str) -> [String; 2] {
    [format!("{split}_first_half"), format!("{split}_second_half")]
}

/// Of attention: what reads its input; the attended values and the values as maps.
pub(super) fn attention(name: &str) -> [String; 3] {
    ["by_head", "attended", "values_as_map"].map(|part| format!("{name}_{part}"))
}
