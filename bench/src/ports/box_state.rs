//! Two boxes' state, made in this process: what `control` makes of a configuration and a key file, without either.

use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::state::keyring::{KeyRing, Peer};
use pipeline::state::policies::{InboundAction, Mode, Policy};
use pipeline::state::rules::{Diagnostics, Oversize, PathConfig, Timeouts};
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::prefix::Prefix;
use protocol::prseq::MasterKey;
use protocol::suite::Suite;
use std::sync::Arc;
use testkit::frames::{A, B};
use testkit::keyrings::{self, Side};

/// No flow leaves while something is measured.
pub const TOMBSTONES: usize = 1024;

/// The table's capacity for so many flows: a quarter free, and never less than the default of the configuration.
#[must_use]
pub fn capacity(flows: u32) -> usize {
    (flows as usize * 5 / 4).max(131_072)
}

/// One box.
pub struct BoxState {
    /// What its workers share.
    pub shared: Arc<Shared>,
    /// Its keys, to be changed.
    pub cell: SnapshotCell,
    side: Side,
    boxes: u16,
}

/// What a box is to be.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The box in front of the senders, or the one behind.
    pub side: Side,
    /// The option's form; `Off`: packets pass.
    pub mode: Mode,
    /// What becomes of options that arrive.
    pub inbound: InboundAction,
    /// Flows that must fit.
    pub flows: u32,
    /// Workers.
    pub workers: usize,
    /// Boxes on the other side.
    pub boxes: u16,
    /// Now, on the workers' clock.
    pub now: u64,
}

impl BoxState {
    /// A box with keys of generation 1.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let policy = Policy { inbound: setting.inbound, ..Policy::everything(setting.mode) };
        let config = PathConfig {
            policies: vec![policy],
            pairs: Vec::new(),
            timeouts: Timeouts::default(),
            outside_mtu: 9000,
            oversize: Oversize::Pass,
            mss_clamp: true,
            diagnostics: Diagnostics::Flows,
            started_ns: setting.now,
        };
        let size = TableSize { capacity: capacity(setting.flows), tombstones: TOMBSTONES };
        let table = FlowTable::new(size, [0x3D; 16]);
        let cell = SnapshotCell::default();
        cell.publish(ring(setting.side, 1, setting.boxes));
        let shared = Shared::new(config, table, cell.clone(), MasterKey::new([0x5C; 32]), setting.workers);
        Self { shared: Arc::new(shared), cell, side: setting.side, boxes: setting.boxes }
    }

    /// Whether times are kept by flow and by policy, from now on.
    pub fn diagnostics(&self, diagnostics: Diagnostics) {
        let config = self.shared.snapshots.rules().config.clone();
        self.shared.replace(PathConfig { diagnostics, ..config });
    }

    /// The box seals under another generation, and opens the other box's around it, from now on.
    pub fn generation(&mut self, generation: u32) {
        self.cell.publish(ring(self.side, generation, self.boxes));
    }
}

/// Generations that each of many boxes has, as a registrar hands them out.
const OF_MANY: usize = 3;

/// Both sides are under the same generation. Many boxes on the other side share its prefix, a network each, and its
/// secrets, so that one box can be all of them at once: keys are per flow, and what is found by a packet's source is the
/// box of that network.
fn ring(side: Side, generation: u32, boxes: u16) -> KeyRing {
    let mut ring = keyrings::ring(side, Suite::default(), generation, generation);
    if boxes > 1
        && let Some(one) = ring.peers.pop()
    {
        let generations = &one.generations[..one.generations.len().min(OF_MANY)];
        ring.peers.extend((0..boxes).map(|network| Peer {
            number: network + 1,
            aead: one.aead,
            prefixes: vec![prefix(side.other(), network)].into(),
            generations: generations.to_vec(),
            newest: one.newest().into(),
        }));
    }
    ring
}

/// The network of one of a side's boxes.
fn prefix(side: Side, network: u16) -> Prefix {
    let mut address = match side {
        Side::A => A,
        Side::B => B,
    };
    address[6..8].copy_from_slice(&network.to_be_bytes());
    address[8..].fill(0);
    Prefix::new(address, 64).expect("64 of 128 bits")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::frames::Frame;
    use crate::ports::recipe::Recipe;
    use arrayvec::ArrayVec;
    use pipeline::observe::counters::Outcome;
    use pipeline::packet::buffer::VecBuf;
    use pipeline::ports::BURST;
    use pipeline::state::worker::Worker;
    use protocol::wire::option::Form;

    /// Each flow's packets are of the box whose network it is in, and open as that one's.
    #[test]
    fn what_many_boxes_seal_is_opened_as_theirs() {
        const BOXES: u16 = 2000;
        let recipe = Recipe { boxes: BOXES, ..Recipe::plain(Frame::Octets(80)) };
        let of = |side| {
            let setting = Setting {
                side,
                mode: Mode::Encrypted,
                inbound: InboundAction::Remove,
                flows: 64,
                workers: 1,
                now: 0,
                boxes: BOXES,
            };
            BoxState::new(&setting).shared
        };
        let (mut a, mut b) = (Worker::new(of(Side::A), 0), Worker::new(of(Side::B), 0));
        let mut outcomes = ArrayVec::<Outcome, BURST>::new();
        for flow in [0, 1, 777, 1999, 2000 + 1234] {
            let mut octets = [0; 80];
            recipe.write(&mut octets, 0, flow);
            let mut packet = VecBuf::new(&octets);
            a.outbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| 1000);
            assert!(matches!(outcomes[..], [Outcome::Added(Form::Encrypted)]), "flow {flow}: {outcomes:?}");
            b.inbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| 2000);
            assert!(matches!(outcomes[..], [Outcome::Removed(Form::Encrypted)]), "flow {flow}: {outcomes:?}");
        }
        let rings = [ring(Side::B, 5, BOXES), ring(Side::B, 5, 1)];
        assert_eq!(rings.each_ref().map(|ring| ring.peers.len()), [2000, 1]);
    }
}
