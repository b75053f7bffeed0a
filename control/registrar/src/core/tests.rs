//! Two registrars in one process, each with a box, whose stores refuse when the test says so.

use super::*;
use crate::messages::{FEATURES, News, Registering};
use crate::random::rng;
use crate::store::{Batch, StoreError};
use common::config::Checks;
use common::identity::Kind;
use negotiation::static_keys::public_keys;
use registration::wire::{KeySet, NodeInfo};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tools::pki::Authority;
use zeroize::Zeroizing;

const SOON: Duration = Duration::from_secs(20);

type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Keeps values in memory, and refuses from one write on.
struct Flaky {
    values: Mutex<Values>,
    writes: AtomicU64,
    refuses_from: AtomicU64,
    deposed: AtomicBool,
}

impl Flaky {
    fn new() -> Arc<Self> {
        let (writes, refuses_from) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Arc::new(Self { values: Mutex::default(), writes, refuses_from, deposed: AtomicBool::new(false) })
    }

    fn has(&self, name: &str) -> bool {
        self.values.lock().expect("values").contains_key(name)
    }
}

impl Store for Flaky {
    fn load(&self) -> Result<Values, StoreError> {
        Ok(self.values.lock().expect("values").clone())
    }

    fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.deposed.load(Ordering::Relaxed) {
            return Err(StoreError::Deposed);
        }
        if self.writes.load(Ordering::Relaxed) >= self.refuses_from.load(Ordering::Relaxed) {
            return Err(StoreError::Io { path: "x".into(), action: "write", error: "os error 28".into() });
        }
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut values = self.values.lock().expect("values");
        for (name, value) in batch {
            match value {
                Some(value) => values.insert(name.clone(), value.clone()),
                None => values.remove(name),
            };
        }
        Ok(())
    }

    fn name(&self) -> String {
        "flaky".into()
    }
}

struct Side {
    core: Arc<Core>,
    store: Arc<Flaky>,
    who: Registering,
    session: SessionId,
    outgoing: watch::Receiver<Outgoing>,
    keys: Option<KeySet>,
    link: (u64, mpsc::Receiver<News>),
    orders: Option<mpsc::UnboundedReceiver<Negotiate>>,
}

fn configure(dir: &Path) {
    let mut authority = Authority::init(&dir.join("pki"), "lab", 10).expect("an authority");
    for (name, other, role, own, theirs, id) in [
        ("west", "east", "role = \"client\"\naddress = \"127.0.0.1:1\"", "a", "b", 1),
        ("east", "west", "role = \"server\"", "b", "a", 2),
    ] {
        let (issued, key) = authority.issue(Kind::Registrar, name, &["localhost".to_owned()], 1).expect("issued");
        let at = |kind: &str| dir.join(format!("{name}.{kind}"));
        private_file::write_new_public(&at("crt"), issued.pem.as_bytes()).expect("written");
        private_file::write_new(&at("key"), key.as_bytes()).expect("written");
        private_file::write_new_secret(&at("state.key")).expect("written");
        let seed = private_file::write_new_secret(&at("static")).expect("written");
        private_file::write_new_public(&at("static.pub"), public_keys(name, &seed).as_bytes()).expect("written");
        let text = format!(
            "[registrar]\nname = \"{name}\"\nlisten = \"127.0.0.1:1\"\nstate = \"state\"\nstate_key = \"{name}.state.key\"\n\
             static_key = \"{name}.static\"\nadmin = \"socket\"\n[tls]\nca = \"pki/ca.crt\"\ncertificate = \"{name}.crt\"\n\
             key = \"{name}.key\"\n[[peer]]\nname = \"{other}\"\n{role}\nstatic_keys = \"{other}.static.pub\"\nprefixes = \
             [\"2001:db8:{theirs}::/48\"]\n[[node]]\nname = \"box-{name}\"\nid = \"2001:db8:{own}::{id}\"\nprefixes = \
             [\"2001:db8:{own}::/48\"]\n[generations]\ncoalesce = \"1ms\"\nack_timeout = \"60s\"\n"
        );
        std::fs::write(at("toml"), text).expect("written");
    }
}

impl Side {
    fn start(dir: &Path, name: &str, other: &str) -> Self {
        let path = dir.join(format!("{name}.toml"));
        let text = std::fs::read_to_string(&path).expect("read");
        let config = RegistrarConfig::parse(&text, &path, Checks::TextOnly).expect("a configuration");
        let node = config.nodes[0].clone();
        let (core, mut orders) = Core::new(config).expect("a registrar");
        let store = Flaky::new();
        core.lead(store.clone()).expect("it leads");
        let node = NodeInfo { name: node.name, id: node.id, prefixes: node.prefixes, clients: Vec::new() };
        let who = Registering { node, instance: [7; 16], token: None };
        let Registered { id: session, outgoing, .. } = core.register(&who, Vec::new(), "[::1]:1").expect("registered");
        let link = core.link_up(other, Arc::default());
        let orders = orders.pop().map(|(_, orders)| orders);
        Self { core, store, who, session, outgoing, keys: None, link, orders }
    }

    /// What was handed out is durable.
    fn take_keys(&mut self, peer: &str) {
        if !self.outgoing.has_changed().expect("the session is open") {
            return;
        }
        let Outgoing::Keys(keys) = self.outgoing.borrow_and_update().clone() else { panic!("the session has ended") };
        let keys = keys.whole(Instant::now());
        let generation = |g: u32| format!("peer/{peer}/generation/{g:010}");
        for secret in keys.opening.iter().flat_map(|o| &o.secrets) {
            assert!(self.store.has(&generation(secret.generation)), "generation {} is not kept", secret.generation);
        }
        if let Some(sealing) = &keys.sealing {
            assert!(self.store.has(&generation(sealing.generation)));
            assert!(self.store.has(&format!("node/{}/sealed", self.who.node.name)));
        }
        self.core.ack(self.session, keys.revision);
        self.keys = Some(keys);
    }

    fn seals(&self) -> u32 {
        self.keys.as_ref().and_then(|k| k.sealing.as_ref()).map_or(0, |s| s.generation)
    }
}

/// One negotiation; as `primary_client` does it, without a network.
async fn negotiate(west: &Arc<Core>, east: &Arc<Core>, last: u32) -> anyhow::Result<n::Agreed> {
    let (there, here) = (west.peer("east").context("east")?, east.peer("west").context("west")?);
    let config = &there.config;
    let (waiting, request) = n::Client::start(&west.identity, &there.keys, config.scope, last, &config.suites)?;
    let response = east.setup(here, &request)?;
    let (waiting, request) = waiting.encapsulate(&response, &mut rng())?;
    let response = east.kem(here, &request).await?;
    // Before anybody says that he has it.
    Ok(waiting.finish(&response)?)
}

struct Both {
    sides: [Side; 2],
    _dir: tempfile::TempDir,
}

impl Both {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        configure(dir.path());
        Self { sides: [Side::start(dir.path(), "west", "east"), Side::start(dir.path(), "east", "west")], _dir: dir }
    }

    /// Messages, ticks and negotiations, until it is so.
    async fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !done(self) {
            assert!(began.elapsed() < SOON, "{what}: {:?}", [0, 1].map(|side| self.sides[side].core.status()));
            let [west, east] = &mut self.sides;
            while let Ok(news) = west.link.1.try_recv() {
                east.core.news("west", east.link.0, FEATURES, news);
            }
            while let Ok(news) = east.link.1.try_recv() {
                west.core.news("east", west.link.0, FEATURES, news);
            }
            west.take_keys("east");
            east.take_keys("west");
            west.core.tick();
            east.core.tick();
            if let Ok(order) = west.orders.as_mut().expect("a client").try_recv() {
                let (west, east) = (Arc::clone(&west.core), Arc::clone(&east.core));
                tokio::spawn(async move {
                    match negotiate(&west, &east, order.last).await {
                        Ok(agreed) => west.negotiated("east", &agreed),
                        Err(error) => west.negotiation_failed("east", &format!("{error:#}")),
                    }
                });
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn both_seal(&mut self, above: u32) {
        let good = |both: &Self| {
            let (west, east) = (both.sides[0].seals(), both.sides[1].seals());
            west > above && west == east && !both.behind(0) && !both.behind(1)
        };
        self.until("both seal", good).await;
    }

    fn behind(&self, side: usize) -> bool {
        self.sides[side].core.status().store.as_ref().is_some_and(|store| store.error.is_some())
    }
}

/// A store refuses from any of the writes of a roll-over on, for a while: nothing is handed out that is not kept, the status
/// says so at once, and when the store is mended all follows by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_refuses_from_any_write_on() {
    for side in [0, 1] {
        let mut both = Both::start();
        both.both_seal(0).await;
        // Writes that go well before one is refused; how many rounds came to one that was.
        let (mut step, mut refusals) = (0, 0);
        for round in 0.. {
            assert!(round < 50, "{refusals} refusals");
            let before = both.sides[0].seals();
            let writes = both.sides[side].store.writes.load(Ordering::Relaxed);
            both.sides[side].store.refuses_from.store(writes + step, Ordering::Relaxed);
            both.sides[0].core.rotate(None).expect("noted");
            // Either it comes to a write that is refused, or there was none any more.
            both.until("refused, or done", |b| b.behind(side) || b.sides.iter().all(|s| s.seals() > before)).await;
            let refused = both.behind(side);
            if refused {
                // What was kept just before the refused write may still be on its way.
                both.sides[side].take_keys(["east", "west"][side]);
                let held = both.sides[side].keys.clone();
                let sessions = both.sides[side].session;
                assert!(both.sides[side].core.rotate(None).is_err(), "the operator is told");
                // Time passes.
                let began = Instant::now();
                both.until("a while", |_| began.elapsed() > Duration::from_millis(300)).await;
                assert_eq!(both.sides[side].keys.as_ref().map(|k| k.revision), held.map(|k| k.revision));
                assert_eq!(both.sides[side].session, sessions);
            }
            both.sides[side].store.refuses_from.store(u64::MAX, Ordering::Relaxed);
            both.both_seal(before).await;
            if refused {
                (step, refusals) = (step + 1, refusals + 1);
            } else if refusals > 1 {
                break;
            }
            // Otherwise a roll-over ended whose writes had been made before the round began: once more.
        }
    }
}

/// Who waits for a generation to be kept hears that this registrar leads no more; its boxes go elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registrar_that_is_deposed_while_it_waits_for_its_store() {
    let mut both = Both::start();
    both.both_seal(0).await;
    let east = &both.sides[1];
    east.store.deposed.store(true, Ordering::Relaxed);
    let (west, east) = (Arc::clone(&both.sides[0].core), Arc::clone(&east.core));
    let error = format!("{:#}", negotiate(&west, &east, 1).await.expect_err("it is not kept"));
    assert!(error.contains("does not lead"), "{error}");
    assert!(!east.leads() && east.status().store.is_none());
    assert!(matches!(*both.sides[1].outgoing.borrow(), Outgoing::Close(Ending::Follows)));
}

/// Whoever asks for the status sees what has changed.
#[tokio::test]
async fn the_status_is_of_now() {
    let both = Both::start();
    let core = &both.sides[0].core;
    let first = core.status();
    core.rotate(None).expect("noted");
    let second = core.status();
    assert!(!Arc::ptr_eq(&first, &second), "the operator sees what he has done");
    assert_eq!(second.peers[0].registrations_total, 1, "and what was before it");
    core.follow(None);
    let third = core.status();
    assert!(
        third.peers.is_empty() && third.store.is_none(),
        "nor does it wait for the tick that it does not lead any more"
    );
}
