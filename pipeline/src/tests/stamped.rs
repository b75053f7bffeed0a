//! Packets whose port says when they came: what they waited to be taken from it is measured as this box's, not as the network's,
//! whichever way they go through the stages.

use crate::observe::counters::Outcome;
use crate::observe::histogram::{BUCKETS, Histogram};
use crate::packet::buffer::VecBuf;
use crate::ports::stamps::Told;
use crate::ports::{BURST, Came, Clock, PortQueue};
use crate::state::policies::Mode;
use crate::testing::{self, A, B, SMALL, frame_between, out};
use crate::worker::turn_inbound;
use arrayvec::ArrayVec;

const MS: u64 = 1_000_000;
const US: u64 = 1_000;

/// A port whose packets have come at these times, if it says so.
struct Port {
    arriving: ArrayVec<VecBuf, BURST>,
    came: Option<[u64; BURST]>,
    sent: usize,
}

impl PortQueue for Port {
    type Packet = VecBuf;

    fn receive(&mut self, into: &mut ArrayVec<VecBuf, BURST>) {
        core::mem::swap(into, &mut self.arriving);
    }

    fn came(&mut self, packets: &[VecBuf], clock: &impl Clock) -> Option<Came<'_>> {
        let told = Told { used: packets.len() as u64, refused: 1 };
        let at = self.came.as_ref()?;
        assert!(at.iter().all(|&at| at <= clock.now_ns()));
        Some(Came { at, told })
    }

    fn transmit(&mut self, packets: &mut ArrayVec<VecBuf, BURST>) {
        self.sent += packets.len();
        packets.clear();
    }
}

/// How long the packet at each place has waited.
fn waited(place: usize) -> u64 {
    (31 - place as u64) * 100 * US + 7
}

fn sum(histogram: &Histogram) -> (u64, u64) {
    let mut buckets = [0; BUCKETS];
    let sum = histogram.merge_into(&mut buckets);
    (buckets.iter().sum(), sum)
}

/// Some exchanges of 32 flows, the answers in one burst that has waited; number and sum of the round trips that A counts, and of its
/// delays that B is told.
fn exchanged(mode: Mode, stamped: bool, shape: fn(u16) -> Vec<u8>) -> [(u64, u64); 2] {
    let side = |is_a| testing::side(testing::config(vec![testing::policy(mode)]), testing::ring(is_a, 1, 1), SMALL, 1);
    let [mut a, mut b] = [true, false].map(|is_a| testing::worker(side(is_a).shared, 0));
    let (mut now, rounds) = (MS, 4);
    for _ in 0..rounds {
        let mut answers = ArrayVec::new();
        for flow in 0..BURST as u16 {
            let mut request = VecBuf::new(&shape(flow));
            assert!(matches!(out(&mut a, &mut request, now), Outcome::Added(_)));
            assert!(matches!(testing::back(&mut b, &mut request, now + 10 * MS), Outcome::Removed(_)));
            let mut answer = VecBuf::new(&answer_to(&shape(flow)));
            assert!(matches!(out(&mut b, &mut answer, now + 15 * MS), Outcome::Added(_)));
            answers.push(answer);
        }
        let polled = now + 25 * MS;
        let came = stamped.then(|| core::array::from_fn(|place| polled - waited(place)));
        let mut outside = Port { arriving: answers, came, sent: 0 };
        let mut inside = Port { arriving: ArrayVec::new(), came: None, sent: 0 };
        assert!(turn_inbound(&mut a, &mut outside, &mut inside, &|| polled));
        assert_eq!(inside.sent, BURST);
        now = polled + 5 * MS;
    }
    let used = if stamped { rounds * BURST as u64 } else { 0 };
    assert_eq!((a.counters.stamps_used.get(), a.counters.stamps_refused.get()), (used, u64::from(stamped) * rounds));
    [sum(&a.counters.round_trip), sum(&b.counters.server_delay)]
}

fn plain(flow: u16) -> Vec<u8> {
    frame_between(A, B, 1000 + flow, 443, 20)
}

/// Some with a VLAN tag, some with a second one, which no short way knows.
fn mixed(flow: u16) -> Vec<u8> {
    let mut frame = plain(flow);
    for _ in 0..flow % 3 {
        frame.splice(12..12, [0x81, 0, 0, 5]);
    }
    frame
}

/// The same way back: addresses and ports the other way round.
fn answer_to(request: &[u8]) -> Vec<u8> {
    let tags = request.windows(4).skip(12).step_by(4).take_while(|tag| tag[..2] == [0x81, 0]).count() * 4;
    let mut answer = request.to_vec();
    let ipv6 = 14 + tags;
    answer[ipv6 + 8..ipv6 + 24].copy_from_slice(&request[ipv6 + 24..ipv6 + 40]);
    answer[ipv6 + 24..ipv6 + 40].copy_from_slice(&request[ipv6 + 8..ipv6 + 24]);
    answer[ipv6 + 40..ipv6 + 42].copy_from_slice(&request[ipv6 + 42..ipv6 + 44]);
    answer[ipv6 + 42..ipv6 + 44].copy_from_slice(&request[ipv6 + 40..ipv6 + 42]);
    answer
}

#[test]
fn what_packets_waited_is_not_the_networks() {
    for mode in [Mode::Pdm, Mode::Clear, Mode::Encrypted] {
        for shape in [plain as fn(u16) -> Vec<u8>, mixed] {
            let [(trips, round_trip), (delays, delay)] = exchanged(mode, false, shape);
            let [(same_trips, without_waits), (same_delays, with_waits)] = exchanged(mode, true, shape);
            // The same tells something, of all flows or of none.
            let flows = BURST as u64;
            assert_eq!((trips % flows, delays % flows, same_trips, same_delays), (0, 0, trips, delays), "{mode:?}");
            assert!(trips >= 3 * flows && delays >= 2 * flows, "{mode:?}: {trips} and {delays}");
            let waits: u64 = (0..BURST).map(waited).sum();
            assert_eq!(round_trip - without_waits, trips / flows * waits, "{mode:?}");
            // A delta time is up to 2^-15 too short.
            let (more, truth) = (with_waits - delay, delays / flows * waits);
            assert!(more.abs_diff(truth) < delays * 300, "{mode:?}: {more} of {truth}");
        }
    }
}
