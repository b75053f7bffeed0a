//! Tools around the box, which need no DPDK: key files, certificates, captures, vectors.
#![forbid(unsafe_code)]

pub mod decode;
pub mod keygen;
pub mod pki;
pub mod selftest;
pub mod state_tool;
