//! Everything beside the packet path: configuration, keys, and the programs `pdmv2-middlebox` and `pdmv2`.
#![forbid(unsafe_code)]

pub mod capture;
pub mod config;
pub mod decode;
pub mod key_file;
pub mod keygen;
pub mod selftest;
pub mod state_file;
