//! One flow's record.

use super::*;
use protocol::receiver::Verdict;

#[test]
fn what_a_flow_was_told_holds_until_snapshot_or_paths_change_or_a_policy_ends() {
    let (flow, mut naming) = (Flow::default(), Naming::default());
    for (version, paths, ended, limit) in
        [(0, 0, 0, 1400), (1, 0, 0, 1360), (1, 1, 0, 0), (2, 1, 0, u16::MAX), (2, 1, 1, 4), (3, 0, 0, 9)]
    {
        let name = naming.of(version, paths, ended);
        assert_eq!(flow.vouched(name), None);
        let told = Vouched { policy: 7, limit };
        flow.vouch(name, told);
        assert_eq!(flow.vouched(naming.of(version, paths, ended)), Some(told));
    }
    let name = naming.of(3, 0, 0);
    flow.give(5);
    assert_eq!((flow.owner(), flow.vouched(name)), (5, None), "another worker has names of its own");
}

#[test]
fn a_key_goes_with_its_numbers() {
    let (front, back) = (Flow::default(), FlowBack::default());
    let flow = WholeFlow { front: &front, back: &back };
    let keyed = || front.held.load(Ordering::Relaxed) & UNKEYED == 0;
    let numbers = Numbers { index: 32_766, ..Numbers::start(3, 9) };
    flow.begin(2, numbers);
    assert!(!keyed() && flow.owner() == 2 && flow.numbers() == numbers);
    let (id, mut state) = (SecretId::new(0, 3), KeyState::ZERO);
    let key = ReadyKey { state: KeyState::from_words([5; 8]), base_nonce: [1; 12] };
    flow.set_key(id, 0, &key, [8, 9], Some(Form::Encrypted));
    assert!(keyed());
    let found = flow.key(id, 0, &mut state).expect("there");
    assert_eq!((found.base_nonce(), found.extra, state.to_words()), ([1; 12], [8, 9], [5; 8]));
    assert!(flow.key(id, 1, &mut state).is_none() && flow.key(SecretId::new(0, 4), 0, &mut state).is_none());
    // A worker whose ring is older comes with its secret's name, which is that of the key that is there.
    let newer = Numbers { generation: 4, ..numbers };
    flow.set_numbers(newer);
    flow.use_in_lanes(Some((Form::Encrypted, id)));
    assert!(!keyed());
    flow.set_numbers(numbers);
    flow.use_in_lanes(Some((Form::Encrypted, id)));
    assert!(keyed());
    // The last of this Kri, then the first of the next one, whose key is another.
    assert_eq!(flow.take(Some(3)).map(|n| (n.kri, n.index)), Ok((0, 32_766)));
    assert!(keyed());
    assert_eq!(flow.take(Some(3)).map(|n| (n.kri, n.index)), Ok((1, 0)));
    assert!(!keyed());
    flow.set_key(id, 1, &key, [8, 9], Some(Form::Encrypted));
    assert!(keyed() && front.held.load(Ordering::Relaxed) & F != 0);
    let sealed = |id| Some((Form::Encrypted, id));
    for (lanes, expected) in [
        (sealed(id), true),
        (None, false),
        (sealed(id), true),
        (sealed(SecretId::new(0, 4)), false),
        (sealed(SecretId::new(1, 3)), false),
        (Some((Form::Clear, id)), true),
        // PDM needs no key.
        (Some((Form::Pdm, SecretId::new(9, 4))), true),
    ] {
        flow.use_in_lanes(lanes);
        assert_eq!(keyed(), expected, "{lanes:?}");
        let clear = matches!(lanes, Some((Form::Clear, _)));
        let flags = front.held.load(Ordering::Relaxed) & (CLEAR | PDM);
        let pdm = matches!(lanes, Some((Form::Pdm, _)));
        assert_eq!((flags == CLEAR, flags == PDM), (clear, pdm), "{lanes:?}");
    }
    flow.set_key(SecretId::new(9, 3), 1, &key, [8, 9], None);
    assert!(!keyed(), "an order without a key");
    assert_eq!(flow.take(Some(2)), Err(NoNumber::NewerGeneration));
    assert_eq!(flow.given(Some(3)).and_then(|g| g.number(10, 9)).map(Number::n), Some(32_767));
    flow.clear();
    assert!(flow.key(id, 1, &mut state).is_none() && front.key_is_gone());
}

impl Flow {
    fn key_is_gone(&self) -> bool {
        let mut state = KeyState::from_words([1; 8]);
        self.key.load(&mut state);
        state.to_words() == [0; 8]
    }
}

#[test]
fn idle_counts_packets_of_both_directions() {
    let (front, back) = (Flow::default(), FlowBack::default());
    let flow = WholeFlow { front: &front, back: &back };
    back.prepare(&FiveTuple::default(), 0, 1000);
    assert_eq!(flow.idle(3000), 2000);
    front.seen(10 * SEEN_GRAIN + 5);
    assert_eq!(flow.idle(11 * SEEN_GRAIN), SEEN_GRAIN);
    back.seen(11 * SEEN_GRAIN + 7);
    assert_eq!(flow.idle(12 * SEEN_GRAIN), SEEN_GRAIN - 7);
}

#[test]
fn gaps_and_late_packets_in_clear() {
    let flow = FlowBack::default();
    let fresh = |skipped, late, found| Verdict::Fresh { skipped, late, found };
    let next = fresh(0, false, false);
    let steps = [
        (65534, next),
        (65533, fresh(0, true, false)),
        (65533, Verdict::Replayed),
        (65535, next),
        (2, fresh(2, false, false)),
        (1, fresh(0, true, true)),
        (1, Verdict::Replayed),
        (3, next),
        (3, Verdict::Replayed),
        (65535, Verdict::Replayed),
        (103, fresh(99, false, false)),
        (63, fresh(0, true, true)),
        (63, Verdict::Replayed),
        (62, fresh(0, true, false)),
        (40_000, next),
        (40_001, next),
        (39_999, fresh(0, true, false)),
        (39_002, fresh(0, true, false)),
    ];
    for (psntp, expected) in steps {
        assert_eq!(flow.follow_clear(psntp), expected, "{psntp}");
    }
}

#[test]
fn a_record_that_is_used_again_is_nobodys_and_remembers_nobody() {
    let (front, back) = (Flow::default(), FlowBack::default());
    let flow = WholeFlow { front: &front, back: &back };
    flow.begin(3, Numbers::start(1, 1));
    flow.set_taken_over(9);
    assert_eq!((flow.owner(), flow.taken_over()), (3, 9));
    assert_ne!(front.held.load(Ordering::Relaxed) & NOTED, 0, "the slow way is to see its next packet");
    flow.set_taken_over(0);
    assert_eq!(front.held.load(Ordering::Relaxed) & NOTED, 0);
    flow.give(7);
    flow.set_taken_over(9);
    assert_eq!((flow.owner(), flow.taken_over()), (7, 9));
    flow.clear();
    assert_eq!((flow.owner(), flow.taken_over()), (0, 0));
}
