//! One image of a cache as Python sees it.

use crate::{array::view, cache::Mapped, display, error::raised};
use half::f16;
use logitcache::{
    cache::{ImageView, Values, to_hex},
    types::BoxXyxyPx,
};
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::{exceptions::PyValueError, prelude::*};
use self_cell::self_cell;
use std::sync::Arc;

type Array<'py> = Bound<'py, PyAny>;

self_cell!(
    struct Held {
        owner: Arc<Mapped>,
        #[covariant]
        dependent: ImageView,
    }
);

/// What a cache holds of one image, or of an augmented view of one.
///
/// Columns are read-only NumPy arrays with a value for each kept anchor (n of them), in increasing order of the anchors.
/// A column that lies value after value in the file is an array over the memory map: nothing is copied, and it need not be
/// aligned. One that is stored as codes (`codes` and `table`) is decoded when it is asked for.
///
/// Arrays stay valid after the cache was closed; they keep its map.
#[pyclass(frozen, module = "logitcache")]
pub struct ImagePredictions(Held);

/// How an image was fitted into the model's input: ``x_input = x * scale + pad_left``, and so for y.
///
/// Attributes
/// ----------
/// scale : float
///     Input pixels per pixel of the image.
/// pad_left, pad_top : float
///     Grey columns at the left and grey rows at the top, in input pixels.
#[pyclass(frozen, get_all, eq, module = "logitcache")]
#[derive(Debug, Clone, PartialEq)]
pub struct Letterbox {
    scale: f32,
    pad_left: f32,
    pad_top: f32,
}

/// How a view was made of the letterboxed image.
///
/// Attributes
/// ----------
/// scale, offset_x, offset_y : float
///     ``x_view = x_input * scale + offset_x`` in input pixels, before the mirror, and so for y.
/// flip : bool
///     Whether left and right changed places.
/// hue : float
///     Change of the hue, as a share of the circle.
/// saturation, value : float
///     Relative changes of the saturation and of the value.
#[pyclass(frozen, get_all, eq, module = "logitcache")]
#[derive(Debug, Clone, PartialEq)]
pub struct ViewChange {
    scale: f32,
    offset_x: f32,
    offset_y: f32,
    flip: bool,
    hue: f32,
    saturation: f32,
    value: f32,
}

/// The ground truth of an image, with a value for each labelled object (m of them).
///
/// Columns are read-only NumPy arrays over the memory map.
#[pyclass(frozen, module = "logitcache")]
pub struct Labels(Py<ImagePredictions>);

/// Objects that were found on an image, highest score first (k of them).
///
/// Attributes
/// ----------
/// boxes : numpy.ndarray
///     float32 [k, 4]: x1, y1, x2, y2 in pixels of the image, x2 and y2 exclusive.
/// score : numpy.ndarray
///     float32 [k]: probabilities.
/// class_id : numpy.ndarray
///     int32 [k]: the teacher's class ids.
#[pyclass(frozen, get_all, module = "logitcache")]
pub struct Detections {
    boxes: Py<PyArray2<f32>>,
    score: Py<PyArray1<f32>>,
    class_id: Py<PyArray1<i32>>,
}

impl ImagePredictions {
    /// A view of an image; `None` where the cache does not hold it.
    pub fn find(mapped: &Arc<Mapped>, image_id: i64, view: i32) -> logitcache::Result<Option<Self>> {
        let held = Held::try_new(Arc::clone(mapped), |mapped| {
            mapped.reader.image(image_id, view).map_err(|e| Some(e.into())).and_then(|image| image.ok_or(None))
        });
        match held {
            Ok(held) => Ok(Some(Self(held))),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// The mapped image.
    pub fn image(&self) -> &ImageView<'_> {
        self.0.borrow_dependent()
    }

    /// The cache that it is of.
    pub fn mapped(&self) -> &Arc<Mapped> {
        self.0.borrow_owner()
    }

    fn rows(&self) -> usize {
        self.image().predictions.len()
    }
}

/// The bytes of a FLOAT or INT32 column of predictions as an array.
macro_rules! flat {
    ($owner:expr, $type:ty, $column:ident) => {
        view::<$type>($owner, &[$owner.get().rows()], |image| image.predictions.$column.as_flattened())
    };
}

/// A column that may be stored as codes: over the map where it is not, else decoded.
fn column<'py, T: Element + Copy, const N: usize>(
    owner: &Bound<'py, ImagePredictions>,
    shape: &[usize],
    values: impl for<'a> Fn(&ImageView<'a>) -> Values<'a, N>,
    decode: impl Fn([u8; N]) -> T,
) -> PyResult<Array<'py>> {
    match values(owner.get().image()) {
        Values::Plain(_) => view::<T>(owner, shape, |image| match values(image) {
            Values::Plain(plain) => plain.as_flattened(),
            Values::Codes { .. } => &[],
        }),
        Values::Codes { codes, dictionary } => {
            // A code without a value is one of a damaged file: as of the mapped reader, all bits are ones.
            let mut table = [decode([0xff; N]); 256];
            table.iter_mut().zip(dictionary).for_each(|(value, &bytes)| *value = decode(bytes));
            let decoded: Vec<T> = codes.iter().map(|&code| table[usize::from(code)]).collect();
            let array = decoded.into_pyarray(owner.py());
            read_only(array.reshape(shape.to_vec())?.into_any())
        }
    }
}

fn read_only(array: Array<'_>) -> PyResult<Array<'_>> {
    array.getattr("flags")?.setattr("writeable", false)?;
    Ok(array)
}

#[pymethods]
impl ImagePredictions {
    /// int: Position in the data set's sorted sample list.
    #[getter]
    fn image_id(&self) -> i64 {
        self.image().image_id
    }

    /// int: 0 for the image as it is, else the number of an augmented view.
    #[getter]
    fn view(&self) -> i32 {
        self.image().view
    }

    /// str: The image file, relative to the data set.
    #[getter]
    fn path(&self) -> &str {
        self.image().path
    }

    /// int: Width of the image in pixels, after EXIF orientation.
    #[getter]
    fn width(&self) -> u32 {
        self.image().size.width
    }

    /// int: Height of the image in pixels, after EXIF orientation.
    #[getter]
    fn height(&self) -> u32 {
        self.image().size.height
    }

    /// str: SHA-256 of the image file.
    #[getter]
    fn file_sha256(&self) -> String {
        to_hex(&self.image().file_sha256)
    }

    /// Letterbox: How the image was fitted into the teacher's input.
    #[getter]
    fn letterbox(&self) -> Letterbox {
        let letterbox = self.image().letterbox;
        Letterbox { scale: letterbox.scale, pad_left: letterbox.pad_left, pad_top: letterbox.pad_top }
    }

    /// ViewChange: What makes the view of the letterboxed image.
    #[getter]
    fn change(&self) -> ViewChange {
        let c = self.image().change;
        ViewChange {
            scale: c.scale,
            offset_x: c.offset_x,
            offset_y: c.offset_y,
            flip: c.flip,
            hue: c.hue,
            saturation: c.saturation,
            value: c.value,
        }
    }

    /// float: Highest class probability among the anchors that were not kept.
    #[getter]
    fn dropped_max_score(&self) -> f32 {
        self.image().dropped_max_score
    }

    /// float: Mean class probability over the anchors that were not kept and the classes.
    #[getter]
    fn dropped_mean_prob(&self) -> f32 {
        self.image().dropped_mean_prob
    }

    /// float: Sum of the highest class probabilities of the anchors that were not kept.
    #[getter]
    fn dropped_score_sum(&self) -> f32 {
        self.image().dropped_score_sum
    }

    /// float: Mean probability of the other classes over the rows without class logits.
    #[getter]
    fn rest_mean_prob(&self) -> f32 {
        self.image().predictions.rest_mean_prob
    }

    /// Labels or None: The ground truth; None of an image that is not labelled.
    #[getter]
    fn labels(slf: Bound<'_, Self>) -> Option<Labels> {
        let labelled = slf.get().image().labels.is_some();
        labelled.then(|| Labels(slf.unbind()))
    }

    /// numpy.ndarray: int32 [n], flattened index over the strides in their order, row major; of a head of queries, the query's
    /// number. Over the map.
    #[getter]
    fn anchor<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        flat!(slf, i32, anchors)
    }

    /// numpy.ndarray or None: int32 [n], input pixels per grid cell; None of a head of queries.
    #[getter]
    fn stride<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Array<'py>>> {
        let rows = slf.get().rows();
        if slf.get().image().predictions.strides.len() != rows {
            return Ok(None);
        }
        column(slf, &[rows], |image| image.predictions.strides, i32::from_le_bytes).map(Some)
    }

    /// numpy.ndarray: float32 [n], highest class probability. Over the map.
    #[getter]
    fn score<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        flat!(slf, f32, scores)
    }

    /// numpy.ndarray: int32 [n], the class of that probability.
    #[getter]
    fn class_id<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        column(slf, &[slf.get().rows()], |image| image.predictions.class_ids, i32::from_le_bytes)
    }

    /// numpy.ndarray: float32 [n], left edge of the box in pixels of the image. Over the map.
    #[getter]
    fn x1<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        flat!(slf, f32, x1)
    }

    /// numpy.ndarray: float32 [n], top edge. Over the map.
    #[getter]
    fn y1<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        flat!(slf, f32, y1)
    }

    /// numpy.ndarray: float32 [n], right edge, exclusive. Over the map.
    #[getter]
    fn x2<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        flat!(slf, f32, x2)
    }

    /// numpy.ndarray: float32 [n], bottom edge, exclusive. Over the map.
    #[getter]
    fn y2<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        flat!(slf, f32, y2)
    }

    /// numpy.ndarray: float32 [n, 4], x1, y1, x2, y2: a copy.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        boxes_array(py, self.image().predictions.boxes_xyxy_px())
    }

    /// numpy.ndarray: float16 [m, classes], logits before the sigmoid, of the m <= n rows of the highest scores
    /// (`has_class_logits`). Over the map where the cache stores float16.
    #[getter]
    fn class_logits<'py>(slf: &Bound<'py, Self>) -> PyResult<Array<'py>> {
        let predictions = &slf.get().image().predictions;
        let classes = predictions.class_len;
        let shape = [predictions.class_logits.len() / classes.max(1), classes];
        column(slf, &shape, |image| image.predictions.class_logits, f16::from_le_bytes)
    }

    /// numpy.ndarray: bool [n], whether the row has class logits.
    #[getter]
    fn has_class_logits<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        read_only(self.image().predictions.has_class_logits().into_pyarray(py).into_any())
    }

    /// numpy.ndarray: float32 [n, classes], class logits of every row: the stored ones; of a row without, what its score and
    /// `rest_mean_prob` say. A copy.
    #[getter]
    fn all_class_logits<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        let predictions = &self.image().predictions;
        let shape = [predictions.len(), predictions.class_len];
        read_only(predictions.all_class_logits().into_pyarray(py).reshape(shape)?.into_any())
    }

    /// numpy.ndarray or None: float16 [n, 4, reg_max], logits before the softmax over the bins: left, top, right, bottom. None
    /// where the cache does not store them. Over the map where it stores float16.
    #[getter]
    fn dfl_logits<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Array<'py>>> {
        let predictions = &slf.get().image().predictions;
        if predictions.dfl_logits.is_none() {
            return Ok(None);
        }
        let shape = [predictions.len(), 4, predictions.dfl_len / 4];
        column(slf, &shape, |image| image.predictions.dfl_logits.unwrap_or_default(), f16::from_le_bytes).map(Some)
    }

    /// The codes of a column that is stored as a byte for each value: an array over the map.
    ///
    /// Parameters
    /// ----------
    /// column : {"stride", "class_id", "class_logits", "dfl_logits"}
    ///     Its name.
    ///
    /// Returns
    /// -------
    /// numpy.ndarray or None
    ///     uint8, of the shape of the column: ``image.table(column)[image.codes(column)]`` is the column. None where it is not
    ///     stored as codes.
    fn codes<'py>(slf: &Bound<'py, Self>, column: &str) -> PyResult<Option<Array<'py>>> {
        let column = CodedColumn::named(column)?;
        let image = slf.get().image();
        if column.codes_and_table(image).is_none() {
            return Ok(None);
        }
        let codes = view::<u8>(slf, &column.shape(image), |image| column.codes_and_table(image).unwrap_or_default().0);
        codes.map(Some)
    }

    /// The values that the codes of a column stand for: an array over the map.
    ///
    /// Parameters
    /// ----------
    /// column : {"stride", "class_id", "class_logits", "dfl_logits"}
    ///     Its name.
    ///
    /// Returns
    /// -------
    /// numpy.ndarray or None
    ///     int32 or float16, at most 256 values. None where the column is not stored as codes.
    fn table<'py>(slf: &Bound<'py, Self>, column: &str) -> PyResult<Option<Array<'py>>> {
        let column = CodedColumn::named(column)?;
        let Some((_, table)) = column.codes_and_table(slf.get().image()) else { return Ok(None) };
        let bytes = table.len();
        let array = match column {
            CodedColumn::Stride | CodedColumn::ClassId => {
                view::<i32>(slf, &[bytes / 4], |image| column.codes_and_table(image).unwrap_or_default().1)
            }
            CodedColumn::ClassLogits | CodedColumn::DflLogits => {
                view::<f16>(slf, &[bytes / 2], |image| column.codes_and_table(image).unwrap_or_default().1)
            }
        };
        array.map(Some)
    }

    /// Another view of the same image.
    ///
    /// Parameters
    /// ----------
    /// view : int
    ///     0 for the image as it is, up to `Cache.views`.
    ///
    /// Returns
    /// -------
    /// ImagePredictions
    fn with_view(&self, py: Python<'_>, view: i32) -> PyResult<Self> {
        self.mapped().image(py, self.image().image_id, view)
    }

    fn __len__(&self) -> usize {
        self.rows()
    }

    fn __repr__(&self) -> String {
        display::image_line(self.image())
    }

    fn _repr_html_(&self) -> String {
        display::image_html(&self.mapped().reader, self.image())
    }
}

/// A column that a cache may store as codes.
#[derive(Clone, Copy)]
enum CodedColumn {
    Stride,
    ClassId,
    ClassLogits,
    DflLogits,
}

impl CodedColumn {
    fn named(name: &str) -> PyResult<Self> {
        match name {
            "stride" => Ok(Self::Stride),
            "class_id" => Ok(Self::ClassId),
            "class_logits" => Ok(Self::ClassLogits),
            "dfl_logits" => Ok(Self::DflLogits),
            other => Err(PyValueError::new_err(format!(
                "{other:?} is no column that can be stored as codes: stride, class_id, class_logits, dfl_logits"
            ))),
        }
    }

    fn shape(self, image: &ImageView<'_>) -> Vec<usize> {
        let p = &image.predictions;
        match self {
            Self::Stride | Self::ClassId => vec![p.len()],
            Self::ClassLogits => vec![p.class_logits.len() / p.class_len.max(1), p.class_len],
            Self::DflLogits => vec![p.len(), 4, p.dfl_len / 4],
        }
    }

    fn codes_and_table<'a>(self, image: &ImageView<'a>) -> Option<(&'a [u8], &'a [u8])> {
        fn of<'a, const N: usize>(values: Values<'a, N>) -> Option<(&'a [u8], &'a [u8])> {
            match values {
                Values::Codes { codes, dictionary } => Some((codes, dictionary.as_flattened())),
                Values::Plain(_) => None,
            }
        }
        let p = &image.predictions;
        match self {
            Self::Stride => of(p.strides),
            Self::ClassId => of(p.class_ids),
            Self::ClassLogits => of(p.class_logits),
            Self::DflLogits => of(p.dfl_logits?),
        }
    }
}

#[pymethods]
impl Letterbox {
    fn __repr__(&self) -> String {
        format!("Letterbox(scale={}, pad_left={}, pad_top={})", self.scale, self.pad_left, self.pad_top)
    }
}

#[pymethods]
impl ViewChange {
    fn __repr__(&self) -> String {
        format!(
            "ViewChange(scale={}, offset_x={}, offset_y={}, flip={}, hue={}, saturation={}, value={})",
            self.scale,
            self.offset_x,
            self.offset_y,
            if self.flip { "True" } else { "False" },
            self.hue,
            self.saturation,
            self.value
        )
    }
}

/// A column of labels as an array.
macro_rules! label {
    ($slf:expr, $py:expr, $type:ty, $column:ident) => {{
        let owner = $slf.0.bind($py);
        let count = owner.get().image().labels.map_or(0, |labels| labels.len());
        view::<$type>(owner, &[count], |image| image.labels.map_or(&[][..], |labels| labels.$column.as_flattened()))
    }};
}

#[pymethods]
impl Labels {
    /// numpy.ndarray: int32 [m], the teacher's class ids.
    #[getter]
    fn class_id<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        label!(self, py, i32, class_ids)
    }

    /// numpy.ndarray: float32 [m], left edge of the box in pixels of the image.
    #[getter]
    fn x1<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        label!(self, py, f32, x1)
    }

    /// numpy.ndarray: float32 [m], top edge.
    #[getter]
    fn y1<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        label!(self, py, f32, y1)
    }

    /// numpy.ndarray: float32 [m], right edge, exclusive.
    #[getter]
    fn x2<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        label!(self, py, f32, x2)
    }

    /// numpy.ndarray: float32 [m], bottom edge, exclusive.
    #[getter]
    fn y2<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        label!(self, py, f32, y2)
    }

    /// numpy.ndarray: float32 [m, 4], x1, y1, x2, y2: a copy.
    #[getter]
    fn boxes<'py>(&self, py: Python<'py>) -> PyResult<Array<'py>> {
        let labels = self.0.get().image().labels.unwrap_or_default();
        boxes_array(py, labels.iter().map(|label| label.box_xyxy_px))
    }

    fn __len__(&self) -> usize {
        self.0.get().image().labels.map_or(0, |labels| labels.len())
    }

    fn __repr__(&self) -> String {
        format!("<logitcache.Labels of image {}: {}>", self.0.get().image().image_id, self.__len__())
    }
}

fn boxes_array<'py>(py: Python<'py>, boxes: impl Iterator<Item = BoxXyxyPx>) -> PyResult<Array<'py>> {
    read_only(boxes_2d(py, boxes)?.into_any())
}

fn boxes_2d<'py>(py: Python<'py>, boxes: impl Iterator<Item = BoxXyxyPx>) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let edges: Vec<f32> = boxes.flat_map(|b| [b.x1, b.y1, b.x2, b.y2]).collect();
    let rows = edges.len() / 4;
    edges.into_pyarray(py).reshape([rows, 4])
}

impl Detections {
    /// From the library's.
    pub fn new(py: Python<'_>, found: &[logitcache::types::Detection]) -> PyResult<Self> {
        let score: Vec<f32> = found.iter().map(|d| d.score).collect();
        let class_id: Vec<i32> = found.iter().map(|d| d.class_id as i32).collect();
        Ok(Self {
            boxes: boxes_2d(py, found.iter().map(|d| d.box_xyxy_px))?.unbind(),
            score: score.into_pyarray(py).unbind(),
            class_id: class_id.into_pyarray(py).unbind(),
        })
    }
}

#[pymethods]
impl Detections {
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.score.bind(py).len()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<logitcache.Detections: {}>", self.__len__(py)?))
    }
}

impl Mapped {
    /// A view of an image by its id.
    pub fn image(self: &Arc<Self>, py: Python<'_>, image_id: i64, view: i32) -> PyResult<ImagePredictions> {
        let found = ImagePredictions::find(self, image_id, view).map_err(|error| raised(py, error))?;
        found.ok_or_else(|| self.no_such_image(py, image_id, view))
    }
}
