//! Columns of a mapped image as NumPy arrays: the only file of this package with `unsafe`.
//!
//! # The contract
//! An array points into the map of the cache's file. It holds a reference to the [`ImagePredictions`] that it was taken from
//! (its `base`), which holds the mapped cache; so the map lives at least as long as the array. The array cannot be written to.
//! Values lie in the file at no particular alignment: NumPy is given a bare address, looks at it and marks the array as not
//! aligned where it is not; no Rust reference to the values is ever made.
#![allow(unsafe_code)]

use crate::image::ImagePredictions;
use logitcache::cache::ImageView;
use numpy::{
    Element, PY_ARRAY_API, PyArrayDescrMethods,
    npyffi::{NpyTypes, PyArrayObject, get_type_object, npy_intp},
};
use pyo3::{ffi, prelude::*};
use std::{ffi::c_int, mem::size_of, ptr};

/// A read-only array of `T` over the bytes that `column` picks from the mapped image. `shape` is that of all of them: rows, and
/// for a list column the length of the lists; bytes beyond it are left out.
pub fn view<'py, T: Element>(
    owner: &Bound<'py, ImagePredictions>,
    shape: &[usize],
    column: impl for<'a> FnOnce(&ImageView<'a>) -> &'a [u8],
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let bytes = column(owner.get().image());
    let fits = shape.iter().try_fold(size_of::<T>(), |bytes, &len| bytes.checked_mul(len)) == Some(bytes.len());
    if !fits {
        return Err(pyo3::exceptions::PyRuntimeError::new_err("a column has not the shape of its image"));
    }
    let mut dims: Vec<npy_intp> = shape.iter().map(|&len| len as npy_intp).collect();
    // SAFETY: `bytes` has the lifetime of the image's map for every such lifetime, so it is of the map (or static), which `owner`
    // keeps; it is as long as `shape` says (checked). NumPy takes the reference of the dtype and that of the base, and copies
    // `dims`. Flags 0: not writeable, not owned.
    unsafe {
        let array = PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            get_type_object(py, NpyTypes::PyArray_Type),
            T::get_dtype(py).into_dtype_ptr(),
            dims.len() as c_int,
            dims.as_mut_ptr(),
            ptr::null_mut(),
            bytes.as_ptr().cast_mut().cast(),
            0,
            ptr::null_mut(),
        );
        let array = Bound::from_owned_ptr_or_err(py, array)?;
        let base: *mut ffi::PyObject = owner.clone().into_ptr();
        if PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast::<PyArrayObject>(), base) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(array)
    }
}
