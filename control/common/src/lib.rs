//! What the programs share: files that they read and write, who is who, log lines.
#![forbid(unsafe_code)]

pub mod admin;
pub mod capture;
pub mod config;
pub mod fault;
pub mod identity;
pub mod key_file;
pub mod key_log;
#[cfg(feature = "logging")]
pub mod logging;
pub mod machine;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod private_file;
pub mod state_file;
#[cfg(feature = "systemd")]
pub mod systemd;
pub mod units;
