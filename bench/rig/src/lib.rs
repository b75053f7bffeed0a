//! The rig: two boxes between two hosts on one machine, in network namespaces of their own, for the demo, comparisons, and
//! the end-to-end tests.
//!
//! ```text
//!   host A ── tA [box A] w0 ── wire (veth) ── w1 [box B] tB ── host B
//! ```
//!
//! The taps are made by the boxes' DPDK processes and then moved into the hosts' namespaces, where the kernel is a real
//! IPv6 host. With [`registrars`] a second link joins the boxes' places, for those alone. No traffic leaves the
//! namespaces. Everything is gone when the [`Rig`] is dropped.
//!
//! It needs the project's programs, and neither DPDK nor the benchmarks.
#![deny(unsafe_code)]

pub mod capture;
pub mod cleanup;
pub mod command;
pub mod counters;
pub mod demo;
mod directory;
pub mod etcd_cluster;
pub mod forwarders;
mod free_port;
mod hugepages;
pub mod inside;
pub mod namespace;
pub mod notified;
mod programs;
pub mod registrars;
mod requirements;
pub mod routers;
pub mod running;
mod side;
pub mod slow_wire;
mod topology;
pub mod traffic;
pub mod trouble;

pub use directory::Directory;
pub use free_port::free_port;
pub use hugepages::Hugepages;
pub use programs::{Programs, core};
pub use requirements::able;
pub use side::Side;
pub use topology::{Options, Rig};
