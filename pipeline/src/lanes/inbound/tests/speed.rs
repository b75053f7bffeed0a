//! How long a packet that comes back takes, the short way and the slow one:
//! `cargo test --release -p pipeline --lib lanes::inbound::tests::speed -- --ignored --nocapture`.

use crate::flow::table::TableSize;
use crate::lanes::Set;
use crate::lanes::inbound::Lanes;
use crate::observe::counters::Outcome;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::BURST;
use crate::state::policies::{InboundAction, Mode, Policy};
use crate::state::worker::Worker;
use crate::testing::{self, A, B, frame_between};
use arrayvec::ArrayVec;
use std::time::Instant;

const BUFFERS: usize = 4096;
const ROUNDS: usize = 200;

type Outcomes = ArrayVec<Outcome, BURST>;

struct Rig {
    sender: Worker,
    /// The first one with lanes, the second one without.
    workers: [Worker; 2],
    buffers: [Vec<VecBuf>; 2],
    frames: Vec<Vec<u8>>,
    now: u64,
    random: u64,
}

impl Rig {
    fn new(set: Set, flows: usize, inbound: InboundAction) -> Self {
        let size = TableSize { capacity: flows + 1024, tombstones: 1024 };
        let side = |is_a, inbound| {
            let policy = Policy { inbound, ..testing::policy(Mode::Encrypted) };
            Worker::new(testing::side(testing::config(vec![policy]), testing::ring(is_a, 1, 1), size, 1).shared, 0)
        };
        let mut workers = [(); 2].map(|()| side(false, inbound));
        workers[0].lanes_back = Lanes::new(set);
        workers[1].lanes_back.resting.turn_off();
        let port = |flow: usize| (1 + flow % 60_000) as u16;
        let frame = |flow: usize| frame_between(A, B, port(flow), 443 + (flow / 60_000) as u16, 18);
        let frames: Vec<Vec<u8>> = (0..flows).map(frame).collect();
        let buffers = [(); 2].map(|()| (0..BUFFERS).map(|_| VecBuf::new(&frames[0])).collect());
        let mut this =
            Self { sender: side(true, InboundAction::Remove), workers, buffers, frames, now: 1 << 40, random: 88 };
        // A packet each way, so that those that come back tell of one that was sent.
        for flow in 0..flows {
            this.fill(Some(flow), 1);
            this.go(0, 1, Outcome::Passed(crate::observe::reasons::Reason::Off));
            this.go(1, 1, Outcome::Passed(crate::observe::reasons::Reason::Off));
            let answer = frame_between(B, A, 443 + (flow / 60_000) as u16, port(flow), 18);
            let [mut one, other] = [0, 1].map(|i| {
                let mut packet = VecBuf::new(&answer);
                testing::out(&mut this.workers[i], &mut packet, this.now);
                packet
            });
            assert_eq!(one, other);
            testing::back(&mut this.sender, &mut one, this.now + 700);
        }
        this
    }

    /// Seals packets of these flows, or of any, for both.
    fn fill(&mut self, flow: Option<usize>, count: usize) {
        for i in 0..count {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let any = ((u128::from(self.random) * self.frames.len() as u128) >> 64) as usize;
            let buffer = &mut self.buffers[0][i];
            assert!(buffer.headroom() == 128 || buffer.trim_front(40));
            buffer.data_mut().copy_from_slice(&self.frames[flow.unwrap_or(any)]);
        }
        let [first, second] = &mut self.buffers;
        let mut outcomes = Outcomes::new();
        for packets in first[..count].chunks_mut(BURST) {
            self.now += 3000;
            self.sender.outbound(packets, &mut outcomes, &|| self.now);
        }
        for (from, to) in first[..count].iter().zip(second) {
            assert!(to.headroom() == 88 || to.prepend(40));
            to.data_mut().copy_from_slice(from.data());
        }
    }

    /// Nanoseconds that one of the workers took.
    fn go(&mut self, worker: usize, count: usize, expected: Outcome) -> f64 {
        let mut outcomes = Outcomes::new();
        let mut done = 0;
        let start = Instant::now();
        for packets in self.buffers[worker][..count].chunks_mut(BURST) {
            self.workers[worker].inbound(packets, &mut outcomes, &|| self.now);
            done += usize::from(outcomes.iter().all(|&outcome| outcome == expected)) * packets.len();
        }
        let took = start.elapsed().as_nanos() as f64 / count as f64;
        assert!(count == 1 || done == count);
        took
    }
}

fn measure(set: Set, flows: usize, inbound: InboundAction) -> [f64; 2] {
    let form = protocol::wire::option::Form::Encrypted;
    let expected = if inbound == InboundAction::Verify { Outcome::Verified(form) } else { Outcome::Removed(form) };
    let mut rig = Rig::new(set, flows, inbound);
    let mut all = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        rig.fill(None, BUFFERS);
        for i in [round % 2, 1 - round % 2] {
            let took = rig.go(i, BUFFERS, expected);
            all[i].push(took);
        }
    }
    assert!(rig.workers[0].counters.round_trip.merge_into(&mut [0; 500]) > 0);
    all.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[ROUNDS / 10]
    })
}

#[test]
#[ignore = "a measurement"]
fn how_long_a_packet_takes() {
    for (name, inbound) in [("remove", InboundAction::Remove), ("verify", InboundAction::Verify)] {
        for set in Set::available() {
            for flows in [1, 1000, 65_536] {
                let [short, slow] = measure(set, flows, inbound);
                println!("{name}, {}: {flows} flows: {short:.1} ns a packet, the slow way {slow:.1}", set.name());
            }
        }
    }
}
