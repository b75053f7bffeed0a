//! The short way through the lanes against the slow one: whatever comes, the same packets leave, octet for octet, with the same
//! outcomes, and the other box opens them.

use crate::flow::table::Ager;
use crate::lanes::{Set, ShortWay};
use crate::observe::counters::Outcome;
use crate::packet::buffer::VecBuf;
use crate::ports::BURST;
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, A, B, SMALL, back, frame_between};
use arrayvec::ArrayVec;
use proptest::prelude::*;
use protocol::wire::option::Form;

/// A packet, by what it is like and which of some flows it is of. Those that cannot stay in the lanes have flows of their own:
/// of a flow's packets of one burst that go different ways, which carries the time since the last one is not laid down.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Tagged,
    Syn,
    WithOptions,
    Long,
    Tcp,
    LinkLocal,
    NotIp,
    Stranger,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        12 => Just(Kind::Plain),
        3 => Just(Kind::Tagged),
        3 => Just(Kind::Tcp),
        1 => Just(Kind::Syn),
        1 => Just(Kind::WithOptions),
        1 => Just(Kind::Long),
        1 => Just(Kind::LinkLocal),
        1 => Just(Kind::NotIp),
        1 => Just(Kind::Stranger),
    ]
}

/// Where TCP's flags stand in a frame without tags.
const FLAGS: usize = 14 + 40 + 13;

fn packet(kind: Kind, flow: u8, payload: usize) -> VecBuf {
    let own = matches!(kind, Kind::Plain | Kind::Tagged | Kind::Tcp);
    let port = 1000 + u16::from(flow) + if own { 0 } else { 1000 };
    let mut source = A;
    match kind {
        Kind::LinkLocal => source[..8].copy_from_slice(&[0xFE, 0x80, 0, 0, 0, 0, 0, 0]),
        Kind::Stranger => source[4] ^= 0x40,
        _ => {}
    }
    let payload = if matches!(kind, Kind::Long) { 9000 } else { payload };
    let mut f = frame_between(source, B, port, 443, payload);
    match kind {
        Kind::Tcp | Kind::Syn => {
            f[14 + 6] = 6;
            f.resize(f.len().max(FLAGS + 7), 0);
            let len = (f.len() - 54) as u16;
            f[18..20].copy_from_slice(&len.to_be_bytes());
            f[FLAGS - 1] = 5 << 4;
            f[FLAGS] = if matches!(kind, Kind::Syn) { 2 } else { 16 };
        }
        Kind::Tagged => drop(f.splice(12..12, [0x81, 0, 0, 7])),
        Kind::WithOptions => {
            // A Hop-by-Hop header that only pads.
            f.splice(54..54, [17, 0, 1, 4, 0, 0, 0, 0]);
            f[14 + 6] = 0;
            let len = (f.len() - 54) as u16;
            f[18..20].copy_from_slice(&len.to_be_bytes());
        }
        Kind::NotIp => f[12] = 8,
        _ => {}
    }
    VecBuf::new(&f)
}

#[derive(Clone, Debug)]
enum Step {
    Burst(Vec<(Kind, u8, usize)>, u64),
    /// A packet comes back for each of these flows.
    Answers(Vec<u8>),
    Rotate,
    AgeAll,
    Mode(Mode),
}

fn step() -> impl Strategy<Value = Step> {
    let packets = proptest::collection::vec((kind(), 0..6u8, 0..60usize), 1..=BURST);
    prop_oneof![
        8 => (packets, 0..1u64 << 40).prop_map(|(packets, pause)| Step::Burst(packets, pause)),
        2 => proptest::collection::vec(0..6u8, 1..8).prop_map(Step::Answers),
        1 => Just(Step::Rotate),
        1 => Just(Step::AgeAll),
        1 => prop_oneof![2 => Just(Mode::Encrypted), 1 => Just(Mode::Clear), 1 => Just(Mode::Pdm), 1 => Just(Mode::Off)]
            .prop_map(Step::Mode),
    ]
}

/// A box, and the one on the other side.
struct World {
    here: testing::Side,
    worker: Worker,
    there: Worker,
    ager: Ager,
    generation: u32,
    now: u64,
}

impl World {
    fn new(way: ShortWay) -> Self {
        let config = || testing::config(vec![testing::policy(Mode::Encrypted)]);
        let here = testing::side(config(), testing::ring(true, 1, 1), SMALL, 1);
        let there = testing::side(config(), testing::ring(false, 1, 1), SMALL, 1);
        let mut worker = Worker::new(here.shared.clone(), 0);
        worker.lanes = way;
        let ager = Ager::new(here.shared.quiescence.clone());
        Self { here, worker, there: Worker::new(there.shared, 0), ager, generation: 1, now: 1 << 30 }
    }

    /// What leaves, and the outcomes.
    fn go(&mut self, step: &Step) -> (Vec<VecBuf>, Vec<Outcome>) {
        let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
        match step {
            Step::Burst(packets, pause) => {
                self.now += pause;
                let mut burst: Vec<_> = packets.iter().map(|&(kind, flow, len)| packet(kind, flow, len)).collect();
                let before = burst.clone();
                self.worker.outbound(&mut burst, &mut outcomes, &|| self.now);
                for ((sent, before), outcome) in burst.iter().zip(&before).zip(&outcomes) {
                    if matches!(outcome, Outcome::Added(Form::Encrypted)) {
                        let mut there = sent.clone();
                        assert_eq!(back(&mut self.there, &mut there, self.now), Outcome::Removed(Form::Encrypted));
                        assert_eq!(&there, before);
                    } else if !matches!(outcome, Outcome::Added(_)) {
                        assert_eq!(sent, before);
                    }
                }
                (burst, outcomes.to_vec())
            }
            Step::Answers(flows) => {
                for &flow in flows {
                    let mut answer = VecBuf::new(&frame_between(B, A, 443, 1000 + u16::from(flow), 9));
                    testing::out(&mut self.there, &mut answer, self.now);
                    outcomes.push(back(&mut self.worker, &mut answer, self.now + 77));
                }
                (Vec::new(), outcomes.to_vec())
            }
            Step::Rotate => {
                self.generation += 1;
                self.here.cell.publish(testing::ring(true, self.generation, 1));
                (Vec::new(), Vec::new())
            }
            Step::Mode(mode) => {
                self.here.shared.replace(testing::config(vec![testing::policy(*mode)]));
                (Vec::new(), Vec::new())
            }
            Step::AgeAll => {
                self.ager.step(&self.here.shared.table, u64::MAX / 2, 1, SMALL.capacity);
                (Vec::new(), Vec::new())
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, ..ProptestConfig::with_cases(48) })]
    #[test]
    fn the_short_way_and_the_slow_one_lead_to_the_same(steps in proptest::collection::vec(step(), 1..30)) {
        let mut off = ShortWay::new(Set::PORTABLE);
        off.resting.turn_off();
        let mut slow = World::new(off);
        let mut short: Vec<(Set, World)> =
            Set::available().map(|set| (set, World::new(ShortWay::new(set)))).collect();
        for step in &steps {
            let (packets, outcomes) = slow.go(step);
            for (set, world) in &mut short {
                let (others, theirs) = world.go(step);
                prop_assert_eq!(&theirs, &outcomes, "{:?}", set);
                for (at, (theirs, ours)) in others.iter().zip(&packets).enumerate() {
                    prop_assert_eq!(theirs, ours, "{:?}: packet {} of {:?}", set, at, step);
                }
            }
        }
    }
}

/// Every length that a burst has, and a slice of more packets than are looked at.
fn lengths() -> impl Iterator<Item = usize> {
    (1..=BURST).chain([2 * BURST])
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 100, ..ProptestConfig::with_cases(6) })]
    #[test]
    fn bursts_of_every_length_lead_to_the_same(
        packets in proptest::collection::vec((kind(), 0..6u8, 0..60usize), 2 * BURST),
        mode in proptest::sample::select(&[Mode::Encrypted, Mode::Clear, Mode::Pdm][..]),
    ) {
        let mut off = ShortWay::new(Set::PORTABLE);
        off.resting.turn_off();
        let mut worlds = vec![World::new(off)];
        worlds.extend(Set::available().map(|set| World::new(ShortWay::new(set))));
        // Until the flows are known, and the lanes do not rest.
        let known = Step::Burst((0..12).map(|i| (Kind::Plain, i % 6, 20)).collect(), 1);
        let mut steps = vec![Step::Mode(mode)];
        steps.extend(core::iter::repeat_n(known, 10));
        steps.extend(lengths().map(|len| Step::Burst(packets[..len].to_vec(), len as u64)));
        for step in &steps {
            let (slow, short) = worlds.split_first_mut().expect("worlds");
            let wanted = slow.go(step);
            for world in short {
                prop_assert_eq!(&world.go(step), &wanted, "{:?}", step);
            }
        }
        prop_assert!(worlds[1..].iter().all(|world| world.worker.lanes.resting.taken > 0));
    }
}

/// Nearly all packets do go the short way, the first two of a flow and those around a change of Kri aside.
#[test]
fn known_flows_go_the_short_way() {
    for (set, mode) in
        Set::available().flat_map(|set| [Mode::Encrypted, Mode::Clear, Mode::Pdm].map(|mode| (set, mode)))
    {
        let mut world = World::new(ShortWay::new(set));
        world.go(&Step::Mode(mode));
        let burst = Step::Burst((0..BURST as u8).map(|i| (Kind::Plain, i % 6, 20)).collect(), 1000);
        for _ in 0..6 * 1100 {
            world.go(&burst);
        }
        let (short, all) = (world.worker.lanes.resting.taken, 6 * 1100 * BURST as u64);
        assert!(short > all - all / 20, "{set:?}, {mode:?}: {short} of {all}");
        assert!(world.worker.counters.rotations_sealed.get() > 0);
    }
}
