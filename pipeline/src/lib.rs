//! The packet path: what workers do with bursts, the flow table they share, what they count.
//!
//! Per packet nothing is allocated, locked, logged or copied, and the work is bounded whatever arrives.
//!
//! Where each step lives, in the order a burst goes through them:
//!
//! 1. [`worker`]: polls a worker's queues, sends what the stages leave, counts every packet once.
//! 2. [`parse`]: VLAN tags, the IPv6 header, the chain behind it (`protocol::wire::ext_chain`).
//! 3. `lookup`, [`policy`], [`flow_table`] ([`flow`], [`flow_hash`], [`flow_index`]), [`mss`]: which rule, which flow, how large a segment.
//! 4. Towards the network, `outbound`: number, PRSEQ and times, then one call that seals the batch. Coming back,
//!    `inbound`: the likeliest key ([`open`]), one call that opens the batch, further keys for the few that are left
//!    (`trials`: what that may cost).
//! 5. [`rewrite`]: the option goes in, or out; or [`too_big`] answers; [`icmp_error`] takes it out of what errors quote.
//!
//! What is known of the paths to destinations: [`path_mtu`].
//!
//! Off the packet path, in the control thread's hands: [`keyring`] ([`ring_index`], [`prefixes`]), ageing ([`flow_table::Ager`], [`quiescence`],
//! [`tombstones`]), [`resync`].
#![deny(unsafe_code)]

pub mod audit;
pub mod buffer;
pub mod counters;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod flow;
pub mod flow_hash;
pub mod flow_index;
pub mod flow_table;
pub mod icmp_error;
mod inbound;
pub mod keyring;
mod lookup;
pub mod mss;
pub mod open;
mod outbound;
pub mod parse;
pub mod path;
pub mod path_mtu;
pub mod policy;
pub mod prefixes;
pub mod quiescence;
pub mod resync;
pub mod rewrite;
pub mod ring_index;
pub mod table_memory;
#[cfg(all(test, not(loom)))]
mod testing;
pub mod tombstones;
pub mod too_big;
mod trials;
pub mod worker;

#[cfg(all(test, not(loom)))]
mod allocations;
#[cfg(all(test, not(loom)))]
mod in_clear;
#[cfg(all(test, not(loom)))]
mod many_peers;
#[cfg(all(test, not(loom)))]
mod nonce_promise;
#[cfg(all(test, not(loom)))]
mod read_only;
#[cfg(all(test, not(loom)))]
mod refused;
#[cfg(all(test, not(loom)))]
mod second_reading;
#[cfg(all(test, not(loom)))]
mod two_boxes;
