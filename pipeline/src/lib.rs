//! The packet path: what workers do with bursts, the flow table they share, what they count.
//!
//! Per packet nothing is allocated, locked, logged or copied, and the work is bounded whatever arrives.
//!
//! # A burst's way
//!
//! 1. A worker's loop ([`worker`]) takes a burst from a port's queue ([`ports`]) and hands it to one of two directions:
//!    [`outbound`] towards the network, [`inbound`] coming back. Either looks once at what all workers read
//!    ([`state::snapshot`]) and holds on to that until the burst ends.
//! 2. What no policy can name passes unseen (`state::sieve`). Nearly all others go the short way, side by side through the
//!    [`lanes`], which do for a whole burst what follows here for one packet; what differs goes the slow way beside them, in order:
//!    each packet ([`packet::buffer`]) is parsed ([`packet::parse`]), and its flow looked up ([`flow::table`], [`flow::record`]).
//!    Another worker's flow: the packet is handed over to that worker ([`state::hand_over`]).
//! 3. Which policy it falls under, the flow remembers; what that means, [`state::rules`] say.
//! 4. Outbound: numbers, times and PRSEQ are filled in, one call seals the batch, the options go in ([`packet::rewrite`]).
//!    What would not fit the network passes, or is answered ([`outbound::too_big`]); SYNs are told a smaller MSS
//!    ([`packet::mss`]).
//! 5. Inbound: the likeliest key ([`inbound::guess`]), one call that opens the batch, further keys for the few that are left
//!    ([`packet::encrypted`]); then replays, gaps and times are accounted for, and the option goes out. ICMPv6 errors that
//!    quote what this box put in are put into the host's terms.
//! 6. Every packet has one outcome ([`observe::counters`]) and, where it was not measured, one reason
//!    ([`observe::reasons`]). The loop sends it on and counts it.
//!
//! # Beside the way
//!
//! The control thread replaces keys and settings ([`state::snapshot::SnapshotCell`], [`state::shared::Shared::replace`]), takes
//! idle flows out ([`flow::table::Ager`]: after a grace period, [`flow::quiescence`]; what they leave behind,
//! [`flow::tombstones`]), forgets what is known of paths ([`state::path_mtu`]), and looks for flows that went too far ahead
//! ([`state::resync`]).
//!
//! What somebody watches ([`state::watch`]) is noted by the loop before and behind a burst (`watching`): no stage knows of it.
//!
//! A module knows those below it: worker → watching → inbound, outbound → state → lanes → flow → packet → observe.
#![deny(unsafe_code)]

#[cfg(all(feature = "testing", not(loom)))]
pub mod doors;
pub mod flow;
#[cfg(not(loom))]
pub mod inbound;
#[cfg(not(loom))]
pub mod lanes;
pub mod observe;
#[cfg(not(loom))]
pub mod outbound;
pub mod packet;
pub mod ports;
pub mod state;
#[cfg(all(test, not(loom)))]
mod testing;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(not(loom))]
mod watching;
#[cfg(not(loom))]
pub mod worker;
