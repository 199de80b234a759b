//! The two tables of a cache as a stream of Arrow.

use crate::error::{raised, refused};
use arrow::{
    array::{RecordBatch, RecordBatchReader},
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
    ffi::FFI_ArrowSchema,
    ffi_stream::FFI_ArrowArrayStream,
};
use logitcache::{
    Error,
    cache::{CacheReader, columns},
};
use parquet::arrow::{
    ProjectionMask,
    arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
};
use pyo3::{prelude::*, types::PyCapsule};
use std::{
    collections::VecDeque,
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

/// A table of a cache: a source of Arrow data (the PyCapsule interface).
///
/// ``pyarrow.table(t)`` and ``polars.DataFrame(t)`` read it; so does ``duckdb.sql("SELECT ... FROM t")`` what is selected
/// without logits (DuckDB takes no float16 from Arrow; from the files it does).
#[pyclass(frozen, module = "logitcache")]
pub struct Table {
    name: &'static str,
    files: Vec<PathBuf>,
    rows: u64,
    /// All where there are none.
    columns: Option<Vec<String>>,
}

impl Table {
    /// Of an opened cache.
    pub fn new(reader: &CacheReader, table: columns::Table) -> Self {
        let manifest = reader.manifest();
        let files = manifest.parts.iter().map(|part| reader.folder().join(part.file_name(table))).collect();
        let rows = match table {
            columns::Table::Images => manifest.records(),
            columns::Table::Predictions => manifest.rows(),
        };
        Self { name: table.folder(), files, rows, columns: None }
    }

    fn batches(&self) -> Result<Batches, Failed> {
        let mut batches =
            Batches { schema: Schema::empty().into(), files: self.files.clone().into(), open: None, columns: None };
        batches.columns.clone_from(&self.columns);
        batches.open_next()?;
        Ok(batches)
    }

    fn refuse(&self, py: Python<'_>, error: Failed) -> PyErr {
        match error {
            Failed::Io(path, source) => raised(py, Error::io(path, "open", source)),
            Failed::Parquet(path, found) => refused(py, Some(&path), &found, "Run `verify()` to see what is damaged."),
            Failed::NoColumn(name, known) => {
                let found = format!("there is no column {name:?} in {}", self.name);
                refused(py, None, &found, &format!("Its columns: {}.", known.join(", ")))
            }
        }
    }
}

#[pymethods]
impl Table {
    /// A part of the table.
    ///
    /// Parameters
    /// ----------
    /// columns : sequence of str
    ///     The columns to read, in this order.
    ///
    /// Returns
    /// -------
    /// Table
    fn select(&self, py: Python<'_>, columns: Vec<String>) -> PyResult<Self> {
        let selected = Self { name: self.name, files: self.files.clone(), rows: self.rows, columns: Some(columns) };
        selected.batches().map_err(|error| self.refuse(py, error))?;
        Ok(selected)
    }

    /// The table in memory; needs pyarrow.
    ///
    /// Returns
    /// -------
    /// pyarrow.Table
    pub fn to_arrow<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.call_method1("table", (slf,))
    }

    /// The table as a capsule ``arrow_array_stream``: a batch for some thousand rows, read when it is asked for.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface leaves it open whether a request is followed.
        let _ = requested_schema;
        let batches = self.batches().map_err(|error| self.refuse(py, error))?;
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(batches)), c"arrow_array_stream")
    }

    /// The table's schema as a capsule ``arrow_schema``.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = self.batches().map_err(|error| self.refuse(py, error))?.schema;
        let schema = FFI_ArrowSchema::try_from(schema.as_ref())
            .map_err(|e| refused(py, None, &e.to_string(), "This is a fault of logitcache."))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    fn __len__(&self) -> usize {
        self.rows as usize
    }

    fn __repr__(&self) -> String {
        format!("<logitcache.Table {}: {} rows>", self.name, self.rows)
    }
}

enum Failed {
    Io(PathBuf, std::io::Error),
    Parquet(PathBuf, String),
    NoColumn(String, Vec<String>),
}

/// The batches of all parts, one file open at a time.
struct Batches {
    schema: SchemaRef,
    files: VecDeque<PathBuf>,
    /// The reader of the open file, and where each column of the schema is in its batches.
    open: Option<(ParquetRecordBatchReader, Vec<usize>)>,
    columns: Option<Vec<String>>,
}

impl Batches {
    fn open_next(&mut self) -> Result<(), Failed> {
        self.open = None;
        let Some(path) = self.files.pop_front() else { return Ok(()) };
        let file = File::open(&path).map_err(|e| Failed::Io(path.clone(), e))?;
        let damaged = |found: String| Failed::Parquet(path.clone(), found);
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file)).map_err(damaged)?;
        let known: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        let mut order: Vec<usize> = (0..known.len()).collect();
        let mask = match &self.columns {
            None => ProjectionMask::all(),
            Some(wanted) => {
                if let Some(name) = wanted.iter().find(|name| !known.contains(name)) {
                    return Err(Failed::NoColumn(name.clone(), known));
                }
                let roots: Vec<usize> = order.into_iter().filter(|&at| wanted.contains(&known[at])).collect();
                let place = |name: &String| roots.iter().position(|&at| known[at] == *name);
                order = wanted.iter().filter_map(place).collect();
                ProjectionMask::roots(builder.parquet_schema(), roots)
            }
        };
        let reader = guarded(|| builder.with_projection(mask).build()).map_err(damaged)?;
        // Of all parts the same, but for the metadata of the file.
        let fields: Vec<_> = order.iter().map(|&at| reader.schema().fields()[at].clone()).collect();
        self.schema = Schema::new(fields).into();
        self.open = Some((reader, order));
        Ok(())
    }
}

/// The Parquet reader trusts the lengths in pages; of a damaged file it may panic, which must not reach a caller in C.
fn guarded<T, E: ToString>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("a page is damaged".to_owned()),
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let failed = |error: Failed| {
            let text = match error {
                Failed::Io(path, source) => format!("{}: cannot open: {source}", path.display()),
                Failed::Parquet(path, found) => format!("{}: {found}", path.display()),
                Failed::NoColumn(name, _) => format!("there is no column {name}"),
            };
            ArrowError::ExternalError(text.into())
        };
        loop {
            let (reader, order) = self.open.as_mut()?;
            match guarded(|| reader.next().transpose()) {
                Ok(Some(batch)) => {
                    let columns = order.iter().map(|&at| batch.column(at).clone()).collect();
                    return Some(RecordBatch::try_new(self.schema.clone(), columns));
                }
                Ok(None) => {
                    if let Err(error) = self.open_next() {
                        return Some(Err(failed(error)));
                    }
                }
                Err(found) => {
                    self.open = None;
                    return Some(Err(ArrowError::ParquetError(format!("{found}; verify() says what is damaged"))));
                }
            }
        }
    }
}

impl RecordBatchReader for Batches {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}
