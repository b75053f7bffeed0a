//! The box around the packet path: configuration, ports, keys, what is told of it.
#![forbid(unsafe_code)]

#[cfg(feature = "dpdk")]
pub mod assemble;
pub mod config;
pub mod keys;
pub mod observe;
pub mod ports;
#[cfg(feature = "dpdk")]
pub mod replay;
pub mod resumption;
#[cfg(feature = "dpdk")]
pub mod setup;
#[cfg(feature = "dpdk")]
pub mod status;
#[cfg(feature = "dpdk")]
pub mod tasks;
pub mod workers;
