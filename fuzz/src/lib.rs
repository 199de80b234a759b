//! What the fuzz targets share.

pub mod entries;
pub mod weights;

/// From here on a panic in another author's code does not end the process at once, as libFuzzer wants it: some of them are
/// known to panic on hostile bytes, and this program catches that where it calls them. One that it does not catch is a crash
/// as before, and so is any panic in code of its own, caught or not.
pub fn let_dependencies_panic() {
    let ending = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_dependency = panic.location().is_some_and(|place| place.file().contains("/registry/src/"));
        if !of_dependency {
            ending(panic);
        }
    }));
}
