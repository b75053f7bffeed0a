//! What the lanes know of a flow's record: three cache lines, and what its words are made of.
//!
//! | octets | what | written by |
//! |---|---|---|
//! | 0..16 | fingerprint | who inserts the flow, before it stands in the index; never again |
//! | 16..24 | vouched: name, limit, policy | the owner |
//! | 24..32 | held: owner, flags, seen | the owner |
//! | 32..48 | base nonce, Kri | the owner |
//! | 48..64 | order of PRSEQ | the owner |
//! | 64..80 | last received, acknowledged | any worker: packets that come back |
//! | 80..96 | last sent, number | the owner |
//! | 96..128 | send times | the owner |
//! | 128..192 | key | the owner |
//!
//! The owner is one worker. A flow that is not one's own may be written to at any moment: all that is looked at of it are the
//! fingerprint and the words at 16, 24 and 88, by atomic loads.
//!
//! The table is a promise: of a flow of its own, a worker loads everything but the words at 64 and 72 as registers, which is no
//! atomic load. Who stores to them without being the owner makes a data race, which no type keeps from happening.

pub(crate) use crate::flow::record::Flow as Record;
use crate::ports::BURST;
use core::mem::offset_of;
use protocol::meter::Meter;
use protocol::prseq::VALUES;
use protocol::wire::option::Form;

/// Where the lanes load sixteen octets at once.
pub(super) const FINGERPRINT_AT: usize = offset_of!(Record, fingerprint);
pub(super) const NONCE_AT: usize = offset_of!(Record, nonce);
pub(super) const ORDER_AT: usize = offset_of!(Record, order);
pub(super) const LAST_SENT_AT: usize = offset_of!(Record, meter) + offset_of!(Meter, last_sent);
pub(super) const KEY_AT: usize = offset_of!(Record, key);

const _: () = {
    assert!(size_of::<Record>() == 192 && align_of::<Record>() == 64);
    assert!(
        offset_of!(Record, nonce_end) == NONCE_AT + 8 && offset_of!(Meter, next) == offset_of!(Meter, last_sent) + 8
    );
    assert!(offset_of!(Record, meter) == 64 && KEY_AT == 128);
};

/// The owner's flags, bits 16 to 31 of `held`.
pub mod flags {
    /// F: the lowest bit of Kri.
    pub const F: u16 = 1;
    /// The option goes in clear.
    pub const CLEAR: u16 = 1 << 1;
    /// The option is PDM's.
    pub const PDM: u16 = 2 << 1;
    /// The source is link-local: another Global Pointer counts.
    pub const LINK_LOCAL: u16 = 1 << 3;
}

/// What `held` has in its low half if this worker holds the flow and it gets this form, F not counted. Whatever else is
/// set is out of the way.
pub(super) const fn held_by(me: u16, form: Form) -> u32 {
    let form = match form {
        Form::Encrypted => 0,
        Form::Clear => flags::CLEAR,
        Form::Pdm => flags::PDM,
    };
    me as u32 | (form as u32) << 16
}

/// `vouched`: `name` names what the rest was found under (0: nothing); `limit`: the longest IPv6 packet that gets
/// the option, header included (0: none does); `policy`: its place among the rules.
#[must_use]
pub const fn vouched(name: u32, limit: u16, policy: u16) -> u64 {
    name as u64 | (limit as u64) << 32 | (policy as u64) << 48
}

/// `held`: which worker holds the flow, its [`flags`], and when it was seen last ([`seen`]).
#[must_use]
pub const fn held(owner: u16, flags: u16, seen: u32) -> u64 {
    owner as u64 | (flags as u64) << 16 | (seen as u64) << 32
}

/// A time as [`held`] keeps it: in 0.27 s, so that a busy flow's word is seldom written.
#[must_use]
pub const fn seen(now_ns: u64) -> u32 {
    (now_ns >> 28) as u32
}

/// [`Meter::next`]: the low half of [`Meter::last_received`] when the last packet was sent, the packets numbered under
/// this Kri, and the next one's PSNTP.
#[must_use]
pub const fn number(seen_at_send: u32, index: u16, psntp: u16) -> u64 {
    seen_at_send as u64 | (index as u64) << 32 | (psntp as u64) << 48
}

/// One packet more, in [`Meter::next`]. Its index is below [`INDEX_LIMIT`] + [`BURST`] and does not run over into the PSNTP.
pub(super) const ONE_MORE: u64 = number(0, 1, 1);

/// From this index on a flow's packets take the slow way, which changes Kri: no burst runs over a Kri's end.
pub const INDEX_LIMIT: u16 = VALUES - BURST as u16;

/// As `protocol::meter` keeps times.
pub(super) const TIME_BITS: u32 = 47;
pub(super) const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
pub(super) const VALID: u64 = 1 << 63;

/// A time and the PSNTP that belongs to it.
#[must_use]
pub(super) const fn packed(now_ns: u64, psntp: u16) -> u64 {
    VALID | (now_ns & TIME_MASK) << 16 | psntp as u64
}

/// Stands in lanes that have no packet, or a packet of no flow. Nothing is ever written to it.
pub(super) static NOBODY: Record = Record::new();
