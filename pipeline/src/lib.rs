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

pub mod flow;
pub mod inbound;
pub mod observe;
pub mod outbound;
pub mod packet;
pub mod ports;
pub mod state;
#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
pub mod worker;
