//! Arguments of the commands that look at labels beside a cache.

use super::{DataOutArgs, bounds, choices, heading};
use crate::{
    issues::{Kind, Method},
    select::Strategy,
    toolkit::Format,
};
use clap::Args;
use std::path::PathBuf;

/// `logitcache issues`
#[derive(Debug, Args)]
pub struct IssuesArgs {
    /// Folder of a finished cache.
    pub cache: PathBuf,
    /// Judge the labels that this data set has now, for example after corrections [default: those in the cache].
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// How suspicion is computed.
    #[arg(long, value_name = "NAME", default_value = Method::Soft.as_str(), value_parser = choices::issues_method(), help_heading = heading::SETTINGS)]
    pub method: Method,
    /// Look only for this kind; repeat for several [default: all that the method finds].
    #[arg(long, value_name = "KIND", value_parser = choices::issues_kind(), help_heading = heading::SETTINGS)]
    pub kind: Vec<Kind>,
    /// List at most this many issues and this many images, the most suspicious.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = bounds::listed, help_heading = heading::SETTINGS)]
    pub top: usize,
    /// Folder to create for the review: a page with pictures, CSV, JSON, and the boxes for CVAT, Label Studio and FiftyOne (COCO).
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Most pictures on the page, which has at most 20 MB.
    #[arg(long, value_name = "N", default_value_t = 200, requires = "out", value_parser = bounds::review_pictures, help_heading = heading::OUTPUT)]
    pub pictures: usize,
    /// Print one JSON object on stdout (schemas/issues.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache label`
#[derive(Debug, Args)]
pub struct LabelArgs {
    /// Folder of a finished cache.
    pub cache: PathBuf,
    /// The data set, if it has moved or has other labels since the build.
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Only the labels of the images that this text file lists count: paths in the data set or their ends, one a line [default:
    /// all that have labels].
    ///
    /// Scores are calibrated by these images. Those that the teacher was trained on make it look better than it is.
    #[arg(long, value_name = "FILE", help_heading = heading::DATA)]
    pub labelled: Option<PathBuf>,
    /// Write only the images that this text file lists [default: all].
    #[arg(long, value_name = "FILE", help_heading = heading::DATA)]
    pub list: Option<PathBuf>,
    /// Wanted precision of the labels; the score threshold of each class follows from it.
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, value_parser = bounds::fraction, allow_negative_numbers = true, help_heading = heading::SETTINGS)]
    pub precision: f64,
    /// One lowest score for all classes instead; needs no labels.
    #[arg(long, value_name = "SCORE", conflicts_with = "precision", value_parser = bounds::fraction, allow_negative_numbers = true, help_heading = heading::SETTINGS)]
    pub conf: Option<f64>,
    /// Mark other boxes as uncertain if they are right with at least this probability; 1: none.
    ///
    /// Without labels, the score is taken for the probability. VOC and CVAT mark them `difficult`, COCO as `iscrowd`, which training
    /// and scoring ignore; YOLO and Label Studio cannot, so they are only listed in teacher_boxes.csv.
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, value_parser = bounds::fraction, allow_negative_numbers = true, help_heading = heading::SETTINGS)]
    pub uncertain: f64,
    /// Add the teacher's boxes to images with labels too, where they overlap no label (IoU below 0.5).
    #[arg(long, help_heading = heading::SETTINGS)]
    pub add_missing: bool,
    /// Format to write.
    #[arg(long, value_name = "FORMAT", value_parser = choices::data_format(), help_heading = heading::OUTPUT)]
    pub to: Format,
    /// The new folder.
    #[command(flatten)]
    pub out: DataOutArgs,
    /// Print one JSON object on stdout (schemas/label.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache select`
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Folder of a finished cache.
    pub cache: PathBuf,
    /// Number of images to choose.
    #[arg(long, value_name = "N", value_parser = bounds::listed, help_heading = heading::SETTINGS)]
    pub budget: usize,
    /// What makes an image worth a label.
    #[arg(long, value_name = "NAME", default_value = Strategy::Combined.as_str(), value_parser = choices::strategy(), help_heading = heading::SETTINGS)]
    pub method: Strategy,
    /// The images that have labels already: paths in the data set or their ends, one a line [default: those with labels in the
    /// cache].
    #[arg(long, value_name = "FILE", help_heading = heading::DATA)]
    pub labelled: Option<PathBuf>,
    /// Random seed of the method `random`.
    #[arg(long, default_value_t = 0, help_heading = heading::SETTINGS)]
    pub seed: u64,
    /// The data set, if it has moved since the build.
    #[arg(long, help_heading = heading::DATA)]
    pub data: Option<PathBuf>,
    /// Folder of the images (COCO and VOC, if they are not beside the labels).
    #[arg(long, value_name = "DIR", requires = "data", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Folder to create for the chosen images, without labels, as a data set with the class list, and selected.csv, selected.txt.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Format of the data set.
    #[arg(long, value_name = "FORMAT", default_value = Format::Yolo.as_str(), value_parser = choices::data_format(), requires = "out", help_heading = heading::OUTPUT)]
    pub to: Format,
    /// Hard-link image files where the file system can; otherwise they are copied.
    #[arg(long, requires = "out", help_heading = heading::OUTPUT)]
    pub link: bool,
    /// Print one JSON object on stdout (schemas/select.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}
