//! The index under one thread.

use super::*;
use protocol::five_tuple::FiveTuple;

/// Flows of one hash: as unlucky as flows can be.
#[test]
fn flows_whose_two_buckets_are_full_stand_in_a_third_and_are_found_there() {
    const FLOWS: u32 = 3 * WAYS as u32;
    let index = FlowIndex::new(256);
    let hash = FlowHash(0xDEAD_BEEF << 32 | 5);
    let tuple = |i: u32| FiveTuple { src: [1; 16], sport: i as u16, dst: [2; 16], dport: 2, protocol: 6 };
    let records: Vec<FlowBack> = (0..=FLOWS).map(|_| FlowBack::default()).collect();
    for (i, record) in records.iter().enumerate() {
        record.prepare(&tuple(i as u32), 0, 0);
    }
    let [first, second, third] = index.places(hash);
    assert!(first != second && second != third && third != first, "the test's hash has three buckets");
    for i in 0..FLOWS {
        assert_eq!(index.insert(&records, hash, &tuple(i).words(), i, || {}), Inserted::New);
        assert_eq!(index.insert(&records, hash, &tuple(i).words(), FLOWS, || {}), Inserted::Existing(i));
    }
    assert_eq!(index.insert(&records, hash, &tuple(FLOWS).words(), FLOWS, || {}), Inserted::Full);
    assert!((0..FLOWS).all(|i| index.find(&records, hash, &tuple(i).words()) == Some(i)));
    assert_eq!(index.thirds.load(Ordering::Relaxed), WAYS as u64);
    for i in 0..FLOWS {
        let words = tuple(i).words();
        assert!(index.leave(hash, i) && !index.leave(hash, i));
        assert_eq!(index.insert(&records, hash, &words, FLOWS, || {}), Inserted::Leaving);
        assert_eq!(index.find(&records, hash, &words), None);
        index.stay(hash, i);
        assert_eq!(index.find(&records, hash, &words), Some(i));
        assert!(index.leave(hash, i));
        index.remove(hash, i);
        index.remove(hash, i);
        assert!((0..FLOWS).all(|k| index.find(&records, hash, &tuple(k).words()) == (k > i).then_some(k)), "{i}");
    }
    assert_eq!(index.thirds.load(Ordering::Relaxed), 0);
}
