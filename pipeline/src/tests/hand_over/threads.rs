//! Workers on threads, as the box has them: each runs its loop until it is told to stop.

use super::lab::{Lab, next, sealing};
use crate::flow::table::Ager;
use crate::ports::BURST;
use crate::testing::{self, SMALL};
use crate::worker::{self, Idle};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Packets that come to each worker.
const PACKETS: usize = 15_000;
const FLOWS: u64 = 6;

/// Each flow's packets come now to one worker, now to another, and to several at once.
fn lab(name: &str, workers: usize) -> Lab {
    let mut lab = Lab::new(name, workers, sealing());
    let mut random = 0xF10_u64;
    for worker in 0..workers {
        while lab.inside[worker].arriving.len() < PACKETS {
            let run = 1 + next(&mut random) as usize % 80;
            let flow = (next(&mut random) % FLOWS) as u16;
            lab.arrive(worker, flow, run.min(PACKETS - lab.inside[worker].arriving.len()));
        }
        lab.inside[worker].at_once = [1, BURST];
    }
    lab
}

/// Runs the workers until all packets have come; `meanwhile` is done again and again. They are stopped while packets lie in the
/// rings, or do not.
fn run(lab: &mut Lab, mut meanwhile: impl FnMut()) {
    let stop = AtomicBool::new(false);
    let counters: Vec<_> = lab.workers.iter().map(|w| Arc::clone(&w.counters)).collect();
    std::thread::scope(|scope| {
        let Lab { workers, sides, inside, outside, .. } = lab;
        let mut threads = Vec::new();
        for (((worker, side), inside), outside) in workers.iter_mut().zip(sides).zip(inside).zip(outside) {
            let stop = &stop;
            threads.push(scope.spawn(move || worker::run(worker, side, inside, outside, &|| 1, Idle::Yield, stop)));
        }
        let all = (PACKETS * counters.len()) as u64;
        let received = || counters.iter().map(|c| c.outbound.received.get()).sum::<u64>();
        // One that has failed says why itself.
        while received() < all && !threads.iter().any(std::thread::ScopedJoinHandle::is_finished) {
            meanwhile();
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn flows_between_threads_use_no_number_twice_and_keep_their_order() {
    for workers in [2, 3] {
        let mut lab = lab(&format!("threads-{workers}"), workers);
        run(&mut lab, || {});
        assert!(lab.sum(|c| &c.flows_given) > 0 && lab.added() > 0);
        lab.check_counters();
        lab.check_audit();
        let (b, too_old) = lab.check_sent();
        assert_eq!((b.skipped.get(), b.reordered.get(), too_old), (0, 0, 0), "in the order of their numbers");
    }
}

/// Meanwhile flows leave and come back, perhaps as another worker's, and a new generation comes.
#[test]
fn flows_that_leave_and_return_to_other_workers_use_no_number_twice() {
    let mut lab = lab("leaving", 2);
    let mut ager = Ager::new(lab.a.shared.quiescence.clone());
    let (shared, cell) = (Arc::clone(&lab.a.shared), lab.a.cell.clone());
    let mut turns = 0u32;
    run(&mut lab, || {
        ager.step(&shared.table, u64::MAX / 2, 1, SMALL.capacity);
        turns += 1;
        if turns == 20 {
            cell.publish(testing::ring(true, 2, 1));
        }
        cell.sweep();
        std::thread::sleep(Duration::from_micros(200));
    });
    assert!(ager.expired > 0 && lab.added() > 0);
    lab.check_counters();
    lab.check_audit();
    lab.check_sent();
}
