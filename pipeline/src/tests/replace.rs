//! Settings are replaced thousands of times under two workers' traffic, both ways: each packet is treated wholly by settings that
//! were in force during its burst, none is lost, what policies have counted adds up, and nothing is allocated.

use super::allocations;
use crate::flow::table::{Ager, TableSize};
use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::BURST;
use crate::state::pairs::Pair;
use crate::state::policies::{InboundAction, Mode, OutboundAction, Policy};
use crate::state::rules::{PathConfig, Timeouts};
use crate::state::standing::Standing;
use crate::state::worker::Worker;
use crate::testing::{self, A, B, Side, frame_between};
use arrayvec::ArrayVec;
use protocol::prefix::Prefix;
use protocol::wire::ext_chain::walk;
use protocol::wire::option::Form;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Kinds of traffic, told apart by the server's port. In each settings every kind has a policy of its own, or none.
const KINDS: usize = 4;
const PORTS: [u16; KINDS] = [443, 53, 5001, 8080];
const NAMES: [&str; KINDS] = ["web", "dns", "test", "other"];
const MODES: [Mode; 4] = [Mode::Encrypted, Mode::Clear, Mode::Pdm, Mode::Off];
const REPLACEMENTS: u64 = 4000;
/// Settings are told apart by the modes of all kinds, which do not come again for as many replacements.
const DISTINCT: u64 = 256;

/// What box A does with packets of this kind under the settings of this number. `None`: there is no policy for it.
fn treatment(number: u64, kind: usize) -> Option<(Mode, OutboundAction)> {
    // Kind by kind two bits of a number that runs through all 256, so that neighbours differ in most kinds.
    let code = (number % DISTINCT).wrapping_mul(0x6D) & 0xFF;
    let mode = MODES[(code >> (2 * kind) & 3) as usize];
    let absent = mode == Mode::Off && number.is_multiple_of(2);
    let outbound = if number % 7 == 3 && kind == 2 { OutboundAction::Pass } else { OutboundAction::Add };
    (!absent).then_some((mode, outbound))
}

/// The settings of this number: their policies' order, modes and actions, which of them there are, and timeouts.
fn settings(number: u64) -> PathConfig {
    let mut policies: Vec<_> = (0..KINDS)
        .filter_map(|kind| {
            let (mode, outbound) = treatment(number, kind)?;
            let (name, ports) = (NAMES[kind].to_owned(), vec![(PORTS[kind], PORTS[kind])]);
            Some(Policy { name, ports, outbound, ..testing::policy(mode) })
        })
        .collect();
    let places = policies.len().max(1);
    policies.rotate_left(number as usize % places);
    let timeouts = Timeouts { idle_ns: 1_000_000 + number };
    // Pairs that come and go, and change what flows are counted by, but not what becomes of them.
    let pair = |kind: usize| Pair {
        name: NAMES[kind].to_owned(),
        inside: vec![Prefix::new(A, (number % 129) as u8).expect("a prefix")],
        outside: vec![],
    };
    let pairs = (0..KINDS).filter(|kind| number >> kind & 1 != 0).map(pair).collect();
    PathConfig { pairs, timeouts, ..testing::config(policies) }
}

/// What becomes of a packet of this kind from inside, and how much longer it gets.
fn expected(number: u64, kind: usize) -> Outcome {
    match treatment(number, kind) {
        None | Some((Mode::Off, _)) => Outcome::Passed(Reason::Off),
        Some((_, OutboundAction::Pass)) => Outcome::Passed(Reason::PolicyPass),
        Some((mode, OutboundAction::Add)) => Outcome::Added(mode.form().expect("it is not off")),
    }
}

/// Whether a packet was treated so. One whose flow is leaving the table passes as it came instead of getting an option,
/// whatever the settings, and one whose flow is the other worker's is left to that one.
fn agrees(outcome: Outcome, expected: Outcome) -> bool {
    let passing = matches!(outcome, Outcome::Passed(Reason::FlowLeaving | Reason::Contended) | Outcome::HandedOver(_));
    outcome == expected || passing && matches!(expected, Outcome::Added(_))
}

/// A worker's burst of many flows, of all kinds.
fn burst(worker: u16, turn: u64) -> (Vec<usize>, Vec<Vec<u8>>) {
    (0..BURST as u64)
        .map(|i| {
            let kind = ((turn + i * 7) % KINDS as u64) as usize;
            // Both workers' flows overlap.
            let sport = 1000 + (turn * 13 + i * 5 + u64::from(worker)) as u16 % 60;
            (kind, frame_between(A, B, sport, PORTS[kind], 20))
        })
        .unzip()
}

/// What was seen on the way, of both workers.
#[derive(Default)]
struct Seen {
    added: AtomicU64,
    removed: AtomicU64,
    settings: AtomicU64,
    turns: AtomicU64,
}

/// One worker of box A, and of box B, which opens whatever form comes.
fn work(a: &Side, receivers: &[Side], index: usize, done: &AtomicBool, current: &AtomicU64, seen: &Seen) {
    let mut worker = Worker::new(a.shared.clone(), index);
    let mut openers: Vec<_> = receivers.iter().map(|side| Worker::new(side.shared.clone(), index)).collect();
    let (mut turn, mut last) = (0u64, None);
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    while !done.load(Ordering::Acquire) || turn < 200 {
        turn += 1;
        let now = turn * 1000;
        let (kinds, originals) = burst(index as u16, turn);
        let mut packets: Vec<_> = originals.iter().map(|f| VecBuf::new(f)).collect();
        // Settings of a number are in force from before `current` says so until after it says the next one.
        let before = current.load(Ordering::Acquire);
        let allocated = allocations::count();
        worker.outbound(&mut packets, &mut outcomes, &|| now);
        assert_eq!(allocations::count(), allocated, "the path allocates nothing");
        let after = current.load(Ordering::Acquire) + 1;
        let one = |number: &u64| {
            kinds.iter().zip(&outcomes).all(|(&kind, outcome)| agrees(*outcome, expected(*number, kind)))
        };
        let number = (before..=after).find(one);
        assert!(number.is_some(), "under no settings between {before} and {after}: {kinds:?} {outcomes:?}");
        if number != last {
            last = number;
            seen.settings.fetch_add(1, Ordering::Relaxed);
        }
        for (((mut packet, original), outcome), kind) in packets.into_iter().zip(&originals).zip(&outcomes).zip(&kinds)
        {
            let Outcome::Added(form) = *outcome else {
                assert_eq!(packet.data(), &original[..], "what passes is as it was");
                continue;
            };
            seen.added.fetch_add(1, Ordering::Relaxed);
            assert_eq!(packet.frame_len(), original.len() + form.header_len());
            let chain = walk(&packet.data()[14..], packet.data().len() - 14).expect("a packet");
            assert_eq!(chain.option.map(|option| option.form), Some(form), "the octets are those of one policy");
            let opened = testing::back(&mut openers[form as usize], &mut packet, now);
            assert_eq!(opened, Outcome::Removed(form), "kind {kind}");
            assert_eq!(packet.data(), &original[..]);
        }
        seen.turns.fetch_add(1, Ordering::Release);
        seen.removed.fetch_add(inbound(&mut worker, &mut openers, index, turn, current), Ordering::Relaxed);
    }
}

/// A burst that comes back, of every form and kind: box A opens what its settings say, and leaves the others alone.
fn inbound(a: &mut Worker, openers: &mut [Worker], index: usize, turn: u64, current: &AtomicU64) -> u64 {
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    let (mut packets, mut kinds) = (Vec::new(), Vec::new());
    for i in 0..24u64 {
        let kind = (i % KINDS as u64) as usize;
        let form = FORMS[(i / KINDS as u64 % 3) as usize];
        let opener = &mut openers[form as usize];
        let answer = frame_between(B, A, PORTS[kind], 2000 + 100 * (i / 12 + 2 * index as u64) as u16 + i as u16, 20);
        let mut packet = VecBuf::new(&answer);
        assert_eq!(testing::out(opener, &mut packet, turn * 1000), Outcome::Added(form), "box B adds to all");
        packets.push(packet);
        kinds.push((kind, form, answer));
    }
    let measured: Vec<_> = packets.iter().map(|p| p.data().to_vec()).collect();
    let before = current.load(Ordering::Acquire);
    let allocated = allocations::count();
    a.inbound(&mut packets, &mut outcomes, &|| turn * 1000);
    assert_eq!(allocations::count(), allocated, "the path allocates nothing");
    let after = current.load(Ordering::Acquire) + 1;
    let expected = |number: u64, (kind, form, _): &(usize, Form, Vec<u8>)| match treatment(number, *kind) {
        None | Some((Mode::Off, _)) => Outcome::Passed(Reason::Off),
        Some((mode, _)) if mode.form() == Some(*form) => Outcome::Removed(*form),
        Some(_) => Outcome::Passed(Reason::OtherForm),
    };
    let agrees = |number: &u64| kinds.iter().zip(&outcomes).all(|(k, outcome)| *outcome == expected(*number, k));
    assert!((before..=after).any(|number| agrees(&number)), "between {before} and {after}: {outcomes:?}");
    let mut removed = 0;
    for (((packet, outcome), (.., answer)), measured) in packets.iter().zip(&outcomes).zip(&kinds).zip(&measured) {
        let gone = matches!(outcome, Outcome::Removed(_));
        assert_eq!(packet.data(), if gone { &answer[..] } else { &measured[..] });
        removed += u64::from(gone);
    }
    removed
}

/// Box B has a worker for each.
const FORMS: [Form; 3] = [Form::Pdm, Form::Clear, Form::Encrypted];

const TABLE: TableSize = TableSize { capacity: 4096, tombstones: 1 << 14 };

/// A box that handles every packet under one form.
fn constant(mode: Mode) -> Side {
    testing::side(testing::config(vec![testing::policy(mode)]), testing::ring(false, 1, 1), TABLE, 2)
}

#[test]
fn every_packet_is_treated_wholly_by_one_of_the_settings_that_replace_one_another() {
    let a = testing::side(settings(0), testing::ring(true, 1, 1), TABLE, 2);
    // In the order of the forms.
    let receivers = [Mode::Pdm, Mode::Clear, Mode::Encrypted].map(constant);
    assert_eq!(FORMS.map(|form| form as usize), [0, 1, 2]);
    let (done, current, seen) = (AtomicBool::new(false), AtomicU64::new(0), Seen::default());
    let mut counted = Counted::default();
    std::thread::scope(|s| {
        let workers: Vec<_> = (0..2)
            .map(|index| {
                let (a, receivers, done, current, seen) = (&a, &receivers, &done, &current, &seen);
                s.spawn(move || work(a, receivers, index, done, current, seen))
            })
            .collect();
        // One that has failed says why itself.
        let failed = || workers.iter().any(std::thread::ScopedJoinHandle::is_finished);
        let mut ager = Ager::new(a.shared.quiescence.clone());
        for number in 1..=REPLACEMENTS {
            // A burst that began under these settings has ended every few of them, however slow the machine.
            let turns = seen.turns.load(Ordering::Acquire);
            while number % 8 == 0 && seen.turns.load(Ordering::Acquire) < turns + 4 && !failed() {
                std::thread::yield_now();
            }
            counted.note(&a);
            a.shared.replace(settings(number));
            current.store(number, Ordering::Release);
            if number % 50 == 0 {
                // Keys come and go independently; flows leave and come back.
                a.cell.publish(testing::ring(true, 1 + (number / 1000) as u32, 1));
                ager.step(&a.shared.table, u64::MAX / 2, a.shared.snapshots.rules().config.timeouts.idle_ns, 256);
            }
        }
        let last = a.cell.load().version;
        while !a.shared.all_have_seen(last) && !failed() {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Release);
    });
    counted.note(&a);
    let (added, removed, settings) = (seen.added.into_inner(), seen.removed.into_inner(), seen.settings.into_inner());
    assert_eq!(counted.total(), (added, removed, 0), "counters by policy add up to the packets");
    assert!(added > 5000 && removed > 1000, "{added} added, {removed} removed");
    assert!(settings > 100, "{settings} changes were seen");
    assert_eq!(a.cell.sweep(), 0, "no old snapshot is left");
}

/// What policies have counted, those that went included: by id, which no other policy gets.
#[derive(Default)]
struct Counted(BTreeMap<u32, (String, Standing)>);

impl Counted {
    fn note(&mut self, side: &Side) {
        for (policy, standing) in side.shared.snapshots.rules().policies() {
            let (name, kept) = self.0.entry(standing.id.0).or_insert_with(|| (policy.name.clone(), standing.clone()));
            assert_eq!(*name, policy.name, "an id stands for one name");
            assert!(Arc::ptr_eq(&kept.counters, &standing.counters), "which has its counters as long as it is there");
            for counters in kept.by_worker() {
                assert!(standing.by_worker().any(|kept| Arc::ptr_eq(kept, counters)), "those of pairs that went too");
            }
            *kept = standing.clone();
        }
    }

    fn total(&self) -> (u64, u64, u64) {
        let all = || self.0.values().flat_map(|(_, standing)| standing.all());
        (all().map(|c| c.added.get()).sum(), all().map(|c| c.accepted.get()).sum(), all().map(|c| c.failed.get()).sum())
    }
}

/// A flow that is sealed, goes in clear, and is sealed again under the same generation: no number comes twice, whatever leaves
/// the table in between.
#[test]
fn a_flow_whose_form_changes_to_and_fro_never_seals_twice_under_one_number() {
    for generation in [1, 5000, 8192] {
        let mode = |mode| testing::config(vec![testing::policy(mode)]);
        let ring = || testing::ring(true, generation, 1);
        let side = testing::side(mode(Mode::Encrypted), ring(), testing::SMALL, 1);
        let mut worker = Worker::new(side.shared.clone(), 0);
        let mut ager = Ager::new(side.shared.quiescence.clone());
        let mut nonces = HashSet::new();
        let frame = testing::frame(1000, 10);
        let mut psntp = None;
        for turn in 0..12 {
            side.shared.replace(mode([Mode::Encrypted, Mode::Clear, Mode::Encrypted, Mode::Pdm][turn % 4]));
            for _ in 0..40 {
                let mut packet = VecBuf::new(&frame);
                let outcome = testing::out(&mut worker, &mut packet, 5);
                let Outcome::Added(form) = outcome else { panic!("generation {generation}, turn {turn}: {outcome:?}") };
                let option = &packet.data()[14 + 40 + form.option_at()..];
                if form == Form::Encrypted {
                    let (prseq, f) = protocol::wire::profile::order_of(option).expect("a whole option");
                    assert!(nonces.insert((prseq, f)), "PRSEQ {prseq} twice under one key, turn {turn}");
                }
                let words =
                    crate::packet::parse::parse(&VecBuf::new(&frame)).expect("a frame").chain.five_tuple.words();
                let flow = side.shared.table.find(side.shared.table.hash(&words), &words).expect("the flow");
                let taken = flow.numbers().taken();
                assert!(psntp.is_none_or(|before| taken == before + 1), "numbers go on: {psntp:?}, {taken}");
                psntp = Some(taken);
            }
            if turn % 3 == 2 {
                ager.step(&side.shared.table, u64::MAX / 2, 1, testing::SMALL.capacity);
                ager.step(&side.shared.table, u64::MAX / 2, 1, 0);
                assert_eq!(side.shared.table.used(), 0);
            }
        }
        assert_eq!(nonces.len(), 6 * 40);
    }
}

/// A policy that stays keeps its start; one that is new begins with the settings that brought it.
#[test]
fn lifetimes_count_from_when_a_policy_came() {
    let lasting = |name: &str, started_ns| {
        let policy = Policy { name: name.into(), lifetime_ns: Some(100), ..testing::policy(Mode::Clear) };
        PathConfig { started_ns, ..testing::config(vec![policy]) }
    };
    let side = testing::side(lasting("a", 1000), testing::ring(true, 1, 1), testing::SMALL, 1);
    let mut worker = Worker::new(side.shared.clone(), 0);
    let mut out = |now| testing::out(&mut worker, &mut VecBuf::new(&testing::frame(1, 10)), now);
    assert_eq!(out(1099), Outcome::Added(Form::Clear));
    side.shared.replace(lasting("a", 1090));
    assert_eq!((out(1099), out(1100)), (Outcome::Added(Form::Clear), Outcome::Passed(Reason::PolicyExpired)));
    side.shared.replace(lasting("b", 1200));
    assert_eq!((out(1299), out(1300)), (Outcome::Added(Form::Clear), Outcome::Passed(Reason::PolicyExpired)));
}

/// A burst of a policy that ends goes the short way before it does, gets no option from then on, and gets it again when the policy
/// is started again: at the very nanosecond.
#[test]
fn a_policy_with_an_end_goes_the_short_way_up_to_it() {
    for mode in [Mode::Encrypted, Mode::Clear, Mode::Pdm] {
        let policy = Policy { lifetime_ns: Some(100), ..testing::policy(mode) };
        let config = PathConfig { started_ns: 1000, ..testing::config(vec![policy]) };
        let side = testing::side(config, testing::ring(true, 1, 1), testing::SMALL, 1);
        let mut worker = Worker::new(side.shared.clone(), 0);
        let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
        let mut added = 0;
        let mut burst = |now: u64| {
            let mut packets: Vec<_> = (0..8).map(|i| VecBuf::new(&testing::frame(1000 + i, 10))).collect();
            let alike = worker.outbound(&mut packets, &mut outcomes, &|| now);
            assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]) && outcomes.len() == 8, "{outcomes:?}");
            added += 8 * u64::from(matches!(outcomes[0], Outcome::Added(_)));
            (outcomes[0], alike)
        };
        let put_in = Outcome::Added(mode.form().expect("a form"));
        let (short, over) = ((put_in, Some(put_in)), (Outcome::Passed(Reason::PolicyExpired), None));
        // Flows are made, or told anew what they need; lanes rest a while after bursts that are not for them.
        let soon_short = |burst: &mut dyn FnMut(u64) -> (Outcome, Option<Outcome>), now| {
            assert!((0..64).any(|_| burst(now) == short), "{mode:?} at {now} goes the long way");
        };
        soon_short(&mut burst, 1001);
        assert_eq!(burst(1099), short, "as fast as before");
        assert_eq!((burst(1100), burst(1101)), (over, over));
        assert!(side.shared.end_policy(&testing::policy(mode).name, Some(1300)));
        soon_short(&mut burst, 1102);
        assert_eq!(burst(1299), short);
        assert_eq!(burst(1300), over);
        assert!(side.shared.end_policy(&testing::policy(mode).name, None) && !side.shared.end_policy("none", None));
        soon_short(&mut burst, 1301);
        assert_eq!(burst(u64::MAX / 2), short);
        assert_eq!(testing::by_policy(&worker, 0, |p| &p.added), added);
    }
}

/// Options that a host puts in by itself are its own as long as the form is that of its policy, and again when it is so again.
#[test]
fn a_host_that_measures_in_one_form_is_not_left_options_of_another() {
    let mode = |mode| testing::config(vec![Policy { inbound: InboundAction::Remove, ..testing::policy(mode) }]);
    let side = testing::side(mode(Mode::Clear), testing::ring(true, 1, 1), testing::SMALL, 1);
    let mut worker = Worker::new(side.shared.clone(), 0);
    let [clear, encrypted] = [Mode::Clear, Mode::Encrypted].map(constant);
    let answer = |side: &Side| {
        let mut packet = VecBuf::new(&frame_between(B, A, 443, 1000, 10));
        let outcome = testing::out(&mut Worker::new(side.shared.clone(), 0), &mut packet, 5);
        assert!(matches!(outcome, Outcome::Added(_)));
        packet
    };
    // The host's own packet, with an option of this form in it.
    let own = {
        let other = testing::side(mode(Mode::Clear), testing::ring(true, 1, 1), testing::SMALL, 1);
        let mut packet = VecBuf::new(&testing::frame(1000, 10));
        testing::out(&mut Worker::new(other.shared, 0), &mut packet, 5);
        packet
    };
    assert_eq!(testing::out(&mut worker, &mut own.clone(), 5), Outcome::Passed(Reason::AlreadyMeasured));
    assert_eq!(testing::back(&mut worker, &mut answer(&clear), 5), Outcome::Passed(Reason::HostsOwn));
    side.shared.replace(mode(Mode::Encrypted));
    assert_eq!(testing::back(&mut worker, &mut answer(&encrypted), 5), Outcome::Removed(Form::Encrypted));
    side.shared.replace(mode(Mode::Clear));
    assert_eq!(testing::back(&mut worker, &mut answer(&clear), 5), Outcome::Passed(Reason::HostsOwn));
}
