//! The short way of packets that come back against the slow one: whatever comes, the same packets leave, octet for octet, with
//! the same outcomes, and the same is counted and kept of it.

use crate::lanes::Set;
use crate::lanes::inbound::Lanes;
use crate::observe::counters::Outcome;
use crate::packet::buffer::{PacketBuf, VecBuf, Writable};
use crate::ports::BURST;
use crate::state::policies::{InboundAction, Mode, OnFailure, Policy};
use crate::state::rules::PathConfig;
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, Side, frame_between, out};
use arrayvec::ArrayVec;
use proptest::prelude::*;
use protocol::wire::option::Form;

/// A packet whose first segment may end before it does, and may not be one that can be written to.
#[derive(Clone, PartialEq, Debug)]
struct Buf {
    first: VecBuf,
    behind: usize,
    writable: Writable,
}

impl PacketBuf for Buf {
    fn data(&self) -> &[u8] {
        self.first.data()
    }
    fn data_mut(&mut self) -> &mut [u8] {
        if self.writable == Writable::Yes { self.first.data_mut() } else { &mut [] }
    }
    fn make_writable(&mut self) -> Writable {
        let before = self.writable;
        if before == Writable::Copied {
            self.writable = Writable::Yes;
        }
        before
    }
    fn frame_len(&self) -> usize {
        self.first.frame_len() + self.behind
    }
    fn headroom(&self) -> usize {
        if self.writable == Writable::Yes { self.first.headroom() } else { 0 }
    }
    fn prepend(&mut self, n: usize) -> bool {
        self.writable == Writable::Yes && self.first.prepend(n)
    }
    fn trim_front(&mut self, n: usize) -> bool {
        self.first.trim_front(n)
    }
    fn truncate(&mut self, len: usize) -> bool {
        self.behind == 0 && self.first.truncate(len)
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Udp,
    Tcp,
    Syn,
    Tagged,
    TwoTags,
    /// In clear, to a policy that wants it sealed.
    Clear,
    /// Under the next generation.
    Next,
    /// Without an option.
    Bare,
    /// Behind another header.
    HopByHop,
    Echo,
    /// An ICMPv6 error.
    Error,
    NotIp,
}

/// What becomes of it on its way.
#[derive(Clone, Copy, Debug)]
enum Way {
    Comes,
    /// It does not come, but may later.
    Kept,
    /// Another one comes that was sent before, whether it has come or not.
    Before(usize),
    Flipped(usize, u8),
    Cut(usize),
    /// The first segment ends there.
    Segments(usize),
    Padded(usize),
    Copied,
    ReadOnly,
}

type Packet = (Sent, u16, usize, Way);

fn packet() -> impl Strategy<Value = Packet> {
    let sent = prop_oneof![
        20 => Just(Sent::Udp),
        4 => Just(Sent::Tcp),
        4 => Just(Sent::Tagged),
        3 => prop::sample::select(&[
            Sent::Syn, Sent::TwoTags, Sent::Clear, Sent::Next, Sent::Bare, Sent::HopByHop, Sent::Echo, Sent::Error, Sent::NotIp,
        ][..]),
    ];
    let way = prop_oneof![
        20 => Just(Way::Comes),
        2 => Just(Way::Kept),
        2 => any::<prop::sample::Index>().prop_map(|i| Way::Before(i.index(1 << 20))),
        1 => (12usize..110, 0u8..8).prop_map(|(at, bit)| Way::Flipped(at, bit)),
        1 => (0usize..130).prop_map(Way::Cut),
        1 => (54usize..130).prop_map(Way::Segments),
        1 => (1usize..9).prop_map(Way::Padded),
        1 => Just(Way::Copied),
        1 => Just(Way::ReadOnly),
    ];
    (sent, prop_oneof![3 => 0u16..4, 1 => 0u16..40], 0usize..60, way)
}

#[derive(Clone, Debug)]
enum Step {
    /// And the time before it.
    Burst(Vec<Packet>, u64),
    /// Packets of these flows go the other way.
    Answers(Vec<u16>),
    /// The same rules anew.
    Replace,
    OutOfTouch(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (prop::collection::vec(packet(), 1..=BURST), prop_oneof![0u64..100_000, 0u64..1 << 34])
            .prop_map(|(packets, pause)| Step::Burst(packets, pause)),
        3 => prop::collection::vec(0u16..6, 1..8).prop_map(Step::Answers),
        1 => Just(Step::Replace),
        1 => any::<bool>().prop_map(Step::OutOfTouch),
    ]
}

/// From this number on rules have options in clear, and no others.
const IN_CLEAR: u8 = 8;

/// The rules of the box that opens.
fn rules(which: u8) -> PathConfig {
    let on_failure = [OnFailure::Drop, OnFailure::Strip, OnFailure::Pass][usize::from(which) % 3];
    let policy = |mode| Policy { on_failure, ..testing::policy(mode) };
    let verify = Policy {
        name: "verify".into(),
        inbound: InboundAction::Verify,
        ports: vec![(1002, 1003)],
        ..policy(Mode::Encrypted)
    };
    let clear = Policy { name: "clear".into(), ports: vec![(1020, 1039)], ..policy(Mode::Clear) };
    let policies = match which {
        0..3 => vec![policy(Mode::Encrypted)],
        3..6 => vec![verify, policy(Mode::Encrypted)],
        IN_CLEAR.. => vec![
            Policy { inbound: InboundAction::Verify, ports: vec![(1002, 1003)], ..policy(Mode::Clear) },
            policy(Mode::Clear),
        ],
        6..IN_CLEAR => vec![clear, verify, Policy { ports: vec![(443, 443)], ..policy(Mode::Encrypted) }],
    };
    PathConfig { mss_clamp: which.is_multiple_of(2), ..testing::config(policies) }
}

/// Boxes that send, and two that get the same.
struct World {
    senders: [Worker; 3],
    sides: [Side; 2],
    /// The first one with lanes.
    workers: [Worker; 2],
    sent: Vec<VecBuf>,
    which: u8,
    now: u64,
}

impl World {
    fn new(set: Set, which: u8) -> Self {
        let sender = |mode, generation| {
            let config = testing::config(vec![testing::policy(mode)]);
            Worker::new(testing::side(config, testing::ring(true, generation, 1), SMALL, 1).shared, 0)
        };
        let sides = [(); 2].map(|()| testing::side(rules(which), testing::ring(false, 1, 1), SMALL, 1));
        let mut workers = sides.each_ref().map(|side| Worker::new(side.shared.clone(), 0));
        workers[0].lanes_back = Lanes::new(set);
        workers[1].lanes_back.resting.turn_off();
        let senders = [sender(Mode::Encrypted, 1), sender(Mode::Encrypted, 2), sender(Mode::Clear, 1)];
        Self { senders, sides, workers, sent: Vec::new(), which, now: 1 << 40 }
    }

    fn send(&mut self, sent: Sent, flow: u16, payload: usize) -> VecBuf {
        let mut f = frame_between(A, B, 1000 + flow, 443, payload);
        let resize = |f: &mut Vec<u8>, len: usize| {
            f.resize(f.len().max(len), 0);
            let payload = (f.len() - 54) as u16;
            f[18..20].copy_from_slice(&payload.to_be_bytes());
        };
        match sent {
            Sent::Tcp | Sent::Syn => {
                resize(&mut f, 54 + 20);
                (f[20], f[66], f[67]) = (6, 5 << 4, if matches!(sent, Sent::Syn) { 2 } else { 16 });
            }
            Sent::Tagged => drop(f.splice(12..12, [0x81, 0, 0, 7])),
            Sent::TwoTags => drop(f.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5])),
            Sent::HopByHop => {
                f.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
                f[20] = 0;
                resize(&mut f, 0);
            }
            Sent::Echo => (f[20], f[54]) = (58, 128),
            Sent::Error => {
                resize(&mut f, 54 + 60);
                (f[20], f[54]) = (58, 1);
            }
            Sent::NotIp => f[12] = 8,
            _ => {}
        }
        let mut packet = VecBuf::new(&f);
        let sender = match sent {
            Sent::Next => 1,
            // Where all goes in clear, the others' is the odd one.
            Sent::Clear => {
                if self.which < IN_CLEAR {
                    2
                } else {
                    0
                }
            }
            Sent::Bare | Sent::NotIp => return packet,
            _ => {
                if self.which < IN_CLEAR {
                    0
                } else {
                    2
                }
            }
        };
        out(&mut self.senders[sender], &mut packet, self.now);
        packet
    }

    fn burst(&mut self, packets: &[Packet]) -> Vec<Buf> {
        let whole = |first| Buf { first, behind: 0, writable: Writable::Yes };
        let mut all = Vec::new();
        for &(sent, flow, payload, way) in packets {
            let packet = self.send(sent, flow, payload);
            self.sent.push(packet.clone());
            let mut buf = whole(packet);
            let len = buf.frame_len();
            match way {
                Way::Comes => {}
                Way::Kept => continue,
                Way::Before(i) => buf = whole(self.sent[self.sent.len() - 1 - i % self.sent.len().min(100)].clone()),
                Way::Flipped(at, bit) => buf.first.data_mut().get_mut(at).into_iter().for_each(|o| *o ^= 1 << bit),
                Way::Cut(at) => assert!(buf.first.truncate(at.min(len))),
                Way::Segments(at) => {
                    assert!(buf.first.truncate(at.min(len)));
                    buf.behind = len - at.min(len);
                }
                Way::Padded(n) => {
                    let mut f = buf.data().to_vec();
                    f.resize(len + n, 0);
                    buf = whole(VecBuf::new(&f));
                }
                Way::Copied => buf.writable = Writable::Copied,
                Way::ReadOnly => buf.writable = Writable::No,
            }
            all.push(buf);
        }
        all
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Burst(packets, pause) => {
                self.now += pause;
                let burst = self.burst(packets);
                let [(wanted, slow), (made, short)] = [1, 0].map(|i| {
                    let (mut packets, mut outcomes) = (burst.clone(), ArrayVec::<Outcome, BURST>::new());
                    self.workers[i].inbound(&mut packets, &mut outcomes, &|| self.now);
                    (outcomes, packets)
                });
                assert_eq!(made, wanted, "{burst:?}");
                assert_eq!(short, slow);
            }
            Step::Answers(flows) => {
                for flow in flows {
                    let answer = VecBuf::new(&frame_between(B, A, 443, 1000 + flow, 9));
                    let [slow, mut short] = [1, 0].map(|i| {
                        let mut answer = answer.clone();
                        out(&mut self.workers[i], &mut answer, self.now);
                        answer
                    });
                    assert_eq!(short, slow);
                    testing::back(&mut self.senders[0], &mut short, self.now + 77);
                }
            }
            Step::Replace => self.sides.iter().for_each(|side| side.shared.replace(rules(self.which))),
            Step::OutOfTouch(out_of_touch) => {
                for side in &self.sides {
                    let newest = side.cell.ring().peers[0].newest.clone();
                    let mut ring = testing::ring(false, 1, 1);
                    ring.out_of_touch = *out_of_touch;
                    ring.peers[0].newest = newest;
                    side.cell.publish(ring);
                }
            }
        }
    }

    /// All that a box has kept and counted. (Words of policies are compared with what they are a policy's of.)
    fn left(&self, i: usize) -> String {
        let rules = self.sides[i].cell.rules();
        let counted: Vec<_> = rules.policies().map(|(_, standing)| standing.all().collect::<Vec<_>>()).collect();
        let mut flows: Vec<_> = self.sides[i].shared.table.iter().map(|flow| format!("{flow:?}")).collect();
        flows.sort();
        format!("{:?} {counted:?} {flows:#?}", self.workers[i].counters)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..ProptestConfig::with_cases(96) })]
    #[test]
    fn both_ways_come_to_the_same(steps in prop::collection::vec(step(), 1..12), which in 0u8..10) {
        for set in Set::available() {
            let mut world = World::new(set, which);
            steps.iter().for_each(|step| world.go(step));
            prop_assert_eq!(world.left(0), world.left(1));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 100, ..ProptestConfig::with_cases(6) })]
    #[test]
    fn bursts_of_every_length_come_to_the_same(packets in prop::collection::vec(packet(), 2 * BURST), which in 0u8..10) {
        for set in Set::available() {
            let mut world = World::new(set, which);
            // Until the flows are known, and the lanes do not rest.
            let known: Vec<Packet> = (0..8).map(|i| (Sent::Udp, i % 4, 10, Way::Comes)).collect();
            (0..10).for_each(|_| world.go(&Step::Burst(known.clone(), 1)));
            for len in (1..=BURST).chain([2 * BURST]) {
                world.go(&Step::Burst(packets[..len].to_vec(), len as u64));
            }
            prop_assert_eq!(world.left(0), world.left(1));
        }
    }
}

/// Packets of the shape, of flows that are known, go the short way: all of them, tagged or not.
#[test]
fn known_flows_go_the_short_way() {
    for (set, which) in Set::available().flat_map(|set| [(set, 0), (set, IN_CLEAR)]) {
        let mut world = World::new(set, which);
        let burst = |n: usize| -> Vec<Packet> {
            // Answers are UDP's.
            let third = if which < IN_CLEAR { Sent::Tcp } else { Sent::Udp };
            (0..n).map(|i| ([Sent::Udp, Sent::Tagged, third][i % 3], i as u16 / 3 % 7, 10, Way::Comes)).collect()
        };
        world.go(&Step::Burst(burst(BURST), 1));
        assert_eq!(world.workers[0].lanes_back.resting.taken, 0, "none is known");
        // What comes in clear makes none known: its answer does.
        world.go(&Step::Answers((0..7).collect()));
        for _ in 0..7 {
            world.go(&Step::Burst(burst(1), 1)); // while they are left alone
        }
        for n in [BURST, 1, 5, 17] {
            let before = world.workers[0].lanes_back.resting.taken;
            world.go(&Step::Burst(burst(n), 1));
            assert_eq!(world.workers[0].lanes_back.resting.taken - before, n as u64, "{} {which}", set.name());
        }
        assert_eq!(world.workers[1].lanes_back.resting.taken, 0);
        assert_eq!(world.left(0), world.left(1));
        let removed = world.workers[0].counters.inbound.removed[Form::Encrypted as usize].get();
        assert_eq!(removed, 0, "the loop counts, not the path");
    }
}
