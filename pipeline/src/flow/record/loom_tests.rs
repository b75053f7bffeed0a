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
