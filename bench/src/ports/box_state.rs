//! Two boxes' state, made in this process: what `control` makes of a configuration and a key file, without either.

use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::state::keyring::KeyRing;
use pipeline::state::policies::{InboundAction, Mode, Policy};
use pipeline::state::rules::{Oversize, PathConfig, Timeouts};
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::prseq::MasterKey;
use protocol::suite::Suite;
use std::sync::Arc;
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
            timeouts: Timeouts::default(),
            outside_mtu: 9000,
            oversize: Oversize::Pass,
            mss_clamp: true,
            started_ns: setting.now,
        };
        let size = TableSize { capacity: capacity(setting.flows), tombstones: TOMBSTONES };
        let table = FlowTable::new(size, [0x3D; 16]);
        let cell = SnapshotCell::default();
        cell.publish(ring(setting.side, 1));
        let shared = Shared::new(config, table, cell.clone(), MasterKey::new([0x5C; 32]), setting.workers);
        Self { shared: Arc::new(shared), cell, side: setting.side }
    }

    /// The box seals under another generation, and opens the other box's around it, from now on.
    pub fn generation(&mut self, generation: u32) {
        self.cell.publish(ring(self.side, generation));
    }
}

/// Both boxes are under the same generation.
fn ring(side: Side, generation: u32) -> KeyRing {
    keyrings::ring(side, Suite::default(), generation, generation)
}
