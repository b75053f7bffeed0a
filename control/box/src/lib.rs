//! The box around the packet path: configuration, ports, keys, what is told of it.
//!
//! `assemble` puts it together: [`config`] is read, [`ports`] are opened, workers ([`workers`], the path itself is crate
//! `pipeline`) are started, and the control thread does its `tasks` until it is told to stop. [`keys`] come from a file or from
//! a registrar; [`resumption`] notices when another may have them too. What is known of the box stands in `status` and in the
//! workers' counters; [`observe`] makes figures of it, [`admin`] answers who asks, and [`export`] tells of flows. `replay` puts
//! captures through the same path. [`take_over`]: a new process comes in the place of the one that runs.
#![forbid(unsafe_code)]

pub mod admin;
#[cfg(feature = "dpdk")]
pub mod assemble;
pub mod config;
pub mod export;
pub mod keys;
pub mod observe;
pub mod ports;
#[cfg(feature = "dpdk")]
pub mod reload;
#[cfg(feature = "dpdk")]
pub mod replay;
pub mod resumption;
#[cfg(feature = "dpdk")]
pub mod setup;
#[cfg(feature = "dpdk")]
pub mod status;
pub mod take_over;
#[cfg(feature = "dpdk")]
pub mod tasks;
#[cfg(feature = "dpdk")]
pub mod watchdog;
#[cfg(feature = "dpdk")]
pub mod workers;
