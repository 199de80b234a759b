//! `logitcache._native`: what of the Python package is Rust. The package around it is in `python/logitcache`.

mod array;
mod cache;
mod command;
mod display;
mod error;
mod image;
mod table;
mod training;

/// The module.
#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::cache::Cache;
    #[pymodule_export]
    use crate::command::{call, main, run_from, settings};
    #[pymodule_export]
    use crate::image::{Detections, ImagePredictions, Labels, Letterbox, ViewChange};
    #[pymodule_export]
    use crate::table::Table;
    #[pymodule_export]
    use crate::training::TrainingSet;

    /// The package's version.
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
