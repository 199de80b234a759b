//! `Cache`: a mapped cache as a sequence of images.

use crate::{
    display,
    error::{missing_image, raised, refused},
    image::{Detections, ImagePredictions},
    table::Table,
};
use logitcache::{
    Error,
    cache::{CacheReader, columns, open_finished},
    eval::{NmsOptions, teacher_boxes},
    inspect,
    remote::is_url,
};
use pyo3::{
    exceptions::{PyIndexError, PyTypeError, PyValueError},
    prelude::*,
    types::{PySlice, PyString, PyTuple},
};
use std::{
    collections::HashMap,
    path::{Path, PathBuf, absolute},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// An opened cache, and what is looked up in it often.
pub struct Mapped {
    pub reader: CacheReader,
    /// The ids of its images in order.
    ids: OnceLock<Vec<i64>>,
    /// The id of each path.
    paths: OnceLock<HashMap<Box<str>, i64>>,
}

impl Mapped {
    fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { reader: open_finished(path)?, ids: OnceLock::new(), paths: OnceLock::new() })
    }

    fn ids(&self) -> Result<&[i64], Error> {
        if let Some(ids) = self.ids.get() {
            return Ok(ids);
        }
        let of_images = self.reader.keys().filter_map(|key| match key {
            Ok((id, 0)) => Some(Ok(id)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        });
        let ids = of_images.collect::<Result<Vec<i64>, _>>()?;
        Ok(self.ids.get_or_init(|| ids))
    }

    /// The id of the image with exactly this path; `None` where there is none.
    fn id_of_path(&self, path: &str) -> Result<Option<i64>, Error> {
        if let Some(paths) = self.paths.get() {
            return Ok(paths.get(path).copied());
        }
        let mut paths = HashMap::new();
        for image in self.reader.images() {
            let image = image?;
            if image.view == 0 {
                paths.insert(image.path.into(), image.image_id);
            }
        }
        Ok(self.paths.get_or_init(|| paths).get(path).copied())
    }

    /// That there is no such view, or no such image.
    pub fn no_such_image(&self, py: Python<'_>, image_id: i64, view: i32) -> PyErr {
        let views = self.reader.manifest().settings.views;
        let error = Error::Cache {
            path: self.reader.folder().to_owned(),
            found: format!("it holds no view {view} of an image {image_id}"),
            remedy: format!("Give the id of an image of the cache (`image_id`), and a view of 0 to {views}."),
        };
        missing_image(py, error)
    }
}

/// A cache of a detector's outputs, mapped into memory: a sequence of its images.
///
/// ``cache[i]`` is the i-th image in the order of the data set, ``cache["images/a.jpg"]`` the one with this path (or with the
/// only path that ends so). Opening reads the manifest and the ends of the files, whatever the size of the cache. The files
/// must not change while it is open; a cache's files never do.
///
/// A cache is pickled as its path, and opened again where it is unpickled: only the very same cache, unchanged.
///
/// Parameters
/// ----------
/// path : str or os.PathLike
///     The folder that a build wrote.
///
/// Raises
/// ------
/// logitcache.Error
///     If there is no cache, or it is damaged, unfinished, an archive, or of a newer format.
///
/// Examples
/// --------
/// >>> cache = logitcache.Cache("cache")
/// >>> image = cache[0]
/// >>> image.score.max(), image.class_logits.shape
#[pyclass(frozen, module = "logitcache", sequence)]
pub struct Cache {
    path: PathBuf,
    mapped: RwLock<Option<Arc<Mapped>>>,
}

impl Cache {
    fn mapped(&self, py: Python<'_>) -> PyResult<Arc<Mapped>> {
        let mapped = self.mapped.read().unwrap_or_else(PoisonError::into_inner).clone();
        mapped.ok_or_else(|| refused(py, Some(&self.path), "this cache was closed", "Open it again: `Cache(path)`."))
    }

    fn manifest<T>(&self, py: Python<'_>, take: impl FnOnce(&logitcache::cache::Manifest) -> T) -> PyResult<T> {
        Ok(take(self.mapped(py)?.reader.manifest()))
    }

    fn at(&self, py: Python<'_>, index: isize) -> PyResult<ImagePredictions> {
        let mapped = self.mapped(py)?;
        let ids = mapped.ids().map_err(|e| raised(py, e))?;
        let place = if index < 0 { index.checked_add_unsigned(ids.len()) } else { Some(index) };
        let id = place.and_then(|place| usize::try_from(place).ok()).and_then(|place| ids.get(place));
        let id = id.ok_or_else(|| PyIndexError::new_err(format!("image {index} of {}", ids.len())))?;
        mapped.image(py, *id, 0)
    }

    fn named(&self, py: Python<'_>, path: &str) -> PyResult<ImagePredictions> {
        let mapped = self.mapped(py)?;
        if let Some(id) = mapped.id_of_path(path).map_err(|e| raised(py, e))? {
            return mapped.image(py, id, 0);
        }
        // There a number is an id; here it would be a path, which no image has.
        if path.parse::<i64>().is_ok() {
            let found = format!("no image has the path {path}");
            let remedy = format!("For the image with this id: `cache.image({path})`.");
            return Err(missing_image(py, Error::Cache { path: self.path.clone(), found, remedy }));
        }
        let id = inspect::find(&mapped.reader, path).map(|image| image.image_id).map_err(|e| missing_image(py, e))?;
        mapped.image(py, id, 0)
    }

    fn table(&self, py: Python<'_>, table: columns::Table) -> PyResult<Table> {
        Ok(Table::new(&self.mapped(py)?.reader, table))
    }
}

// The defaults of `Cache.detections`, which a signature can only show as numbers.
const _: () = assert!(NmsOptions::PREDICTING.conf == 0.25 && NmsOptions::PREDICTING.iou == 0.7);

#[pymethods]
impl Cache {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let path = if is_url(&path) { path } else { absolute(&path).unwrap_or(path) };
        let mapped = py.detach(|| Mapped::open(&path)).map_err(|e| raised(py, e))?;
        Ok(Self { path, mapped: RwLock::new(Some(Arc::new(mapped))) })
    }

    /// pathlib.Path: The folder of the cache, absolute.
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// dict: What the cache is: its manifest (``schemas/manifest.schema.json``).
    #[getter]
    fn info<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = self.manifest(py, serde_json::to_string)?.map_err(|e| PyValueError::new_err(e.to_string()))?;
        py.import("json")?.call_method1("loads", (text,))
    }

    /// tuple of str: The teacher's class names, in the order of the class ids.
    #[getter]
    fn class_names<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.manifest(py, |manifest| manifest.teacher.class_names.clone())?)
    }

    /// int: Augmented views of each image beside the image itself.
    #[getter]
    fn views(&self, py: Python<'_>) -> PyResult<u32> {
        self.manifest(py, |manifest| manifest.settings.views)
    }

    /// str: The digest of the content: the same for the same teacher, images, labels and settings.
    #[getter]
    fn content_sha256(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.manifest(py, |manifest| manifest.digests.as_ref().map(|digests| digests.content_sha256.clone()))
    }

    /// Table: One row for each image and view, for pyarrow, polars and DuckDB.
    #[getter]
    fn images(&self, py: Python<'_>) -> PyResult<Table> {
        self.table(py, columns::Table::Images)
    }

    /// Table: One row for each kept anchor, for pyarrow, polars and DuckDB.
    #[getter]
    fn predictions(&self, py: Python<'_>) -> PyResult<Table> {
        self.table(py, columns::Table::Predictions)
    }

    /// An image or one of its views by its id.
    ///
    /// Parameters
    /// ----------
    /// image_id : int
    ///     The position in the data set's sorted sample list, as in the column `image_id`.
    /// view : int, optional
    ///     0 (the default) for the image as it is, up to `views`.
    ///
    /// Returns
    /// -------
    /// ImagePredictions
    #[pyo3(signature = (image_id, view = 0))]
    fn image(&self, py: Python<'_>, image_id: i64, view: i32) -> PyResult<ImagePredictions> {
        self.mapped(py)?.image(py, image_id, view)
    }

    /// The teacher's objects on an image: of each kept anchor the best class, duplicates suppressed.
    ///
    /// Parameters
    /// ----------
    /// image : int or str
    ///     As in ``cache[image]``.
    /// conf : float, optional
    ///     Lowest score of an object.
    /// iou : float, optional
    ///     IoU above which the lower-scoring box of a class is removed.
    ///
    /// Returns
    /// -------
    /// Detections
    #[pyo3(signature = (image, conf = 0.25, iou = 0.7))]
    fn detections(&self, image: &Bound<'_, PyAny>, conf: f32, iou: f64) -> PyResult<Detections> {
        let py = image.py();
        for (name, value) in [("conf", f64::from(conf)), ("iou", iou)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(PyValueError::new_err(format!("{name} is {value}; expected a number from 0 to 1")));
            }
        }
        let image = self.get(image)?;
        let nms = NmsOptions { conf, iou, ..NmsOptions::PREDICTING };
        let teacher = &image.mapped().reader.manifest().teacher;
        Detections::new(py, &teacher_boxes(image.image(), teacher, &nms))
    }

    /// A table in memory; needs pyarrow.
    ///
    /// Parameters
    /// ----------
    /// table : {"predictions", "images"}, optional
    ///     Which one.
    ///
    /// Returns
    /// -------
    /// pyarrow.Table
    #[pyo3(signature = (table = "predictions"))]
    fn to_arrow<'py>(&self, py: Python<'py>, table: &str) -> PyResult<Bound<'py, PyAny>> {
        let table = match table {
            "images" => self.images(py)?,
            "predictions" => self.predictions(py)?,
            other => return Err(PyValueError::new_err(format!("{other:?} is no table: \"predictions\", \"images\""))),
        };
        Table::to_arrow(&Bound::new(py, table)?)
    }

    /// Checks every byte of the cache against its digest, and every rule of the format.
    ///
    /// Returns
    /// -------
    /// dict
    ///     What was checked (``schemas/verify.schema.json``).
    ///
    /// Raises
    /// ------
    /// logitcache.Error
    ///     If anything is wrong; `report` of the error has all problems.
    fn verify<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.mapped(py)?;
        py.import("logitcache._commands")?.call_method1("verify", (self.path.clone(),))
    }

    /// Closes the cache: every later use of it raises. Images and arrays that were taken from it stay valid and keep its map.
    fn close(&self) {
        self.mapped.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().mapped(slf.py())?;
        Ok(slf)
    }

    fn __exit__(&self, _kind: &Bound<'_, PyAny>, _error: &Bound<'_, PyAny>, _trace: &Bound<'_, PyAny>) {
        self.close();
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let mapped = self.mapped(py)?;
        mapped.ids().map(<[i64]>::len).map_err(|e| raised(py, e))
    }

    #[pyo3(name = "__getitem__")]
    fn get(&self, key: &Bound<'_, PyAny>) -> PyResult<ImagePredictions> {
        if let Ok(path) = key.cast::<PyString>() {
            return self.named(key.py(), path.to_str()?);
        }
        if key.is_instance_of::<PySlice>() {
            return Err(PyTypeError::new_err("a cache has no slices; use [cache[i] for i in range(...)]"));
        }
        // What has __index__, NumPy's integers among it.
        self.at(key.py(), key.extract::<isize>()?)
    }

    fn __iter__(slf: Bound<'_, Self>) -> PyResult<Images> {
        slf.get().mapped(slf.py())?;
        Ok(Images { cache: slf.unbind(), next: AtomicUsize::new(0) })
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(path) = key.cast::<PyString>() else { return Ok(false) };
        let mapped = self.mapped(key.py())?;
        mapped.id_of_path(path.to_str()?).map(|id| id.is_some()).map_err(|e| raised(key.py(), e))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (PathBuf, String))> {
        let (py, cache) = (slf.py(), slf.get());
        let digest = cache.manifest(py, |manifest| manifest.manifest_sha256.clone())?;
        Ok((slf.get_type().getattr("_reopen")?, (cache.path.clone(), digest)))
    }

    /// Opens a cache that was pickled: the very same one, since positions would mean other images in another.
    #[staticmethod]
    fn _reopen(py: Python<'_>, path: PathBuf, manifest_sha256: &str) -> PyResult<Self> {
        let cache = Self::new(py, path)?;
        if cache.manifest(py, |manifest| manifest.manifest_sha256 == manifest_sha256)? {
            return Ok(cache);
        }
        let found = "this is another cache than the one that was pickled: its manifest has changed";
        Err(refused(py, Some(&cache.path), found, "Open it anew with `Cache(path)`, and pickle that."))
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match self.mapped(py) {
            Ok(mapped) => display::cache_line(&self.path, mapped.reader.manifest()),
            Err(_) => format!("<logitcache.Cache {:?}, closed>", self.path.display().to_string()),
        }
    }

    fn _repr_html_(&self, py: Python<'_>) -> PyResult<String> {
        self.manifest(py, |manifest| display::cache_html(&self.path, manifest))
    }
}

/// The images of a cache, one after the other.
#[pyclass(frozen, module = "logitcache")]
pub struct Images {
    cache: Py<Cache>,
    next: AtomicUsize,
}

#[pymethods]
impl Images {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<ImagePredictions>> {
        let mapped = self.cache.get().mapped(py)?;
        let ids = mapped.ids().map_err(|e| raised(py, e))?;
        let id = ids.get(self.next.fetch_add(1, Ordering::Relaxed));
        id.map(|&id| mapped.image(py, id, 0)).transpose()
    }
}
