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
//! fingerprint and the words at 16, 24 and 88, by atomic loads. What the words are made of is [`crate::flow::record::words`]' and
//! `protocol::meter`'s to say.
//!
//! The table is a promise: of a flow of its own, a worker loads everything but the words at 64 and 72 as registers, which is no
//! atomic load. Who stores to them without being the owner makes a data race, which no type keeps from happening.

pub(crate) use crate::flow::record::Flow as Record;
use crate::flow::record::words::{flags, held};
use core::mem::offset_of;
use protocol::meter::{Meter, next_word};
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

/// What `held` has in its low half if this worker holds the flow and it gets this form, F not counted. Whatever else is
/// set is out of the way.
pub(super) const fn held_by(me: u16, form: Form) -> u32 {
    let flags = match form {
        Form::Encrypted => 0,
        Form::Clear => flags::CLEAR,
        Form::Pdm => flags::PDM,
    };
    held(me, flags, 0) as u32
}

/// One packet more, in [`Meter::next`]. Its index stays below [`VALUES`] and does not run over into the PSNTP.
pub(super) const ONE_MORE: u64 = next_word(0, 1, 1);

/// From this index on a flow's packets take the slow way, which changes Kri: no burst of so many packets runs over a Kri's end.
#[inline]
pub(super) const fn index_limit(packets: usize) -> u16 {
    VALUES - packets as u16
}

/// Stands in lanes that have no packet, or a packet of no flow. Nothing is ever written to it.
pub(super) static NOBODY: Record = Record::new();
