//! The loop: what it takes from one port it sends to the other, or counts.

use crate::observe::counter::Counter;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::{BURST, PortQueue};
use crate::testing::{self, frame};
use crate::worker::turn_outbound;
use arrayvec::ArrayVec;
use std::collections::VecDeque;

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
