//! `cargo +nightly fuzz run key_log --features libfuzzer`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdmv2_fuzz::key_log(data));
