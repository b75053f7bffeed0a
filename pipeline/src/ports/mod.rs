//! Where packets come from and go to.

#[cfg(feature = "dpdk")]
pub mod dpdk;
