//! Tests of what becomes of packets whose option was not accepted.

use crate::observe::counters::Outcome;
use crate::observe::reasons::Reason;
use crate::packet::buffer::{PacketBuf, VecBuf};
use crate::state::policies::{Mode, OnFailure};
use crate::state::worker::Worker;
use crate::testing::{self, B, SMALL, Side, back, frame, frame_between, out};
use protocol::wire::option::Form;

const REMOVED: Outcome = Outcome::Removed(Form::Encrypted);

/// Box B with this rule, and whether it is out of touch with its registrars.
fn box_b(on_failure: OnFailure, out_of_touch: bool) -> Side {
    let rule = crate::state::policies::Policy { on_failure, ..testing::policy(Mode::Encrypted) };
    let ring = crate::state::keyring::KeyRing { out_of_touch, ..testing::ring(false, 1, 1) };
    testing::side(testing::config(vec![rule]), ring, SMALL, 1)
}

/// A frame sealed by box A, or by a stranger, or damaged under way.
fn sealed(a: &mut Worker, original: &[u8]) -> VecBuf {
    let mut packet = VecBuf::new(original);
    assert_eq!(out(a, &mut packet, 5), Outcome::Added(Form::Encrypted));
    packet
}

fn damaged(mut packet: VecBuf) -> VecBuf {
    packet.data_mut()[14 + 40 + 30] ^= 1;
    packet
}

#[test]
fn a_box_out_of_touch_strips_what_it_cannot_open_whatever_the_policy_says() {
    for on_failure in [OnFailure::Drop, OnFailure::Strip, OnFailure::Pass] {
        let b = box_b(on_failure, true);
        let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
        // A process of box A that sealed under a generation which box B was never told of.
        let elsewhere = testing::side(
            testing::config(vec![testing::policy(Mode::Encrypted)]),
            testing::ring(true, 99, 1),
            SMALL,
            1,
        );
        let mut elsewhere = Worker::new(elsewhere.shared, 0);
        let original = frame(1000, 10);
        for known_flow in [false, true] {
            if known_flow {
                assert_eq!(back(&mut b, &mut sealed(&mut a, &original), 1), REMOVED, "what it can open it opens");
            }
            let mut packet = sealed(&mut elsewhere, &original);
            assert_eq!(back(&mut b, &mut packet, 1), Outcome::Stripped(Reason::OutOfTouch), "{on_failure:?}");
            assert_eq!(packet.data(), &original[..]);
        }
        // A box that has come since, of which it does not know either.
        let mut packet = sealed(&mut a, &original);
        packet.data_mut()[14 + 8..14 + 24].copy_from_slice(&[0x20; 16]);
        assert_eq!(back(&mut b, &mut packet, 1), Outcome::Stripped(Reason::OutOfTouch), "{on_failure:?}");
        assert_eq!(packet.frame_len(), original.len());
        assert_eq!(testing::by_policy(&b, 0, |p| &p.failed), 3);
    }
}

#[test]
fn a_box_out_of_touch_has_no_trials_left_at_some_time_and_strips_on() {
    let b = box_b(OnFailure::Drop, true);
    let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
    let packet = damaged(sealed(&mut a, &frame(1000, 10)));
    for _ in 0..30_000 {
        assert_eq!(back(&mut b, &mut packet.clone(), 1), Outcome::Stripped(Reason::OutOfTouch));
    }
}

#[test]
fn a_box_out_of_touch_still_tells_replays() {
    for (on_failure, expected) in [
        (OnFailure::Drop, Outcome::Dropped(Reason::Replayed)),
        (OnFailure::Strip, Outcome::Stripped(Reason::Replayed)),
        (OnFailure::Pass, Outcome::Passed(Reason::Replayed)),
    ] {
        let b = box_b(on_failure, true);
        let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
        let packet = sealed(&mut a, &frame(1000, 10));
        assert_eq!(back(&mut b, &mut packet.clone(), 1), REMOVED);
        assert_eq!(back(&mut b, &mut packet.clone(), 1), expected);
    }
}

#[test]
fn a_box_out_of_touch_without_any_key_strips() {
    let b = box_b(OnFailure::Drop, true);
    let none = crate::state::keyring::KeyRing { out_of_touch: true, ..crate::state::keyring::KeyRing::default() };
    let cell = b.cell;
    cell.publish(none);
    let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
    let original = frame(1000, 10);
    let mut packet = sealed(&mut a, &original);
    assert_eq!(back(&mut b, &mut packet, 1), Outcome::Stripped(Reason::OutOfTouch));
    assert_eq!(packet.data(), &original[..]);
    let answer = frame_between(B, testing::A, 443, 1000, 10);
    let mut packet = VecBuf::new(&answer);
    assert_eq!(out(&mut b, &mut packet, 1), Outcome::Passed(Reason::NoKey));
    assert_eq!(packet.data(), &answer[..]);
}

/// In touch nothing of this holds: a policy that drops what does not verify does so.
#[test]
fn a_box_in_touch_follows_its_policy() {
    let b = box_b(OnFailure::Drop, false);
    let (mut a, mut b) = (testing::worker(testing::shared(1), 0), Worker::new(b.shared, 0));
    let packet = sealed(&mut a, &frame(1000, 10));
    assert_eq!(back(&mut b, &mut damaged(packet.clone()), 1), Outcome::Dropped(Reason::BadTag));
    assert_eq!(back(&mut b, &mut packet.clone(), 1), REMOVED);
}
