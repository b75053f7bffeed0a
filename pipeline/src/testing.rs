//! What the crate's tests share: two boxes' worth of state, and frames.

use crate::flow::table::{FlowTable, TableSize};
use crate::observe::counter::Counter;
use crate::observe::counters::{Outcome, PolicyCounters};
use crate::packet::buffer::PacketBuf;
use crate::state::keyring::{KeyRing, Peer, Sealer};
use crate::state::newest::Newest;
use crate::state::policies::{Mode, OnFailure, Policy};
use crate::state::rules::{Diagnostics, Oversize, PathConfig, Timeouts};
use crate::state::shared::Shared;
use crate::state::snapshot::SnapshotCell;
use crate::state::worker::Worker;
use arrayvec::ArrayVec;
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::{Prk, ScopeId, SharedSecret, file_generation_secret};
use protocol::prefix::Prefix;
use protocol::prseq::MasterKey;
use protocol::suite::Suite;
use std::sync::Arc;

pub const A: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0xA, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub const B: [u8; 16] = [0x20, 1, 0xD, 0xB8, 0, 0xB, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ID_A: [u8; 16] = [0xA; 16];
const ID_B: [u8; 16] = [0xB; 16];

pub fn prefix(address: [u8; 16]) -> Prefix {
    Prefix::new(address, 48).expect("a length up to 128")
}

/// Every packet both ways. What is refused is dropped, which tells it from all else.
pub fn policy(mode: Mode) -> Policy {
    Policy { on_failure: OnFailure::Drop, ..Policy::everything(mode) }
}

pub fn config(policies: Vec<Policy>) -> PathConfig {
    PathConfig {
        policies,
        pairs: Vec::new(),
        timeouts: Timeouts::default(),
        outside_mtu: 9000,
        oversize: Oversize::Pass,
        mss_clamp: false,
        diagnostics: Diagnostics::Flows,
        started_ns: 0,
    }
}

fn keys(node: [u8; 16], generation: u32) -> GenerationKeys {
    let (suite, salt) = (Suite::default(), [5; 32]);
    let file = SharedSecret::new(&[7; 32]);
    let shared = file_generation_secret(suite, &salt, &file, generation).expect("right length");
    GenerationKeys::Ready(Prk::new(suite, &salt, &shared).expect("right length").secret(&ScopeId::Node(node)))
}

/// The ring of box A (or of box B): seals under `generation`, opens the other from `peer_from` on.
pub fn ring(is_a: bool, generation: u32, peer_from: u32) -> KeyRing {
    let (me, my, other, others) = if is_a { (ID_A, A, ID_B, B) } else { (ID_B, B, ID_A, A) };
    let aead = Suite::default().aead;
    let generations = (peer_from.saturating_sub(1).max(1)..=peer_from + 16).map(|g| (g, keys(other, g))).collect();
    let newest = peer_from.into();
    KeyRing {
        sealer: Some(Sealer { generation, aead, keys: keys(me, generation), prefixes: vec![prefix(my)].into() }),
        peers: vec![Peer { number: 1, aead, prefixes: vec![prefix(others)].into(), generations, newest }],
        ..KeyRing::default()
    }
}

/// Another box, nothing of which was opened yet.
pub fn peer(number: u16, prefixes: Vec<Prefix>, generations: Vec<(u32, GenerationKeys)>) -> Peer {
    let (aead, prefixes) = (Suite::default().aead, prefixes.into());
    Peer { number, aead, prefixes, generations, newest: Newest::default() }
}

/// One side: its state, the cell of its keys and rules.
pub struct Side {
    pub shared: Arc<Shared>,
    pub cell: SnapshotCell,
}

pub fn side(config: PathConfig, ring: KeyRing, size: TableSize, workers: usize) -> Side {
    let cell = SnapshotCell::default();
    cell.publish(ring);
    let seed = if config.started_ns == 0 { 3 } else { config.started_ns as u8 };
    let table = FlowTable::new(size, [seed; 16]);
    let shared = Shared::new(config, table, cell.clone(), MasterKey::new([seed; 32]), workers);
    Side { shared: Arc::new(shared), cell }
}

pub const SMALL: TableSize = TableSize { capacity: 1024, tombstones: 1024 };

/// Box A, everything sealed.
pub fn shared(workers: usize) -> Arc<Shared> {
    side(config(vec![policy(Mode::Encrypted)]), ring(true, 1, 1), SMALL, workers).shared
}

pub fn worker(shared: Arc<Shared>, index: usize) -> Worker {
    Worker::new(shared, index)
}

/// What a worker has counted of the policy at this place.
pub fn by_policy(worker: &Worker, policy: usize, counter: fn(&PolicyCounters) -> &Counter) -> u64 {
    let rules = worker.shared.snapshots.rules();
    let (_, standing) = rules.policies().nth(policy).expect("a policy");
    standing.by_worker().map(|counters| counter(&counters[worker.index()]).get()).sum()
}

/// One packet from inside.
pub fn out<B: PacketBuf>(worker: &mut Worker, packet: &mut B, now: u64) -> Outcome {
    let mut outcomes = ArrayVec::new();
    worker.outbound(core::slice::from_mut(packet), &mut outcomes, &|| now);
    outcomes[0]
}

/// One packet from outside.
pub fn back<B: PacketBuf>(worker: &mut Worker, packet: &mut B, now: u64) -> Outcome {
    let mut outcomes = ArrayVec::new();
    worker.inbound(core::slice::from_mut(packet), &mut outcomes, &|| now);
    outcomes[0]
}

/// A UDP packet from A to B with this source port and payload length, in Ethernet.
pub fn frame(sport: u16, payload: usize) -> Vec<u8> {
    frame_between(A, B, sport, 443, payload)
}

pub fn frame_between(src: [u8; 16], dst: [u8; 16], sport: u16, dport: u16, payload: usize) -> Vec<u8> {
    let mut f = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x86, 0xDD, 0x60, 0, 0, 0];
    let len = (8 + payload) as u16;
    f.extend_from_slice(&len.to_be_bytes());
    f.extend_from_slice(&[17, 64]);
    f.extend_from_slice(&src);
    f.extend_from_slice(&dst);
    f.extend_from_slice(&sport.to_be_bytes());
    f.extend_from_slice(&dport.to_be_bytes());
    f.extend_from_slice(&len.to_be_bytes());
    f.extend_from_slice(&[0x12, 0x34]);
    f.extend((0..payload).map(|i| i as u8));
    f
}
