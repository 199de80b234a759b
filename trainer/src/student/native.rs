//! Calls into `native.cpp`: the parts of libtorch and glibc that `tch` does not bind.
//!
//! Contract of the `unsafe` here: the functions take plain values (one a buffer with its length, one a C string), keep no pointer, throw
//! nothing, and may be called from any thread; autocast's state is the calling thread's own.
#![allow(unsafe_code)]

use crate::{Error, Result, words::counted};
use std::{
    ffi::{CStr, c_char, c_int},
    sync::{Once, OnceLock},
};

/// The version that `tch` was generated for. Another one misreads arguments without an error.
pub const LIBTORCH_VERSION: &str = "2.11.0";

unsafe extern "C" {
    fn logitcache_torch_version(out: *mut c_char, size: usize);
    fn logitcache_autocast(cuda: bool, enabled: bool) -> bool;
    fn logitcache_autocast_clear();
    fn logitcache_keep_freed_memory() -> bool;
    fn logitcache_load(library: *const c_char) -> bool;
    /// The system's own: ends the process, and nothing runs before it does.
    fn _exit(code: c_int) -> !;
}

/// Ends the process without destructors, whatever its threads are doing.
pub fn exit_at_once(code: i32) -> ! {
    // SAFETY: takes a plain value and does not come back.
    unsafe { _exit(code) }
}

/// The version of the libtorch that was loaded, without a suffix such as `+cpu`.
pub fn version() -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        let mut text = [0u8; 64];
        // SAFETY: at most `len` bytes are written, the last of them a zero.
        unsafe { logitcache_torch_version(text.as_mut_ptr().cast(), text.len()) };
        let text = CStr::from_bytes_until_nul(&text).map(CStr::to_string_lossy).unwrap_or_default();
        match text.split('+').next() {
            Some(version) if !version.is_empty() => version.to_owned(),
            _ => "unknown".to_owned(),
        }
    })
}

/// Refuses any libtorch but [`LIBTORCH_VERSION`], and readies the process for training (freed memory is kept, not given
/// back). To be called before anything is computed.
///
/// # Errors
/// [`Error::Trainer`] with the version found.
pub fn init() -> Result<()> {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: sets three parameters of malloc. Where glibc refuses, training is slower and nothing else.
        unsafe { logitcache_keep_freed_memory() };
    });
    let version = version();
    if version == LIBTORCH_VERSION {
        return Ok(());
    }
    Err(Error::Trainer {
        found: format!("libtorch {version} was loaded; this program works only with {LIBTORCH_VERSION}"),
        remedy: "Run `make setup`, and leave LD_PRELOAD and LD_LIBRARY_PATH unset.".into(),
    })
}

/// Readies a device: CUDA is a library of its own, loaded when it is asked for, so that nobody else needs it.
///
/// # Errors
/// [`Error::Trainer`] where libtorch sees no such device.
pub fn use_device(device: tch::Device) -> Result<()> {
    let tch::Device::Cuda(index) = device else { return Ok(()) };
    // SAFETY: the name is a C string; the library stays loaded until the process ends.
    let loaded = unsafe { logitcache_load(c"libtorch_cuda.so".as_ptr()) };
    let count = tch::Cuda::device_count();
    if loaded && tch::Cuda::is_available() && (index as i64) < count {
        return Ok(());
    }
    let found = if loaded {
        format!("libtorch finds {}", counted(usize::try_from(count).unwrap_or(0), "CUDA device"))
    } else {
        "libtorch_cuda.so cannot be loaded".into()
    };
    Err(Error::Trainer {
        found: format!("`device=` cuda:{index} cannot be used: {found}"),
        remedy: format!(
            "Install the driver and the whole of PyTorch {LIBTORCH_VERSION} (pip install torch=={LIBTORCH_VERSION}), or use `device=cpu`."
        ),
    })
}

/// While it lives, convolutions and matrix products of this thread compute in bfloat16 and what needs more stays in float32
/// (PyTorch's autocast). The weights' bfloat16 copies are kept until it is dropped.
#[derive(Debug)]
pub struct Autocast {
    cuda: bool,
    before: bool,
}

impl Autocast {
    /// Switches autocast on for a CPU or a CUDA device.
    pub fn new(device: tch::Device) -> Self {
        let cuda = device.is_cuda();
        // SAFETY: sets a state of this thread.
        let before = unsafe { logitcache_autocast(cuda, true) };
        Self { cuda, before }
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // SAFETY: sets the state of this thread back and empties a cache behind a lock of its own.
        unsafe {
            logitcache_autocast(self.cuda, self.before);
            logitcache_autocast_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaded_library_is_the_one_expected() {
        init().unwrap();
        assert_eq!(version(), LIBTORCH_VERSION);
    }

    #[test]
    fn autocast_computes_in_bfloat16_while_it_lives() {
        let (a, b) = (tch::Tensor::ones([2, 2], tch::kind::FLOAT_CPU), tch::Tensor::ones([2, 2], tch::kind::FLOAT_CPU));
        let inside = {
            let _autocast = Autocast::new(tch::Device::Cpu);
            a.matmul(&b).kind()
        };
        assert_eq!((inside, a.matmul(&b).kind()), (tch::Kind::BFloat16, tch::Kind::Float));
    }
}
