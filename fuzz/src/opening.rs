//! The packet path over any frame: the opener above all.

use arrayvec::ArrayVec;
use pipeline::flow::table::{FlowTable, TableSize};
use pipeline::observe::counters::Outcome;
use pipeline::observe::reasons::Finding;
use pipeline::packet::buffer::{PacketBuf, VecBuf};
use pipeline::ports::BURST;
use pipeline::state::keyring::{KeyRing, Peer, Sealer};
use pipeline::state::policies::{Mode, OnFailure, Policy};
use pipeline::state::rules::{Diagnostics, Oversize, PathConfig, Timeouts};
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use pipeline::state::worker::Worker;
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret};
use protocol::prefix::Prefix;
use protocol::prseq::MasterKey;
use protocol::suite::Suite;
use std::cell::RefCell;
use std::sync::Arc;

/// A box that seals everything and opens everything, its own packets too.
fn worker(mode: Mode) -> Worker {
    let suite = Suite::default();
    let keys = |generation: u8| {
        let prk = Prk::new(suite, &[generation; 32], &SharedSecret::new(&[7; 32])).expect("length");
        GenerationKeys::Ready(prk.secret(&ScopeId::Shared))
    };
    let ring = KeyRing {
        sealer: Some(Sealer { generation: 1, aead: suite.aead, keys: keys(1), prefixes: vec![Prefix::ANY].into() }),
        peers: vec![Peer {
            number: 1,
            aead: suite.aead,
            prefixes: vec![Prefix::ANY].into(),
            generations: (1..=17).map(|g| (u32::from(g), keys(g))).collect(),
            newest: 1.into(),
        }],
        ..KeyRing::default()
    };
    let policy = Policy { on_failure: OnFailure::Pass, ..Policy::everything(mode) };
    let config = PathConfig {
        policies: vec![policy],
        pairs: Vec::new(),
        timeouts: Timeouts::default(),
        outside_mtu: 1500,
        oversize: Oversize::PacketTooBig,
        mss_clamp: false,
        diagnostics: Diagnostics::Flows,
        started_ns: 0,
    };
    let cell = SnapshotCell::default();
    cell.publish(ring);
    let table = FlowTable::new(TableSize { capacity: 4096, tombstones: 1024 }, [1; 16]);
    Worker::new(Arc::new(Shared::new(config, table, cell, MasterKey::new([2; 32]), 1)), 0)
}

thread_local! {
    static WORKERS: RefCell<Vec<Worker>> = RefCell::new([Mode::Encrypted, Mode::Clear, Mode::Pdm].map(worker).into());
    static NOW: RefCell<u64> = const { RefCell::new(1) };
}

/// Any frame from either side; and what the box has sealed comes back to it and goes through.
pub fn open(data: &[u8]) {
    let now = NOW.with_borrow_mut(|now| {
        *now += 1_000_000;
        *now
    });
    WORKERS.with_borrow_mut(|workers| {
        for worker in workers {
            let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
            let mut packet = VecBuf::new(data);
            let mended = |worker: &Worker| worker.counters.quotations[Finding::Mended as usize].get();
            let before = mended(worker);
            worker.inbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| now);
            if let (Outcome::Passed(_), true) = (outcomes[0], mended(worker) == before) {
                assert_eq!(packet.data(), data, "what passes is unchanged");
            }
            let mut packet = VecBuf::new(data);
            worker.outbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| now);
            match outcomes[0] {
                Outcome::Passed(_) => assert_eq!(packet.data(), data, "what passes is unchanged"),
                Outcome::Added(_) => {
                    worker.inbound(core::slice::from_mut(&mut packet), &mut outcomes, &|| now);
                    assert!(matches!(outcomes[0], Outcome::Removed(_)), "its own packet: {:?}", outcomes[0]);
                    if mended(worker) == before {
                        assert_eq!(packet.data(), data, "add and remove give the frame back");
                    }
                }
                Outcome::TooBig => {}
                other => panic!("outbound: {other:?}"),
            }
        }
    });
}
