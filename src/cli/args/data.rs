//! Arguments of `logitcache data`.

use super::{bounds, choices, heading, two_names};
use crate::toolkit::{self, Format, Part};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `logitcache data`
#[derive(Debug, Args)]
pub struct DataArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DataCommand,
}

/// The commands of `logitcache data`.
///
/// DATA is a data.yaml, a COCO instances.json, a folder of Pascal VOC XML, an annotations.xml of CVAT for images, a JSON export of
/// Label Studio, or a folder that holds one of these.
#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Find what would spoil a training run: damaged images, wrong labels, leaks between splits.
    ///
    /// Exit status 1 where there are errors. All images are decoded.
    Check(DataCheckArgs),
    /// Count images, classes, box sizes and what occurs together.
    Stats(DataStatsArgs),
    /// Write a data set in another format.
    Convert(DataConvertArgs),
    /// Write several data sets as one; classes of the same name are one class.
    Merge(DataMergeArgs),
    /// Write new splits: every class has its share in each, near-duplicates stay together.
    Split(DataSplitArgs),
    /// Write a part of a data set: some classes, some splits, or listed images.
    Subset(DataSubsetArgs),
    /// Find images that are the same or nearly so, and those that lie in different splits.
    Dedup(DataDedupArgs),
    /// Compare two data sets, image by image and box by box.
    Diff(DataDiffArgs),
}

/// The data set that is read.
#[derive(Debug, Args)]
pub struct DataSourceArgs {
    /// The data set: a data.yaml, COCO JSON, VOC folder, CVAT XML, Label Studio JSON, or a folder of one.
    pub data: PathBuf,
    /// Folder of the images, if they are not beside the labels (not for a data.yaml).
    #[arg(long, value_name = "DIR", help_heading = heading::DATA)]
    pub images: Option<PathBuf>,
    /// Read only this split; repeat for several [default: all].
    #[arg(long, value_name = "NAME", help_heading = heading::DATA)]
    pub split: Vec<String>,
}

/// How near-duplicates are found.
#[derive(Debug, Args)]
pub struct DistanceArgs {
    /// Near-duplicates are images whose hashes of 256 bits differ in at most this many; 0: in none.
    #[arg(long, value_name = "BITS", default_value_t = toolkit::DEFAULT_DISTANCE, value_parser = bounds::distance, help_heading = heading::SETTINGS)]
    pub distance: u32,
}

/// How a data set is written.
#[derive(Debug, Args)]
pub struct DataOutArgs {
    /// Folder to create; it must not exist.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: PathBuf,
    /// Hard-link image files where the file system can; otherwise they are copied.
    ///
    /// A hard link is the same file under another name: it takes no space, and a program that changes the file in place
    /// changes both.
    #[arg(long, help_heading = heading::OUTPUT)]
    pub link: bool,
}

/// `logitcache data check`
#[derive(Debug, Args)]
pub struct DataCheckArgs {
    /// The data set.
    #[command(flatten)]
    pub source: DataSourceArgs,
    /// Near-duplicates in different splits.
    #[command(flatten)]
    pub near: DistanceArgs,
    /// Write a mended copy into this new folder, with a list of the changes.
    ///
    /// Images and labels that cannot be read are left out, boxes are cut at the edge, objects that are labelled twice and files
    /// that are there twice are kept once, in the first split.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub fix: Option<PathBuf>,
    /// Hard-link image files into the mended copy; otherwise they are copied.
    #[arg(long, requires = "fix", help_heading = heading::OUTPUT)]
    pub link: bool,
    /// Print one JSON object on stdout (schemas/data-check.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data stats`
#[derive(Debug, Args)]
pub struct DataStatsArgs {
    /// The data set.
    #[command(flatten)]
    pub source: DataSourceArgs,
    /// Print one JSON object on stdout (schemas/data-stats.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data convert`
#[derive(Debug, Args)]
pub struct DataConvertArgs {
    /// The data set.
    #[command(flatten)]
    pub source: DataSourceArgs,
    /// Format to write.
    #[arg(long, value_name = "FORMAT", value_parser = choices::data_format(), help_heading = heading::SETTINGS)]
    pub to: Format,
    /// The new folder.
    #[command(flatten)]
    pub out: DataOutArgs,
    /// Print one JSON object on stdout (schemas/data-manifest.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data merge`
#[derive(Debug, Args)]
pub struct DataMergeArgs {
    /// The data sets; the first one's classes come first.
    #[arg(required = true, num_args = 2.., value_name = "DATA")]
    pub data: Vec<PathBuf>,
    /// Give a class another name, or that of a class to unite it with; repeat for each class.
    #[arg(long, value_name = "NAME=NEW_NAME", value_parser = two_names, help_heading = heading::SETTINGS)]
    pub map: Vec<(String, String)>,
    /// Format to write [default: that of the first data set].
    #[arg(long, value_name = "FORMAT", value_parser = choices::data_format(), help_heading = heading::OUTPUT)]
    pub to: Option<Format>,
    /// The new folder.
    #[command(flatten)]
    pub out: DataOutArgs,
    /// Print one JSON object on stdout (schemas/data-manifest.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data split`
#[derive(Debug, Args)]
pub struct DataSplitArgs {
    /// The data set.
    #[command(flatten)]
    pub source: DataSourceArgs,
    /// A new split and its share of the images; repeat for each. Shares need not sum to 1.
    #[arg(long, value_name = "NAME=SHARE", default_values = ["train=0.8", "val=0.2"], value_parser = part, help_heading = heading::SETTINGS)]
    pub part: Vec<Part>,
    /// Random seed: the same seed gives the same splits.
    #[arg(long, default_value_t = 0, help_heading = heading::SETTINGS)]
    pub seed: u64,
    /// Near-duplicates, which stay together.
    #[command(flatten)]
    pub near: DistanceArgs,
    /// Format to write [default: that of the data set].
    #[arg(long, value_name = "FORMAT", value_parser = choices::data_format(), help_heading = heading::OUTPUT)]
    pub to: Option<Format>,
    /// The new folder.
    #[command(flatten)]
    pub out: DataOutArgs,
    /// Print one JSON object on stdout (schemas/data-manifest.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data subset`
#[derive(Debug, Args)]
pub struct DataSubsetArgs {
    /// The data set.
    #[command(flatten)]
    pub source: DataSourceArgs,
    /// Keep this class; repeat for several [default: all].
    ///
    /// Boxes of other classes are left out, and images of which no box is left.
    #[arg(long, value_name = "NAME", help_heading = heading::SETTINGS)]
    pub class: Vec<String>,
    /// Keep the images that this text file lists: paths or ends of paths, one a line [default: all].
    #[arg(long, value_name = "FILE", help_heading = heading::SETTINGS)]
    pub list: Option<PathBuf>,
    /// Format to write [default: that of the data set].
    #[arg(long, value_name = "FORMAT", value_parser = choices::data_format(), help_heading = heading::OUTPUT)]
    pub to: Option<Format>,
    /// The new folder.
    #[command(flatten)]
    pub out: DataOutArgs,
    /// Print one JSON object on stdout (schemas/data-manifest.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data dedup`
#[derive(Debug, Args)]
pub struct DataDedupArgs {
    /// The data set.
    #[command(flatten)]
    pub source: DataSourceArgs,
    /// Near-duplicates.
    #[command(flatten)]
    pub near: DistanceArgs,
    /// Write the data set with one image of each group into this new folder [default: nothing is written].
    ///
    /// The one with the most pixels is kept, of these the first.
    #[arg(long, value_name = "DIR", help_heading = heading::OUTPUT)]
    pub out: Option<PathBuf>,
    /// Format to write [default: that of the data set].
    #[arg(long, value_name = "FORMAT", requires = "out", value_parser = choices::data_format(), help_heading = heading::OUTPUT)]
    pub to: Option<Format>,
    /// Hard-link image files where the file system can; otherwise they are copied.
    #[arg(long, requires = "out", help_heading = heading::OUTPUT)]
    pub link: bool,
    /// Print one JSON object on stdout (schemas/data-dedup.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// `logitcache data diff`
#[derive(Debug, Args)]
pub struct DataDiffArgs {
    /// The first data set.
    pub a: PathBuf,
    /// The second one.
    pub b: PathBuf,
    /// Print one JSON object on stdout (schemas/data-diff.schema.json).
    #[arg(long, help_heading = heading::OUTPUT)]
    pub json: bool,
}

/// A `--part`.
fn part(text: &str) -> Result<Part, String> {
    let words = || "expected a name and a share above 0 with a `=` between them, such as train=0.8".to_owned();
    let (name, share) = text.split_once('=').ok_or_else(words)?;
    let share = share.trim().parse().ok().filter(|share: &f64| share.is_finite() && *share > 0.0).ok_or_else(words)?;
    let name = name.trim();
    if name.is_empty() { Err(words()) } else { Ok(Part { name: name.to_owned(), share }) }
}
