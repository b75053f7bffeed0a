//! The packet path: what workers do with bursts, the flow table they share, what they count.
//!
//! Per packet nothing is allocated, locked, logged or copied, and the work is bounded whatever arrives.
#![deny(unsafe_code)]

pub mod audit;
pub mod buffer;
pub mod counters;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod flow;
pub mod flow_index;
pub mod flow_table;
mod inbound;
pub mod keyring;
pub mod mss;
pub mod open;
mod outbound;
pub mod parse;
pub mod path;
pub mod policy;
pub mod quiescence;
pub mod resync;
pub mod rewrite;
#[cfg(all(test, not(loom)))]
mod testing;
pub mod tombstones;
pub mod too_big;
pub mod worker;

#[cfg(all(test, not(loom)))]
mod allocations;
#[cfg(all(test, not(loom)))]
mod nonce_promise;
#[cfg(all(test, not(loom)))]
mod second_reading;
#[cfg(all(test, not(loom)))]
mod two_boxes;
