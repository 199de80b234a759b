//! Arguments of the commands that look at labels beside a cache.

use super::{bounds, choices, heading};
use crate::issues::{Kind, Method};
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
    #[arg(long, value_name = "NAME", default_value = Method::Soft.as_str(), value_parser = choices::issues_method())]
    pub method: Method,
    /// Look only for this kind; repeat for several [default: all that the method finds].
    #[arg(long, value_name = "KIND", value_parser = choices::issues_kind())]
    pub kind: Vec<Kind>,
    /// List at most this many issues and this many images, the most suspicious.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = bounds::listed)]
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
