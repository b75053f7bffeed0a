//! The two ports of a box: taken, set up, linked to each other.

#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod follow;
#[cfg(feature = "dpdk")]
pub mod link;
pub mod pci;

/// A port's name in messages and metrics, inside first.
pub const SIDES: [&str; 2] = ["inside", "outside"];
