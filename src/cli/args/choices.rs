//! Options that take one of a few values: their names are the library's own, the help texts stand here.

use super::ExportFormat;
use crate::{
    cache::MissingLabels,
    convert::Target,
    detector::{Placement, Provider, family_names},
    issues::{Kind, Method},
    quantize::Calibration,
    run::{ClsLoss, Decay, Distill, OptimizerKind, Precision},
    select::Strategy,
    toolkit::Format,
    types::{LogitType, Profile, Store},
};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

/// A parser for an option that takes one of these values.
fn choice<T: Copy + Send + Sync + 'static, const N: usize>(
    name: fn(T) -> &'static str,
    values: [(T, &'static str); N],
) -> impl TypedValueParser<Value = T> {
    let shown = values.map(|(value, help)| PossibleValue::new(name(value)).help(help));
    PossibleValuesParser::new(shown).try_map(move |text| {
        let known = values.iter().find(|(value, _)| name(*value) == text);
        known.map(|(value, _)| *value).ok_or("no such value")
    })
}

/// `--provider`
pub fn provider() -> impl TypedValueParser<Value = Provider> {
    choice(
        Provider::as_str,
        [
            (Provider::Cpu, "ONNX Runtime's own CPU kernels"),
            (Provider::Openvino, "Intel OpenVINO (the onnxruntime-openvino wheel)"),
            (Provider::Cuda, "NVIDIA CUDA (the onnxruntime-gpu wheel)"),
            (Provider::Tensorrt, "NVIDIA TensorRT (the onnxruntime-gpu wheel)"),
        ],
    )
}

/// `--format` of `export`
pub fn export_format() -> impl TypedValueParser<Value = ExportFormat> {
    choice(
        ExportFormat::as_str,
        [
            (ExportFormat::Onnx, "one .onnx file"),
            (ExportFormat::Openvino, "OpenVINO IR, an .xml and a .bin file, made by the Python package openvino"),
        ],
    )
}

/// `--family`
pub fn family() -> impl TypedValueParser<Value = String> {
    PossibleValuesParser::new(family_names())
}

/// `--logits`
pub fn logits() -> impl TypedValueParser<Value = LogitType> {
    choice(
        LogitType::as_str,
        [
            (LogitType::Bits8, "One of 256 values, one byte"),
            (LogitType::Bits8Dfl, "DFL logits as one of 256 values, one byte; class logits as float16"),
            (LogitType::Float16, "float16, two bytes"),
        ],
    )
}

/// `--store`
pub fn store() -> impl TypedValueParser<Value = Store> {
    choice(Store::as_str, [(Store::All, "Class logits and DFL logits"), (Store::Cls, "Class logits only")])
}

/// `build --profile`
pub fn profile() -> impl TypedValueParser<Value = Profile> {
    choice(
        Profile::as_str,
        [
            (Profile::Mapped, "Selected anchors"),
            (Profile::Dense, "Every anchor (2.4 MB an image for 80 classes at 640)"),
        ],
    )
}

/// `convert --profile`
pub fn target() -> impl TypedValueParser<Value = Target> {
    choice(
        Target::as_str,
        [
            (Target::Archive, "Compressed, for shipping"),
            (Target::Unpacked(Profile::Mapped), "Selected anchors, for training"),
            (Target::Unpacked(Profile::Dense), "Every anchor, for training"),
        ],
    )
}

/// `--missing-labels`
pub fn missing_labels() -> impl TypedValueParser<Value = MissingLabels> {
    choice(
        MissingLabels::as_str,
        [
            (MissingLabels::Background, "The image shows no object, as in Ultralytics"),
            (MissingLabels::Unlabelled, "The image is not annotated: excluded from the label loss and from scores"),
        ],
    )
}

/// `data --to`
pub fn data_format() -> impl TypedValueParser<Value = Format> {
    choice(
        Format::as_str,
        [
            (Format::Yolo, "data.yaml and a text file per image, as Ultralytics reads them"),
            (Format::Coco, "annotations/instances_SPLIT.json"),
            (Format::Voc, "Pascal VOC: an XML file per image, lists of the splits, labelmap.txt"),
            (Format::Cvat, "annotations.xml of CVAT for images 1.1"),
            (Format::LabelStudio, "tasks.json and label_config.xml of Label Studio"),
        ],
    )
}

/// `issues --method`
pub fn issues_method() -> impl TypedValueParser<Value = Method> {
    choice(
        Method::as_str,
        [
            (Method::Soft, "Losses of the label under the teacher's soft outputs, weighed by what the cache teaches"),
            (Method::Objectlab, "ObjectLab (arXiv 2309.00832): missing, location, class"),
            (Method::Fiftyone, "FiftyOne's mistakenness: missing, location, class, spurious"),
        ],
    )
}

/// `issues --kind`
pub fn issues_kind() -> impl TypedValueParser<Value = Kind> {
    choice(
        Kind::as_str,
        [
            (Kind::Missing, "An object without a label"),
            (Kind::Location, "A label that is not where the object is"),
            (Kind::Class, "A label of the wrong class"),
            (Kind::Spurious, "A label where no such object is"),
            (Kind::Duplicate, "A label that repeats another"),
        ],
    )
}

/// `select --method`
pub fn strategy() -> impl TypedValueParser<Value = Strategy> {
    choice(
        Strategy::as_str,
        [
            (
                Strategy::Combined,
                "Diverse images among the most uncertain, rare classes first; disagreement of views where there are any",
            ),
            (Strategy::Uncertainty, "The highest sum of the entropies of the teacher's boxes"),
            (Strategy::Disagreement, "What the teacher sees most differently in the augmented views"),
            (Strategy::Balance, "What adds most to the classes of which there is least"),
            (Strategy::Diversity, "What is farthest from all that is labelled or chosen (k-centre greedy)"),
            (Strategy::Random, "At random: what the others have to beat"),
        ],
    )
}

/// `quantize --calibration`
pub fn calibration() -> impl TypedValueParser<Value = Calibration> {
    choice(
        Calibration::as_str,
        [
            (Calibration::Divergence, "The one of the following that changes the model's outputs least"),
            (Calibration::MinMax, "The lowest and the highest value"),
            (Calibration::Percentile, "All but 0.01 % of the values on each side"),
            (Calibration::Entropy, "The least change of the distribution (Kullback-Leibler divergence)"),
            (Calibration::Mse, "The least mean squared error"),
        ],
    )
}

/// `quantize --placement`
pub fn placement() -> impl TypedValueParser<Value = Placement> {
    choice(
        Placement::as_str,
        [
            (Placement::Operators, "Outputs of all operators, as ONNX Runtime's CPU kernels need it"),
            (Placement::LayerInputs, "Inputs of convolutions and products alone, for OpenVINO and TensorRT"),
        ],
    )
}

/// `--optimizer`
pub fn optimizer() -> impl TypedValueParser<Value = OptimizerKind> {
    choice(
        OptimizerKind::as_str,
        [
            (OptimizerKind::Adamw, "Adam with decoupled weight decay"),
            (OptimizerKind::Sgd, "Stochastic gradient descent with Nesterov momentum"),
        ],
    )
}

/// `--decay`
pub fn decay() -> impl TypedValueParser<Value = Decay> {
    choice(Decay::as_str, [(Decay::Cosine, "Half a cosine"), (Decay::Linear, "A straight line")])
}

/// `--cls-loss`
pub fn cls_loss() -> impl TypedValueParser<Value = ClsLoss> {
    choice(
        ClsLoss::as_str,
        [
            (ClsLoss::SoftmaxKl, "KL divergence between softmaxes over the classes, at the temperature"),
            (ClsLoss::Bckd, "Binary KL per class, weighted by the difference of the probabilities (BCKD)"),
            (ClsLoss::Bce, "Binary cross entropy per class"),
        ],
    )
}

/// `--distill`
pub fn distill() -> impl TypedValueParser<Value = Distill> {
    choice(
        Distill::as_str,
        [
            (Distill::All, "Classes, DFL and boxes"),
            (Distill::Cls, "Classes only"),
            (Distill::PseudoLabels, "The boxes that the teacher finds, as if they were labels (a baseline)"),
            (Distill::None, "Nothing: train from labels only"),
        ],
    )
}

/// `--precision`
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    choice(
        Precision::as_str,
        [(Precision::Bf16, "bfloat16 where that is safe, float32 elsewhere (autocast)"), (Precision::Fp32, "float32")],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    #[test]
    fn names_are_those_of_the_library_and_others_are_refused_with_the_list() {
        let parse = |text: &str| {
            let arg = Arg::new("logits").long("logits").value_parser(logits());
            let matches = Command::new("test").arg(arg).try_get_matches_from(["test", "--logits", text]);
            matches.map(|m| m.get_one::<LogitType>("logits").copied())
        };
        assert_eq!(parse("8bit-dfl").unwrap(), Some(LogitType::Bits8Dfl));
        let message = parse("8bits").unwrap_err().to_string();
        assert!(message.contains("8bit, 8bit-dfl, float16"), "{message}");
    }
}
