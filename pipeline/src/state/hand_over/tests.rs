use super::*;

type Burst<P> = ArrayVec<P, BURST>;

fn pair() -> [HandOver<u32>; 2] {
    HandOver::among(2).try_into().expect("two sides")
}

/// Everything that may be taken now.
fn take_all(side: &mut HandOver<u32>) -> Vec<u32> {
    let mut all = Vec::new();
    loop {
        let mut burst = Burst::new();
        if side.take(&mut burst, BURST).is_none() {
            return all;
        }
        all.extend(burst);
    }
}

#[test]
fn a_burst_is_seen_when_it_is_announced_and_comes_in_order() {
    let [mut a, mut b] = pair();
    for round in 0..100 {
        let burst: Vec<u32> = (0..7).map(|i| round * 7 + i).collect();
        assert!(burst.iter().all(|&p| a.hand(1, p).is_ok()));
        assert!(take_all(&mut b).is_empty());
        a.announce();
        assert_eq!(take_all(&mut b), burst);
    }
    assert!(take_all(&mut a).is_empty(), "nothing comes the other way");
}

/// Else a packet behind it could come before it.
#[test]
fn what_follows_a_packet_that_had_no_room_stays_too_until_the_next_burst() {
    let [mut a, mut b] = pair();
    let room = capacity(2) as u32;
    assert!((0..room).all(|p| a.hand(1, p).is_ok()));
    assert_eq!(a.hand(1, room), Err(room));
    a.announce();
    assert_eq!(a.hand(1, room), Err(room), "still full");
    let mut burst = Burst::new();
    assert_eq!((b.take(&mut burst, 5), burst.len()), (Some(0), 5));
    assert_eq!(a.hand(1, room + 1), Err(room + 1), "there is room, but not behind the one before");
    a.announce();
    assert!((0..5).all(|p| a.hand(1, p).is_ok()));
    assert!(a.hand(1, 5).is_err());
    a.announce();
    assert_eq!(take_all(&mut b), (5..room).chain(0..5).collect::<Vec<_>>());
}

#[test]
fn rings_hold_a_burst_at_least_and_all_together_what_is_said() {
    assert_eq!([0, 1, 2, 3, 5, 9, 64].map(held), [0, 0, 512, 768, 1280, 2304, 64 * 63 * 32]);
    for workers in [2, 3, 9, 20] {
        let mut sides = HandOver::<u32>::among(workers);
        let mut all = 0;
        for (me, side) in sides.iter_mut().enumerate() {
            assert_eq!(side.others(), workers - 1);
            for to in (0..workers as u16).filter(|&to| usize::from(to) != me) {
                let fits = (0..).take_while(|&p| side.hand(to, p).is_ok()).count();
                assert!(fits >= BURST);
                all += fits;
            }
            assert!(side.hand(me as u16, 0).is_err() && side.hand(workers as u16, 0).is_err());
        }
        assert_eq!(all, held(workers));
    }
    assert!(HandOver::alone().hand(0, 1).is_err());
}

#[test]
fn others_take_turns() {
    let mut sides = HandOver::<u32>::among(4);
    for from in [0, 1, 3] {
        (0..3).for_each(|p| sides[from].hand(2, p).expect("room"));
        sides[from].announce();
    }
    let mut order = Vec::new();
    for _ in 0..9 {
        let mut burst = Burst::new();
        order.push(sides[2].take(&mut burst, 1));
        assert_eq!(burst.len(), 1);
    }
    assert_eq!(order, [0, 1, 3, 0, 1, 3, 0, 1, 3].map(Some));
    assert_eq!(sides[2].take(&mut Burst::new(), 1), None);
}

/// What the giver had put in, but not announced, when the taker left.
#[test]
fn a_ring_that_one_has_left_is_the_others() {
    let [mut a, mut b] = pair();
    (0..3).for_each(|p| a.hand(1, p).expect("room"));
    let mut end = b.from.pop().expect("a ring");
    assert!(end.waiting() == 0 && !end.leave(), "the other is there");
    assert_eq!(a.hand(1, 3), Err(3), "nobody to take it");
    a.announce();
    let mut ring = a.to.pop().flatten().expect("a ring");
    let mut back = Burst::new();
    assert!(ring.leave());
    ring.take_back(&mut back);
    assert_eq!(back[..], [0, 1, 2]);

    let [mut a, mut b] = pair();
    (0..3).for_each(|p| a.hand(1, p).expect("room"));
    assert!(!a.to.pop().flatten().expect("a ring").leave(), "the other is there; what was put in is announced");
    let mut end = b.from.pop().expect("a ring");
    assert!(end.leave());
    let mut rest = Burst::new();
    end.take(&mut rest, end.waiting());
    assert_eq!(rest[..], [0, 1, 2]);
}

/// A worker that panics drops its side.
#[test]
fn a_side_that_is_dropped_has_left_and_nothing_leaks() {
    let packet = Arc::new(());
    let mut sides = HandOver::among(3);
    for (from, side) in sides.iter_mut().enumerate() {
        for to in (0..3u16).filter(|&to| usize::from(to) != from) {
            side.hand(to, Arc::clone(&packet)).expect("room");
        }
        side.announce();
    }
    drop(sides.remove(0));
    assert!(sides[0].hand(0, Arc::clone(&packet)).is_err() && sides[0].hand(2, Arc::clone(&packet)).is_ok());
    assert_eq!(Arc::strong_count(&packet), 8);
    drop(sides);
    assert_eq!(Arc::strong_count(&packet), 1);
}

#[test]
fn two_threads_lose_nothing_and_keep_the_order() {
    const PACKETS: u32 = 100_000;
    let [mut a, mut b] = pair();
    let giver = std::thread::spawn(move || {
        let mut refused = 0;
        for packet in 0..PACKETS {
            refused += u32::from(a.hand(1, packet).is_err());
            if packet % 11 == 10 {
                a.announce();
                if refused > 0 {
                    std::thread::yield_now();
                }
            }
        }
        let mut ring = a.to.pop().flatten().expect("a ring");
        assert!(!ring.leave(), "the other waits for it");
        refused
    });
    let mut end = b.from.pop().expect("a ring");
    let (mut taken, mut last) = (0, None);
    let mut burst = Burst::new();
    let mut over = false;
    loop {
        let ended = giver.is_finished();
        end.take(&mut burst, end.waiting());
        for packet in burst.drain(..) {
            assert!(last.is_none_or(|last| last < packet), "{packet} behind {last:?}");
            last = Some(packet);
            taken += 1;
        }
        if over && end.waiting() == 0 {
            break;
        }
        if ended && !over {
            assert!(end.leave());
            over = true;
        }
    }
    assert_eq!(taken + giver.join().expect("no panic"), PACKETS);
}
