//! Builds what the trainer needs of libtorch beyond `tch`, and tells executables where libtorch lies.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "libtorch")]
    libtorch();
}

#[cfg(feature = "libtorch")]
fn libtorch() {
    use std::{env, path::PathBuf};

    const SHIM: &str = "src/student/native.cpp";
    println!("cargo:rerun-if-changed={SHIM}");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from).filter(|dir| dir.join("lib").is_dir()) else {
        println!(
            "cargo:warning=libtorch 2.11.0 is not there (LIBTORCH, .venv/torch): run `make setup`, or build without the trainer: cargo build -p logitcache"
        );
        return;
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(libtorch.join("include"))
        .include(libtorch.join("include/torch/csrc/api/include"))
        .file(SHIM)
        .compile("logitcache_native");
    let lib = libtorch.join("lib");
    println!("cargo:rustc-link-search=native={}", lib.display());
    // An RPATH, not a RUNPATH: what lies in LD_LIBRARY_PATH for other programs must not get in before the library that this was built for.
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
}
