//! Nothing is allocated per packet, and nothing freed: counted, on this thread, with a global allocator of the tests.
#![allow(unsafe_code, reason = "a global allocator that counts")]

use crate::packet::buffer::VecBuf;
use crate::ports::BURST;
use crate::testing::{self, A, B, frame, frame_between};
use arrayvec::ArrayVec;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's promise is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations on this thread so far, and what it freed.
pub fn count() -> u64 {
    COUNT.get()
}

#[test]
fn the_path_allocates_nothing() {
    let mut a = testing::worker(testing::shared(1), 0);
    let b = testing::side(
        testing::config(vec![testing::policy(crate::state::policies::Mode::Encrypted)]),
        testing::ring(false, 1, 1),
        testing::SMALL,
        1,
    );
    let mut b = testing::worker(b.shared, 0);
    let mut bursts: Vec<Vec<VecBuf>> = (0..40u16)
        .map(|i| (0..BURST as u16).map(|k| VecBuf::new(&frame(i % 7 * 100 + k % 11, 20))).collect())
        .collect();
    let answer = |i: u16, k: u16| VecBuf::new(&frame_between(B, A, 443, i % 7 * 100 + k % 11, 20));
    let mut answers: Vec<Vec<VecBuf>> = (0..40).map(|i| (0..BURST as u16).map(|k| answer(i, k)).collect()).collect();
    let mut outcomes = ArrayVec::new();
    let before = COUNT.get();
    for (burst, answers) in bursts.iter_mut().zip(&mut answers) {
        a.outbound(burst, &mut outcomes, &|| 1);
        b.inbound(burst, &mut outcomes, &|| 2);
        // Again: replays, refused; and damaged ones go through every trial.
        b.inbound(burst, &mut outcomes, &|| 2);
        // They have times to tell.
        b.outbound(answers, &mut outcomes, &|| 3);
        a.inbound(answers, &mut outcomes, &|| 4);
    }
    assert_eq!(COUNT.get() - before, 0);
    let told = a.shared.table.iter().filter(|flow| flow.figures(9).round_trip.samples > 0).count();
    assert!(told > 10, "{told} of the flows have had times kept");
    assert_eq!(a.counters.flows_inserted.get(), 77, "new flows were among them");
}
