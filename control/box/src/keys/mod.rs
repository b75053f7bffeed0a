//! Where a running box has its keys from: a key file, or a registrar.

pub mod connection;
pub mod from_file;
pub mod from_registrar;
#[cfg(feature = "dpdk")]
pub mod source;
