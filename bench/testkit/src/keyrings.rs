//! Key rings of two boxes that know each other, as a key file of scope "node" gives them.

use crate::frames::{A, B};
use pipeline::state::keyring::{KeyRing, Peer, Sealer};
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret, file_generation_secret};
use protocol::prefix::Prefix;
use protocol::suite::Suite;
use std::ops::RangeInclusive;

/// Generations that a box opens beyond the newest it has seen.
pub const AHEAD: u32 = 16;

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The box in front of host [`A`].
    A,
    /// The box in front of host [`B`].
    B,
}

impl Side {
    /// The box at the other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The box's id.
    #[must_use]
    pub const fn id(self) -> [u8; 16] {
        match self {
            Self::A => [0xA; 16],
            Self::B => [0xB; 16],
        }
    }

    /// What the box speaks for: its host's network.
    #[must_use]
    pub fn prefix(self) -> Prefix {
        let host = match self {
            Self::A => A,
            Self::B => B,
        };
        Prefix::new(host, 48).expect("48 of 128 bits")
    }
}

/// What the box of this id seals under in a generation.
#[must_use]
pub fn keys(suite: Suite, id: [u8; 16], generation: u32) -> GenerationKeys {
    let (salt, file) = ([5; 32], SharedSecret::new(&[7; 32]));
    let shared = file_generation_secret(suite, &salt, &file, generation).expect("a secret of 32 octets");
    let prk = Prk::new(suite, &salt, &shared).expect("a secret of the suite's own length");
    GenerationKeys::Ready(prk.secret(&ScopeId::Node(id)))
}

/// The generations that a box opens when the other's newest is this one: from the one before.
#[must_use]
pub const fn opened(newest: u32) -> RangeInclusive<u32> {
    let before = newest.saturating_sub(1);
    (if before == 0 { 1 } else { before })..=newest + AHEAD
}

/// A box's ring: it seals under `generation`, and opens what the other seals around `newest`.
#[must_use]
pub fn ring(side: Side, suite: Suite, generation: u32, newest: u32) -> KeyRing {
    let (aead, other) = (suite.aead, side.other());
    let peer = Peer {
        number: 1,
        aead,
        prefixes: vec![other.prefix()].into(),
        generations: opened(newest).map(|g| (g, keys(suite, other.id(), g))).collect(),
        newest: newest.into(),
    };
    let keys = keys(suite, side.id(), generation);
    let sealer = Sealer { generation, aead, keys, prefixes: vec![side.prefix()].into() };
    KeyRing { sealer: Some(sealer), peers: vec![peer], ..KeyRing::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use arrayvec::ArrayVec;
    use pipeline::flow::table::{FlowTable, TableSize};
    use pipeline::observe::counters::Outcome;
    use pipeline::packet::buffer::{PacketBuf, VecBuf};
    use pipeline::ports::BURST;
    use pipeline::state::policies::{Mode, Policy};
    use pipeline::state::rules::Timeouts;
    use pipeline::state::rules::{Diagnostics, Oversize, PathConfig};
    use pipeline::state::shared::Shared;
    use pipeline::state::snapshot::SnapshotCell;
    use pipeline::state::worker::Worker;
    use protocol::prseq::MasterKey;
    use protocol::wire::option::Form;
    use std::sync::Arc;

    fn worker(side: Side) -> Worker {
        let config = PathConfig {
            policies: vec![Policy::everything(Mode::Encrypted)],
            pairs: Vec::new(),
            outside_mtu: 9000,
            oversize: Oversize::Pass,
            mss_clamp: false,
            diagnostics: Diagnostics::Flows,
            started_ns: 0,
            timeouts: Timeouts::default(),
        };
        let cell = SnapshotCell::default();
        cell.publish(ring(side, Suite::default(), 3, 3));
        let table = FlowTable::new(TableSize { capacity: 64, tombstones: 64 }, [1; 16]);
        let shared = Shared::new(config, table, cell.clone(), MasterKey::new([2; 32]), 1);
        Worker::new(Arc::new(shared), 0)
    }

    #[test]
    fn what_one_side_seals_the_other_opens() {
        for (side, src, dst) in [(Side::A, A, B), (Side::B, B, A)] {
            let frame = frames::udp(src, dst, 1, 443, 10);
            let (mut packet, mut outcomes) = (VecBuf::new(&frame), ArrayVec::<Outcome, BURST>::new());
            worker(side).outbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| 1);
            assert!(matches!(outcomes[..], [Outcome::Added(Form::Encrypted)]), "{outcomes:?}");
            worker(side.other()).inbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| 2);
            assert!(matches!(outcomes[..], [Outcome::Removed(Form::Encrypted)]), "{outcomes:?}");
            assert_eq!(packet.data(), frame);
        }
    }

    #[test]
    fn generations_begin_with_one() {
        assert_eq!([0, 1, 2, 3].map(opened), [1..=16, 1..=17, 1..=18, 2..=19]);
    }
}
