//! What others do to a flow while a worker is at work on a packet of it. The packet's buffer lets them: it is asked whether it may
//! be written to behind the look-up, and before the flow is brought in and numbered.

use crate::flow::table::Ager;
use crate::observe::counters::Outcome;
use crate::packet::buffer::{PacketBuf, VecBuf, Writable};
use crate::testing::{self, SMALL, frame, out};
use protocol::wire::option::Form;

/// A packet, and what happens when it is asked whether it may be written to.
struct Between<'a> {
    packet: VecBuf,
    then: Option<Then<'a>>,
}

type Then<'a> = Box<dyn FnOnce(&VecBuf) + 'a>;

impl PacketBuf for Between<'_> {
    fn data(&self) -> &[u8] {
        self.packet.data()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        self.packet.data_mut()
    }
    fn make_writable(&mut self) -> Writable {
        if let Some(then) = self.then.take() {
            then(&self.packet);
        }
        Writable::Yes
    }
    fn frame_len(&self) -> usize {
        self.packet.frame_len()
    }
    fn headroom(&self) -> usize {
        self.packet.headroom()
    }
    fn prepend(&mut self, n: usize) -> bool {
        self.packet.prepend(n)
    }
    fn trim_front(&mut self, n: usize) -> bool {
        self.packet.trim_front(n)
    }
    fn truncate(&mut self, len: usize) -> bool {
        self.packet.truncate(len)
    }
}

/// A packet that goes the slow way also when its flow is known: behind a header that only pads.
fn padded() -> VecBuf {
    let mut octets = frame(1000, 24);
    octets.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
    (octets[20], octets[19]) = (0, octets[19] + 8);
    VecBuf::new(&octets)
}

#[test]
fn a_flow_inserted_by_another_meanwhile_is_the_others() {
    let shared = testing::shared(2);
    let [mut one, mut other] = [0, 1].map(|i| testing::worker(shared.clone(), i));
    let others = |packet: &VecBuf| {
        let mut packet = packet.clone();
        assert_eq!(out(&mut other, &mut packet, 1), Outcome::Added(Form::Encrypted));
    };
    let mut packet = Between { packet: padded(), then: Some(Box::new(others)) };
    assert_eq!(out(&mut one, &mut packet, 1), Outcome::HandedOver(1));
    assert_eq!(packet.data(), padded().data(), "as it came");
}

#[test]
fn a_flow_that_leaves_within_its_owners_burst_is_not_read_before_that_ends() {
    let shared = testing::shared(1);
    let mut worker = testing::worker(shared.clone(), 0);
    assert_eq!(out(&mut worker, &mut padded(), 1), Outcome::Added(Form::Encrypted));
    let mut ager = Ager::new(shared.quiescence.clone());
    let mut step = || {
        ager.step(&shared.table, u64::MAX / 2, 1, SMALL.capacity);
        ager.expired
    };
    let within = |_: &VecBuf| assert_eq!(step(), 0, "the worker has found it, and is going to number a packet");
    let mut packet = Between { packet: padded(), then: Some(Box::new(within)) };
    assert_eq!(out(&mut worker, &mut packet, 1), Outcome::Added(Form::Encrypted));
    drop(packet);
    assert_eq!(step(), 1);
    // It goes on behind both.
    assert_eq!(out(&mut worker, &mut padded(), 1), Outcome::Added(Form::Encrypted));
    assert_eq!(shared.table.iter().next().map(|flow| flow.numbers().taken()), Some(3), "three numbers were taken");
}
