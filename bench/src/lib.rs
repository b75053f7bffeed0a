//! Benchmarks. Those that need DPDK's ports take each figure in a process of its own: see [`ports`].
#![deny(unsafe_code)]

pub mod aead;
pub mod claims;
pub mod diagnostics;
pub mod flow;
pub mod instructions;
pub mod latency;
pub mod measure;
pub mod pipeline;
pub mod plot;
pub mod ports;
pub mod report;
pub mod results;
pub mod rfc2544;
pub mod scale;
pub mod tcp_ratio;
