//! Searches for flows that went too far ahead of this box, within a budget: about a tenth of a core.

use super::{Now, STEP, Task};
use crate::status::Status;
use pipeline::state::resync::Resync;
use pipeline::state::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Openings tried in a step.
const TRIALS: u32 = 1500;

/// The task.
pub struct Resyncing {
    resync: Resync,
    shared: Arc<Shared>,
    status: Arc<Status>,
}

impl Resyncing {
    /// For the flows of these workers.
    #[must_use]
    pub fn new(shared: Arc<Shared>, status: Arc<Status>) -> Self {
        Self { resync: Resync::default(), shared, status }
    }
}

impl Task for Resyncing {
    fn name(&self) -> &'static str {
        "resync"
    }

    fn period(&self) -> Duration {
        STEP
    }

    fn run(&mut self, now: Now) {
        let snapshot = self.shared.snapshots.load();
        self.resync.step(&self.shared, &snapshot, now.ns, TRIALS);
        self.status.resynced.store(self.resync.found, Relaxed);
    }
}
