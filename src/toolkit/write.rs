//! Writing a data set: images in a fixed order, their labels as the format holds them, and the list
//! of what it does not hold.

use super::{
    CHUNK, Manifest, Placed, Run, SplitCount, WriteOptions,
    class_names::refuse_unwritable,
    data::DataSet,
    failure,
    folder::{NewFolder, Placing, Stream, full, make_parent, place, write_file},
    formats::{self, Format, Image, Target, in_label_map},
    load::{Loaded, load},
    manifest::{self, Loss, Origin},
    names::{Name, Names},
};
use crate::{
    Error, Result,
    dataset::{Dataset, FaultKind, Mark, RawBox, Sample, Truth, paths},
    types::{Failure, ImageSize},
};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, HashSet},
    mem,
    path::Path,
};

/// The class in the new data set for each class of a split; none where its boxes are left out.
pub(crate) type ClassMap = Vec<Option<u32>>;

/// What is to be written.
pub(crate) struct Job<'a> {
    pub(super) command: &'static str,
    pub(crate) settings: Vec<String>,
    pub(super) origins: Vec<Origin>,
    pub(super) classes: Vec<String>,
    pub(super) splits: Vec<String>,
    pub(super) maps: Vec<ClassMap>,
    pub(super) entries: Vec<Entry<'a>>,
    /// Whether images of which no box is left are left out.
    pub(super) drop_empty: bool,
    /// Whether labels with faults and doubled boxes are left out one by one; each change is listed.
    pub(super) mend: bool,
    /// Images that are not among the entries, each with the words of that change.
    pub(super) left_out: Vec<(String, String)>,
    /// What gives the images other labels than their files.
    pub(crate) labeller: Option<&'a dyn Labeller>,
}

/// Labels that are not those of the files.
pub(crate) trait Labeller: Sync {
    /// Name of a table beside the manifest, and its columns after `image`.
    fn table(&self) -> (&'static str, &'static [&'static str]);

    /// The labels of entry number `at`, an image of this size whose files say `truth`; called from several threads.
    ///
    /// # Errors
    /// In words, why the image cannot have labels.
    fn relabel(&self, at: usize, size: ImageSize, truth: Truth<RawBox>) -> std::result::Result<Relabelled, String>;

    /// Entry number `at` was written; called in the order of entries.
    fn written(&self, _at: usize) {}

    /// Small files beside the manifest: name and text.
    fn files(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// The new labels of an image.
#[derive(Debug)]
pub(crate) struct Relabelled {
    /// Classes are those of the job.
    pub(crate) truth: Truth<RawBox>,
    /// Its rows of the table, without the image.
    pub(crate) rows: Vec<Vec<String>>,
}

/// One image to write.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) sample: &'a Sample,
    /// The folder of its old split.
    pub(super) folder: &'a Path,
    /// Number of its data set.
    pub(super) origin: usize,
    /// Number of its new split.
    pub(super) split: usize,
    /// Number of its class map.
    pub(super) map: usize,
}

impl<'a> Job<'a> {
    /// No image yet.
    pub(super) fn new(command: &'static str, origins: Vec<Origin>, classes: Vec<String>, splits: Vec<String>) -> Self {
        Job {
            command,
            settings: Vec::new(),
            origins,
            classes,
            splits,
            maps: Vec::new(),
            entries: Vec::new(),
            drop_empty: false,
            mend: false,
            left_out: Vec::new(),
            labeller: None,
        }
    }

    /// All images of one data set, in their splits and with their classes.
    pub(super) fn of(command: &'static str, data: &'a DataSet) -> Result<Self> {
        let classes = data.labelled()?.to_vec();
        let splits = data.splits.iter().map(|split| split.name.clone()).collect();
        let mut job = Job::new(command, vec![origin(data)], classes, splits);
        job.entries.reserve(data.images());
        for (number, split) in data.splits.iter().enumerate() {
            job.maps.push(split.to_class.iter().map(|&class| Some(class)).collect());
            let entry = |sample| Entry { sample, folder: &split.folder, origin: 0, split: number, map: number };
            job.entries.extend(split.samples.iter().map(entry));
        }
        Ok(job)
    }

    /// Some images of one split of a data set, all classes as they are.
    pub(crate) fn of_split(
        command: &'static str,
        origin: Origin,
        classes: Vec<String>,
        split: &str,
        samples: &[&'a Sample],
        folder: &'a Path,
    ) -> Self {
        let same = (0..).take(classes.len()).map(Some).collect();
        let entry = |sample: &&'a Sample| Entry { sample, folder, origin: 0, split: 0, map: 0 };
        let mut job = Job::new(command, vec![origin], classes, vec![split.to_owned()]);
        job.maps.push(same);
        job.entries = samples.iter().map(entry).collect();
        job
    }
}

/// What a manifest tells of a data set that was read.
pub(super) fn origin(data: &DataSet) -> Origin {
    Origin {
        data: data.data.clone(),
        format: data.format.as_str().to_owned(),
        classes: data.class_names.clone().unwrap_or_default(),
        images: data.images() as u64,
    }
}

/// The same of one split.
pub(crate) fn origin_of(dataset: &Dataset, data: &Path) -> Origin {
    Origin {
        data: data.to_path_buf(),
        format: dataset.format.as_str().to_owned(),
        classes: dataset.class_names.clone().unwrap_or_default(),
        images: dataset.samples.len() as u64,
    }
}

/// The format that options name, or that of a data set.
pub(super) fn format_of(options: &WriteOptions, data: &DataSet) -> Result<Format> {
    // A folder of images has no labels to write.
    data.labelled()?;
    Ok(options.to.or_else(|| Format::of(data.format)).unwrap_or(Format::Yolo))
}

/// A kind of loss, in the order of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LossKind {
    Crowd,
    Difficult,
    Outline,
    NoArea,
    Cut,
    Repeated,
    Doubled,
    Fault,
    OtherClass,
    Unlabelled,
    ClassOrder,
}

impl LossKind {
    fn words(self, format: Format) -> String {
        match self {
            Self::Crowd => format!("crowd regions were left out: {format} cannot mark them"),
            Self::Difficult => format!("difficult objects were left out: {format} cannot mark them"),
            Self::Outline => "polygons, masks or turned boxes became the box around them".into(),
            Self::NoArea => "boxes without area in the image were left out".into(),
            Self::Cut => "boxes were cut at the edge of the image".into(),
            Self::Repeated => "rows that repeat another row of the label file count once".into(),
            Self::Doubled => "boxes that repeat another one of their class were left out".into(),
            Self::Fault => "labels with faults were left out".into(),
            Self::OtherClass => "boxes of other classes were left out".into(),
            Self::Unlabelled => {
                format!("images that are not annotated became images without objects: {format} cannot tell them apart")
            }
            Self::ClassOrder => {
                "class names are not in labelmap.txt, which cannot hold them; their order is lost".into()
            }
        }
    }
}

type Losses = BTreeMap<LossKind, (u64, Vec<String>)>;

fn lose(losses: &mut Losses, kind: LossKind, count: u64, image: &str) {
    if count > 0 {
        let (total, images) = losses.entry(kind).or_default();
        *total += count;
        if images.len() < manifest::SHOWN {
            images.push(image.to_owned());
        }
    }
}

/// What became of one image.
enum Outcome {
    Written {
        image: Image,
        lost: Vec<(LossKind, u64)>,
        /// Rows of the table beside the manifest, without the image.
        rows: Vec<Vec<String>>,
        placing: Option<Placing>,
    },
    /// No box of the chosen classes is in it.
    Empty,
    Failed(String),
}

/// Writes a data set.
///
/// # Errors
/// [`Error::Mismatch`] or [`Error::Classes`] before anything is written; [`Error::Io`],
/// [`Error::NoSpace`] and [`Error::Interrupted`], after which nothing is left.
pub(crate) fn write(job: &Job<'_>, format: Format, options: &WriteOptions, run: &Run<'_>) -> Result<Manifest> {
    refuse_unwritable(format, &job.classes)?;
    let folder = NewFolder::create(&options.out)?;
    let mut writer = Writer {
        job,
        format,
        link: options.link,
        target: formats::begin(format, &folder, &job.splits, &job.classes)?,
        sources: Stream::create(folder.path().join(manifest::SOURCES_NAME))?,
        table: None,
        losses: Losses::new(),
        failures: Vec::new(),
        splits: job.splits.iter().map(|name| SplitCount { name: name.clone(), ..SplitCount::default() }).collect(),
        placed: Placed::default(),
        renamed: 0,
        folder,
    };
    writer.sources.write("image,split,source\n")?;
    let table = match job.labeller {
        Some(labeller) => Some(labeller.table()),
        None => job.mend.then_some((super::fix::CHANGES_NAME, ["change"].as_slice())),
    };
    if let Some((name, columns)) = table {
        let mut table = Stream::create(writer.folder.path().join(name))?;
        table.write(&format!("image,{}\n", columns.join(",")))?;
        let mut rows = csv::Writer::from_writer(Vec::new());
        job.left_out.iter().try_for_each(|(image, words)| rows.write_record([image, words])).map_err(csv_error)?;
        table.write(&csv_text(rows))?;
        writer.table = Some(table);
    }
    for (name, text) in job.labeller.map(|labeller| labeller.files()).unwrap_or_default() {
        write_file(&writer.folder.path().join(name), text.as_bytes())?;
    }
    if format == Format::Voc {
        for name in job.classes.iter().filter(|name| !in_label_map(name)) {
            lose(&mut writer.losses, LossKind::ClassOrder, 1, name);
        }
    }
    (run.total)(job.entries.len() as u64);
    let mut names = Names::new(format);
    for (chunk, first) in job.entries.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        writer.chunk(chunk, first, &mut names, run)?;
    }
    writer.finish(options)
}

/// A row in memory; it cannot fail.
fn csv_error(error: csv::Error) -> Error {
    Error::io(Path::new(manifest::SOURCES_NAME), "write to", std::io::Error::other(error))
}

fn csv_text(rows: csv::Writer<Vec<u8>>) -> String {
    String::from_utf8_lossy(&rows.into_inner().unwrap_or_default()).into_owned()
}

struct Writer<'a> {
    job: &'a Job<'a>,
    format: Format,
    link: bool,
    target: Box<dyn Target>,
    sources: Stream,
    /// What was changed in the labels, image by image.
    table: Option<Stream>,
    losses: Losses,
    failures: Vec<Failure>,
    splits: Vec<SplitCount>,
    placed: Placed,
    renamed: u64,
    folder: NewFolder,
}

impl Writer<'_> {
    fn chunk(&mut self, entries: &[Entry<'_>], first: usize, names: &mut Names, run: &Run<'_>) -> Result<()> {
        let named: Vec<(&Entry<'_>, Name)> = entries
            .iter()
            .map(|entry| (entry, names.give(entry.origin, entry.split, &entry.sample.path, entry.folder)))
            .collect();
        let folders: HashSet<std::path::PathBuf> =
            named.iter().filter_map(|(entry, name)| Some(self.place_of(entry, name).parent()?.to_path_buf())).collect();
        for parent in folders {
            make_parent(&parent.join("x"))?;
        }
        let outcomes: Vec<Result<Outcome>> = named
            .par_iter()
            .enumerate()
            .map(|(at, (entry, name))| {
                run.go_on()?;
                let outcome = self.one(first + at, entry, name)?;
                (run.done)(matches!(outcome, Outcome::Failed(_)));
                Ok(outcome)
            })
            .collect();
        let mut sources = csv::Writer::from_writer(Vec::new());
        let mut table = csv::Writer::from_writer(Vec::new());
        for (at, ((entry, name), outcome)) in named.iter().zip(outcomes).enumerate() {
            let relative = &entry.sample.relative;
            let mut told = |row: &[String]| table.write_record([relative].into_iter().chain(row)).map_err(csv_error);
            match outcome? {
                Outcome::Empty => {}
                Outcome::Failed(reason) => {
                    if self.job.mend {
                        told(&[format!("the image was left out: {reason}")])?;
                    }
                    self.failures.push(failure(first + at, relative, reason));
                }
                Outcome::Written { image, lost, rows, placing } => {
                    lost.iter().for_each(|&(kind, count)| lose(&mut self.losses, kind, count, relative));
                    rows.iter().try_for_each(|row| told(row))?;
                    if let Some(labeller) = self.job.labeller {
                        labeller.written(first + at);
                    }
                    match placing {
                        Some(Placing::Linked) => self.placed.linked += 1,
                        Some(Placing::Copied) => self.placed.copied += 1,
                        None => {}
                    }
                    if let (Some(split), Truth::Labelled(boxes)) = (self.splits.get_mut(image.split), &image.truth) {
                        split.boxes += boxes.len() as u64;
                        split.background_images += u64::from(boxes.is_empty());
                    }
                    if let Some(split) = self.splits.get_mut(image.split) {
                        split.images += 1;
                    }
                    let inside = entry.sample.path.strip_prefix(entry.folder).unwrap_or(&entry.sample.path);
                    self.renamed += u64::from(inside != Path::new(&name.name));
                    let new = self.format.image_path(self.split_name(entry), &name.name);
                    let old = paths::to_column(&entry.sample.path);
                    let row = [&new.to_string_lossy(), self.split_name(entry), old.as_str()];
                    sources.write_record(row).map_err(csv_error)?;
                    self.target.append(&image)?;
                }
            }
        }
        self.sources.write(&csv_text(sources))?;
        self.table.as_mut().map_or(Ok(()), |file| file.write(&csv_text(table)))
    }

    fn split_name(&self, entry: &Entry<'_>) -> &str {
        self.job.splits.get(entry.split).map_or("", String::as_str)
    }

    fn place_of(&self, entry: &Entry<'_>, name: &Name) -> std::path::PathBuf {
        self.folder.path().join(self.format.image_path(self.split_name(entry), &name.name))
    }

    fn one(&self, at: usize, entry: &Entry<'_>, name: &Name) -> Result<Outcome> {
        let mut loaded = match load(entry.sample) {
            Ok(loaded) => loaded,
            Err(reason) => return Ok(Outcome::Failed(reason)),
        };
        let file = || entry.sample.label_file().map(|file| format!("{}: ", file.display())).unwrap_or_default();
        let lost_whole = |kind| matches!(kind, FaultKind::Unreadable | FaultKind::OtherSize);
        let fatal = loaded.faults.iter().find(|fault| !self.job.mend || lost_whole(fault.kind));
        if let Some(fault) = fatal {
            return Ok(Outcome::Failed(format!("{}{}", file(), fault.words)));
        }
        let relabelled = self.job.labeller.map(|labeller| {
            let truth = mem::replace(&mut loaded.truth, Truth::Missing);
            labeller.relabel(at, loaded.size, truth)
        });
        let rows = match relabelled.transpose() {
            Err(reason) => return Ok(Outcome::Failed(reason)),
            Ok(None) => Vec::new(),
            Ok(Some(relabelled)) => {
                loaded.truth = relabelled.truth;
                relabelled.rows
            }
        };
        let (image, lost, changes) = self.fitted(entry, name, loaded);
        let rows = rows.into_iter().chain(changes.into_iter().map(|change| vec![change])).collect();
        if self.job.drop_empty && matches!(&image.truth, Truth::Labelled(boxes) if boxes.is_empty()) {
            return Ok(Outcome::Empty);
        }
        let placing = if name.again {
            None
        } else {
            match place(&entry.sample.path, &self.place_of(entry, name), self.link)? {
                Ok(placing) => Some(placing),
                Err(reason) => return Ok(Outcome::Failed(reason)),
            }
        };
        self.target.write_image(&image)?;
        Ok(Outcome::Written { image, lost, rows, placing })
    }

    /// The labels as the new data set holds them, what is lost of them, and of a mended one each
    /// change in words.
    fn fitted(&self, entry: &Entry<'_>, name: &Name, loaded: Loaded) -> (Image, Vec<(LossKind, u64)>, Vec<String>) {
        let none = ClassMap::new();
        let map = self.job.maps.get(entry.map).unwrap_or(&none);
        let mut changes: Vec<String> = Vec::new();
        let Loaded { size, truth, faults, repeated, without_area, cut } = loaded;
        let mut lost: BTreeMap<LossKind, u64> = BTreeMap::new();
        let mut count = |kind, number: u64| *lost.entry(kind).or_default() += number;
        count(LossKind::Repeated, repeated);
        count(LossKind::NoArea, without_area);
        count(LossKind::Cut, cut);
        count(LossKind::Fault, faults.len() as u64);
        let truth = match truth {
            Truth::Labelled(boxes) => {
                let mut kept: Vec<RawBox> = Vec::with_capacity(boxes.len());
                for mut raw in boxes {
                    let class = map.get(raw.class_id as usize).copied().flatten();
                    let left_out = match (raw.mark, class) {
                        (_, None) => Some(LossKind::OtherClass),
                        (Mark::Crowd, _) if !self.format.holds_crowds() => Some(LossKind::Crowd),
                        (Mark::Difficult, _) if !self.format.holds_difficult() => Some(LossKind::Difficult),
                        _ if self.job.mend && super::boxes::repeats(&raw, &kept, class) => Some(LossKind::Doubled),
                        _ => None,
                    };
                    match (left_out, class) {
                        (None, Some(class)) => {
                            count(LossKind::Outline, u64::from(raw.outlined));
                            raw.class_id = class;
                            kept.push(raw);
                        }
                        (kind, _) => count(kind.unwrap_or(LossKind::OtherClass), 1),
                    }
                }
                Truth::Labelled(kept)
            }
            _ if self.format.holds_unlabelled() => Truth::Missing,
            _ => {
                count(LossKind::Unlabelled, 1);
                Truth::Labelled(Vec::new())
            }
        };
        lost.retain(|_, number| *number > 0);
        if self.job.mend {
            changes.extend(faults.iter().map(|fault| format!("a label was left out: {}", fault.words)));
            let told = |kind: &LossKind| {
                matches!(kind, LossKind::Repeated | LossKind::NoArea | LossKind::Cut | LossKind::Doubled)
            };
            let counts = lost.iter().filter(|(kind, _)| told(kind));
            changes.extend(counts.map(|(kind, number)| format!("{number} {}", kind.words(self.format))));
        }
        let image = Image { split: entry.split, name: name.name.clone(), again: name.again, size, truth };
        (image, lost.into_iter().collect(), changes)
    }

    fn finish(self, options: &WriteOptions) -> Result<Manifest> {
        let Self { job, format, target, sources, table, losses, failures, splits, placed, renamed, folder, .. } = self;
        if splits.iter().all(|split| split.images == 0) {
            let first = failures
                .first()
                .map_or_else(String::new, |failure| format!("; the first one is {}: {}", failure.path, failure.reason));
            return Err(Error::Mismatch {
                found: format!(
                    "no image is left to write: {} of {} cannot be read{first}",
                    failures.len(),
                    job.entries.len()
                ),
                remedy: "Nothing was written. Choose other images or classes, or correct the data set.".into(),
            });
        }
        target.finish()?;
        sources.finish()?;
        table.map_or(Ok(()), Stream::finish)?;
        let losses = losses.into_iter().map(|(kind, (count, images))| Loss { what: kind.words(format), count, images });
        let manifest = Manifest {
            written_by: format!("logitcache {}", env!("CARGO_PKG_VERSION")),
            command: job.command.to_owned(),
            settings: job.settings.clone(),
            sources: job.origins.clone(),
            out: options.out.clone(),
            format,
            data: format.data_path().map_or_else(|| options.out.clone(), |path| options.out.join(path)),
            classes: job.classes.clone(),
            splits,
            image_files: placed,
            renamed,
            losses: losses.collect(),
            failures,
        };
        let path = folder.path().join(manifest::FILE_NAME);
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|e| full(Error::io(&path, "write to", std::io::Error::other(e))))?;
        write_file(&path, format!("{text}\n").as_bytes())?;
        folder.finish()?;
        Ok(manifest)
    }
}
