//! Flows whose packets come to several workers are counted: each once, whichever direction strays, in every form.

use crate::observe::counters::Outcome;
use crate::packet::buffer::VecBuf;
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, back, frame_between, out};

const MODES: [Mode; 3] = [Mode::Pdm, Mode::Clear, Mode::Encrypted];

/// Both boxes, each of two workers.
struct Path {
    a: [Worker; 2],
    b: [Worker; 2],
}

impl Path {
    fn new(mode: Mode) -> Self {
        let workers = |is_a| {
            let config = testing::config(vec![testing::policy(mode)]);
            let shared = testing::side(config, testing::ring(is_a, 1, 1), SMALL, 2).shared;
            [0, 1].map(|i| Worker::new(shared.clone(), i))
        };
        Self { a: workers(true), b: workers(false) }
    }

    /// What A's hosts send with this port comes to a worker of A.
    fn goes(&mut self, worker: usize, port: u16) -> Outcome {
        out(&mut self.a[worker], &mut VecBuf::new(&frame_between(A, B, port, 443, 20)), 5)
    }

    /// What B's hosts answer comes to a worker of A.
    fn comes(&mut self, worker: usize, port: u16) -> Outcome {
        let mut packet = VecBuf::new(&frame_between(B, A, 443, port, 20));
        assert!(matches!(out(&mut self.b[0], &mut packet, 5), Outcome::Added(_)));
        back(&mut self.a[worker], &mut packet, 5)
    }

    /// Flows counted by each worker of A.
    fn split(&self) -> [u64; 2] {
        [0, 1].map(|i| self.a[i].counters.flows_split.get())
    }
}

#[test]
fn directions_that_meet_are_not_counted() {
    for mode in MODES {
        let mut path = Path::new(mode);
        for port in 1000..1010 {
            let worker = usize::from(port % 2);
            for _ in 0..3 {
                assert!(matches!(path.goes(worker, port), Outcome::Added(_)));
                assert!(matches!(path.comes(worker, port), Outcome::Removed(_)));
            }
        }
        assert_eq!(path.split(), [0, 0], "{mode:?}");
    }
}

#[test]
fn answers_that_come_to_another_worker_count_their_flow_once() {
    for mode in MODES {
        let mut path = Path::new(mode);
        for (flow, port) in (1000..1010).enumerate() {
            assert!(matches!(path.goes(0, port), Outcome::Added(_)));
            for _ in 0..3 {
                assert!(matches!(path.comes(1, port), Outcome::Removed(_)));
            }
            assert_eq!(path.split(), [0, flow as u64 + 1], "{mode:?}");
        }
    }
}

#[test]
fn a_flow_that_began_with_a_packet_coming_back_is_counted_by_who_sees_the_next() {
    let mut path = Path::new(Mode::Encrypted);
    assert!(matches!(path.comes(1, 1000), Outcome::Removed(_)));
    for _ in 0..3 {
        assert_eq!(path.goes(0, 1000), Outcome::HandedOver(1));
        assert!(matches!(path.comes(1, 1000), Outcome::Removed(_)));
    }
    assert_eq!(path.split(), [1, 0]);
    // Nor is it counted again when the others find it, whoever owns it by then.
    let flow = path.a[0].shared.table.iter().next().expect("the flow");
    flow.give(0);
    assert!(matches!(path.goes(0, 1000), Outcome::Added(_)));
    assert_eq!((path.goes(1, 1000), path.split()), (Outcome::HandedOver(0), [1, 0]));
}
