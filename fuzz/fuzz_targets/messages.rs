//! `cargo +nightly fuzz run messages --features libfuzzer`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdmv2_fuzz::messages(data));
