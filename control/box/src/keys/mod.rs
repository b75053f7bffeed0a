//! Where a running box has its keys from: a key file ([`from_file`]), or registrars.
//!
//! With registrars: [`connection`] registers and takes what comes, [`key_set`] and [`opening_table`] check it, and
//! [`from_registrar`] makes the workers' key ring of it.

pub mod connection;
pub mod from_file;
pub mod from_registrar;
pub mod key_set;
pub mod opening_table;
pub mod recorder;
#[cfg(feature = "dpdk")]
pub mod source;
