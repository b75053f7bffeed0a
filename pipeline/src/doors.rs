//! Doors for the fuzz targets (feature `testing`, which no product asks for): which way a worker's packets go.

use crate::lanes::inbound::Lanes;
use crate::lanes::{Set, ShortWay};
use crate::state::worker::Worker;

/// From now on this worker's packets of both directions go through lanes of this set of instructions, as far as they may; with
/// `None` all go the slow way.
pub fn use_lanes(worker: &mut Worker, set: Option<Set>) {
    worker.lanes = ShortWay::new(set.unwrap_or(Set::PORTABLE));
    worker.lanes_back = Lanes::new(set.unwrap_or(Set::PORTABLE));
    if set.is_none() {
        worker.lanes.resting.turn_off();
        worker.lanes_back.resting.turn_off();
    }
}

/// Packets that have stayed in a worker's lanes: towards the network, and coming back.
#[must_use]
pub fn stayed(worker: &Worker) -> [u64; 2] {
    [worker.lanes.resting.taken, worker.lanes_back.resting.taken]
}
