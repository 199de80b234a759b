//! Writes one part: its two Parquet files, row group by row group, in bounded memory.

use super::{
    ImageKey, ImageRecord,
    columns::{Shape, Table},
    digest::{ContentHasher, ImageDigests},
    limits::MAX_ROWS_OF_IMAGE,
    manifest::{Manifest, PartEntry},
    manifest_file::part_name,
    record::RowCounts,
    row_group::{ImagesBlock, PredictionsBlock},
    table_file::TableFile,
};
use crate::{Error, Result, fsio::create_folder, types::LogitType};
use std::path::{Path, PathBuf};

/// A row group ends after this many images ...
pub const ROW_GROUP_IMAGES: usize = 512;
/// ... or once its values take this many bytes: about 25,000 rows of an 80-class detector, of few or of all anchors.
pub const ROW_GROUP_BYTES: usize = 8 << 20;

/// Writes one part of a cache. Nothing of it is visible before [`PartWriter::finish`]; dropped, it leaves nothing.
pub struct PartWriter {
    folder: PathBuf,
    samples: u64,
    shape: Shape,
    images_file: TableFile,
    predictions_file: TableFile,
    images: ImagesBlock,
    predictions: PredictionsBlock,
    content: ContentHasher,
    first_image_id: Option<i64>,
    last: Option<ImageKey>,
    image_count: u64,
    rows: RowCounts,
}

impl PartWriter {
    /// Begins a part of the cache in `folder` that `manifest` describes.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be written to, [`Error::Mismatch`] where the manifest contradicts itself.
    pub fn create(folder: &Path, manifest: &Manifest) -> Result<Self> {
        manifest.check()?;
        for table in [Table::Images, Table::Predictions] {
            create_folder(&folder.join(table.folder()))?;
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            samples: manifest.dataset.samples,
            shape: manifest.shape(),
            images_file: TableFile::create(folder, Table::Images, manifest)?,
            predictions_file: TableFile::create(folder, Table::Predictions, manifest)?,
            images: ImagesBlock::default(),
            predictions: PredictionsBlock::new(manifest.settings.logits, manifest.is_archive()),
            content: ContentHasher::default(),
            first_image_id: None,
            last: None,
            image_count: 0,
            rows: RowCounts::default(),
        })
    }

    /// Adds an image. Images come in increasing order of (image_id, view); ids may be left out.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the order or the lengths of the record's columns are wrong, [`Error::Io`] where a row
    /// group cannot be written. The part is then of no use; drop it.
    pub fn push(&mut self, record: &ImageRecord) -> Result<()> {
        let fault = |found: String| Error::Mismatch {
            found: format!("image {} ({}): {found}", record.image_id, record.path),
            remedy: "This is a bug in the program that writes the cache, not a fault of the image; please report it."
                .to_owned(),
        };
        self.check(record).map_err(fault)?;
        let digests = ImageDigests::of(record, &self.shape);
        self.images.push(record, &digests, self.rows, self.shape.class_len);
        let pushed = self.predictions.push(record, self.shape.class_len);
        pushed.map_err(|logit| fault(format!("the logit {logit} is not one of the 256 that 8 bits can have")))?;
        self.content.push(&digests);
        self.first_image_id.get_or_insert(record.image_id);
        self.last = Some((record.image_id, record.view));
        self.image_count += 1;
        self.rows.all += record.predictions.len() as u64;
        self.rows.with_class_logits += record.predictions.class_row_count(self.shape.class_len) as u64;
        let bytes = self.images.bytes() + self.predictions.bytes();
        if self.images.len() >= ROW_GROUP_IMAGES || bytes >= ROW_GROUP_BYTES { self.flush() } else { Ok(()) }
    }

    /// Images pushed so far.
    pub fn images(&self) -> u64 {
        self.image_count
    }

    /// About how many bytes the part's files will take with what was pushed so far.
    pub fn bytes_so_far(&self) -> u64 {
        let buffered = (self.images.bytes() + self.predictions.bytes()) as u64;
        self.images_file.bytes() + self.predictions_file.bytes() + buffered
    }

    /// Completes both files, flushes them to the disk and gives them their names. The caller adds the entry to the
    /// manifest and saves that; until then the files are orphans that readers ignore and the next build removes.
    /// `None` where no image was pushed: there is then no file either.
    ///
    /// # Errors
    /// [`Error::Io`]; the temporary files are then gone.
    pub fn finish(mut self) -> Result<Option<PartEntry>> {
        self.flush()?;
        let (Some(first_image_id), Some((last_image_id, _))) = (self.first_image_id, self.last) else {
            return Ok(None);
        };
        let content_sha256 = self.content.finish().content_sha256;
        let name = part_name(first_image_id, &content_sha256);
        let predictions_file = self.predictions_file.finish(&self.folder, &name)?;
        let images_file = self.images_file.finish(&self.folder, &name)?;
        let (images, rows) = (self.image_count, self.rows.all);
        Ok(Some(PartEntry {
            name,
            first_image_id,
            last_image_id,
            images,
            rows,
            content_sha256,
            images_file,
            predictions_file,
        }))
    }

    fn flush(&mut self) -> Result<()> {
        if self.images.len() > 0 {
            let images = &self.images;
            self.images_file.write_row_group(|group, _| images.write(group))?;
            self.images.clear();
        }
        if self.predictions.len() > 0 {
            let (predictions, shape) = (&self.predictions, &self.shape);
            self.predictions_file.write_row_group(|group, schema| predictions.write(group, schema, shape))?;
            self.predictions.clear();
        }
        Ok(())
    }

    fn check(&self, record: &ImageRecord) -> std::result::Result<(), String> {
        let key = (record.image_id, record.view);
        if let Some(last) = self.last.filter(|&last| last >= key) {
            return Err(format!("(image_id, view) {key:?} does not come after {last:?}"));
        }
        if u64::try_from(record.image_id).map_or(true, |id| id >= self.samples) || record.view < 0 {
            return Err(format!("(image_id, view) {key:?} is not one of a data set of {} samples", self.samples));
        }
        let size = record.size;
        if [size.width, size.height].iter().any(|&s| s == 0 || s > i32::MAX as u32) {
            return Err(format!("its size is {} x {}", size.width, size.height));
        }
        let p = &record.predictions;
        let n = p.len();
        let columns = [
            ("stride", p.stride.len(), if self.shape.head.is_on_grid() { n } else { 0 }),
            ("score", p.score.len(), n),
            ("class_id", p.class_id.len(), n),
            ("boxes_xyxy_px", p.boxes_xyxy_px.len(), n),
            ("dfl_logits", p.dfl_logits.len(), n.saturating_mul(self.shape.dfl_len)),
        ];
        for (name, found, expected) in columns {
            if found != expected {
                return Err(format!("{name} has {found} values, expected {expected} for {n} anchors"));
            }
        }
        let class_rows = p.class_row_count(self.shape.class_len);
        if class_rows > n || class_rows * self.shape.class_len != p.class_logits.len() {
            let (found, per_row) = (p.class_logits.len(), self.shape.class_len);
            return Err(format!("class_logits has {found} values, expected {per_row} for each of at most {n} anchors"));
        }
        if self.shape.logits != LogitType::Float16 {
            let is_class = |id: &i32| usize::try_from(*id).is_ok_and(|id| id < self.shape.class_len);
            if let Some(id) = p.class_id.iter().find(|id| !is_class(id)) {
                return Err(format!("class_id {id} is not one of {} classes", self.shape.class_len));
            }
        }
        let labels = record.labels.as_deref().unwrap_or_default();
        let limits = [n, labels.len(), record.path.len()];
        if limits.iter().any(|&l| l > MAX_ROWS_OF_IMAGE) || labels.iter().any(|l| l.class_id > i32::MAX as u32) {
            return Err(format!("{n} rows, {} labels or its path are beyond the format's limits", labels.len()));
        }
        Ok(())
    }
}
