//! A flow that is given away, with nothing but the steps that matter: two workers, one word that says who the owner is, one
//! number that the owner reads and writes without any care.

use loom::sync::Arc;
use loom::thread;
use protocol::sync::{AtomicU16, AtomicU64, Ordering, spin};

#[derive(Default)]
struct Flow {
    owner: AtomicU16,
    number: AtomicU64,
}

/// A burst of the worker `me`: the numbers of its packets, if it is the owner, which it then is no longer.
type Burst = fn(&Flow, me: u16) -> Vec<u64>;

impl Flow {
    fn is_of(&self, me: u16, order: Ordering) -> bool {
        self.owner.load(order) == me
    }

    /// Takes a number; no other worker is thought of.
    fn take(&self) -> u64 {
        let number = self.number.load(Ordering::Relaxed);
        self.number.store(number + 1, Ordering::Relaxed);
        number
    }

    fn give(&self, to: u16, order: Ordering) {
        self.owner.store(to, order);
    }
}

/// As it is done: two packets, then the flow is the other worker's.
fn right(flow: &Flow, me: u16) -> Vec<u64> {
    if !flow.is_of(me, Ordering::Acquire) {
        return Vec::new();
    }
    let numbers = vec![flow.take(), flow.take()];
    flow.give(1 - me, Ordering::Release);
    numbers
}

/// The second number is written when the flow has been given already.
fn given_before_the_number_is_written(flow: &Flow, me: u16) -> Vec<u64> {
    if !flow.is_of(me, Ordering::Acquire) {
        return Vec::new();
    }
    let first = flow.take();
    let second = flow.number.load(Ordering::Relaxed);
    flow.give(1 - me, Ordering::Release);
    flow.number.store(second + 1, Ordering::Relaxed);
    vec![first, second]
}

fn given_without_release(flow: &Flow, me: u16) -> Vec<u64> {
    if !flow.is_of(me, Ordering::Acquire) {
        return Vec::new();
    }
    let numbers = vec![flow.take(), flow.take()];
    flow.give(1 - me, Ordering::Relaxed);
    numbers
}

fn looked_at_without_acquire(flow: &Flow, me: u16) -> Vec<u64> {
    if !flow.is_of(me, Ordering::Relaxed) {
        return Vec::new();
    }
    let numbers = vec![flow.take(), flow.take()];
    flow.give(1 - me, Ordering::Release);
    numbers
}

/// Both workers have packets of the flow all the time.
fn model(burst: Burst) {
    loom::model(move || {
        let flow = Arc::new(Flow::default());
        let bursts = move |flow: &Flow, me: u16| {
            let mut numbers = Vec::new();
            for _ in 0..3 {
                let some = burst(flow, me);
                if some.is_empty() {
                    spin();
                }
                numbers.extend(some);
            }
            numbers
        };
        let other = Arc::clone(&flow);
        let thread = thread::spawn(move || bursts(&other, 1));
        let mut numbers = bursts(&flow, 0);
        numbers.extend(thread.join().expect("no panic"));
        numbers.sort_unstable();
        assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "a number was used twice: {numbers:?}");
        assert_eq!(flow.number.load(Ordering::Relaxed), numbers.len() as u64, "no number is lost");
    });
}

#[test]
fn loom_a_flow_that_is_given_away_uses_no_number_twice() {
    model(right);
}

#[test]
#[should_panic(expected = "a number was used twice")]
fn loom_a_flow_given_before_its_number_is_written_would() {
    model(given_before_the_number_is_written);
}

#[test]
#[should_panic(expected = "a number was used twice")]
fn loom_a_flow_given_without_release_would() {
    model(given_without_release);
}

#[test]
#[should_panic(expected = "a number was used twice")]
fn loom_an_owner_looked_at_without_acquire_would() {
    model(looked_at_without_acquire);
}

/// The lanes look at a flow that its owner gives away meanwhile: are they told that it is theirs, they find what the owner left, not
/// a word of its that holds no more, nor a place in the order from before (from which a burst could run over the end of a Kri).
#[test]
fn loom_what_the_lanes_look_at_is_the_owners() {
    loom::model(|| {
        let flow = Arc::new(super::Flow::default());
        flow.give(1);
        flow.vouch(super::Name(7), super::Vouched { policy: 3, limit: 1400 });
        let other = Arc::clone(&flow);
        let owner = thread::spawn(move || {
            other.meter.set_next(5, 9);
            other.give(0);
        });
        let [held, vouched, next] = flow.looked_at();
        if held as u16 == 0 {
            assert_eq!((vouched, (next >> 32) as u16), (0, 5));
        }
        owner.join().expect("no panic");
    });
}
