//! What comes to the two workers' ports: made as they ask for it, so that any number of packets takes no memory.

use crate::observe::counters::Outcome;
use crate::packet::buffer::VecBuf;
use crate::ports::{BURST, PortQueue};
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, frame, frame_between};
use crate::tests::hand_over::next;
use arrayvec::ArrayVec;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const FLOWS: u64 = 16;

/// After so many packets flows come to another worker, each second one of them.
const A_WHILE: u64 = 2048;

/// Packets that may come to one worker more than to the other.
const AHEAD: u64 = 256;

/// What both workers' packets are taken from.
pub struct Traffic {
    pub all: u64,
    came: AtomicU64,
    /// By worker.
    came_to: [AtomicU64; 2],
    /// One of the workers has been told to stop.
    pub ends: AtomicBool,
    /// A frame of each flow and shape.
    frames: Vec<[Vec<u8>; 4]>,
}

impl Traffic {
    pub fn new(all: u64) -> Self {
        let [came, first, second] = [const { AtomicU64::new(0) }; 3];
        Self {
            all,
            came,
            came_to: [first, second],
            ends: AtomicBool::new(false),
            frames: (0..FLOWS as u16).map(frames).collect(),
        }
    }

    pub fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// Whether so many packets more came to this worker than to the other one that it is to wait. Else, when the other is kept from
    /// its core, all that happens is that rings are full.
    fn is_ahead(&self, worker: usize) -> bool {
        let [mine, others] = [worker, 1 - worker].map(|worker| self.came_to[worker].load(Ordering::Relaxed));
        mine > others + AHEAD && !self.ends.load(Ordering::Relaxed)
    }
}

/// Of the plain shape, with a tag; and two that go the slow way: with a header that only pads, a SYN.
fn frames(flow: u16) -> [Vec<u8>; 4] {
    let plain = frame(1000 + flow, 24);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let mut padded = plain.clone();
    padded.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
    (padded[20], padded[19]) = (0, padded[19] + 8);
    // Of the same ports, and so of another flow.
    let mut syn = plain.clone();
    (syn[20], syn[66], syn[67]) = (6, 5 << 4, 2);
    [plain, tagged, padded, syn]
}

/// The worker that a flow's packets come to for a while.
fn home(flow: u64, time: u64) -> usize {
    let mut mixed = (flow + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (time + 1).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    next(&mut mixed);
    (mixed >> 40) as usize & 1
}

/// A worker's queue of a port.
pub struct Port<'a> {
    traffic: &'a Traffic,
    worker: usize,
    random: u64,
    /// On the outside: a box of its own, that answers.
    answers: Option<Worker>,
}

impl<'a> Port<'a> {
    pub fn inside(traffic: &'a Traffic, worker: usize) -> Self {
        Self { traffic, worker, random: 0x5EED + worker as u64, answers: None }
    }

    pub fn outside(traffic: &'a Traffic, worker: usize) -> Self {
        let config = testing::config(vec![testing::policy(Mode::Encrypted)]);
        let b = testing::side(config, testing::ring(false, 1, 1), SMALL, 1);
        Self { answers: Some(Worker::new(b.shared, 0)), ..Self::inside(traffic, worker) }
    }

    /// One of a few flows most of the time, which so come to new keys.
    fn flow(&mut self, time: u64) -> u64 {
        let (random, mine) = (next(&mut self.random), next(&mut self.random));
        if !random.is_multiple_of(4) && home(0, time) == self.worker {
            return 0;
        }
        // A few come to the other worker.
        let strays = mine.is_multiple_of(512);
        let flows = (0..).map(|i| (random >> 8).wrapping_add(i * 7) % FLOWS);
        flows.take(FLOWS as usize).find(|&flow| strays || home(flow, time) == self.worker).unwrap_or(0)
    }
}

impl PortQueue for Port<'_> {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        if let Some(mut b) = self.answers.take() {
            if next(&mut self.random).is_multiple_of(64) {
                // Each of the two answers flows of its own: they would use the same keys.
                let flow = next(&mut self.random) % (FLOWS / 2) * 2 + self.worker as u64;
                let mut answer = VecBuf::new(&frame_between(B, A, 443, 1000 + flow as u16, 9));
                assert!(matches!(testing::out(&mut b, &mut answer, 1 << 30), Outcome::Added(_)));
                into.push(answer);
            }
            self.answers = Some(b);
            return;
        }
        if self.traffic.is_ahead(self.worker) {
            return;
        }
        let count = 1 + next(&mut self.random) % BURST as u64;
        self.traffic.came_to[self.worker].fetch_add(count, Ordering::Relaxed);
        let before = self.traffic.came.fetch_add(count, Ordering::Relaxed);
        let count = count.min(self.traffic.all.saturating_sub(before));
        for _ in 0..count {
            let frames = &self.traffic.frames[self.flow(before / A_WHILE) as usize];
            let shape = match next(&mut self.random) % 64 {
                0 => 2,
                1 => 3,
                2..8 => 1,
                _ => 0,
            };
            into.push(VecBuf::new(&frames[shape]));
        }
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        packets.clear();
    }
}
