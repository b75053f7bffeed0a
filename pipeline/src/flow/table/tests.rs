//! The table under workers and ageing.

use super::*;
use protocol::aead::KeyState;
use protocol::sender::Numbers;

fn tuple(i: u32) -> FiveTuple {
    let mut src = [0x20; 16];
    src[12..].copy_from_slice(&i.to_be_bytes());
    FiveTuple { src, sport: 1000, dst: [0x30; 16], dport: 443, protocol: 6 }
}

/// Puts a flow into the table as a worker's, or finds it, and takes a number for it if it is this worker's.
fn number_of(table: &FlowTable, worker: u16, tuple: &FiveTuple, now: u64) -> Result<(Option<u64>, bool), NoFlow> {
    let words = tuple.words();
    let hash = table.hash(&words);
    let start = |flow: WholeFlow<'_>, _, left: Option<FlowSnapshot>| {
        let fresh = Numbers::start(1, 0);
        flow.begin(worker, left.and_then(|left| left.sender).map_or(fresh, Numbers::resume));
    };
    let (flow, new) = match table.confirm(table.candidate(hash), hash, &words) {
        Some(flow) => (flow, false),
        None => table.insert(tuple, hash, 0, now, start)?,
    };
    let number = (flow.owner() == worker).then(|| flow.take(Some(1)).expect("a number").n());
    Ok((number, new))
}

fn insert(table: &FlowTable, i: u32, now: u64) -> Result<(u64, bool), NoFlow> {
    number_of(table, 0, &tuple(i), now).map(|(number, new)| (number.expect("its own"), new))
}

#[test]
fn fills_up_to_its_capacity_and_finds_everything() {
    let table = FlowTable::new(TableSize { capacity: 4096, tombstones: 16 }, [7; 16]);
    for i in 0..4096 {
        assert_eq!(insert(&table, i, 0), Ok((0, true)));
    }
    assert_eq!(insert(&table, 5000, 0), Err(NoFlow::Full));
    for i in 0..4096 {
        let words = tuple(i).words();
        let flow = table.find(table.hash(&words), &words).expect("found");
        assert_eq!(flow.back.tuple(), tuple(i));
    }
    assert_eq!(table.iter().count(), 4096);
    let words = tuple(5000).words();
    assert!(table.find(table.hash(&words), &words).is_none());
}

#[test]
fn a_flow_that_left_goes_on_where_it_stopped() {
    let table = FlowTable::new(TableSize { capacity: 128, tombstones: 1024 }, [7; 16]);
    let quiescence = Quiescence::new(1);
    let mut ager = Ager::new(quiescence.clone());
    for i in 0..64 {
        assert_eq!(insert(&table, i, 0), Ok((0, true)));
    }
    let worker = quiescence.worker(0);
    worker.enter();
    ager.step(&table, 10_000, 1_000, 128);
    assert_eq!((ager.expired, table.used()), (0, 64), "a worker may be at work on them");
    for i in 0..64 {
        let words = tuple(i).words();
        assert!(table.find(table.hash(&words), &words).is_none());
        assert_eq!(insert(&table, i, 10_000), Err(NoFlow::Leaving));
    }
    worker.leave();
    ager.step(&table, 10_000, 1_000, 0);
    assert_eq!((table.used(), table.tombstones.used()), (0, 64));
    for i in 0..64 {
        assert_eq!(insert(&table, i, 10_000), Ok((1, true)), "flow {i} must not use n = 0 again");
    }
}

#[test]
fn a_record_that_is_free_remembers_no_key_and_nobody() {
    let table = FlowTable::new(TableSize { capacity: 1, tombstones: 16 }, [7; 16]);
    let mut ager = Ager::new(Quiescence::new(1));
    assert_eq!(insert(&table, 3, 0), Ok((0, true)));
    let flow = table.record(0).expect("a record");
    let key = || {
        let mut key = KeyState::ZERO;
        flow.front.key.load(&mut key);
        key.to_words()
    };
    flow.front.key.store(&KeyState::from_words([5; 8]));
    assert_eq!((key(), flow.back.tuple()), ([5; 8], tuple(3)));
    ager.step(&table, 10_000, 1_000, 1);
    ager.step(&table, 10_000, 1_000, 0);
    assert_eq!((ager.expired, table.used()), (1, 0));
    assert_eq!((key(), flow.back.words()), ([0; 8], [0; 5]), "overwritten");
}

#[test]
fn without_room_for_a_tombstone_a_flow_stays() {
    let table = FlowTable::new(TableSize { capacity: 64, tombstones: 16 }, [7; 16]);
    let mut ager = Ager::new(Quiescence::new(1));
    for i in 0..64 {
        assert_eq!(insert(&table, i, 0), Ok((0, true)));
    }
    ager.step(&table, 10_000, 1_000, 64);
    ager.step(&table, 10_000, 1_000, 0);
    assert!(table.used() >= 48 && ager.kept_for_lack_of_tombstones > 0);
    for i in 0..64 {
        assert_eq!(insert(&table, i, 10_000).map(|r| r.0), Ok(1), "flow {i}");
    }
}

#[test]
fn workers_and_ageing_together_never_give_a_number_twice() {
    let table = FlowTable::new(TableSize { capacity: 256, tombstones: 1 << 14 }, [9; 16]);
    let quiescence = Quiescence::new(2);
    let stop = std::sync::atomic::AtomicBool::new(false);
    let all = std::sync::Mutex::new(std::collections::HashSet::new());
    std::thread::scope(|s| {
        for w in 0..2u32 {
            let (quiescence, table, all, stop) = (&quiescence, &table, &all, &stop);
            s.spawn(move || {
                let worker = quiescence.worker(w as usize);
                let mut mine = Vec::new();
                let mut x = w + 1;
                for _ in 0..150_000 {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let i = (x >> 16) % 400;
                    worker.enter();
                    let number = number_of(table, w as u16, &tuple(i), 0).ok().and_then(|(number, _)| number);
                    worker.leave();
                    mine.extend(number.map(|n| (i, n)));
                }
                let mut all = all.lock().expect("lock");
                for number in mine {
                    assert!(all.insert(number), "{number:?} twice");
                }
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
            });
        }
        s.spawn(|| {
            let mut ager = Ager::new(quiescence.clone());
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                ager.step(&table, u64::MAX / 2, 1, 64); // everything counts as idle
            }
            assert!(ager.expired > 0);
        });
    });
}

/// Two workers bring in new flows without end, and come back to some, while the control thread ages all of them.
#[test]
fn flows_in_a_flood_come_and_go_and_no_number_is_given_twice() {
    const FLOWS: u32 = 200_000;
    let table = FlowTable::new(TableSize { capacity: 8192, tombstones: 1 << 19 }, [5; 16]);
    let quiescence = Quiescence::new(2);
    let working = std::sync::atomic::AtomicUsize::new(2);
    let all = std::sync::Mutex::new(std::collections::HashSet::new());
    let expired = std::thread::scope(|s| {
        for w in 0..2u32 {
            let (quiescence, table, all, working) = (&quiescence, &table, &all, &working);
            s.spawn(move || {
                let worker = quiescence.worker(w as usize);
                let mut mine = Vec::new();
                for step in 0..FLOWS {
                    // Both workers' flows overlap, and every fourth packet is of a flow that was here before.
                    let i = if step % 4 == 3 { step / 2 } else { step };
                    worker.enter();
                    let number = number_of(table, w as u16, &tuple(i), 0).ok().and_then(|(number, _)| number);
                    worker.leave();
                    mine.extend(number.map(|n| (i, n)));
                    while table.used() > 7000 && working.load(std::sync::atomic::Ordering::Relaxed) == 2 {
                        std::thread::yield_now(); // the ager's turn
                    }
                }
                let mut all = all.lock().expect("lock");
                for number in mine {
                    assert!(all.insert(number), "{number:?} twice");
                }
                working.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            });
        }
        let ager = s.spawn(|| {
            let mut ager = Ager::new(quiescence.clone());
            while working.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                ager.step(&table, u64::MAX / 2, 1, 1024);
            }
            ager.expired
        });
        ager.join().expect("no panic")
    });
    assert!(expired > u64::from(FLOWS / 2), "{expired} flows came and went");
    assert!(all.into_inner().expect("lock").len() > FLOWS as usize / 2);
}

#[test]
fn a_flow_that_leaves_is_shown_with_its_place_before_it_is_cleared() {
    let table = FlowTable::new(TableSize { capacity: 8, tombstones: 16 }, [7; 16]);
    let mut ager = Ager::new(Quiescence::new(1));
    const SECOND: u64 = 1_000_000_000;
    assert_eq!(insert(&table, 3, SECOND), Ok((0, true)));
    let place = (0..8).find(|&place| table.at(place).is_some()).expect("it is somewhere");
    let mut shown = Vec::new();
    let mut step = |now| {
        ager.step_with(&table, now, 5 * SECOND, 8, &mut |place, flow| shown.push((place, flow.figures(now))));
    };
    step(2 * SECOND);
    step(11 * SECOND);
    step(12 * SECOND);
    let [(at, figures)] = shown.as_slice() else { panic!("shown once: {shown:?}") };
    assert_eq!((*at, figures.tuple), (place, tuple(3)));
    assert!(figures.age_ns.abs_diff(10 * SECOND) < 1 << 25, "{figures:?}");
    assert!(table.at(place).is_none() && table.at(8).is_none() && table.at(usize::MAX).is_none());
}
