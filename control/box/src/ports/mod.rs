//! The two ports of a box: taken, set up, linked to each other.

#[cfg(feature = "dpdk")]
mod arriving;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod follow;
pub mod interface;
#[cfg(feature = "dpdk")]
pub mod keeper;
#[cfg(feature = "dpdk")]
pub mod link;
#[cfg(feature = "dpdk")]
mod pair;
pub mod pci;
#[cfg(feature = "dpdk")]
mod side;
#[cfg(feature = "dpdk")]
mod told;

/// A port's name in messages and metrics, inside first.
pub const SIDES: [&str; 2] = ["inside", "outside"];

/// DPDK's version.
#[cfg(feature = "dpdk")]
#[must_use]
pub fn dpdk_version() -> String {
    dpdk_ffi::version()
}

/// There is no DPDK in this build.
#[cfg(not(feature = "dpdk"))]
#[must_use]
pub fn dpdk_version() -> String {
    "none".to_owned()
}
