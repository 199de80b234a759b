//! What libtorch says where it finds no memory: an error of this program, not the end of it.

use crate::{Error, Result};
use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Once,
};

/// Words of libtorch's allocators for the processor and for CUDA.
const WORDS: [&str; 3] = ["can't allocate memory", "not enough memory", "out of memory"];

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs what calls libtorch. `tch` panics where libtorch fails; a panic for want of memory comes back as an error, unprinted,
/// any other goes on as it is. What was computed in part must not be used afterwards.
///
/// # Errors
/// [`Error::Trainer`] with libtorch's words.
pub fn or_shortage<T>(compute: impl FnOnce() -> T) -> Result<T> {
    keep_quiet();
    let before = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(compute));
    GUARDED.set(before);
    outcome.or_else(|panic| match shortage(panic.as_ref()) {
        Some(words) => Err(Error::Trainer {
            found: format!("there is not enough memory: {words}"),
            remedy: "Give a smaller `batch=`, `imgsz=` or `model=`. What the last checkpoint holds is kept.".into(),
        }),
        None => resume_unwind(panic),
    })
}

/// The line of libtorch's message that says so.
fn shortage(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied())?;
    // The message is the debug form of a text: its line breaks are written out.
    let line = text.split("\\n").flat_map(str::lines).find(|line| WORDS.iter().any(|words| line.contains(words)))?;
    let from = WORDS.iter().filter_map(|words| line.find(words)).min().unwrap_or(0);
    Some(line[from..].trim_end_matches(['"', ')']).to_owned())
}

/// A panic that becomes an error is told as that alone.
fn keep_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() || shortage(info.payload()).is_none() {
                before(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_memory_is_an_error_and_other_panics_go_on() {
        assert_eq!(or_shortage(|| 7).unwrap(), 7);
        let error = or_shortage(|| tch::Tensor::zeros([1 << 45], tch::kind::FLOAT_CPU)).unwrap_err().to_string();
        assert!(error.contains("there is not enough memory: ") && error.contains("`batch=`"), "{error}");
        let other = catch_unwind(|| or_shortage(|| -> i32 { panic!("another fault") }));
        assert!(other.is_err());
    }
}
