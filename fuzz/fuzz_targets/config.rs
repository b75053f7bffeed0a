//! `cargo +nightly fuzz run config --features libfuzzer`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdmv2_fuzz::config(data));
