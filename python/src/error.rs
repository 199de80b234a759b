//! Errors as `logitcache.Error`.

use logitcache::{
    Error,
    cli::found_and_remedy,
    remote::{copy_at_fault, with_urls},
};
use pyo3::{exceptions::PyRuntimeError, prelude::*};
use std::path::Path;

/// The error as an exception.
pub fn raised(py: Python<'_>, error: impl Into<Error>) -> PyErr {
    let error = error.into();
    let (path, found, remedy) = found_and_remedy(&error);
    let (path, remedy) = match copy_at_fault(&error) {
        // The path of the copy, not its URL.
        Some(to_do) => (path.map(|path| path.display().to_string()), format!("{remedy} {to_do}").trim().to_owned()),
        None => (path.map(with_url), remedy),
    };
    new(py, "Error", path, &found, &remedy, matches!(error, Error::Later(_)))
}

/// That no image of a cache is meant, as the exception that is a `KeyError` as well.
pub fn missing_image(py: Python<'_>, error: Error) -> PyErr {
    let (path, found, remedy) = found_and_remedy(&error);
    new(py, "MissingImage", path.map(with_url), &found, &remedy, false)
}

/// An exception of this package.
pub fn refused(py: Python<'_>, path: Option<&Path>, found: &str, remedy: &str) -> PyErr {
    new(py, "Error", path.map(with_url), found, remedy, false)
}

fn with_url(path: impl AsRef<Path>) -> String {
    with_urls(&path.as_ref().display().to_string())
}

fn new(py: Python<'_>, class: &str, path: Option<String>, found: &str, remedy: &str, may_pass: bool) -> PyErr {
    let arguments = (with_urls(found), remedy, path, py.None(), may_pass);
    let made = py.import("logitcache._error").and_then(|module| module.getattr(class)?.call1(arguments));
    // Only without the package around this module.
    made.map_or_else(|_| PyRuntimeError::new_err(format!("{found}\n  {remedy}")), PyErr::from_value)
}
