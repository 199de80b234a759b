//! `TrainingSet`: the batches of `train`, made by the same code.

use crate::error::{raised, refused};
use logitcache::{
    Error,
    augment::shuffled,
    cache::{CacheReader, open_finished, views_cannot_be_drawn},
    dataset::{DataSource, Dataset},
    targets::TeacherBatch,
    training::{Augment, Batch, Classes, LabelBatch, PixelCacheOptions, Scratch, TrainSet, images},
    types::{BoxXyxyPx, ImageSize, Views},
};
use numpy::{Element, IntoPyArray, PyArrayMethods};
use pyo3::{exceptions::PyIndexError, prelude::*, types::PyDict};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

type Array<'py> = Bound<'py, PyAny>;

/// Decoded images that take more are not kept; the default of `train`.
const MOST_KEPT_BYTES: u64 = 32 << 30;

/// The images of a cache with pixels, labels and the teacher's predictions, as `train` takes them.
///
/// What a batch holds follows from the seed, the epoch and the positions of its images alone. Any number of threads may ask
/// for batches at once.
///
/// Parameters
/// ----------
/// cache : str or os.PathLike
///     The folder of the cache.
/// data : str or os.PathLike, optional
///     The data set with its labels as they are now; by default the cache's labels, and images where the cache says.
/// split : str, optional
///     Which of the splits of `data` the cache is of.
/// pixels : str or os.PathLike, optional
///     A folder to keep the decoded images in, up to 32 GiB of them; by default they are decoded at each use.
///
/// Raises
/// ------
/// logitcache.Error
///     If the cache is unfinished, the data set has moved or changed, its classes are others, or no student can be trained on
///     these predictions.
#[pyclass(frozen, module = "logitcache._native")]
pub struct TrainingSet {
    reader: Arc<CacheReader>,
    set: TrainSet,
    notes: Vec<String>,
    /// Buffers that no thread uses now.
    scratch: Mutex<Vec<Scratch>>,
}

impl TrainingSet {
    fn open(cache: PathBuf, data: Option<DataSource>, pixels: Option<PathBuf>) -> Result<Self, Error> {
        let reader = Arc::new(open_finished(&cache)?);
        let teacher = &reader.manifest().teacher;
        let input = ImageSize { width: teacher.input_width, height: teacher.input_height };
        let dataset = data.as_ref().map(Dataset::open).transpose()?;
        let class_map = &reader.manifest().dataset.class_map;
        // The student of another program has the teacher's classes.
        let classes = Classes::own(teacher.class_names.clone());
        let found = images::from_cache(&reader, dataset.as_ref(), class_map, &classes, input)?;
        let mut notes = dataset.map_or_else(Vec::new, |dataset| dataset.notes);
        notes.extend(found.notes);
        let mut failures = found.failures;
        let pixels = pixels.map(|folder| PixelCacheOptions { folder, max_bytes: MOST_KEPT_BYTES });
        let never = AtomicBool::new(false);
        let set = TrainSet::open(found.images, input, pixels.as_ref(), Some(reader.clone()), &|_| (), &never)?;
        if pixels.is_some() && set.pixel_cache().is_none() {
            notes.push("the decoded images would take over 32 GiB: they are decoded at each use".into());
        }
        failures.extend_from_slice(set.failures());
        notes.extend(failures.iter().map(|failure| format!("not used: {}: {}", failure.path, failure.reason)));
        if set.images().is_empty() {
            return Err(images::none_left(images::TRAINED, &failures));
        }
        Ok(Self { reader, set, notes, scratch: Mutex::default() })
    }

    fn fill(&self, indices: &[usize], seed: u64, epoch: usize, augment: Augment, views: Views) -> Result<Batch, Error> {
        let unused = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = unused().pop().unwrap_or_default();
        let mut batch = Batch::empty(epoch);
        let filled = self.set.fill(&mut batch, indices, &augment, seed, views, &mut scratch);
        unused().push(scratch);
        filled.map(|_| batch)
    }
}

#[pymethods]
impl TrainingSet {
    #[new]
    #[pyo3(signature = (cache, data = None, split = "train", pixels = None))]
    fn new(
        py: Python<'_>,
        cache: PathBuf,
        data: Option<PathBuf>,
        split: &str,
        pixels: Option<PathBuf>,
    ) -> PyResult<Self> {
        let data = data.map(|data| DataSource { data, images_dir: None, split: split.to_owned() });
        py.detach(|| Self::open(cache, data, pixels)).map_err(|error| raised(py, error))
    }

    /// list of str: What the user should know.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    /// tuple of int: Height and width of the input in pixels.
    #[getter]
    fn input(&self) -> (u32, u32) {
        (self.set.input().height, self.set.input().width)
    }

    /// int: Cached views of each image beside the image itself.
    #[getter]
    fn views(&self) -> u32 {
        self.set.views().count
    }

    /// list of (int, pathlib.Path): The id and the file of each image. Batches name images by their position in it.
    #[getter]
    fn images(&self) -> Vec<(i64, PathBuf)> {
        self.set.images().iter().map(|image| (image.image_id, image.path.clone())).collect()
    }

    /// The labels of an image.
    ///
    /// Parameters
    /// ----------
    /// index : int
    ///     Its position.
    ///
    /// Returns
    /// -------
    /// (numpy.ndarray, numpy.ndarray) or None
    ///     int64 [m] class ids and float32 [m, 4] x1, y1, x2, y2 in pixels of the image; None of an image that is not labelled.
    fn labels<'py>(&self, py: Python<'py>, index: usize) -> PyResult<Option<(Array<'py>, Array<'py>)>> {
        let image = self.set.images().get(index).ok_or_else(|| self.no_position(index))?;
        let Some(labels) = &image.labels else { return Ok(None) };
        let classes: Vec<i64> = labels.iter().map(|label| i64::from(label.class_id)).collect();
        let edges = |b: BoxXyxyPx| [b.x1, b.y1, b.x2, b.y2];
        let boxes: Vec<f32> = labels.iter().flat_map(|label| edges(label.box_xyxy_px)).collect();
        let rows = labels.len();
        Ok(Some((array(py, classes, [rows])?, array(py, boxes, [rows, 4])?)))
    }

    /// The order of the images in an epoch of `train`.
    ///
    /// Parameters
    /// ----------
    /// seed, epoch : int
    ///     Of the training; epochs count from 0.
    ///
    /// Returns
    /// -------
    /// numpy.ndarray
    ///     int64, each position once.
    fn order<'py>(&self, py: Python<'py>, seed: u64, epoch: usize) -> PyResult<Array<'py>> {
        let order = shuffled(seed, epoch, self.set.images().len());
        let order: Vec<i64> = order.into_iter().map(|index| index as i64).collect();
        let count = order.len();
        array(py, order, [count])
    }

    /// Makes a batch.
    ///
    /// Parameters
    /// ----------
    /// indices : sequence of int
    ///     Positions of its B images.
    /// seed, epoch : int
    ///     What its random changes follow from.
    /// augment : bool
    ///     Whether images are changed as `train` does: mirrored, shifted on the grid of the anchors, with other colours or as the
    ///     cached view whose turn it is. Else each is the letterboxed image.
    /// mosaic : bool
    ///     Whether four images make one, with `augment`.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Arrays; their names and shapes are those of `Batch` and `TeacherBatch` of the Rust library.
    fn batch<'py>(
        &self,
        py: Python<'py>,
        indices: Vec<usize>,
        seed: u64,
        epoch: usize,
        augment: bool,
        mosaic: bool,
    ) -> PyResult<Bound<'py, PyDict>> {
        if let Some(&beyond) = indices.iter().find(|&&index| index >= self.set.images().len()) {
            return Err(self.no_position(beyond));
        }
        let views = if augment { self.set.views() } else { Views::default() };
        if let Some(found) = views_cannot_be_drawn(&self.reader.manifest().settings).filter(|_| views.count > 0) {
            let remedy = "Train with the version of logitcache that built it, or on the unchanged images.";
            return Err(refused(py, Some(self.reader.folder()), &found, remedy));
        }
        let changes = match (augment, mosaic) {
            (false, _) => Augment::none(),
            (true, false) => Augment::grid().without_mosaic(),
            (true, true) => Augment::grid(),
        };
        let batch =
            py.detach(|| self.fill(&indices, seed, epoch, changes, views)).map_err(|error| raised(py, error))?;
        as_arrays(py, batch)
    }

    fn __len__(&self) -> usize {
        self.set.images().len()
    }
}

impl TrainingSet {
    fn no_position(&self, index: usize) -> PyErr {
        PyIndexError::new_err(format!("image {index} of {}", self.set.images().len()))
    }
}

fn as_arrays(py: Python<'_>, batch: Batch) -> PyResult<Bound<'_, PyDict>> {
    let images = batch.len();
    let (height, width) = (batch.input.height as usize, batch.input.width as usize);
    let LabelBatch { batch_index, class_id, boxes_xyxy_input_px } = batch.labels;
    let count = batch_index.len();
    let out = PyDict::new(py);
    out.set_item("sources", batch.sources)?;
    out.set_item("pixels", array(py, batch.pixels, [images, height, width, 3])?)?;
    out.set_item("labelled", array(py, batch.labelled, [images])?)?;
    out.set_item("label_batch_index", array(py, batch_index, [count])?)?;
    out.set_item("label_class_id", array(py, class_id, [count])?)?;
    out.set_item("label_boxes_xyxy_input_px", array(py, boxes_xyxy_input_px, [count, 4])?)?;
    let Some(teacher) = batch.teacher else { return Ok(out) };
    let rows = teacher.len();
    let TeacherBatch { num_classes, num_anchors, dfl_len, .. } = teacher;
    out.set_item("batch_index", array(py, teacher.batch_index, [rows])?)?;
    out.set_item("anchor", array(py, teacher.anchor, [rows])?)?;
    out.set_item("score", array(py, teacher.score, [rows])?)?;
    out.set_item("class_id", array(py, teacher.class_id, [rows])?)?;
    out.set_item("class_logits", array(py, teacher.class_logits, [rows, num_classes])?)?;
    let dfl_logits = teacher.dfl_logits.map(|logits| array(py, logits, [rows, dfl_len])).transpose()?;
    out.set_item("dfl_logits", dfl_logits)?;
    out.set_item("boxes_xyxy_input_px", array(py, teacher.boxes_xyxy_input_px, [rows, 4])?)?;
    out.set_item("floor_prob", array(py, teacher.floor_prob, [images, num_anchors])?)?;
    out.set_item("dropped_score_sum", array(py, teacher.dropped_score_sum, [images])?)?;
    Ok(out)
}

/// An array that owns the values; nothing is copied.
fn array<T: Element, const N: usize>(py: Python<'_>, values: Vec<T>, shape: [usize; N]) -> PyResult<Array<'_>> {
    Ok(values.into_pyarray(py).reshape(shape.to_vec())?.into_any())
}
