//! `state.safetensors`: everything that `--resume` needs, written whole or not at all.

use crate::{Error, Result, cache::to_hex, fsio::TempFile};
use logitcache::run::EpochRow;
use safetensors::{
    SafeTensors,
    tensor::{Dtype, View, serialize},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, collections::BTreeMap, fs, io::Write, path::Path};
use tch::{Kind, Tensor};

/// Name of the file in a run's folder.
pub const STATE_NAME: &str = "state.safetensors";

/// Keys of the file's metadata: the progress as JSON, and a SHA-256 over it and every tensor's name, type, shape and bytes.
const PROGRESS: &str = "progress";
const DIGEST: &str = "sha256";
const REMEDY: &str =
    "Start again with `overwrite=true`, or from its weights: `model=RUN`/weights/last.safetensors with another `out=`.";

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Epoch that comes next or is under way, from 0.
    pub epoch: usize,
    /// Batches of it that are done.
    pub batch: usize,
    /// Steps done since the run began.
    pub steps: u64,
    /// Sums over the done batches of the epoch under way.
    pub sums: Vec<f64>,
    /// Seconds of training so far.
    pub time_s: f64,
    /// Best mAP@0.5:0.95 so far and its epoch.
    pub best: Option<(f64, usize)>,
    /// The epochs done.
    pub rows: Vec<EpochRow>,
}

/// A tensor's bytes on the CPU.
struct Bytes {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for &Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// Writes the state of a run into its folder. The file that was there is replaced in one step.
///
/// # Errors
/// [`Error::Io`] naming the file; the one that was there is then intact.
pub fn save(folder: &Path, tensors: &BTreeMap<String, Tensor>, progress: &Progress) -> Result<()> {
    let path = folder.join(STATE_NAME);
    let bytes = tensors.iter().map(|(name, t)| Ok((name.as_str(), bytes_of(t)?))).collect::<Result<Vec<_>, String>>();
    let bytes = bytes.map_err(|e| Error::io(&path, "prepare", std::io::Error::other(e)))?;
    let progress = serde_json::to_string(progress).map_err(|e| Error::io(&path, "prepare", e.into()))?;
    let digest =
        digest(&progress, bytes.iter().map(|(name, b)| (*name, b.dtype, b.shape.as_slice(), b.data.as_slice())));
    let metadata = [(PROGRESS.to_owned(), progress), (DIGEST.to_owned(), digest)].into_iter().collect();
    let whole = serialize(bytes.iter().map(|(name, b)| (*name, b)), Some(metadata));
    let whole = whole.map_err(|e| Error::io(&path, "prepare", std::io::Error::other(e)))?;
    let mut temp = TempFile::create(folder, STATE_NAME)?;
    temp.write_all(&whole).map_err(|e| Error::io(&path, "write to", e))?;
    Ok(temp.persist(&path)?)
}

/// Reads the state of a run; `None` where there is none.
///
/// # Errors
/// [`Error::Trainer`] where the file is damaged: nothing of it is used then.
pub fn load(folder: &Path) -> Result<Option<(BTreeMap<String, Tensor>, Progress)>> {
    let path = folder.join(STATE_NAME);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, "read", e)),
    };
    parse(&bytes).map(Some).map_err(|found| damaged(folder, &found))
}

/// What is wrong with the checkpoint in a run's folder.
pub fn damaged(folder: &Path, found: &str) -> Error {
    Error::Trainer {
        found: format!("{}: this checkpoint is damaged: {found}", folder.join(STATE_NAME).display()),
        remedy: REMEDY.into(),
    }
}

fn parse(bytes: &[u8]) -> Result<(BTreeMap<String, Tensor>, Progress), String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let text = |key: &str| metadata.metadata().as_ref().and_then(|m| m.get(key)).ok_or("its progress is missing");
    let (progress, expected) = (text(PROGRESS)?, text(DIGEST)?);
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let mut views = file.tensors();
    views.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    if digest(progress, views.iter().map(|(name, v)| (name.as_str(), v.dtype(), v.shape(), v.data()))) != *expected {
        return Err("its content has changed since it was written (another SHA-256)".into());
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in views {
        let kind = kind_of(view.dtype())?;
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(|e| e.to_string())?;
        tensors.insert(name, tensor);
    }
    Ok((tensors, serde_json::from_str(progress).map_err(|e| e.to_string())?))
}

fn digest<'a>(progress: &str, tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(progress);
    for (name, dtype, shape, data) in tensors {
        hasher.update(format!("\n{name} {dtype:?} {shape:?}\n"));
        hasher.update(data);
    }
    to_hex(&hasher.finalize())
}

fn bytes_of(tensor: &Tensor) -> Result<Bytes, String> {
    let words = |e: tch::TchError| e.to_string();
    let dtype = dtype_of(tensor.kind())?;
    let tensor = tensor
        .f_detach()
        .and_then(|t| t.f_to_device(tch::Device::Cpu))
        .and_then(|t| t.f_contiguous())
        .map_err(words)?;
    let shape: Vec<usize> = tensor.size().iter().map(|&side| side as usize).collect();
    let count = tensor.numel();
    let mut data = vec![0; count * tensor.kind().elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut data, count).map_err(words)?;
    Ok(Bytes { dtype, shape, data })
}

const KINDS: [(Kind, Dtype); 3] = [(Kind::Float, Dtype::F32), (Kind::Double, Dtype::F64), (Kind::Int64, Dtype::I64)];

fn dtype_of(kind: Kind) -> Result<Dtype, String> {
    KINDS
        .iter()
        .find(|(k, _)| *k == kind)
        .map(|(_, d)| *d)
        .ok_or_else(|| format!("tensors of the type {kind:?} cannot be stored"))
}

fn kind_of(dtype: Dtype) -> Result<Kind, String> {
    KINDS
        .iter()
        .find(|(_, d)| *d == dtype)
        .map(|(k, _)| *k)
        .ok_or_else(|| format!("it holds tensors of the type {dtype:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (BTreeMap<String, Tensor>, Progress) {
        let tensors = BTreeMap::from([
            ("model.a".to_owned(), Tensor::from_slice(&[1.5f32, -0.0, 3.25]).view([3, 1])),
            ("optimizer.step".to_owned(), Tensor::from_slice(&[7i64])),
        ]);
        let rows = vec![EpochRow { epoch: 1, map50: Some(0.1 + 0.2), ..EpochRow::default() }];
        (
            tensors,
            Progress { epoch: 1, batch: 2, steps: 9, sums: vec![0.1, 1e-300], best: Some((0.3, 1)), rows, time_s: 1.0 },
        )
    }

    #[test]
    fn what_was_saved_comes_back_to_the_bit() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().is_none());
        let (tensors, progress) = state();
        save(dir.path(), &tensors, &progress).unwrap();
        let (found, found_progress) = load(dir.path()).unwrap().unwrap();
        assert_eq!(found_progress, progress);
        assert_eq!(found.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
        for (name, tensor) in &tensors {
            assert_eq!((tensor.size(), tensor.kind()), (found[name].size(), found[name].kind()));
            assert!(tensor.equal(&found[name]), "{name}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let (tensors, progress) = state();
        save(dir.path(), &tensors, &progress).unwrap();
        let path = dir.path().join(STATE_NAME);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let error = load(dir.path()).expect_err(&format!("byte {at}")).to_string();
            assert!(error.contains(STATE_NAME) && error.contains("`overwrite=true`"), "{error}");
        }
        for len in [0, 7, 100, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let error = load(dir.path()).unwrap_err().to_string();
            assert!(error.contains(STATE_NAME) && error.contains("`overwrite=true`"), "{error}");
        }
    }
}
