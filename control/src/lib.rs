//! Everything beside the packet path: configuration, keys, and the programs `pdmv2-middlebox` and `pdmv2`.
#![forbid(unsafe_code)]

pub mod capture;
pub mod config;
pub mod counts;
pub mod decode;
pub mod descriptors;
pub mod fault;
pub mod follow;
pub mod http;
pub mod key_file;
#[cfg(feature = "dpdk")]
pub mod key_source;
pub mod keygen;
pub mod keys;
#[cfg(feature = "dpdk")]
pub mod link;
pub mod logging;
pub mod pci;
pub mod pki;
pub mod places;
#[cfg(feature = "dpdk")]
pub mod ports;
pub mod private_file;
pub mod registration;
#[cfg(feature = "dpdk")]
pub mod replay;
#[cfg(feature = "dpdk")]
pub mod run;
pub mod selftest;
#[cfg(feature = "dpdk")]
pub mod setup;
pub mod sparing;
pub mod state_file;
pub mod telemetry;
pub mod workers;
