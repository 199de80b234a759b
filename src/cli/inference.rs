//! What `eval` and `predict` make of the arguments they share.

use super::{args::DetectorArgs, build::read_names};
use crate::{
    Result,
    eval::{InferenceOptions, NmsOptions},
};
use std::path::PathBuf;

impl DetectorArgs {
    /// The options of a detector; reads the file of class names.
    ///
    /// # Errors
    /// When that file is no list of names.
    pub fn resolve(&self, model: PathBuf, nms: NmsOptions) -> Result<InferenceOptions> {
        Ok(InferenceOptions {
            model,
            reading: self.reading.reading(),
            names: self.names.as_deref().map(read_names).transpose()?,
            imgsz: self.imgsz,
            jobs: self.runtime.jobs(),
            provider: self.runtime.provider,
            ort_lib: self.runtime.ort_lib.clone(),
            nms,
        })
    }
}
