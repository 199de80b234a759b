#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| logitcache_fuzz::entries::cvat(bytes));
