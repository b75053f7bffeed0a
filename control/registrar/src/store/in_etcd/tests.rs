use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Etcd in memory, with one term's view of it.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Inner>>, Arc<AtomicBool>);

#[derive(Default)]
struct Inner {
    keys: BTreeMap<String, (Vec<u8>, i64)>,
    revision: i64,
    /// Requests that are done, but whose answer is lost.
    lose: usize,
    largest: usize,
    most: usize,
}

impl Place for Fake {
    fn name(&self) -> String {
        "fake".into()
    }
    fn holds(&self) -> bool {
        !self.1.load(Ordering::Relaxed)
    }
    fn commit(&self, manifest: i64, commit: &Commit) -> Result<Outcome, String> {
        let inner = &mut *self.0.lock().expect("fake");
        let now = inner.keys.get("manifest").cloned().unwrap_or_default();
        if now.1 != manifest {
            return Ok(Outcome::Differs(now.1, now.0));
        }
        inner.revision += 1;
        inner.most = inner.most.max(commit.puts.len() + 1);
        inner.largest = inner.largest.max(commit.puts.iter().map(|(n, v)| n.len() + v.len()).sum());
        if let Some((from, below)) = &commit.delete {
            inner.keys.retain(|k, _| k < from || k >= below);
        }
        for (name, value) in &commit.puts {
            inner.keys.insert(name.clone(), (value.clone(), inner.revision));
        }
        if inner.lose > 0 {
            inner.lose -= 1;
            return Err("no answer".into());
        }
        Ok(Outcome::Done(inner.revision))
    }
    fn read(&self, from: &str, below: &str, limit: i64) -> Result<Vec<(String, Vec<u8>, i64)>, String> {
        let inner = self.0.lock().expect("fake");
        let range = inner.keys.range(from.to_owned()..below.to_owned()).take(limit as usize);
        Ok(range.map(|(k, (v, r))| (k.clone(), v.clone(), *r)).collect())
    }
}

fn big(value: u8) -> Batch {
    let boxes = (0..4096).map(|n| (format!("node/box-{n}/sealed"), Some(vec![value; 20].into())));
    boxes.chain([("peer/east/nodes".to_owned(), Some(vec![value; 3 << 20].into()))]).collect()
}

#[test]
fn a_batch_of_any_size_is_there_as_a_whole() {
    let fake = Fake::default();
    let store = EtcdStore::open(fake.clone(), &[1; 32]).expect("opened");
    store.write(&big(7)).expect("written");
    store.write(&vec![("node/box-3/sealed".to_owned(), None)]).expect("written");
    let values = EtcdStore::open(fake.clone(), &[1; 32]).expect("opened").load().expect("values");
    assert_eq!(values.len(), 4096);
    assert_eq!(values["peer/east/nodes"].len(), 3 << 20);
    {
        let inner = fake.0.lock().expect("fake");
        assert!(inner.largest < 1 << 20 && inner.most < 128, "{} {}", inner.largest, inner.most);
        assert!(!inner.keys.values().any(|(v, _)| v.windows(20).any(|w| w == [7; 20])), "in clear");
    }
    let error = EtcdStore::open(fake, &[2; 32]).expect_err("another key").to_string();
    assert!(error.contains("state_key"), "{error}");
}

#[test]
fn an_answer_that_is_lost_and_a_batch_that_is_half_written_do_no_harm() {
    let fake = Fake::default();
    let store = EtcdStore::open(fake.clone(), &[1; 32]).expect("opened");
    store.write(&vec![("a".to_owned(), Some(vec![1].into()))]).expect("written");
    fake.0.lock().expect("fake").lose = 1;
    store.write(&vec![("a".to_owned(), Some(vec![2].into()))]).expect("it was done");
    assert_eq!(fake.0.lock().expect("fake").lose, 0);
    // Deposed between the pieces and the manifest: pieces lie there that do not count.
    let pieces = Commit { puts: vec![(record_key(3, 0), vec![0; 9]), (record_key(3, 1), vec![0; 9])], delete: None };
    let revision = fake.0.lock().expect("fake").keys["manifest"].1;
    fake.commit(revision, &pieces).expect("written");
    let next = EtcdStore::open(fake.clone(), &[1; 32]).expect("opened");
    assert_eq!(next.load().expect("values")["a"].to_vec(), [2]);
    next.write(&vec![("b".to_owned(), Some(vec![3].into()))]).expect("written");
    next.write(&vec![("c".to_owned(), Some(vec![4].into()))]).expect("written");
    let values = EtcdStore::open(fake.clone(), &[1; 32]).expect("opened").load().expect("values");
    assert_eq!(values.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
    // The first store is of a term that is over.
    let before = fake.0.lock().expect("fake").revision;
    assert!(matches!(store.write(&big(9)), Err(StoreError::Deposed)));
    next.place.1.store(true, Ordering::Relaxed);
    assert!(matches!(next.write(&big(9)), Err(StoreError::Deposed)), "the lease is not certain");
    assert_eq!(fake.0.lock().expect("fake").revision, before, "nothing of it");
}

#[test]
fn old_records_go() {
    let fake = Fake::default();
    let store = EtcdStore::open(fake.clone(), &[1; 32]).expect("opened");
    for n in 0..300_u32 {
        store.write(&vec![(format!("k{}", n % 5), Some(n.to_be_bytes().to_vec().into()))]).expect("written");
        assert!(fake.0.lock().expect("fake").keys.len() <= RECORDS as usize + 1);
    }
    let values = EtcdStore::open(fake, &[1; 32]).expect("opened").load().expect("values");
    assert_eq!(values["k4"].to_vec(), 299_u32.to_be_bytes());
}
