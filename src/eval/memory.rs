//! How much memory a model takes: a session alone, loaded and run.
//!
//! `unsafe` is needed for one call into the C library, which has no safe form.
#![allow(unsafe_code)]

use super::latency::{TimedSession, WARM_UP_RUNS};
use crate::{
    Result,
    detector::{Detector, Provider},
};
use std::fs;

/// Memory that the process takes for loading and running a session with one thread, at most, in bytes, on one image's input
/// (`[3, H, W]`); `None` where the system does not tell it (Linux with glibc does). Nothing else should run in the process.
///
/// # Errors
/// As [`super::latency()`].
pub fn memory_of_session(model: &Detector, provider: Provider, pixels: &[f32]) -> Result<Option<u64>> {
    // From the second line on the peak counts anew (proc(5), clear_refs).
    let given_back = give_back_freed();
    let before = fs::write("/proc/self/clear_refs", "5").ok().and_then(|()| status_bytes("VmRSS:"));
    let mut session = TimedSession::new(model, provider, 1)?;
    for _ in 0..WARM_UP_RUNS {
        session.run_ms(pixels)?;
    }
    let peak = before.zip(status_bytes("VmHWM:")).filter(|_| given_back);
    Ok(peak.map(|(before, peak)| peak.saturating_sub(before)))
}

/// Gives memory that was freed back to the system: what the allocator keeps from an earlier model would hide what the next one
/// takes. Says whether it can.
fn give_back_freed() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim has no conditions; it may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    cfg!(all(target_os = "linux", target_env = "gnu"))
}

/// A line of `/proc/self/status`, in bytes.
fn status_bytes(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
