//! The loop of a worker: its queue of either port, polled in turn until it is told to stop. Run to completion, one burst
//! at a time.

use crate::observe::counters::{DirectionCounters, Outcome, WorkerCounters};
use crate::observe::reasons::Reason;
use crate::ports::lending::{Borrower, Queues};
use crate::ports::{BURST, Clock, Nowhere, PortQueue};
use crate::state::hand_over::HandOver;
use crate::state::worker::Worker;
use crate::watching::Way;
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

/// A worker without ports looks for them, and at what others hand over, after this time.
const WAIT: Duration = Duration::from_micros(200);

/// Polls both ports until `stop`. Then everything taken from them has been sent or counted as dropped, but for what another
/// worker has taken over, which does the same; and so has everything that others had handed over, but for what comes later and
/// is dealt with by them. Nobody waits for anybody, and nothing is dealt with twice.
pub fn run<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    inside: &mut Q,
    outside: &mut Q,
    clock: &impl Clock,
    idle: Idle,
    stop: &AtomicBool,
) {
    turn_until(worker, side, inside, outside, clock, idle, || stop.load(Ordering::Relaxed));
    leave(worker, side, inside, outside, clock);
}

/// The same with queues that are lent: they are handed back at a burst's boundary when they are called in, with everything sent or
/// counted that was taken from them, and the worker waits for others. Meanwhile it goes on making turns, and drops what other
/// workers hand over, since there is no port to send it to.
pub fn run_lent<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    queues: &mut Borrower<Q>,
    clock: &impl Clock,
    idle: Idle,
    stop: &AtomicBool,
) {
    while let Some([mut inside, mut outside]) = wait_for_ports(worker, side, queues, clock, stop) {
        let until = || stop.load(Ordering::Relaxed) || queues.is_called_in();
        turn_until(worker, side, &mut inside, &mut outside, clock, idle, until);
        if stop.load(Ordering::Relaxed) {
            return leave(worker, side, &mut inside, &mut outside, clock);
        }
        queues.hand_back([inside, outside]);
    }
    let (mut inside, mut outside) = (Nowhere::new(), Nowhere::new());
    leave(worker, side, &mut inside, &mut outside, clock);
}

fn turn_until<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    inside: &mut Q,
    outside: &mut Q,
    clock: &impl Clock,
    idle: Idle,
    until: impl Fn() -> bool,
) {
    let mut empty = 0u32;
    while !until() {
        // What was handed over is older than what is in the port's queue.
        let moved = turn_taken(worker, side, inside, outside, clock)
            | turn_outbound_among(worker, side, inside, outside, clock)
            | turn_inbound(worker, outside, inside, clock);
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

/// `None`: it is to stop.
#[cold]
fn wait_for_ports<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    queues: &mut Borrower<Q>,
    clock: &impl Clock,
    stop: &AtomicBool,
) -> Option<Queues<Q>> {
    let (mut inside, mut outside) = (Nowhere::new(), Nowhere::new());
    while !stop.load(Ordering::Relaxed) {
        if let Some(queues) = queues.take() {
            return Some(queues);
        }
        if !turn_taken(worker, side, &mut inside, &mut outside, clock) {
            worker.counters.empty_polls.add(1);
            worker.idle();
            std::thread::sleep(WAIT);
        }
    }
    None
}

/// One burst from the inside port, of a worker that has no others beside it. `false`: nothing had arrived.
pub fn turn_outbound<Q: PortQueue>(worker: &mut Worker, from: &mut Q, to: &mut Q, clock: &impl Clock) -> bool {
    turn_outbound_among(worker, &mut HandOver::alone(), from, to, clock)
}

/// One burst from the inside port. Packets of other workers' flows are handed over to those. `false`: nothing had arrived.
pub fn turn_outbound_among<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    from: &mut Q,
    to: &mut Q,
    clock: &impl Clock,
) -> bool {
    let (mut packets, mut outcomes) = (ArrayVec::new(), ArrayVec::new());
    from.receive(&mut packets);
    if packets.is_empty() {
        return false;
    }
    let watched = worker.watch(Way::OUTBOUND, &packets, clock);
    let alike = worker.outbound(&mut packets, &mut outcomes, clock);
    if watched {
        worker.watch_outcomes(&packets, &outcomes, alike);
    }
    let counters = &*worker.counters;
    counters.bursts.add(1);
    counters.outbound.received.add(packets.len() as u64);
    if let Some(outcome) = alike {
        let sent = transmit(&counters.outbound, &mut packets, to);
        counters.outbound.count(outcome, sent as u64);
    } else {
        dispatch(counters, &counters.outbound, side, &mut packets, &mut outcomes, from, to);
    }
    if watched {
        worker.watch_sent(Way::OUTBOUND);
    }
    true
}

/// What other workers have handed over: [`BURST`] packets at most, each worker's as a burst of their own. `false`: nothing.
pub fn turn_taken<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    inside: &mut Q,
    outside: &mut Q,
    clock: &impl Clock,
) -> bool {
    let mut room = BURST;
    for _ in 0..side.others() {
        let mut packets = ArrayVec::new();
        let Some(from) = side.take(&mut packets, room) else { continue };
        room -= packets.len();
        taken(worker, from, &mut packets, inside, outside, clock);
        if room == 0 {
            break;
        }
    }
    room < BURST
}

/// A burst that another worker has handed over.
fn taken<Q: PortQueue>(
    worker: &mut Worker,
    from: u16,
    packets: &mut ArrayVec<Q::Packet, BURST>,
    inside: &mut Q,
    outside: &mut Q,
    clock: &impl Clock,
) {
    let mut outcomes = ArrayVec::new();
    worker.counters.taken_over.add(packets.len() as u64);
    let watched = worker.watch(Way::taken(from), packets, clock);
    let alike = worker.outbound_taken(from, packets, &mut outcomes, clock);
    if watched {
        worker.watch_outcomes(packets, &outcomes, alike);
    }
    let counters = &*worker.counters;
    dispatch(counters, &counters.outbound, &mut HandOver::alone(), packets, &mut outcomes, inside, outside);
    if watched {
        worker.watch_sent(Way::taken(from));
    }
    worker.give_away(from);
}

/// Leaves the other workers: what they have handed over is dealt with as ever. What this one handed over to a worker that left
/// before and did not see it passes as it came.
#[cold]
fn leave<Q: PortQueue>(
    worker: &mut Worker,
    side: &mut HandOver<Q::Packet>,
    inside: &mut Q,
    outside: &mut Q,
    clock: &impl Clock,
) {
    while let Some(mut ring) = side.from.pop() {
        // What is there at this moment: the other may be at work, and goes on putting packets in until it sees that nobody is
        // here. Then, when it has left, what it has put in since.
        for last in [false, true] {
            if last && !ring.leave() {
                break;
            }
            let mut waiting = ring.waiting();
            while waiting > 0 {
                let mut packets = ArrayVec::new();
                ring.take(&mut packets, waiting);
                waiting = if packets.is_empty() { 0 } else { waiting - packets.len() };
                taken(worker, ring.from, &mut packets, inside, outside, clock);
            }
        }
    }
    while let Some(ring) = side.to.pop() {
        let Some(mut ring) = ring else { continue };
        if !ring.leave() {
            continue;
        }
        loop {
            let mut packets = ArrayVec::new();
            ring.take_back(&mut packets);
            if packets.is_empty() {
                break;
            }
            worker.counters.taken_over.add(packets.len() as u64);
            send(&worker.counters.outbound, &mut packets, outside, |_| Outcome::Passed(Reason::HandOverFull));
        }
    }
}

/// One burst from the outside port. `false`: nothing had arrived.
pub fn turn_inbound<Q: PortQueue>(worker: &mut Worker, from: &mut Q, to: &mut Q, clock: &impl Clock) -> bool {
    let (mut packets, mut outcomes) = (ArrayVec::new(), ArrayVec::new());
    from.receive(&mut packets);
    if packets.is_empty() {
        return false;
    }
    let watched = worker.watch(Way::INBOUND, &packets, clock);
    let alike = match from.came(&packets, clock) {
        None => worker.inbound(&mut packets, &mut outcomes, clock),
        Some(came) => worker.inbound_at(&mut packets, &mut outcomes, clock, &came),
    };
    if watched {
        worker.watch_outcomes(&packets, &outcomes, alike);
    }
    let counters = &*worker.counters;
    counters.bursts.add(1);
    counters.inbound.received.add(packets.len() as u64);
    if let Some(outcome) = alike {
        let sent = transmit(&counters.inbound, &mut packets, to);
        counters.inbound.count(outcome, sent as u64);
    } else {
        dispatch(counters, &counters.inbound, &mut HandOver::alone(), &mut packets, &mut outcomes, from, to);
    }
    if watched {
        worker.watch_sent(Way::INBOUND);
    }
    true
}

/// Sends every packet of a burst where its outcome says, and counts it; those of other workers' flows go to these.
#[inline]
fn dispatch<Q: PortQueue>(
    counters: &WorkerCounters,
    direction: &DirectionCounters,
    side: &mut HandOver<Q::Packet>,
    packets: &mut ArrayVec<Q::Packet, BURST>,
    outcomes: &mut ArrayVec<Outcome, BURST>,
    from: &mut Q,
    to: &mut Q,
) {
    if !outcomes.iter().all(|o| forwards(*o)) {
        let (mut gone, mut back, mut on) = (ArrayVec::new(), ArrayVec::new(), ArrayVec::new());
        let (mut handed, mut refused) = (0, 0);
        for (packet, outcome) in packets.drain(..).zip(outcomes.iter_mut()) {
            match *outcome {
                Outcome::Dropped(_) => {
                    direction.count(*outcome, 1);
                    gone.push(packet);
                }
                Outcome::TooBig => back.push(packet),
                Outcome::HandedOver(owner) => match side.hand(owner, packet) {
                    Ok(()) => handed += 1,
                    Err(packet) => {
                        refused += 1;
                        *outcome = Outcome::Passed(Reason::HandOverFull);
                        on.push(packet);
                    }
                },
                _ => on.push(packet),
            }
        }
        from.discard(&mut gone);
        if handed + refused > 0 {
            side.announce();
            counters.handed_over.add(handed);
            counters.refused.add(refused);
        }
        send(direction, &mut back, from, |_| Outcome::TooBig);
        outcomes.retain(|o| forwards(*o));
        *packets = on;
    }
    send(direction, packets, to, |i| outcomes.get(i).copied().unwrap_or(Outcome::Passed(Reason::Off)));
}

const fn forwards(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Dropped(_) | Outcome::TooBig | Outcome::HandedOver(_))
}

#[inline]
fn send<Q: PortQueue>(
    counters: &DirectionCounters,
    packets: &mut ArrayVec<Q::Packet, BURST>,
    port: &mut Q,
    outcome: impl Fn(usize) -> Outcome,
) {
    let sent = transmit(counters, packets, port);
    // Nearly all packets of a burst come out alike: they are counted together.
    let mut from = 0;
    while from < sent {
        let first = outcome(from);
        let alike = (from..sent).take_while(|&i| outcome(i) == first).count();
        counters.count(first, alike as u64);
        from += alike;
    }
}

/// Sends a burst; counts what the port does not take. Gives how many it has taken.
#[inline]
fn transmit<Q: PortQueue>(
    counters: &DirectionCounters,
    packets: &mut ArrayVec<Q::Packet, BURST>,
    port: &mut Q,
) -> usize {
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
    let left = packets.len();
    if left > 0 {
        counters.count(Outcome::Dropped(Reason::TxFull), left as u64);
        port.discard(packets);
    }
    total - left
}
