//! Tells collectors of flows that stay for long, a step at a time; of those that leave, ageing does.

use super::{Now, STEP, Task};
use crate::export::FlowExport;
use pipeline::state::shared::Shared;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What several tasks of the control thread tell flows to.
pub type Export = Rc<RefCell<FlowExport>>;

/// The task.
pub struct Exporting {
    export: Export,
    shared: Arc<Shared>,
    /// Places of a step: a pass over the table takes as long as lies between two records of a flow.
    step: usize,
}

impl Exporting {
    /// Every flow of these workers is told of once in `active`.
    #[must_use]
    pub fn new(export: Export, shared: Arc<Shared>, active: Duration) -> Self {
        let steps = (active.as_millis() / STEP.as_millis()).max(1);
        let step = shared.table.capacity().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX));
        Self { export, shared, step }
    }
}

impl Task for Exporting {
    fn name(&self) -> &'static str {
        "export"
    }

    fn period(&self) -> Duration {
        STEP
    }

    fn run(&mut self, now: Now) {
        let snapshot = self.shared.snapshots.load();
        self.export.borrow_mut().step(&self.shared.table, &snapshot.rules, now.ns, self.step);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ageing::Ageing;
    use super::super::ageing::tests::{packet, shared};
    use super::super::tests::at;
    use super::*;
    use crate::export::{Settings, Target};
    use crate::status::Status;
    use arrayvec::ArrayVec;
    use pipeline::state::worker::Worker;

    #[test]
    fn flows_are_told_of_while_they_last_when_they_leave_and_at_the_end() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("flows.json");
        let active = Duration::from_secs(1);
        let settings = Settings { json: Some(Target::File(path.clone())), active, ..Settings::default() };
        let shared = shared();
        let mut worker = Worker::new(Arc::clone(&shared), 0);
        let mut send = |flows: &[u8], ms: u64| {
            let mut packets: Vec<_> = flows.iter().map(|&flow| packet(flow)).collect();
            worker.outbound(&mut packets, &mut ArrayVec::new(), &|| at(ms).ns);
        };
        let export = FlowExport::start(&settings, shared.table.capacity()).expect("a thread").expect("configured");
        let export: Export = Rc::new(RefCell::new(export));
        let mut task = Exporting::new(Rc::clone(&export), Arc::clone(&shared), active);
        let mut ageing = Ageing::new(Arc::clone(&shared), Arc::<Status>::default()).telling(Some(Rc::clone(&export)));
        let mut pass = |ms: u64| (0..100).for_each(|_| task.run(at(ms)));
        send(&[1, 2], 0);
        pass(500); // none is there for long
        send(&[1], 1500);
        pass(2000); // of flow 2 there is nothing new
        (0..101).for_each(|_| ageing.run(at(8000)));
        pass(8000);
        send(&[3], 9000);
        export.borrow_mut().stop(&shared.table, &shared.snapshots.rules(), at(9100).ns);
        let text = std::fs::read_to_string(path).expect("lines");
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let mut told: Vec<_> = lines
            .map(|line| {
                let of = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                (of("end_reason"), of("destination"), of("source"))
            })
            .collect();
        told.sort();
        let line =
            |reason: &str, flow: u8| (reason.to_owned(), format!("2001:db8:1::{flow}"), format!("2001:db8:2::{flow}"));
        assert_eq!(told, [line("active", 1), line("idle", 1), line("idle", 2), line("stop", 3)]);
    }

    #[test]
    fn without_a_destination_there_is_nothing() {
        assert!(FlowExport::start(&Settings::default(), 10).expect("no thread").is_none());
    }
}
