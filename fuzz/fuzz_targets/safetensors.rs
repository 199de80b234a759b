#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| logitcache_fuzz::weights::safetensors(bytes));
