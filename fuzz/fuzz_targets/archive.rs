#![no_main]

libfuzzer_sys::fuzz_target!(
    init: logitcache_fuzz::let_dependencies_panic(),
    |bytes: &[u8]| logitcache_fuzz::entries::cache(bytes)
);
