//! The families of detectors that can be read: a folder each, and a line in [`FAMILIES`].

mod yolov8;

use super::{
    head::{BoxRule, HeadSpec},
    onnx::{graph::GraphIndex, metadata::Metadata},
    refuse::{self, Refusal},
};
use crate::{
    cache::{HeadKind, Places},
    preprocess::InputRule,
    types::ImageSize,
};

static FAMILIES: [&dyn Family; 1] = [&yolov8::YoloV8];

/// What is known of a family of detectors: how its graphs are recognised, and what their raw tensors mean.
pub(super) trait Family: Sync {
    /// How images become its input.
    fn input_rule(&self) -> InputRule;

    /// Finds the raw tensors of the head.
    ///
    /// # Errors
    /// Why the graph is none of the family.
    fn find(&self, index: &GraphIndex<'_>, metadata: &Metadata) -> Result<HeadTensors, Refusal>;

    /// Where the predictions of an input stand, checked against everything that the model says of them.
    ///
    /// # Errors
    /// Where the model contradicts itself, or the input does not fit.
    fn places(&self, input: ImageSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<Places, Refusal>;

    /// Whether probabilities are part of what `tensor` of a graph of the family holds.
    fn holds_scores(&self, index: &GraphIndex<'_>, tensor: &str) -> bool;

    /// The boxes that the raw box values of one image stand for, `[4, N]` centre x, centre y, width, height in input pixels.
    /// Slow and plain: they judge whether the graph was understood.
    ///
    /// # Errors
    /// Why they cannot be the boxes of such a head, in words.
    fn reference_boxes(&self, box_values: &[f32], head: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String>;
}

/// The tensors of a head, by their names in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeadTensors {
    /// What logits and places mean.
    pub kind: HeadKind,
    /// The graph's own outputs.
    pub outputs: Vec<String>,
    /// `[B, C, N]` class logits.
    pub class_logits: String,
    /// `[B, K, N]`, as `boxes` says.
    pub box_values: String,
    /// What the box values are.
    pub boxes: BoxRule,
    /// C.
    pub num_classes: usize,
    /// Feature levels joined into N, where the graph tells.
    pub levels: Option<usize>,
    /// N, where the graph declares it.
    pub num_places: Option<i64>,
}

/// The family of a graph, and the raw tensors of its head.
///
/// # Errors
/// What the graph is instead, and what can be done.
pub(super) fn find(index: &GraphIndex<'_>, metadata: &Metadata) -> Result<(&'static dyn Family, HeadTensors), Refusal> {
    refuse::other_tasks(index, metadata)?;
    let mut refusal = None;
    for family in FAMILIES {
        match family.find(index, metadata) {
            Ok(tensors) => return Ok((family, tensors)),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    Err(refusal.unwrap_or_else(|| refuse::outputs(index, "it belongs to no known family of models")))
}
