//! `cargo +nightly fuzz run admin --features libfuzzer`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pdmv2_fuzz::admin(data));
