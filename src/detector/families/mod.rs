//! The families of detectors that can be read: a file or folder each, and a line in [`FAMILIES`].

mod detr;
mod parts;
mod queries;
mod rf_detr;
mod rt_detr;
mod rt_detr_hf;
mod rt_detr_ultralytics;
mod yolo_nas;
mod yolov5;
mod yolov8;
mod yolox;

use super::{
    head::{BoxRule, HeadSpec},
    onnx::{adapter::Adapter, graph::GraphIndex, metadata::Metadata},
    own::OwnOutputs,
    refuse::{self, Refusal},
};
use crate::{
    cache::{HeadKind, Places},
    preprocess::InputRule,
    types::ImageSize,
};

/// The last one takes every graph that no other knows: its refusals are those of an unknown graph.
static FAMILIES: [&dyn Family; 9] = [
    &rt_detr::RtDetr,
    &rt_detr_hf::RtDetrHf,
    &detr::Detr,
    &rt_detr_ultralytics::RtDetrUltralytics,
    &rf_detr::RfDetr,
    &yolox::YoloX,
    &yolo_nas::YoloNas,
    &yolov5::YoloV5,
    &yolov8::YoloV8,
];

/// The names of the families, as `family=` takes them.
pub fn family_names() -> impl Iterator<Item = &'static str> + Clone {
    FAMILIES.iter().map(|family| family.name())
}

/// What is known of a family of detectors: how its graphs are recognised, and what their raw tensors mean.
pub(super) trait Family: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// What it is, for people.
    fn title(&self) -> &'static str;

    /// How images become its input.
    fn input_rule(&self) -> InputRule;

    /// Finds the raw tensors of the head; `None` where the graph is none of the family. `stated`: the user says that it is.
    ///
    /// # Errors
    /// Why a graph of the family cannot be read.
    fn find(&self, index: &GraphIndex<'_>, metadata: &Metadata, stated: bool) -> Result<Option<HeadTensors>, Refusal>;

    /// Where the predictions of an input stand, checked against everything that the model says of them.
    ///
    /// # Errors
    /// Where the model contradicts itself, or the input does not fit.
    fn places(&self, input: ImageSize, tensors: &HeadTensors, metadata: &Metadata) -> Result<Places, Refusal>;

    /// Whether probabilities are part of what `tensor` of a graph of the family holds.
    fn holds_scores(&self, index: &GraphIndex<'_>, tensor: &str) -> bool {
        parts::holds_scores(index, tensor)
    }

    /// The boxes that the box values of one image stand for, `[4, N]` centre x, centre y, width, height in input pixels.
    /// Slow and plain: they judge whether the graph was understood.
    ///
    /// # Errors
    /// Why they cannot be the boxes of such a head, in words.
    fn reference_boxes(&self, box_values: &[f32], head: &HeadSpec, input: ImageSize) -> Result<Vec<f32>, String>;
}

/// How the class logits come out of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogitSource {
    /// They are a tensor of the graph.
    Raw,
    /// They are the logits of objectness times class, made of both raw tensors.
    Joint,
    /// They are the log-odds of a softmax with a slot for "no object", made of its raw logits.
    Softmax,
}

impl LogitSource {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw, from before the sigmoid",
            Self::Joint => "of objectness times class, from before both sigmoids",
            Self::Softmax => "log-odds of the softmax over classes and \"no object\", from before it",
        }
    }
}

/// The tensors of a head, by their names in the graph or in the adapter behind it.
#[derive(Debug, Clone, PartialEq)]
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
    /// Makes both of the graph's tensors, where the graph has them in another form.
    pub adapter: Adapter,
    /// Where the logits come from.
    pub logits: LogitSource,
    /// Whether each object has one prediction.
    pub one_to_one: bool,
    /// What the graph's own outputs hold.
    pub own: OwnOutputs,
    /// The input that takes width and height of the images beside the images, where there is one.
    pub size_input: Option<String>,
}

impl HeadTensors {
    /// Whether some of the class slots may have no class of their own: ids of COCO that are not used, a slot for "no object".
    pub fn may_have_unused_slots(&self) -> bool {
        self.kind == HeadKind::DetrSigmoid
    }

    /// The tensors of the graph that are read.
    pub fn raw(&self) -> Vec<&str> {
        match self.adapter.raw() {
            [] => vec![&self.class_logits, &self.box_values],
            raw => raw.iter().map(String::as_str).collect(),
        }
    }
}

/// The family of a graph, and the raw tensors of its head. `wanted`: the family that the user names.
///
/// # Errors
/// What the graph is instead, and what can be done.
pub(super) fn find(
    index: &GraphIndex<'_>,
    metadata: &Metadata,
    wanted: Option<&str>,
) -> Result<(&'static dyn Family, HeadTensors), Refusal> {
    refuse::other_tasks(index, metadata)?;
    if let Some(name) = wanted {
        let Some(family) = FAMILIES.into_iter().find(|family| family.name() == name) else {
            let known = family_names().collect::<Vec<_>>().join(", ");
            return Err(Refusal::new(
                format!("{name:?} is no family of detectors that is known."),
                format!("Give one of `family=` {known}."),
            ));
        };
        return match family.find(index, metadata, true)? {
            Some(tensors) => Ok((family, tensors)),
            None => Err(refuse::not_of_family(index, family.title())),
        };
    }
    let (mut found, mut refusal) = (Vec::new(), None);
    for family in FAMILIES {
        match family.find(index, metadata, false) {
            Ok(Some(tensors)) => found.push((family, tensors)),
            Ok(None) => {}
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    match (found.len(), found.pop()) {
        (1, Some(one)) => Ok(one),
        (2.., Some(last)) => Err(refuse::ambiguous(index, found.into_iter().chain([last]).map(|(f, _)| f.name()))),
        _ => Err(refusal.unwrap_or_else(|| refuse::outputs(index, "it belongs to no known family of models"))),
    }
}
