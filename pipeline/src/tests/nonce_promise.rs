//! The nonce promise, audited: several workers on the same flows, rotations, flows that are evicted and come back,
//! restarts under new generations; and no (key, nonce) pair is ever used twice.

use crate::flow::table::{Ager, TableSize};
use crate::lanes::{Set, ShortWay};
use crate::observe::audit::{AuditSink, RECORD};
use crate::observe::counters::Outcome;
use crate::packet::buffer::VecBuf;
use crate::ports::BURST;
use crate::state::policies::Mode;
use crate::state::worker::Worker;
use crate::testing::{self, frame};
use crate::tests::audit::Sink;
use arrayvec::ArrayVec;
use protocol::prseq::VALUES;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seals on two workers while the control thread throws every flow out again and again.
fn process(generation: u32, file: &std::path::Path, packets: u64, flows: u16) -> [u64; 3] {
    let config = testing::config(vec![testing::policy(Mode::Encrypted)]);
    let size = TableSize { capacity: 64, tombstones: 4096 };
    let side = testing::side(config, testing::ring(true, generation, 1), size, 2);
    let (sealed, running, rotations) = (AtomicU64::new(0), AtomicU64::new(2), AtomicU64::new(0));
    let mut ager = Ager::new(side.shared.quiescence.clone());
    std::thread::scope(|s| {
        for w in 0..2usize {
            let shared = side.shared.clone();
            let (sealed, running, rotations) = (&sealed, &running, &rotations);
            s.spawn(move || {
                let mut worker = Worker::new(shared, w);
                let log = std::fs::File::options().create(true).append(true).open(file).expect("audit file");
                worker.audit = Some(AuditSink::new(log));
                let mut outcomes: ArrayVec<Outcome, BURST> = ArrayVec::new();
                for i in 0..packets / BURST as u64 {
                    // Bursts of one flow and bursts of many; both workers meet in the same flows.
                    let port = |k: usize| if i % 4 == 0 { k as u16 % flows } else { 0 };
                    let mut burst: Vec<_> = (0..BURST).map(|k| VecBuf::new(&frame(port(k), 4))).collect();
                    worker.outbound(&mut burst, &mut outcomes, &|| 1);
                    let added = outcomes.iter().filter(|o| matches!(o, Outcome::Added(_))).count();
                    sealed.fetch_add(added as u64, Ordering::Relaxed);
                }
                rotations.fetch_add(worker.counters.rotations_sealed.get(), Ordering::Relaxed);
                running.fetch_sub(1, Ordering::Relaxed);
            });
        }
        // The operator asks for a new generation half way.
        let mut renewed = false;
        while running.load(Ordering::Relaxed) > 0 {
            ager.step(&side.shared.table, u64::MAX / 2, 1, 64);
            if !renewed && sealed.load(Ordering::Relaxed) > packets {
                side.cell.publish(testing::ring(true, generation + 1, 1));
                renewed = true;
            }
            side.cell.sweep();
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    [sealed.into_inner(), ager.expired, rotations.into_inner()]
}

#[test]
fn no_key_and_nonce_twice() {
    let file = std::env::temp_dir().join(format!("pdmv2-audit-{}", std::process::id()));
    let _ = std::fs::remove_file(&file);
    let (mut total, mut expired, mut rotations) = (0, 0, 0);
    for start in 0..3 {
        let [sealed, gone, rotated] = process(1 + 2 * start, &file, 80_000, 100);
        total += sealed;
        expired += gone;
        rotations += rotated;
    }
    let audit = std::fs::read(&file).expect("audit file");
    let _ = std::fs::remove_file(&file);
    let records = audit.chunks_exact(RECORD);
    assert!(records.remainder().is_empty());
    let mut pairs = HashSet::new();
    let mut count = 0;
    for record in records {
        assert!(pairs.insert(record), "a (key, nonce) pair was used twice: {record:02x?}");
        count += 1;
    }
    assert_eq!(count, total, "every sealed packet is on record");
    // How much there is of each depends on the machine; that there is some of each does not.
    assert!(
        total > 60_000 && expired > 100 && rotations > 0,
        "{total} sealed, {expired} evictions, {rotations} rotations"
    );
}

/// Bursts of every length run up to a Kri's end and on: every place of it is used once, and the next one begins behind it.
#[test]
fn a_kri_ends_where_it_ends_whatever_the_burst() {
    for (set, length) in Set::available().flat_map(|set| [1, 2, 3, 7, 31, 32].map(|length| (set, length))) {
        let config = testing::config(vec![testing::policy(Mode::Encrypted)]);
        let side = testing::side(config, testing::ring(true, 1, 1), TableSize { capacity: 4, tombstones: 4 }, 1);
        let mut worker = Worker::new(side.shared, 0);
        worker.lanes = ShortWay::new(set);
        let sink = Sink::default();
        worker.audit = Some(AuditSink::new(sink.clone()));
        let (mut sent, mut outcomes) = (0, ArrayVec::<Outcome, BURST>::new());
        let all = u64::from(VALUES) + 100;
        while sent < all {
            let near = (u64::from(VALUES) - 100..).contains(&sent);
            let mut burst = vec![VecBuf::new(&frame(1, 4)); if near { length } else { BURST }];
            worker.outbound(&mut burst, &mut outcomes, &|| 1);
            assert!(outcomes.iter().all(|o| matches!(o, Outcome::Added(_))));
            sent += burst.len() as u64;
        }
        // It says so itself if a pair was there before.
        let ledger = sink.take();
        let what = format!("{}, bursts of {length}", set.name());
        assert_eq!((ledger.pairs, ledger.keys()), (sent, 2), "{what}");
        assert_eq!(worker.counters.rotations_sealed.get(), 1, "{what}");
        let (taken, most) = (worker.lanes.resting.taken, all - 9 * BURST as u64 - 9 * length as u64);
        assert!(taken > most, "{what}: {taken} of {sent} in the lanes");
    }
}
