//! Bindings to the system's DPDK, and a small safe layer over them.
//!
//! What Rust checks here: the EAL is started once and outlives everything made from it; a port's queues are used only
//! while it is started, each by one thread at a time, and hold the port, which holds the pools it receives into; a port's
//! other functions are called by one thread at a time; every mbuf has one owner, which sends it or drops it, and DPDK's
//! memory stays mapped while one is out.

mod attach;
mod configure;
mod eal;
mod error;
mod fitted;
mod mbuf;
mod mempool;
mod pool;
mod port;
mod port_inner;
mod queue;
mod removal;
mod rss;
mod stamps;
mod sys;
#[cfg(test)]
mod testing;

pub use eal::{Eal, ThreadRegistration, iova_mode, keep_descriptors, tsc, tsc_hz, version};
pub use error::Error;
pub use fitted::{Descriptors, Fitted};
pub use mbuf::{Checksums, Mbuf, Unfinished};
pub use mempool::Mempool;
pub use port::{Link, Port, PortConfig, PortInfo, PortStats, Started, Stopped};
pub use queue::{RxQueue, TxQueue};
pub use rss::{HashedBy, Spread};
pub use stamps::Stamps;
