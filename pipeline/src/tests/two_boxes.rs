//! Tests of the path as a whole: what box A seals, box B opens.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::ports::BURST;
use crate::state::policies::{InboundAction, Mode, OnFailure, Policy};
use crate::state::resync::Resync;
use crate::state::snapshot::Snapshot;
use crate::state::worker::Worker;
use crate::testing::{self, SMALL, Side, back, frame, frame_between, out};
use arrayvec::ArrayVec;
use proptest::prelude::*;
use protocol::generation_keys::{ClientSecrets, GenerationKeys};
use protocol::sender::PACKETS_PER_KRI;
use protocol::wire::option::Form;
use std::sync::Arc;

fn boxes(mode: Mode) -> (Side, Side) {
    let config = || testing::config(vec![testing::policy(mode)]);
    (
        testing::side(config(), testing::ring(true, 1, 1), SMALL, 1),
        testing::side(config(), testing::ring(false, 1, 1), SMALL, 1),
    )
}

const REMOVED: Outcome = Outcome::Removed(Form::Encrypted);
const ADDED: Outcome = Outcome::Added(Form::Encrypted);

/// Seals `count` packets of one flow in bursts, giving each to `each`.
fn seal_many(worker: &mut Worker, count: u64, mut each: impl FnMut(u64, &mut [VecBuf])) {
    let f = frame(1000, 10);
    let mut done = 0;
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    while done < count {
        let n = (count - done).min(BURST as u64) as usize;
        let mut burst: Vec<_> = (0..n).map(|_| VecBuf::new(&f)).collect();
        worker.outbound(&mut burst, &mut outcomes, &|| 1_000_000 + done);
        assert!(outcomes.iter().all(|&o| o == ADDED), "{outcomes:?}");
        each(done, &mut burst);
        done += n as u64;
    }
}

#[test]
fn every_form_goes_in_and_out_again() {
    for (mode, form) in [(Mode::Pdm, Form::Pdm), (Mode::Clear, Form::Clear), (Mode::Encrypted, Form::Encrypted)] {
        let (a, b) = boxes(mode);
        let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
        let mut tagged = frame(1, 30);
        tagged.splice(12..12, [0x88, 0xA8, 0, 7, 0x81, 0, 0, 5]);
        for original in [frame(1, 30), frame(2, 0), frame(3, 1400), tagged] {
            let mut packet = VecBuf::new(&original);
            assert_eq!(out(&mut a, &mut packet, 5), Outcome::Added(form));
            assert_eq!(packet.frame_len(), original.len() + form.header_len());
            assert_eq!(back(&mut b, &mut packet, 9), Outcome::Removed(form));
            assert_eq!(packet.data(), &original[..]);
        }
    }
}

#[test]
fn rotations_lose_nothing() {
    let (a, b) = boxes(Mode::Encrypted);
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    seal_many(&mut a, 3 * PACKETS_PER_KRI + 100, |_, burst| {
        b.inbound(burst, &mut outcomes, &|| 1);
        assert!(outcomes.iter().all(|&o| o == REMOVED), "{outcomes:?}");
    });
    assert_eq!((a.counters.rotations_sealed.get(), b.counters.rotations.get()), (3, 3));
    assert_eq!((b.counters.skipped.get(), b.counters.reordered.get()), (0, 0));
}

/// Packets of one flow that follow one another share a key within a burst: never another flow's, also where it changes.
#[test]
fn runs_of_several_flows_open_over_their_rotations() {
    let (a, b) = boxes(Mode::Encrypted);
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
    let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
    let (mut x, mut flow, mut packets) = (0x5EED_u64, 0, 0);
    while a.counters.rotations_sealed.get() < 6 {
        let mut burst: Vec<_> = (0..BURST)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                if x.is_multiple_of(4) {
                    flow = x >> 8 & 3;
                }
                VecBuf::new(&frame(1000 + flow as u16, 10))
            })
            .collect();
        a.outbound(&mut burst, &mut outcomes, &|| packets);
        assert!(outcomes.iter().all(|&o| o == ADDED), "{outcomes:?}");
        b.inbound(&mut burst, &mut outcomes, &|| packets);
        assert!(outcomes.iter().all(|&o| o == REMOVED), "{outcomes:?}");
        packets += BURST as u64;
    }
    assert_eq!(b.counters.skipped.get() + b.counters.reordered.get() + b.counters.trials.get(), 0);
}

#[test]
fn packets_that_come_late_around_a_rotation_are_taken() {
    let (a, b) = boxes(Mode::Encrypted);
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
    let mut kept = Vec::new();
    seal_many(&mut a, PACKETS_PER_KRI + 64, |_, burst| kept.extend(burst.iter().cloned()));
    let edge = PACKETS_PER_KRI as usize;
    for i in [0, edge - 40, edge + 30, edge - 1, edge + 1, edge - 20, edge, edge + 63, edge - 3] {
        assert_eq!(back(&mut b, &mut kept[i].clone(), 1), REMOVED, "packet {i}");
        assert_eq!(back(&mut b, &mut kept[i].clone(), 1), Outcome::Dropped(Reason::Replayed), "packet {i}");
    }
}

#[test]
fn lost_rotations_are_caught_up_with() {
    for lost in [1u64, 2, 5, 8] {
        let (a, b) = boxes(Mode::Encrypted);
        let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
        let resume = 100 + lost * PACKETS_PER_KRI;
        let mut refused = 0;
        seal_many(&mut a, resume + 640, |n, burst| {
            if n < 64 || n > resume {
                refused += burst.iter_mut().map(|p| back(&mut b, p, 1)).filter(|&o| o != REMOVED).count();
            }
        });
        assert_eq!(refused, 0, "{lost} rotations lost");
    }
}

#[test]
fn a_restarted_receiver_finds_a_long_flow_again() {
    let (a, b) = boxes(Mode::Encrypted);
    let shared = b.shared;
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(shared.clone(), 0));
    let mut resync = Resync::default();
    let (mut accepted, mut refused) = (0, 0);
    seal_many(&mut a, 21 * PACKETS_PER_KRI, |n, burst| {
        if n > 20 * PACKETS_PER_KRI {
            for p in burst {
                if back(&mut b, p, 1) == REMOVED { accepted += 1 } else { refused += 1 }
            }
            resync.step(&shared, &shared.snapshots.load(), 1, 2000);
        }
    });
    assert!(refused <= BURST && accepted > 32_000, "{accepted} accepted, {refused} refused");
    assert_eq!(resync.found, 1);
}

#[test]
fn replays_and_every_flipped_bit_are_refused() {
    let (a, b) = boxes(Mode::Encrypted);
    let (mut a, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
    let mut first = VecBuf::new(&frame(1000, 10));
    assert_eq!(out(&mut a, &mut first, 5), ADDED);
    let mut packet = VecBuf::new(&frame(1000, 10));
    assert_eq!(out(&mut a, &mut packet, 6), ADDED);
    assert_eq!(back(&mut b, &mut first.clone(), 1), REMOVED);
    assert_eq!(back(&mut b, &mut first, 1), Outcome::Dropped(Reason::Replayed));
    // Ethernet 14, IPv6 40, header 2, PadN 2, then the option's 36 octets, the first two of which say what it is.
    let option = 14 + 40 + 4;
    for octet in option + 2..option + 36 {
        for bit in 0..8 {
            let mut damaged = packet.clone();
            damaged.data_mut()[octet] ^= 1 << bit;
            let outcome = back(&mut b, &mut damaged, 1);
            // The version is part of what makes it an option of ours at all.
            let version = octet == option + 2 && bit >= 4;
            let expected =
                if version { Outcome::Passed(Reason::MalformedOption) } else { Outcome::Dropped(Reason::BadTag) };
            assert_eq!(outcome, expected, "octet {octet} bit {bit}");
        }
    }
    for octet in (14 + 8..14 + 40).chain([14 + 80, 14 + 81, 14 + 82, 14 + 83]) {
        let mut damaged = packet.clone();
        damaged.data_mut()[octet] ^= 1;
        assert!(
            matches!(back(&mut b, &mut damaged, 1), Outcome::Dropped(Reason::BadTag | Reason::UnknownPeer)),
            "octet {octet}"
        );
    }
    assert_eq!(back(&mut b, &mut packet, 1), REMOVED, "the packet itself is still good");
}

#[test]
fn what_becomes_of_failures_is_the_policys_choice() {
    for (on_failure, kept) in [(OnFailure::Pass, 40), (OnFailure::Strip, 0)] {
        let rule = crate::state::policies::Policy { on_failure, ..testing::policy(Mode::Encrypted) };
        let b = testing::side(testing::config(vec![rule]), testing::ring(false, 1, 1), SMALL, 1);
        let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
        let original = frame(1000, 10);
        let mut packet = VecBuf::new(&original);
        assert_eq!(out(&mut a, &mut packet, 5), ADDED);
        packet.data_mut()[14 + 40 + 30] ^= 1;
        let expected = if kept > 0 { Outcome::Passed(Reason::BadTag) } else { Outcome::Stripped(Reason::BadTag) };
        assert_eq!(back(&mut b, &mut packet, 1), expected);
        assert_eq!(packet.frame_len(), original.len() + kept);
    }
}

#[test]
fn verify_leaves_the_option_and_pass_does_not_look() {
    for (inbound, expected) in [
        (InboundAction::Verify, Outcome::Verified(Form::Encrypted)),
        (InboundAction::Pass, Outcome::Passed(Reason::PolicyPass)),
    ] {
        let rule = crate::state::policies::Policy { inbound, ..testing::policy(Mode::Encrypted) };
        let b = testing::side(testing::config(vec![rule]), testing::ring(false, 1, 1), SMALL, 1);
        let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
        let mut packet = VecBuf::new(&frame(1000, 10));
        assert_eq!(out(&mut a, &mut packet, 5), ADDED);
        let sealed = packet.clone();
        assert_eq!(back(&mut b, &mut packet, 1), expected);
        assert_eq!(packet.data(), sealed.data());
    }
}

#[test]
fn without_keys_packets_pass_as_they_came() {
    let ring = crate::state::keyring::KeyRing::default();
    let side = testing::side(testing::config(vec![testing::policy(Mode::Encrypted)]), ring, SMALL, 1);
    let (mut a, mut none) = (testing::worker(testing::shared(1), 0), Worker::new(side.shared, 0));
    let original = frame(1000, 10);
    let mut packet = VecBuf::new(&original);
    assert_eq!(out(&mut none, &mut packet, 5), Outcome::Passed(Reason::NoKey));
    assert_eq!(packet.data(), &original[..]);
    assert_eq!(out(&mut a, &mut packet, 5), ADDED);
    let sealed = packet.clone();
    assert_eq!(back(&mut none, &mut packet, 1), Outcome::Passed(Reason::NoKey));
    assert_eq!(packet.data(), sealed.data());
}

/// A ring in which a flow's key is missing though its version says that it had been asked for one: choosing takes the
/// packet, and the key is found missing when its option is being filled in.
#[test]
fn a_packet_whose_key_is_missing_after_all_passes_as_it_came() {
    let clear = Policy { ports: vec![(2000, 2000)], ..testing::policy(Mode::Clear) };
    let config = testing::config(vec![clear, testing::policy(Mode::Encrypted)]);
    let side = testing::side(config, testing::ring(true, 1, 1), SMALL, 1);
    let mut a = Worker::new(side.shared, 0);
    let originals = [frame(1000, 10), frame(2000, 10), frame(1001, 10)];
    let burst = || originals.each_ref().map(|f| VecBuf::new(f));
    let mut outcomes = ArrayVec::new();
    a.outbound(&mut burst(), &mut outcomes, &|| 5);
    assert_eq!(outcomes[..], [ADDED, Outcome::Added(Form::Clear), ADDED]);

    let mut without = testing::ring(true, 2, 1);
    if let Some(sealer) = &mut without.sealer {
        let secrets = Arc::new(ClientSecrets::new(sealer.keys.suite(), []));
        sealer.keys = GenerationKeys::Clients { secrets, sealer_is_client: true };
    }
    let now = side.cell.load();
    side.cell.store_unannounced(Snapshot {
        version: now.version,
        ring_since: now.ring_since,
        ring: Arc::new(without),
        rules: Arc::clone(&now.rules),
    });
    let mut packets = burst();
    a.outbound(&mut packets, &mut outcomes, &|| 6);
    let passed = Outcome::Passed(Reason::NoKey);
    assert_eq!(outcomes[..], [passed, Outcome::Added(Form::Clear), passed]);
    assert_eq!(packets[0].data(), &originals[0][..]);
    assert_eq!(packets[1].frame_len(), originals[1].len() + Form::Clear.header_len());
    assert_eq!(packets[2].data(), &originals[2][..]);
    let b = boxes(Mode::Clear).1;
    assert_eq!(back(&mut Worker::new(b.shared, 0), &mut packets[1], 9), Outcome::Removed(Form::Clear));
    assert_eq!(packets[1].data(), &originals[1][..]);
}

#[test]
fn a_restarted_sender_is_followed_and_its_old_generation_left() {
    let (a, b) = boxes(Mode::Encrypted);
    let config = || testing::config(vec![testing::policy(Mode::Encrypted)]);
    let (mut a1, mut b) = (Worker::new(a.shared, 0), Worker::new(b.shared, 0));
    let a2 = testing::side(config(), testing::ring(true, 2, 1), SMALL, 1);
    let a9 = testing::side(config(), testing::ring(true, 9, 1), SMALL, 1);
    let (mut a2, mut a9) = (Worker::new(a2.shared, 0), Worker::new(a9.shared, 0));
    let mut send = |from: &mut Worker| {
        let mut packet = VecBuf::new(&frame(1000, 10));
        assert_eq!(out(from, &mut packet, 5), ADDED);
        back(&mut b, &mut packet, 1)
    };
    assert_eq!(send(&mut a1), REMOVED);
    assert_eq!(send(&mut a2), REMOVED, "the next generation is tried");
    assert_eq!(send(&mut a1), REMOVED, "packets under way from before are still taken");
    assert_eq!(send(&mut a9), REMOVED, "several restarts without traffic");
    assert_eq!(send(&mut a1), Outcome::Dropped(Reason::BadTag), "never back by more than one");
    assert_eq!(send(&mut a2), Outcome::Dropped(Reason::BadTag));
    assert_eq!(send(&mut a9), REMOVED);
}

/// Numbers of generations that a registrar handed out need not follow one another: a receiver goes back to the one in use
/// before, by its place, and no further.
#[test]
fn a_receiver_goes_back_to_the_generation_in_use_before() {
    let config = || testing::config(vec![testing::policy(Mode::Encrypted)]);
    let mut ring = testing::ring(false, 1, 1);
    ring.peers[0].generations.retain(|(g, _)| [1, 5, 9].contains(g));
    let b = testing::side(config(), ring, SMALL, 1);
    let mut b = Worker::new(b.shared, 0);
    let a = |g| Worker::new(testing::side(config(), testing::ring(true, g, 1), SMALL, 1).shared, 0);
    let (mut a1, mut a5, mut a9) = (a(1), a(5), a(9));
    let mut port = 1000;
    // Another flow each time: nothing but the peer's generations says what to try.
    let mut send = |from: &mut Worker| {
        port += 1;
        let mut packet = VecBuf::new(&frame(port, 10));
        assert_eq!(out(from, &mut packet, 5), ADDED);
        back(&mut b, &mut packet, 1)
    };
    assert_eq!((send(&mut a1), send(&mut a5)), (REMOVED, REMOVED));
    assert_eq!(send(&mut a1), REMOVED, "the one in use before");
    assert_eq!((send(&mut a9), send(&mut a5)), (REMOVED, REMOVED));
    assert_eq!(send(&mut a1), Outcome::Dropped(Reason::BadTag), "two places back");
}

#[test]
fn sources_of_others_are_not_sealed_and_strangers_not_opened() {
    let mut a = testing::worker(testing::shared(1), 0);
    let stranger = [0x20; 16];
    let mut packet = VecBuf::new(&frame_between(stranger, testing::B, 1, 2, 10));
    assert_eq!(out(&mut a, &mut packet, 5), Outcome::Passed(Reason::SourceNotOurs));
    let mut sealed = VecBuf::new(&frame(1, 10));
    assert_eq!(out(&mut a, &mut sealed, 5), ADDED);
    assert_eq!(back(&mut a, &mut sealed, 5), Outcome::Dropped(Reason::UnknownPeer), "our own packet, sent back to us");
}

#[test]
fn a_full_table_only_costs_measuring() {
    let size = crate::flow::table::TableSize { capacity: 8, tombstones: 8 };
    let config = testing::config(vec![testing::policy(Mode::Encrypted)]);
    let small = testing::side(config, testing::ring(false, 1, 1), size, 1);
    let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(small.shared, 0));
    let (mut full, mut removed) = (0, 0);
    for i in 0..50 {
        let original = frame_between(testing::B, testing::A, i, 443, 10);
        let mut packet = VecBuf::new(&original);
        match out(&mut b, &mut packet, 5) {
            Outcome::Passed(Reason::TableFull) => {
                full += 1;
                assert_eq!(packet.data(), &original[..]);
            }
            outcome => assert_eq!(outcome, ADDED),
        }
        let mut packet = VecBuf::new(&frame(1000 + i, 10));
        assert_eq!(out(&mut a, &mut packet, 5), ADDED);
        removed += u32::from(back(&mut b, &mut packet, 1) == REMOVED);
    }
    assert_eq!((full, removed), (46, 50), "genuine packets are let in without a record");
    assert_eq!((b.counters.unrecorded.get(), b.counters.flows_inserted.get()), (46, 8));
}

#[test]
fn spoofed_packets_make_no_state_and_cost_a_bounded_number_of_openings() {
    let (_, b) = boxes(Mode::Encrypted);
    let shared = b.shared;
    let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(shared.clone(), 0));
    let flood = 20_000u64;
    for i in 0..flood {
        let mut packet = VecBuf::new(&frame(i as u16, 10));
        assert_eq!(out(&mut a, &mut packet, 5), if i < 1024 { ADDED } else { Outcome::Passed(Reason::TableFull) });
        if i < 1024 {
            packet.data_mut()[14 + 40 + 30] ^= 1;
            for _ in 0..20 {
                let outcome = back(&mut b, &mut packet.clone(), 1);
                assert!(matches!(outcome, Outcome::Dropped(Reason::BadTag | Reason::NoTrialsLeft)), "{outcome:?}");
            }
        }
    }
    assert_eq!(shared.table.used(), 0);
    assert!(b.counters.trials.get() <= 20_000, "{} trials in no time at all", b.counters.trials.get());
}

#[test]
fn delays_are_measured() {
    let (a, b) = boxes(Mode::Encrypted);
    let (a_shared, b_shared) = (a.shared, b.shared);
    let (mut a, mut b) = (Worker::new(a_shared, 0), Worker::new(b_shared, 0));
    // A sends at 1 ms, B receives at 3 ms (its own clock), B answers at 10 ms, A receives 4 ms after its sending + 7 ms.
    const MS: u64 = 1_000_000;
    let (mut there, mut answer) =
        (VecBuf::new(&frame(1000, 10)), VecBuf::new(&frame_between(testing::B, testing::A, 443, 1000, 10)));
    assert_eq!(out(&mut a, &mut there, MS), ADDED);
    assert_eq!(back(&mut b, &mut there, 3 * MS), REMOVED);
    assert_eq!(out(&mut b, &mut answer, 10 * MS), ADDED);
    assert_eq!(back(&mut a, &mut answer, 12 * MS), REMOVED);
    let total = |h: &crate::observe::histogram::Histogram| {
        let mut buckets = vec![0; crate::observe::histogram::BUCKETS];
        (h.merge_into(&mut buckets), buckets.iter().sum::<u64>())
    };
    let (rtt, server) = (total(&a.counters.round_trip), total(&a.counters.server_delay));
    assert_eq!((rtt.1, server.1), (1, 1));
    // 11 ms less 7 ms; 16 significant bits of the delta time are exact to 2^-15.
    assert!(rtt.0.abs_diff(4 * MS) < 1000 && server.0.abs_diff(7 * MS) < 1000, "{rtt:?} {server:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_frame_goes_through_either_way(mut f in prop::collection::vec(any::<u8>(), 0..200), ip: bool, dest: bool) {
        if ip && f.len() > 60 {
            f[12..14].copy_from_slice(&[0x86, 0xDD]);
            f[14] = 0x60;
            let len = (f.len() - 54) as u16;
            f[18..20].copy_from_slice(&len.to_be_bytes());
            if dest {
                f[20] = 60;
                f[55] %= 6;
            }
        }
        for mode in [Mode::Encrypted, Mode::Clear, Mode::Pdm] {
            let mut a = testing::worker(testing::side(testing::config(vec![testing::policy(mode)]), testing::ring(true, 1, 1), SMALL, 1).shared, 0);
            let mut packet = VecBuf::new(&f);
            if matches!(out(&mut a, &mut packet, 1), Outcome::Passed(_)) {
                prop_assert_eq!(packet.data(), &f[..]);
            }
            let mut packet = VecBuf::new(&f);
            if matches!(back(&mut a, &mut packet, 1), Outcome::Passed(_)) {
                prop_assert_eq!(packet.data(), &f[..]);
            }
        }
    }
}
