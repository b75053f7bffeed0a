//! ICMPv6 errors that quote what a box has put in, and what the box knows of paths from them.

use super::ByReason;
use pipeline::observe::counters::WorkerCounters;
use pipeline::observe::reasons::Finding;
use serde::Serialize;
use std::sync::Arc;

/// Those counts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Paths {
    /// Errors, by [`Finding::name`], without those that never occurred.
    pub quotations: ByReason,
    /// Paths.
    pub path_mtu: PathMtu,
}

/// What is known of the paths to destinations.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct PathMtu {
    /// Destinations of which something is known.
    pub known: u64,
    /// Destinations there are places for.
    pub capacity: u64,
    /// Times that something new was learnt.
    pub learnt: u64,
}

impl Paths {
    pub(super) fn of(workers: &[Arc<WorkerCounters>]) -> Self {
        let mut quotations = ByReason::new();
        for (worker, finding) in workers.iter().flat_map(|w| Finding::ALL.iter().map(move |&f| (w, f))) {
            let count = worker.quotations[finding as usize].get();
            if count > 0 {
                *quotations.entry(finding.name()).or_default() += count;
            }
        }
        let learnt = workers.iter().map(|w| w.path_mtus_learnt.get()).sum();
        Self { quotations, path_mtu: PathMtu { learnt, ..PathMtu::default() } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_summed_up_by_name() {
        let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new(0))).collect();
        for worker in &workers {
            worker.quotations[Finding::Mended as usize].add(3);
            worker.path_mtus_learnt.add(1);
        }
        workers[1].quotations[Finding::NotSent as usize].add(2);
        let json = serde_json::to_value(Paths::of(&workers)).expect("JSON");
        assert_eq!(json["quotations"], serde_json::json!({"mended": 6, "not_sent": 2}));
        assert_eq!(json["path_mtu"]["learnt"], 2);
    }
}
