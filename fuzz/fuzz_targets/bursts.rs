//! `cargo +nightly fuzz run bursts --features libfuzzer`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdmv2_fuzz::bursts(data));
