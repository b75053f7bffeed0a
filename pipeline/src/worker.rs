//! The loop of a worker: its queue of either port, polled in turn until it is told to stop. Run to completion, one burst
//! at a time.

use crate::observe::counters::{DirectionCounters, Outcome};
use crate::observe::reasons::Reason;
use crate::ports::{BURST, Clock, PortQueue};
use crate::state::worker::Worker;
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idle {
    /// Polls on: lowest latency, the core is always busy.
    #[default]
    Poll,
    /// Lets other threads of the core run after some empty polls.
    Yield,
    /// Sleeps for a moment after some empty polls: for machines without cores to spare.
    Sleep,
}

/// Empty polls before a worker yields or sleeps.
const PATIENCE: u32 = 64;

/// A sleeping worker wakes after this time.
const NAP: Duration = Duration::from_micros(50);

/// Attempts to hand packets to a port whose queue is full. Bounded: a port that is down must not hold up the other.
const TX_ATTEMPTS: usize = 64;

/// Polls both ports until `stop`. Then everything taken from them has been sent or counted as dropped.
pub fn run<Q: PortQueue>(
    worker: &mut Worker,
    inside: &mut Q,
    outside: &mut Q,
    clock: &impl Clock,
    idle: Idle,
    stop: &AtomicBool,
) {
    let mut empty = 0u32;
    while !stop.load(Ordering::Relaxed) {
        let moved = turn_outbound(worker, inside, outside, clock) | turn_inbound(worker, outside, inside, clock);
        if moved {
            empty = 0;
            continue;
        }
        worker.counters.empty_polls.add(1);
        worker.idle();
        empty = empty.saturating_add(1);
        match idle {
            Idle::Poll => core::hint::spin_loop(),
            _ if empty < PATIENCE => core::hint::spin_loop(),
            Idle::Yield => std::thread::yield_now(),
            Idle::Sleep => std::thread::sleep(NAP),
        }
    }
}

/// One burst from the inside port. `false`: nothing had arrived.
pub fn turn_outbound<Q: PortQueue>(worker: &mut Worker, from: &mut Q, to: &mut Q, clock: &impl Clock) -> bool {
    let (mut packets, mut outcomes) = (ArrayVec::new(), ArrayVec::new());
    from.receive(&mut packets);
    if packets.is_empty() {
        return false;
    }
    worker.outbound(&mut packets, &mut outcomes, clock);
    worker.counters.bursts.add(1);
    dispatch(&worker.counters.outbound, &mut packets, &mut outcomes, from, to);
    true
}

/// One burst from the outside port. `false`: nothing had arrived.
pub fn turn_inbound<Q: PortQueue>(worker: &mut Worker, from: &mut Q, to: &mut Q, clock: &impl Clock) -> bool {
    let (mut packets, mut outcomes) = (ArrayVec::new(), ArrayVec::new());
    from.receive(&mut packets);
    if packets.is_empty() {
        return false;
    }
    worker.inbound(&mut packets, &mut outcomes, clock);
    worker.counters.bursts.add(1);
    dispatch(&worker.counters.inbound, &mut packets, &mut outcomes, from, to);
    true
}

/// Sends a burst where its outcomes say, in order, and counts every packet once.
#[inline]
fn dispatch<Q: PortQueue>(
    counters: &DirectionCounters,
    packets: &mut ArrayVec<Q::Packet, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
    from: &mut Q,
    to: &mut Q,
) {
    counters.received.add(packets.len() as u64);
    if !outcomes.iter().all(|o| forwards(*o)) {
        let (mut gone, mut back, mut on) = (ArrayVec::new(), ArrayVec::new(), ArrayVec::new());
        for (packet, &outcome) in packets.drain(..).zip(outcomes.iter()) {
            match outcome {
                Outcome::Dropped(_) => {
                    counters.count(outcome, 1);
                    gone.push(packet);
                }
                Outcome::TooBig => back.push(packet),
                _ => on.push(packet),
            }
        }
        from.discard(&mut gone);
        send(counters, &mut back, from, |_| Outcome::TooBig);
        outcomes.retain(|o| forwards(*o));
        *packets = on;
    }
    send(counters, packets, to, |i| outcomes.get(i).copied().unwrap_or(Outcome::Passed(Reason::Off)));
}

const fn forwards(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Dropped(_) | Outcome::TooBig)
}

#[inline]
fn send<Q: PortQueue>(
    counters: &DirectionCounters,
    packets: &mut ArrayVec<Q::Packet, BURST>,
    port: &mut Q,
    outcome: impl Fn(usize) -> Outcome,
) {
    let total = packets.len();
    for _ in 0..TX_ATTEMPTS {
        if packets.is_empty() {
            break;
        }
        let before = packets.len();
        port.transmit(packets);
        // What is left goes on at once: a call frees at most one threshold's descriptors (32 in most drivers), and the next
        // one as many, so a burst is cut in two at most. Waiting helps only where nothing was taken.
        if packets.len() == before {
            core::hint::spin_loop();
        }
    }
    // Nearly all packets of a burst come out alike: they are counted together.
    let sent = total - packets.len();
    let mut from = 0;
    while from < sent {
        let first = outcome(from);
        let alike = (from..sent).take_while(|&i| outcome(i) == first).count();
        counters.count(first, alike as u64);
        from += alike;
    }
    if sent < total {
        counters.count(Outcome::Dropped(Reason::TxFull), (total - sent) as u64);
        port.discard(packets);
    }
}
