//! Every table that `bench flow` compares finds what was put in, and nothing else. One EAL per process, so one test for
//! all that needs it.

use bench::flow::keys::Keys;
use bench::flow::papaya::Papaya;
use bench::flow::rte_hash::{HashedBy, RteHash};
use bench::flow::table::{BURST, Key, Ours, Sum, Table};
use dpdk_ffi::Eal;
use pipeline::flow::record::FlowBack;
use pipeline::flow::table::{FlowTable, TableSize};

/// What was put in is found, once; what was not, or was taken out, is not.
fn holds_what_was_put_in<'a>(table: &dyn Table<'a>, records: &'a [FlowBack]) {
    let records: Vec<&FlowBack> = records.iter().collect();
    let keys = Keys::new(4096, 4096);
    let found = |bursts: &[[Key; BURST]]| table.look_up(0, bursts, true).expect("looked up").hits;
    for round in 0..3 {
        assert_eq!((found(&keys.hits), found(&keys.misses)), (0, 0), "{}, round {round}", table.name());
        let (some, others) = keys.known.split_at(1000);
        table.insert(0, some, &records).expect("room");
        assert_eq!(found(&keys.hits), 1000);
        table.insert(1, others, &records[1000..]).expect("room");
        assert_eq!((found(&keys.hits), found(&keys.misses)), (4096, 0));
        table.remove(&keys.known).expect("all of them");
    }
    assert!(table.remove(&keys.known[..1]).is_err(), "{}: a flow that is not there", table.name());
}

fn records() -> Vec<FlowBack> {
    (0..4096).map(|_| FlowBack::default()).collect()
}

#[test]
fn ours() {
    let table = FlowTable::new(TableSize { capacity: 4096 + 100, tombstones: 16 }, [7; 16]);
    let ours = Ours::new(&table);
    holds_what_was_put_in(&ours, &records());
    let more = Keys::new(100, 32);
    ours.insert_to_stay(&more.known).expect("room");
    ours.insert(0, &more.unknown, &[]).expect("room");
    ours.remove(&more.unknown).expect("all of them");
    assert_eq!(ours.look_up(0, &more.hits, true).expect("looked up"), Sum { hits: 96, policies: 96 });
}

#[test]
fn papaya() {
    let records = records();
    holds_what_was_put_in(&Papaya::new(4096), &records);
}

#[test]
fn rte_hash() {
    let args = ["-l", "0", "--no-huge", "--no-shconf", "--no-pci", "--iova-mode=va", "-m", "64"];
    let eal = Eal::init(&args).expect("an EAL without hugepages");
    let records = records();
    for by in [HashedBy::Crc, HashedBy::Keyed] {
        holds_what_was_put_in(&RteHash::new(&eal, "rte_hash", 4096, by).expect("memory"), &records);
    }
    // The very records, in the order of the keys; what is not there is none, whatever stood in its place.
    let table = RteHash::new(&eal, "rte_hash", 8, HashedBy::Crc).expect("memory");
    let keys = Keys::new(64, 1);
    let eight: Vec<&FlowBack> = records.iter().take(8).collect();
    table.insert(0, &keys.known[..8], &eight).expect("eight flows");
    let burst: [Key; BURST] = std::array::from_fn(|i| keys.known[if i < 8 { 7 - i } else { i }]);
    let reader = table.enter(0).expect("a place");
    for (i, record) in table.find(&burst).iter().enumerate() {
        match record {
            Some(record) => assert!(std::ptr::eq(*record, eight[7 - i])),
            None => assert!(i >= 8, "flow {i} is missing"),
        }
    }
    reader.quiescent();
    assert!(table.enter(4).is_err(), "more threads than there are places for");
}
