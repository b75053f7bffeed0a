//! The loop: what it takes from one port it sends to the other, or counts.

use crate::observe::counter::Counter;
use crate::observe::counters::WorkerCounters;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::lending::Lender;
use crate::ports::{BURST, PortQueue};
use crate::state::hand_over::HandOver;
use crate::state::policies::Mode;
use crate::testing::{self, SMALL, frame};
use crate::worker::{Idle, run_lent, turn_outbound};
use arrayvec::ArrayVec;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Fake {
    arriving: VecDeque<VecBuf>,
    sent: Vec<VecBuf>,
    room: usize,
}

impl PortQueue for Fake {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        while !into.is_full() {
            let Some(p) = self.arriving.pop_front() else { return };
            into.push(p);
        }
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        let n = packets.len().min(3).min(self.room - self.sent.len());
        self.sent.extend(packets.drain(..n));
    }
}

#[test]
fn every_packet_is_sent_in_order_or_counted_as_dropped() {
    let mut worker = testing::worker(testing::shared(1), 0);
    let frames: Vec<_> = (0..100u16).map(|i| frame(1000 + i, 64)).collect();
    let mut inside = Fake { arriving: frames.iter().map(|f| VecBuf::new(f)).collect(), room: 0, ..Fake::default() };
    let mut outside = Fake { room: 90, ..Fake::default() };
    while turn_outbound(&mut worker, &mut inside, &mut outside, &|| 1) {}
    let counters = &worker.counters.outbound;
    assert_eq!(counters.received.get(), 100);
    assert_eq!(counters.added.iter().map(Counter::get).sum::<u64>(), 90);
    assert_eq!(counters.dropped[Reason::TxFull as usize].get(), 10);
    for (sent, frame) in outside.sent.iter().zip(&frames) {
        assert_eq!(sent.data()[14 + 40 + 40..], frame[14 + 40..], "in order, with 40 octets of header more");
    }
}

/// A port of a test that lends it: what came and went stays where the test sees it.
#[derive(Default)]
struct Lent(Arc<Mutex<Fake>>);

impl PortQueue for Lent {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        self.0.lock().expect("port").receive(into);
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        self.0.lock().expect("port").transmit(packets);
    }
}

/// Two workers with flows between them; ports go and come back again and again, with traffic all along.
#[test]
fn queues_go_and_come_back_at_bursts_boundaries_while_workers_live_on() {
    const ROUNDS: usize = 20;
    let shared =
        testing::side(testing::config(vec![testing::policy(Mode::Encrypted)]), testing::ring(true, 1, 1), SMALL, 2)
            .shared;
    let mut workers: Vec<_> = (0..2).map(|i| testing::worker(Arc::clone(&shared), i)).collect();
    let counters: Vec<_> = workers.iter().map(|w| Arc::clone(&w.counters)).collect();
    let (mut lender, borrowers) = Lender::among(2);
    let stop = AtomicBool::new(false);
    let (mut came, mut sent) = (0, 0);
    std::thread::scope(|scope| {
        let sides = HandOver::among(2);
        let threads: Vec<_> = workers
            .iter_mut()
            .zip(sides)
            .zip(borrowers)
            .map(|((worker, mut side), mut queues)| {
                let stop = &stop;
                scope.spawn(move || run_lent(worker, &mut side, &mut queues, &|| 1, Idle::Yield, stop))
            })
            .collect();
        for round in 0..ROUNDS {
            // Every flow comes to both workers, so that one hands over to the other.
            let frames = |i: usize| (0..200u16).map(move |n| VecBuf::new(&frame(1000 + n % 7, 64 + i + round)));
            let inside: Vec<_> = (0..2).map(|i| Fake { arriving: frames(i).collect(), ..Fake::default() }).collect();
            let new = |fake| Lent(Arc::new(Mutex::new(fake)));
            let outside = || new(Fake { room: usize::MAX, ..Fake::default() });
            lender.lend(inside.into_iter().map(|inside| [new(inside), outside()]).collect::<Vec<_>>());
            let before: u64 = counters.iter().map(|c| c.outbound.received.get()).sum();
            while counters.iter().map(|c| c.outbound.received.get()).sum::<u64>() == before {
                assert!(!threads.iter().any(std::thread::ScopedJoinHandle::is_finished), "a worker has ended");
                std::thread::yield_now();
            }
            for [inside, outside] in lender.call_in(Duration::from_secs(60)).expect("both hand theirs back") {
                came += 200 - inside.0.lock().expect("port").arriving.len();
                sent += outside.0.lock().expect("port").sent.len();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let sum = |of: fn(&WorkerCounters) -> u64| counters.iter().map(|c| of(c)).sum::<u64>() as usize;
    let dropped = sum(|c| c.outbound.dropped[Reason::TxFull as usize].get());
    assert_eq!(sum(|c| c.outbound.received.get()), came, "what came was taken");
    assert_eq!(sent + dropped, came, "and is sent, or counted as dropped");
    assert!(sum(|c| c.taken_over.get()) > 0 && sent > 0, "{sent} sent, {dropped} dropped");
}
