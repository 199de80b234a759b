//! Makes `cargo test --workspace` build the module that the tests in this folder import (`conftest.py`).
#![allow(clippy::unwrap_used)]

#[test]
fn the_module_lies_beside_the_tests() {
    let tests = std::env::current_exe().unwrap();
    assert!(tests.with_file_name("liblogitcache_python.so").is_file());
}
