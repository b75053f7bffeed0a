//! Flows that went too far ahead of this box: it was restarted in the middle of a long flow, or more rotations were lost
//! than a worker looks ahead. Workers hand one packet of such a flow over; the control thread searches on, off the packet
//! path and within a budget, and a packet that authenticates puts the flow at the right Kri.

use crate::state::keyring::{KeyRing, Peer};
use crate::state::resync_queue::Sample;
use crate::state::ring_index::MOST_SPEAKERS;
use crate::state::shared::Shared;
use crate::state::snapshot::Snapshot;
use arrayvec::ArrayVec;
use protocol::generation_keys::GenerationKeys;
use protocol::key_line::SecretId;
use protocol::receiver::{KRIS_SEARCHED, KRIS_SEARCHED_IN_A_CROWD};
use protocol::wire::option::Metrics;

/// Kris looked through before the next packet has its turn.
const TURN: u32 = 512;

/// Secrets looked through for one packet: those of the peers that speak for its source, the newest of each first.
const MOST_SECRETS: usize = 4 * MOST_SPEAKERS;

/// The control thread's search.
#[derive(Default, Debug)]
pub struct Resync {
    /// Flows found again.
    pub found: u64,
    /// Packets given up: forged, damaged, or of somebody else's keys.
    pub given_up: u64,
}

impl Resync {
    /// Goes on searching for about `trials` openings. Says how many it made, so that a caller knows whether to come back
    /// soon.
    pub fn step(&mut self, shared: &Shared, snapshot: &Snapshot, now: u64, trials: u32) -> u32 {
        let mut made = 0;
        while made < trials {
            let Some((sample, from)) = shared.resync.pop() else { break };
            let from = from.unwrap_or_else(|| present_kri(shared, &sample).saturating_sub(1));
            let until = from.saturating_add(TURN);
            let (hit, tried) = search(&snapshot.ring, &sample, from..until);
            made += tried.max(1);
            match hit {
                Some((id, kri, metrics)) => {
                    self.found += u64::from(place(shared, snapshot, &sample, id, kri, &metrics, now));
                }
                None if tried > 0 && until < furthest(shared.resync.is_crowded()) => {
                    shared.resync.put_back(sample, until);
                }
                None => self.given_up += 1,
            }
        }
        made
    }
}

const fn furthest(crowded: bool) -> u32 {
    if crowded { KRIS_SEARCHED_IN_A_CROWD } else { KRIS_SEARCHED }
}

/// The Kri that the packet's flow is at, 0 if it is not known: most packets in the queue are of a flow that an earlier
/// one of them has already put right.
fn present_kri(shared: &Shared, sample: &Sample) -> u32 {
    let words = sample.tuple.reversed().words();
    let flow = shared.table.find(shared.table.hash(&words), &words);
    flow.and_then(|f| f.back.receiver.current()).map_or(0, |(_, kri)| kri)
}

fn search(ring: &KeyRing, sample: &Sample, kris: core::ops::Range<u32>) -> (Option<(SecretId, u32, Metrics)>, u32) {
    // A restarted peer's flows begin at Kri 0, which workers find: only the generations in use are of interest.
    let mut keys: ArrayVec<(&Peer, u32, &GenerationKeys), MOST_SECRETS> = ArrayVec::new();
    for peer in ring.speakers(sample.tuple.source()) {
        let newest_first = peer.generations.iter().rev().filter(|(g, of)| *g <= peer.newest() && of.has(&sample.tuple));
        keys.extend(newest_first.take(MOST_SECRETS / MOST_SPEAKERS).map(|(generation, of)| (peer, *generation, of)));
    }
    let mut tried = 0;
    for kri in kris.filter(|k| k % 2 == u32::from(sample.option.head.f)) {
        for &(peer, generation, of) in &keys {
            let Some(session) = of.session(&sample.tuple, kri) else { continue };
            let key = session.ready(peer.aead);
            tried += 1;
            if let Some(metrics) = sample.option.open(peer.aead, &key) {
                return (Some((SecretId::new(peer.number, generation), kri, metrics)), tried);
            }
        }
    }
    (None, tried)
}

/// Puts the flow where its packet stands; says whether that is news. The packet itself is gone, and so counts as seen.
fn place(
    shared: &Shared,
    snapshot: &Snapshot,
    sample: &Sample,
    id: SecretId,
    kri: u32,
    metrics: &Metrics,
    now: u64,
) -> bool {
    let outbound = sample.tuple.reversed();
    let words = outbound.words();
    let hash = shared.table.hash(&words);
    let flow = match shared.table.find(hash, &words) {
        Some(flow) => flow,
        None => match snapshot.rules.classify(&words) {
            Some(policy) => match shared.insert(sample.worker, &outbound, hash, policy, &snapshot.rules, now) {
                Ok((flow, _)) => flow,
                Err(_) => return false,
            },
            None => return false,
        },
    };
    let before = flow.back.receiver.current();
    flow.back.receiver.accept(id, kri, metrics.psntp);
    flow.back.receiver.current() != before
}
