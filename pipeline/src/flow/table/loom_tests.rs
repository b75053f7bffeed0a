//! Every order in which a worker and the control thread, or two workers, may come to one flow.

use super::*;
use loom::sync::Arc;
use loom::thread;
use protocol::sender::Numbers;

fn tuple() -> FiveTuple {
    FiveTuple { src: [1; 16], sport: 1, dst: [2; 16], dport: 2, protocol: 6 }
}

/// What a worker does with a packet: finds the flow or brings it in, and takes a number if the flow is its own.
fn number(table: &FlowTable, worker: u16, generation: u32) -> Option<(u32, u64)> {
    let words = tuple().words();
    let hash = table.hash(&words);
    let start = |flow: WholeFlow<'_>, _, left: Option<FlowSnapshot>| {
        flow.begin(worker, left.and_then(|left| left.sender).map_or(Numbers::start(0, 9), Numbers::resume));
    };
    let flow = match table.find(hash, &words) {
        Some(flow) => flow,
        None => table.insert(&tuple(), hash, 0, 0, start).ok()?.0,
    };
    let number = (flow.owner() == worker).then(|| flow.take(Some(generation)))?.ok()?;
    Some((generation, number.n()))
}

fn table() -> Arc<FlowTable> {
    Arc::new(FlowTable::new(TableSize { capacity: 2, tombstones: 1 }, [7; 16]))
}

/// Of three threads fewer preemptions are tried: there are so many more orders.
fn builder(preemptions: usize) -> loom::model::Builder {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder
}

fn assert_distinct(numbers: &[Option<(u32, u64)>]) {
    let mut given: Vec<_> = numbers.iter().flatten().collect();
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count, "a number was given twice: {numbers:?}");
}

/// The control thread takes a flow out while its owner is at work on it, and begins a generation meanwhile.
#[test]
fn loom_a_flow_leaves_under_its_owner() {
    builder(2).check(|| {
        let (table, quiescence) = (table(), Quiescence::new(1));
        let first = number(&table, 0, 1);
        let (t2, worker) = (Arc::clone(&table), quiescence.worker(0));
        let thread = thread::spawn(move || {
            [1, 2].map(|generation| {
                worker.enter();
                let number = number(&t2, 0, generation);
                worker.leave();
                number
            })
        });
        let mut ager = Ager::new(quiescence);
        ager.step(&table, 1 << 40, 1, 2);
        let [second, third] = thread.join().expect("no panic");
        ager.step(&table, 0, 1, 0);
        assert_distinct(&[first, second, third, number(&table, 0, 2), number(&table, 0, 2)]);
    });
}

/// The flow that left comes back as another worker's.
#[test]
fn loom_a_flow_comes_back_as_anothers() {
    builder(1).check(|| {
        let (table, quiescence) = (table(), Quiescence::new(2));
        let first = number(&table, 0, 1);
        let work = |worker: u16| {
            let (table, epoch) = (Arc::clone(&table), quiescence.worker(worker.into()));
            move || {
                epoch.enter();
                let number = number(&table, worker, 1);
                epoch.leave();
                number
            }
        };
        let threads = [thread::spawn(work(0)), thread::spawn(work(1))];
        let mut ager = Ager::new(quiescence.clone());
        ager.step(&table, 1 << 40, 1, 2);
        let [second, third] = threads.map(|thread| thread.join().expect("no panic"));
        ager.step(&table, 0, 1, 0);
        assert_distinct(&[first, second, third, number(&table, 0, 1), number(&table, 1, 1)]);
    });
}

/// One worker gives the flow to another, who may be waiting for it.
#[test]
fn loom_a_flow_is_given_away() {
    builder(2).check(|| {
        let table = table();
        let first = number(&table, 0, 1);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || [number(&other, 1, 1), number(&other, 1, 2)]);
        let second = number(&table, 0, 1);
        let words = tuple().words();
        let flow = table.find(table.hash(&words), &words).expect("there");
        flow.give(1);
        let third = number(&table, 0, 1);
        let theirs = thread.join().expect("no panic");
        assert_eq!(third, None, "it is another's now");
        assert_distinct(&[first, second, theirs[0], theirs[1], number(&table, 1, 2)]);
    });
}
