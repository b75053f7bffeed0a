//! Every order in which two workers may insert one flow.

use super::*;
use loom::sync::Arc;
use protocol::five_tuple::FiveTuple;

/// What the two workers find, and what the control thread frees meanwhile.
struct Case {
    buckets: usize,
    hash: FlowHash,
    /// Words that are free; all others are taken by other flows.
    free: Vec<usize>,
    freed: Option<usize>,
}

/// Two workers insert one flow.
fn model(case: Case) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || {
        let Case { buckets, hash, freed, .. } = case;
        let index = FlowIndex { buckets: TableMemory::new(buckets), mask: buckets - 1, thirds: AtomicU64::new(0) };
        let index = Arc::new(index);
        let records: Arc<Vec<FlowBack>> = Arc::new((0..3).map(|_| FlowBack::default()).collect());
        let tuple = FiveTuple { src: [1; 16], sport: 1, dst: [2; 16], dport: 2, protocol: 6 };
        for r in records.iter() {
            r.prepare(&tuple, 0, 0);
        }
        for at in (0..buckets * WAYS).filter(|at| !case.free.contains(at)) {
            index.word(at).store(LIVE | 9 << 32 | 2, Ordering::Relaxed);
        }
        let (i2, r2) = (Arc::clone(&index), Arc::clone(&records));
        let thread = loom::thread::spawn(move || i2.insert(&r2, hash, &tuple.words(), 1, || {}));
        if let Some(at) = freed {
            index.word(at).store(EMPTY, Ordering::Release);
        }
        let mine = index.insert(&records, hash, &tuple.words(), 0, || {});
        let theirs = thread.join().expect("no panic");
        let live: Vec<(usize, u32)> = (0..buckets * WAYS)
            .map(|at| (at, index.word(at).load(Ordering::Relaxed)))
            .filter(|(_, w)| w & STATE == LIVE && w & TAG == FlowIndex::tag(hash))
            .map(|(at, w)| (at, w as u32))
            .collect();
        assert!(live.len() <= 1, "the flow stands in the table twice: {mine:?} {theirs:?}");
        for (record, result) in [(0, mine), (1, theirs)] {
            match result {
                Inserted::New => assert_eq!(live[0].1, record),
                Inserted::Existing(other) => assert_eq!(live[0].1, other),
                _ => {}
            }
        }
        let thirds = live.iter().filter(|(at, _)| index.is_third(*at, hash)).count();
        assert_eq!(index.thirds.load(Ordering::Relaxed), thirds as u64);
    });
}

const TWO_BUCKETS: FlowHash = FlowHash(7 << 34);

#[test]
fn loom_one_flow_two_workers() {
    model(Case { buckets: 2, hash: TWO_BUCKETS, free: vec![0, 1], freed: None });
}

#[test]
fn loom_one_flow_two_workers_while_a_lower_word_is_freed() {
    model(Case { buckets: 2, hash: TWO_BUCKETS, free: vec![1], freed: Some(0) });
}

/// One worker finds room in the third bucket only, the other one perhaps in the second.
#[test]
fn loom_one_flow_two_workers_while_the_second_bucket_gets_room() {
    for above in [false, true] {
        let mut hashes = (1..1000).map(|tag| FlowHash(tag << 34));
        let distinct = |hash: &FlowHash| {
            let [first, second, third] = FlowIndex::places_of(3, *hash);
            first != second && second != third && third != first && (third > second) == above
        };
        let hash = hashes.find(distinct).expect("a hash with three buckets");
        let [_, second, third] = FlowIndex::places_of(3, hash);
        let free = vec![second * WAYS, third * WAYS, third * WAYS + 1];
        model(Case { buckets: 4, hash, free, freed: Some(second * WAYS + 1) });
    }
}
