//! The nonce promise under as much at once as can be: two workers on threads, whose flows' packets come now to one, now to the
//! other, so that ownership moves thousands of times a second; the short way and the slow one; packets that come back; flows that
//! are taken out and return; generations; options in clear between; workers that stop, one before the other; another process in
//! their place. Every (key, nonce) pair is on record, and none is used twice.
//!
//! `PDMV2_AUDIT_PACKETS=100000000 cargo test --release -p pipeline --lib -- the_audit --nocapture` is the long run.

mod ledger;
mod traffic;

use crate::flow::table::{Ager, TableSize};
use crate::observe::audit::AuditSink;
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::packet::buffer::VecBuf;
use crate::state::hand_over::HandOver;
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, Side};
use crate::worker::{self, Idle};
use ledger::Ledger;
pub(super) use ledger::Sink;
use protocol::wire::option::Form;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use traffic::{Port, Traffic};

const SIZE: TableSize = TableSize { capacity: 256, tombstones: 1024 };

/// Packets of a process, at most.
const A_PROCESS: u64 = 10_000_000;

/// Packets under a generation, at most: enough for several Kri of the busiest flow.
const A_GENERATION: u64 = 500_000;

/// What there was of everything.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    processes: u32,
    packets: u64,
    sealed: u64,
    in_clear: u64,
    in_lanes: u64,
    handed_over: u64,
    moves: u64,
    taken_out: u64,
    rotations: u64,
    generations: u32,
    opened: u64,
    too_late: u64,
    refused: u64,
}

impl Figures {
    fn count(&mut self, c: &WorkerCounters) {
        self.packets += c.outbound.received.get();
        self.sealed += c.outbound.added[Form::Encrypted as usize].get();
        self.in_clear += c.outbound.added[Form::Clear as usize].get();
        self.handed_over += c.handed_over.get();
        self.moves += c.flows_given.get();
        self.rotations += c.rotations_sealed.get();
        self.opened += c.inbound.removed[Form::Encrypted as usize].get();
        self.too_late += c.outbound.passed[Reason::OwnerChanged as usize].get();
        self.refused += c.refused.get();
    }
}

/// One process: begins under the generation behind this one, and gives the last one it had.
fn process(before: u32, packets: u64, figures: &mut Figures, all: &mut Ledger) -> u32 {
    let config = || crate::state::rules::PathConfig {
        started_ns: u64::from(before) + 1, // it has other secrets than the process before it
        ..testing::config(vec![testing::policy(Mode::Encrypted)])
    };
    let mut generation = before + 1;
    let side = testing::side(config(), testing::ring(true, generation, 1), SIZE, 2);
    let traffic = Traffic::new(packets);
    let sinks = [Sink::default(), Sink::default()];
    let mut workers = [0, 1].map(|i| Worker::new(Arc::clone(&side.shared), i));
    for (worker, sink) in workers.iter_mut().zip(&sinks) {
        worker.audit = Some(AuditSink::new(sink.clone()));
    }
    let mut sides = HandOver::<VecBuf>::among(2);
    let stop = [const { AtomicBool::new(false) }; 2];
    let mut ager = Ager::new(side.shared.quiescence.clone());
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (worker, from) in workers.iter_mut().zip(&mut sides) {
            let (traffic, stop) = (&traffic, &stop[worker.index()]);
            threads.push(scope.spawn(move || {
                let mut inside = Port::inside(traffic, worker.index());
                let mut outside = Port::outside(traffic, worker.index());
                worker::run(worker, from, &mut inside, &mut outside, &|| 1 << 30, Idle::Yield, stop);
            }));
        }
        generation = beside(&side, &config, &traffic, &mut ager, generation, |last_part| {
            // One of the workers stops before the other. One that has failed says why itself.
            stop[before as usize % 2].store(last_part, Ordering::Relaxed);
            traffic.ends.store(last_part, Ordering::Relaxed);
            threads.iter().any(std::thread::ScopedJoinHandle::is_finished) && !last_part
        });
        stop.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
    });
    let before = figures.sealed;
    let mut written = 0;
    for (worker, sink) in workers.iter().zip(&sinks) {
        figures.count(&worker.counters);
        figures.in_lanes += worker.lanes.resting.taken;
        let ledger = sink.take();
        written += ledger.pairs;
        all.merge(ledger);
    }
    assert_eq!(written, figures.sealed - before, "every sealed packet is on record");
    figures.taken_out += ager.expired;
    generation
}

/// What the control thread does meanwhile. `look` is told whether the last part has begun, and says whether to give up. Gives the
/// last generation.
fn beside(
    side: &Side,
    config: &impl Fn() -> crate::state::rules::PathConfig,
    traffic: &Traffic,
    ager: &mut Ager,
    first: u32,
    look: impl Fn(bool) -> bool,
) -> u32 {
    let a_generation = (traffic.all / 2).min(A_GENERATION);
    let (mut generation, mut in_clear) = (first, false);
    loop {
        let came = traffic.came();
        let last_part = came > traffic.all - traffic.all / 20;
        if came >= traffic.all || look(last_part) {
            return generation;
        }
        // A small part of the table, so that a flow stays for a while.
        ager.step(&side.shared.table, u64::MAX / 2, 1, SIZE.capacity / 32);
        if came / a_generation > u64::from(generation - first) {
            generation += 1;
            side.cell.publish(testing::ring(true, generation, 1));
        }
        // Some in clear, which take numbers too.
        let clear_now = came % a_generation > a_generation - a_generation / 16;
        if clear_now != in_clear {
            in_clear = clear_now;
            let mode = if in_clear { Mode::Clear } else { Mode::Encrypted };
            side.shared.replace(crate::state::rules::PathConfig { policies: vec![testing::policy(mode)], ..config() });
        }
        side.cell.sweep();
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn the_audit_finds_no_pair_twice() {
    let asked = std::env::var("PDMV2_AUDIT_PACKETS").ok();
    let packets: u64 = asked.map_or(600_000, |packets| packets.parse().expect("a number of packets"));
    let (mut all, mut figures, mut generation) = (Ledger::default(), Figures::default(), 0);
    let start = Instant::now();
    let processes = packets.div_ceil(A_PROCESS).max(2);
    for _ in 0..processes {
        generation = process(generation, packets / processes, &mut figures, &mut all);
        figures.processes += 1;
    }
    figures.generations = generation;
    let seconds = start.elapsed().as_secs_f64();
    println!("{figures:?}");
    println!("{} pairs under {} keys, none twice; {seconds:.0} s", all.pairs, all.keys());
    println!(
        "a second: {:.0} moves, {:.0} removals",
        figures.moves as f64 / seconds,
        figures.taken_out as f64 / seconds
    );
    // How much there is of each depends on the machine; that there is some of each does not.
    assert_eq!(all.pairs, figures.sealed);
    assert!(figures.packets >= packets / processes * processes, "{figures:?}");
    let Figures { sealed, in_clear, in_lanes, handed_over, moves, taken_out, rotations, opened, .. } = figures;
    for some in
        [in_clear, in_lanes, handed_over, moves, taken_out, rotations, opened, sealed.saturating_sub(packets / 2)]
    {
        assert!(some > 0, "{figures:?}");
    }
    assert!(sealed + in_clear > in_lanes, "some go the slow way");
}

/// What the audit is for: a process that does not begin under a generation of its own.
#[test]
#[should_panic(expected = "used twice")]
fn a_process_without_a_generation_of_its_own_is_found_out() {
    let (mut all, mut figures) = (Ledger::default(), Figures::default());
    for _ in 0..2 {
        process(0, 20_000, &mut figures, &mut all);
    }
}
