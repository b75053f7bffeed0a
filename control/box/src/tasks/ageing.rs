//! Takes flows without packets out of the table, a step at a time.

use super::exporting::Export;
use super::{Now, STEP, Task};
use crate::status::Status;
use pipeline::flow::record::WholeFlow;
use pipeline::flow::table::Ager;
use pipeline::state::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A pass over the table takes so many steps: a second.
const STEPS: usize = 100;

/// The task.
pub struct Ageing {
    ager: Ager,
    shared: Arc<Shared>,
    status: Arc<Status>,
    export: Option<Export>,
}

impl Ageing {
    /// Flows leave that have been idle for longer than the snapshot says.
    #[must_use]
    pub fn new(shared: Arc<Shared>, status: Arc<Status>) -> Self {
        Self { ager: Ager::new(shared.quiescence.clone()), shared, status, export: None }
    }

    /// Flows that leave are told to this.
    #[must_use]
    pub fn telling(mut self, export: Option<Export>) -> Self {
        self.export = export;
        self
    }
}

impl Task for Ageing {
    fn name(&self) -> &'static str {
        "ageing"
    }

    fn period(&self) -> Duration {
        STEP
    }

    fn run(&mut self, now: Now) {
        let (table, snapshot) = (&self.shared.table, self.shared.snapshots.load());
        let (idle_ns, export) = (snapshot.rules.config.timeouts.idle_ns, self.export.as_ref());
        let mut gone = |place: usize, flow: WholeFlow<'_>| {
            if let Some(export) = export {
                export.borrow_mut().left(place, flow, &snapshot.rules, now.ns);
            }
        };
        self.ager.step_with(table, now.ns, idle_ns, table.capacity().div_ceil(STEPS), &mut gone);
        self.status.expired.store(self.ager.expired, Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::tests::at;
    use super::*;
    use arrayvec::ArrayVec;
    use pipeline::flow::table::{FlowTable, TableSize};
    use pipeline::packet::buffer::VecBuf;
    use pipeline::state::policies::{Mode, Policy};
    use pipeline::state::rules::Timeouts;
    use pipeline::state::rules::{Diagnostics, Oversize, PathConfig};
    use pipeline::state::snapshot::SnapshotCell;
    use pipeline::state::worker::Worker;
    use protocol::prseq::MasterKey;

    /// What one worker works with.
    pub fn shared() -> Arc<Shared> {
        let config = PathConfig {
            policies: vec![Policy::everything(Mode::Pdm)],
            pairs: Vec::new(),
            outside_mtu: 1500,
            oversize: Oversize::Pass,
            mss_clamp: false,
            diagnostics: Diagnostics::Flows,
            started_ns: 1,
            timeouts: Timeouts { idle_ns: 5_000_000_000 },
        };
        let table = FlowTable::new(TableSize { capacity: 1000, tombstones: 64 }, [7; 16]);
        Arc::new(Shared::new(config, table, SnapshotCell::default(), MasterKey::new([9; 32]), 1))
    }

    /// An IPv6 packet of a UDP flow of its own.
    pub fn packet(flow: u8) -> VecBuf {
        let mut frame = [[0; 12].as_slice(), &[0x86, 0xDD, 0x60, 0, 0, 0, 0, 8, 17, 64]].concat();
        for end in [1, 2] {
            frame.extend([0x20, 1, 0xD, 0xB8, 0, end, 0, 0, 0, 0, 0, 0, 0, 0, 0, flow]);
        }
        frame.extend([0, 7, 0, 9, 0, 8, 0, 0]);
        VecBuf::new(&frame)
    }

    #[test]
    fn idle_flows_leave_within_a_pass_and_the_others_stay() {
        let shared = shared();
        let mut worker = Worker::new(Arc::clone(&shared), 0);
        let mut send = |flows: &[u8], ms: u64| {
            let mut packets: Vec<_> = flows.iter().map(|&flow| packet(flow)).collect();
            worker.outbound(&mut packets, &mut ArrayVec::new(), &|| at(ms).ns);
        };
        send(&[1, 2, 3], 0);
        send(&[3], 4_000);
        let status = Arc::<Status>::default();
        let mut ageing = Ageing::new(Arc::clone(&shared), Arc::clone(&status));
        (0..STEPS as u64).for_each(|step| ageing.run(at(4_000 + step)));
        assert_eq!((status.expired.load(Relaxed), shared.table.used()), (0, 3), "none was idle for long");
        (0..STEPS as u64).for_each(|step| ageing.run(at(6_000 + step)));
        assert_eq!(status.expired.load(Relaxed), 2, "the flow that went on stays");
        ageing.run(at(7_000));
        assert_eq!(shared.table.used(), 1);
    }
}
