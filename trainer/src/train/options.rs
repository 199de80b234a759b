//! What a run is asked for.

use crate::{
    Result,
    dataset::{DataSource, NameMap},
    outputs,
    student::StudentModel,
    types::InputSize,
};
use logitcache::run::{Precision, Settings};
use std::{num::NonZeroUsize, path::PathBuf};
use tch::Device;

/// What a student starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Random weights.
    Random(StudentModel),
    /// A `.pt` or `.safetensors` file.
    File(PathBuf),
}

/// What a run was asked for.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The cache; `None`: labels alone.
    pub cache: Option<PathBuf>,
    /// What the student starts from.
    pub start: Start,
    /// A quantized file of the student: it is trained with the same rounding.
    pub qat: Option<PathBuf>,
    /// Folder of the run.
    pub out: PathBuf,
    /// The data set, where one is named; its `split` is the one to train on without a cache.
    pub data: Option<DataSource>,
    /// Classes of the data set that the cache's teacher has under other names, beside what the cache says itself.
    pub class_map: NameMap,
    /// Split to validate on, where the user names one.
    pub val_split: Option<String>,
    /// Whether to validate at all.
    pub validate: bool,
    /// Input size; `None`: the cache's, 640 without one.
    pub imgsz: Option<InputSize>,
    /// Where it computes.
    pub device: Device,
    /// Threads of the processor; `None`: all.
    pub threads: Option<NonZeroUsize>,
    /// Most bytes of decoded pictures on the disk.
    pub pixel_cache_bytes: u64,
    /// Go on with the run that is there.
    pub resume: bool,
    /// Remove the run that is there.
    pub overwrite: bool,
    /// What decides the weights.
    pub settings: Settings,
}

impl TrainOptions {
    /// Refuses to remove what the run itself needs: weights of the run that is there, most of all.
    ///
    /// # Errors
    /// [`crate::Error::Mismatch`] naming it.
    pub(super) fn refuse_to_remove_inputs(&self) -> Result<()> {
        if !self.overwrite {
            return Ok(());
        }
        let weights = match &self.start {
            Start::File(path) => Some(path),
            Start::Random(_) => None,
        };
        let data = self.data.as_ref();
        let images = data.and_then(|source| source.images_dir.as_ref());
        let inputs = [weights, self.cache.as_ref(), self.qat.as_ref(), data.map(|source| &source.data), images];
        outputs::refuse_inputs_inside(&self.out, inputs.into_iter().flatten().map(PathBuf::as_path))
    }
}

/// bfloat16 where the device computes in it.
pub fn default_precision(device: Device) -> Precision {
    #[cfg(target_arch = "x86_64")]
    let processor = std::is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    let processor = false;
    if device.is_cuda() || processor { Precision::Bf16 } else { Precision::Fp32 }
}
