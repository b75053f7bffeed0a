//! The keys of a box that registers: what its registrar pushes becomes the workers' key ring. Secrets are in memory only.
//!
//! Generations are numbered anew here, from 1 in the order in which their secrets come: the workers' caches go by number,
//! and two registrars that have lost their stores may use a number twice, for different secrets.

use crate::keys::connection::{self, NodeSettings, Received, Registration};
use crate::keys::from_file::{LEAST_AGE, fills_up, sweep_tombstones};
use anyhow::Context;
use pipeline::state::keyring::{KeyRing, Peer, Sealer};
use pipeline::state::prefixes::Prefixes;
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::generation_keys::GenerationKeys;
use protocol::key_schedule::Secret;
use protocol::suite::Aead;
use registration::wire::SealingKeys;
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// A box that has been without a registrar for so long is out of touch: from then on the other boxes may seal under what it
/// has not got. Well below the time that they wait for its acknowledgement; above what one more attempt to register takes.
const OUT_OF_TOUCH: Duration = Duration::from_secs(1);
/// A box that was not told for how long the others open what it seals stops so long after it has lost touch: the other
/// side's registrar is of an earlier version, which gives it the grace time, unless configured otherwise.
const UNTOLD: Duration = Duration::from_secs(30);
/// Between wishes for a new generation.
const NEED_AGAIN: Duration = Duration::from_secs(30);

fn same(a: &Secret, b: &Secret) -> bool {
    a.suite() == b.suite() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

/// Whether these are of one generation. Of clients' secrets one that is in both tells: clients come and go within a
/// generation.
fn same_generation(a: &GenerationKeys, b: &GenerationKeys) -> bool {
    match (a, b) {
        (GenerationKeys::Clients { secrets: a, .. }, GenerationKeys::Clients { secrets: b, .. }) => {
            a.iter().any(|(client, a)| b.get(client).is_some_and(|b| same(a, b)))
        }
        (GenerationKeys::Ready(a), GenerationKeys::Ready(b)) => same(a, b),
        _ => false,
    }
}

/// A name for a secret that does not reveal it.
fn name_of(secret: &Secret) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(b"pdmv2 sealed under");
    hash.update(secret.as_bytes());
    let digest = hash.finalize();
    let mut name = [0; 16];
    name.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    name
}

/// A generation's secret, or secrets, and its number here.
#[derive(Clone)]
struct Numbered {
    number: u32,
    keys: GenerationKeys,
}

/// A box of the other side under one AEAD (a change of suite may change that: it is then another peer to the workers).
struct PeerSlot {
    id: [u8; 16],
    aead: Aead,
    /// Never another peer's in this process.
    number: u16,
    newest: Arc<AtomicU32>,
    prefixes: Prefixes,
    /// Opened at present, ascending.
    generations: Vec<Numbered>,
    last: u32,
}

/// What the box seals with.
struct Sealing {
    /// As the registrar counts.
    generation: u32,
    keys: Numbered,
    prefixes: Vec<protocol::prefix::Prefix>,
    expires: Instant,
    /// Until then the others open it though the box is out of touch; `None`: not known.
    opened_until: Option<Instant>,
    since: Instant,
}

/// Keys of one box.
pub struct RegisteredKeys {
    registration: Arc<Registration>,
    /// Workers read it.
    pub cell: SnapshotCell,
    sealing: Option<Sealing>,
    /// The number of what was last sealed under, also after it has expired; 0: nothing yet.
    last_sealed: u32,
    /// Names of all secrets that were sealed under by this number.
    sealed_under: HashSet<[u8; 16]>,
    /// Names of all secrets that were left for others: the numbers used under them are forgotten, so none may come back.
    left: HashSet<[u8; 16]>,
    peers: Vec<PeerSlot>,
    last_peer: u16,
    received: Option<Received>,
    /// Since when there has been no registrar that has sent keys; `None`: there is one, or none has sent any yet.
    lost: Option<Instant>,
    out_of_touch: bool,
    needed: Option<Instant>,
    swept: (u64, u64),
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for RegisteredKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RegisteredKeys(generation {:?}, redacted)", self.generation())
    }
}

impl RegisteredKeys {
    /// Registers, on a thread of its own, as long as the process lives. Nothing is sealed or opened until keys come.
    ///
    /// # Errors
    /// Certificates that cannot be read or name somebody else; a system without threads or random numbers.
    pub fn start(settings: NodeSettings) -> anyhow::Result<Self> {
        let registration = Arc::<Registration>::default();
        // What is wrong with them now is said before anything is started.
        connection::check(&settings)?;
        let instance = connection::instance()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot register")?;
        let mut this = Self::without_thread(Arc::clone(&registration));
        let run = move || {
            if let Err(error) = runtime.block_on(connection::run(settings, instance, registration)) {
                tracing::error!(error = format!("{error:#}"), "registration has ended; restart the box");
            }
        };
        let thread = std::thread::Builder::new().name("registration".into()).spawn(run).context("cannot register")?;
        this.thread = Some(thread);
        Ok(this)
    }

    fn without_thread(registration: Arc<Registration>) -> Self {
        Self {
            registration,
            cell: SnapshotCell::default(),
            sealing: None,
            last_sealed: 0,
            sealed_under: HashSet::new(),
            left: HashSet::new(),
            peers: Vec::new(),
            last_peer: 0,
            received: None,
            lost: None,
            out_of_touch: false,
            needed: None,
            swept: (0, 0),
            thread: None,
        }
    }

    /// Generation sealed under, as the registrar counts.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        self.sealing.as_ref().map(|s| s.generation)
    }

    /// Whether a registrar has the box at the moment.
    #[must_use]
    pub fn registered(&self) -> bool {
        self.registration.registered()
    }

    /// Whether it has been without a registrar for so long that the others may use what it has not got.
    #[must_use]
    pub fn out_of_touch(&self) -> bool {
        self.out_of_touch
    }

    /// Until the box stops sealing, unless it hears otherwise.
    #[must_use]
    pub fn expires_in(&self, now: Instant) -> Option<Duration> {
        self.sealing.as_ref().map(|s| self.seals_until(s).saturating_duration_since(now))
    }

    /// The secret's end, or, without a registrar, when the others may no longer open it.
    fn seals_until(&self, sealing: &Sealing) -> Instant {
        let opened = self.lost.map(|lost| sealing.opened_until.unwrap_or(lost + UNTOLD));
        opened.map_or(sealing.expires, |opened| opened.min(sealing.expires))
    }

    /// Waits until keys have come that [`RegisteredKeys::tick`] takes into use, so long at most.
    pub fn wait(&self, limit: Duration) {
        self.registration.wait(limit);
    }

    /// The memory of this process may be that of another too, which goes on with it: a virtual machine was resumed from
    /// an older state, or cloned. Sealing ends at once, under secrets that the other may seal under; the box registers
    /// as a process that its registrar has not seen before, and seals again when there is a generation that is newer than
    /// that. It goes on opening what it can.
    pub fn process_is_new(&mut self) {
        self.sealing = None;
        self.left.extend(self.sealed_under.drain());
        self.publish();
        // Also what has been taken and would be asked or acknowledged over the connection of before. Until there are keys for
        // the new process this box is as one without a registrar.
        if self.received.take().is_some() {
            self.lost.get_or_insert_with(Instant::now);
        }
        self.needed = None;
        self.registration.process_is_new();
        tracing::warn!(
            "this process registers as a new one: packets pass without the option until the next generation"
        );
    }

    /// What has to be done all the time: taking new keys into use, ending those that expire.
    pub fn tick(&mut self, now: Instant) {
        if let Some(received) = self.registration.take() {
            self.apply(&received);
            // Every burst that a worker begins from now on is under these keys.
            received.acknowledge();
            self.received = Some(received);
        }
        self.look_for_touch(now);
        if let Some(sealing) = self.sealing.as_ref().filter(|s| now >= self.seals_until(s)) {
            let expired = now >= sealing.expires;
            self.sealing = None;
            self.publish();
            if expired {
                tracing::error!(
                    "the keys have expired: packets pass without the option until a registrar gives new ones"
                );
            } else {
                tracing::error!(
                    "out of touch with the registrars for longer than the other side's boxes are known to open what this \
                     one seals: packets pass without the option until a registrar gives keys"
                );
            }
        }
        self.cell.sweep();
    }

    /// Tells the workers when the box is out of touch, and when it has keys of a registrar again.
    fn look_for_touch(&mut self, now: Instant) {
        let registered = self.registration.registered();
        match &self.received {
            Some(received) if registered && received.registration == self.registration.registrations() => {
                self.lost = None;
            }
            Some(_) if !registered => {
                self.lost.get_or_insert(now);
            }
            _ => {}
        }
        let out = self.lost.is_some_and(|lost| now.saturating_duration_since(lost) >= OUT_OF_TOUCH);
        if out != self.out_of_touch {
            self.out_of_touch = out;
            self.publish();
            if out {
                tracing::warn!(
                    "out of touch with the registrars: what comes under keys that this box has not got is \
                    passed on without its option"
                );
            } else {
                tracing::info!("in touch with a registrar again");
            }
        }
    }

    /// What has to be done now and then: forgetting flows of generations that have ended, asking for a new one when their
    /// memory fills up.
    pub fn slow_tick(&mut self, shared: &Shared, now: Instant) {
        let tombstones = &shared.table.tombstones;
        if let (Some(sealing), Some(received)) = (&self.sealing, &self.received) {
            let old_enough = now.saturating_duration_since(sealing.since) >= LEAST_AGE;
            let again = self.needed.is_none_or(|at| now.saturating_duration_since(at) >= NEED_AGAIN);
            if old_enough && again && fills_up(tombstones.used(), self.swept.1, tombstones.capacity() as u64) {
                self.needed = Some(now);
                received.need("the memory of flows that left fills up");
            }
        }
        let snapshot = self.cell.load();
        let (ring, version) = (&snapshot.ring, snapshot.ring_since);
        let all_see = shared.all_have_seen(version);
        if all_see && self.swept.0 != version {
            sweep_tombstones(tombstones, self.last_sealed, |id| {
                ring.peer(id.peer()).is_some_and(|p| p.generation(id.generation()).is_some())
            });
            self.swept = (version, tombstones.used());
        }
    }

    /// Takes a key set into use.
    fn apply(&mut self, received: &Received) {
        let keys = &received.keys;
        let before = self.generation();
        self.sealing = keys.sealing.as_ref().and_then(|sealing| self.sealing_from(sealing, received.at));
        let slots = std::mem::take(&mut self.peers);
        let mut slots: HashMap<_, _> = slots.into_iter().map(|p| ((p.id, p.aead.id()), p)).collect();
        let mut peers = Vec::with_capacity(keys.opening.len());
        for opening in &keys.opening {
            let mut aeads: Vec<Aead> = Vec::new();
            for aead in opening.secrets.iter().map(|(_, k)| k.suite().aead) {
                if !aeads.contains(&aead) {
                    aeads.push(aead);
                }
            }
            for aead in aeads {
                let secrets = opening.secrets.iter().map(|(_, k)| k).filter(|k| k.suite().aead == aead);
                let known = slots.remove(&(opening.node.id, aead.id()));
                match known.or_else(|| self.new_slot(opening.node.id, aead)) {
                    Some(mut slot) => {
                        slot.renumber(secrets);
                        if !slot.prefixes.iter().eq(&opening.node.prefixes) {
                            slot.prefixes = opening.node.prefixes.clone().into();
                        }
                        peers.push(slot);
                    }
                    None => {
                        tracing::error!(peer = opening.node.name, "more peers than can be numbered; restart the box");
                    }
                }
            }
        }
        self.peers = peers;
        self.publish();
        if self.generation() != before {
            match self.generation() {
                Some(generation) => {
                    tracing::info!(generation, peers = self.peers.len(), "sealing under a new generation");
                }
                None => tracing::warn!("told to seal nothing: packets pass without the option"),
            }
        }
    }

    /// The keys with their number: the one they had, or the next. `None` with a secret that was left for another: a
    /// registrar that was set back to an older state may hand one out.
    fn sealing_from(&mut self, sealing: &SealingKeys, at: Instant) -> Option<Sealing> {
        let names: HashSet<_> = sealing.keys.secrets().map(name_of).collect();
        if names.is_empty() {
            // Scope client, and none of its clients is within the box's prefixes.
            return None;
        }
        if !names.is_disjoint(&self.left) {
            tracing::error!(
                generation = sealing.generation,
                "told to seal under a secret that was left for another; refused"
            );
            return None;
        }
        // Clients come and go within a generation: their flows go on where they were as long as one stays.
        if names.is_disjoint(&self.sealed_under) {
            self.last_sealed = self.last_sealed.checked_add(1)?;
            self.left.extend(self.sealed_under.drain());
        }
        self.sealed_under.extend(names);
        let keys = Numbered { number: self.last_sealed, keys: sealing.keys.clone() };
        let since = self.sealing.as_ref().filter(|s| s.keys.number == keys.number).map_or(at, |s| s.since);
        let (generation, prefixes) = (sealing.generation, sealing.prefixes.clone());
        let opened_until = sealing.opened_for.map(|opened| at + opened);
        Some(Sealing { generation, keys, prefixes, expires: at + sealing.expires_in, opened_until, since })
    }

    /// A peer that was not there before.
    fn new_slot(&mut self, id: [u8; 16], aead: Aead) -> Option<PeerSlot> {
        self.last_peer = self.last_peer.checked_add(1)?;
        Some(PeerSlot {
            id,
            aead,
            number: self.last_peer,
            newest: Arc::default(),
            prefixes: Prefixes::default(),
            generations: Vec::new(),
            last: 0,
        })
    }

    fn publish(&mut self) {
        let sealer = self.sealing.as_ref().map(|s| Sealer {
            generation: s.keys.number,
            aead: s.keys.keys.suite().aead,
            keys: s.keys.keys.clone(),
            prefixes: s.prefixes.clone().into(),
        });
        let peers = self.peers.iter().map(|p| Peer {
            number: p.number,
            aead: p.aead,
            prefixes: p.prefixes.clone(),
            generations: p.generations.iter().map(|g| (g.number, g.keys.clone())).collect(),
            newest: Arc::clone(&p.newest),
        });
        let peers = peers.collect();
        self.cell.publish(KeyRing { sealer, peers, out_of_touch: self.out_of_touch, ..KeyRing::default() });
    }
}

impl PeerSlot {
    /// Generations that were there keep their numbers, others get the next.
    fn renumber<'k>(&mut self, generations: impl Iterator<Item = &'k GenerationKeys>) {
        let before = std::mem::take(&mut self.generations);
        for keys in generations {
            let number = before.iter().find(|g| same_generation(&g.keys, keys)).map(|g| g.number);
            let number = number.unwrap_or_else(|| {
                self.last += 1;
                self.last
            });
            self.generations.push(Numbered { number, keys: keys.clone() });
        }
        self.generations.sort_by_key(|g| g.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::generation_keys::ClientSecrets;
    use protocol::suite::Suite;
    use registration::wire::{Keys, NodeInfo, OpeningKeys};

    fn secret(octet: u8) -> Secret {
        Secret::from_octets(Suite::default(), &[octet; 32]).expect("Nh octets")
    }

    fn keys(revision: u64, sealing: Option<(u32, u8, Duration)>, opening: &[(u8, &[(u32, u8)])]) -> Keys {
        let prefixes = vec!["2001:db8::/32".parse().expect("a prefix")];
        Keys {
            revision,
            token: None,
            sealing: sealing.map(|(generation, octet, expires_in)| SealingKeys {
                generation,
                keys: GenerationKeys::Ready(secret(octet)),
                prefixes: prefixes.clone(),
                expires_in,
                opened_for: None,
            }),
            opening: opening
                .iter()
                .map(|(id, secrets)| OpeningKeys {
                    node: NodeInfo {
                        name: format!("n{id}"),
                        id: [*id; 16],
                        prefixes: prefixes.clone(),
                        clients: Vec::new(),
                    },
                    secrets: secrets.iter().map(|&(g, octet)| (g, GenerationKeys::Ready(secret(octet)))).collect(),
                })
                .map(Arc::new)
                .collect(),
        }
    }

    fn feed(keys: Keys, into: &mut RegisteredKeys) {
        into.registration.put(Received::for_tests(keys));
        into.tick(Instant::now());
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn shape(ring: &KeyRing) -> (Option<u32>, Vec<(u16, Vec<u32>)>) {
        let peers = ring.peers.iter().map(|p| (p.number, p.generations.iter().map(|(g, _)| *g).collect()));
        (ring.sealer.as_ref().map(|s| s.generation), peers.collect())
    }

    #[test]
    fn secrets_keep_their_numbers_and_numbers_their_secrets() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        let mut ring = |set| {
            feed(set, &mut box_keys);
            (shape(&box_keys.cell.ring()), box_keys.generation())
        };
        assert_eq!(ring(keys(1, None, &[(7, &[(5, 50)])])), ((None, vec![(1, vec![1])]), None));
        assert_eq!(ring(keys(2, Some((5, 1, LONG)), &[(7, &[(5, 50)])])), ((Some(1), vec![(1, vec![1])]), Some(5)));
        // The next generation, first to open, then to seal; a second peer.
        let two: &[(u8, &[(u32, u8)])] = &[(7, &[(5, 50), (6, 60)]), (8, &[(6, 61)])];
        assert_eq!(ring(keys(3, Some((5, 1, LONG)), two)).0, (Some(1), vec![(1, vec![1, 2]), (2, vec![1])]));
        assert_eq!(ring(keys(4, Some((6, 2, LONG)), two)), ((Some(2), vec![(1, vec![1, 2]), (2, vec![1])]), Some(6)));
        // A registrar that has lost its store starts at 1 again: other secrets, so other numbers.
        assert_eq!(ring(keys(1, Some((1, 3, LONG)), &[(7, &[(1, 70)])])), ((Some(3), vec![(1, vec![3])]), Some(1)));
        // The same set again changes nothing.
        assert_eq!(ring(keys(2, Some((1, 3, LONG)), &[(7, &[(1, 70)])])).0, (Some(3), vec![(1, vec![3])]));
        // A peer that was dropped and comes back is another.
        assert_eq!(ring(keys(3, None, &[])).0, (None, vec![]));
        assert_eq!(ring(keys(4, Some((1, 3, LONG)), &[(7, &[(1, 70)])])).0, (Some(3), vec![(3, vec![1])]));
    }

    #[test]
    fn keys_that_come_end_the_waiting_for_them() {
        const LIMIT: Duration = Duration::from_secs(60);
        let box_keys = RegisteredKeys::without_thread(Arc::default());
        let registration = Arc::clone(&box_keys.registration);
        let began = Instant::now();
        let registrar = std::thread::spawn(move || registration.put(Received::for_tests(keys(1, None, &[]))));
        box_keys.wait(LIMIT);
        box_keys.wait(LIMIT); // they are still there
        assert!(began.elapsed() < LIMIT, "waited to the end, beside keys that are there");
        registrar.join().expect("no panic");
        assert!(box_keys.registration.take().is_some());
        box_keys.wait(Duration::from_millis(1));
        assert!(box_keys.registration.take().is_none());
    }

    #[test]
    fn a_secret_that_was_left_does_not_come_back() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        for (revision, octet, expected) in
            [(1, 1, Some(1)), (2, 2, Some(2)), (3, 1, None), (4, 2, Some(2)), (5, 3, Some(3))]
        {
            feed(keys(revision, Some((9, octet, LONG)), &[]), &mut box_keys);
            assert_eq!(shape(&box_keys.cell.ring()).0, expected, "set {revision}");
        }
    }

    /// Of two that were one, none goes on with what both had.
    #[test]
    fn a_new_process_leaves_all_that_it_had() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        let opening: &[(u8, &[(u32, u8)])] = &[(7, &[(5, 50)])];
        feed(keys(1, Some((5, 1, LONG)), opening), &mut box_keys);
        let late = Received::for_tests(keys(2, Some((6, 2, LONG)), opening));
        box_keys.registration.put(Received::for_tests(keys(2, Some((6, 2, LONG)), opening)));
        box_keys.process_is_new();
        let ring = |box_keys: &RegisteredKeys| shape(&box_keys.cell.ring());
        assert_eq!(ring(&box_keys), (None, vec![(1, vec![1])]), "it seals nothing, and opens what it did");
        // Nor with what was on its way to the process of before, whether it had come or not.
        box_keys.registration.put(late);
        box_keys.tick(Instant::now());
        assert_eq!((ring(&box_keys).0, box_keys.generation()), (None, None));
        box_keys.tick(Instant::now() + OUT_OF_TOUCH);
        assert!(box_keys.cell.ring().out_of_touch, "as a box that has no registrar");
        // A registrar that knows nothing of it hands out the same again.
        for (octet, expected) in [(1, None), (3, Some(2))] {
            let mut again = Received::for_tests(keys(1, Some((7, octet, LONG)), opening));
            again.of_process(1);
            box_keys.registration.put(again);
            box_keys.tick(Instant::now());
            assert_eq!(ring(&box_keys).0, expected, "secret {octet}");
        }
    }

    fn of_clients(clients: &[(u8, u8)]) -> GenerationKeys {
        let secrets = clients.iter().map(|&(client, octet)| ([client; 16], secret(octet)));
        let secrets = Arc::new(ClientSecrets::new(Suite::default(), secrets));
        GenerationKeys::Clients { secrets, sealer_is_client: true }
    }

    #[test]
    fn clients_come_and_go_within_a_generation() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        for (revision, clients, expected) in [
            (1, &[(1, 11), (2, 12)][..], Some(1)),
            (2, &[(2, 12), (3, 13)], Some(1)),
            // The next generation; then a set with one secret of the first.
            (3, &[(2, 22), (3, 23)], Some(2)),
            (4, &[(2, 22), (1, 11)], None),
            (5, &[(3, 23)], Some(2)),
            (6, &[], None),
            // None of the clients of before: nothing tells that it is the same generation.
            (7, &[(9, 29)], Some(3)),
            (8, &[(3, 23)], None),
        ] {
            let mut set = keys(revision, Some((9, 0, LONG)), &[(7, &[(9, 0)])]);
            let of = of_clients(clients);
            Arc::make_mut(&mut set.opening[0]).secrets = vec![(9, of.clone())];
            set.sealing.as_mut().expect("sealing").keys = of;
            feed(set, &mut box_keys);
            assert_eq!(shape(&box_keys.cell.ring()).0, expected, "set {revision}");
        }
        assert_eq!(box_keys.peers.len(), 1);
    }

    #[test]
    fn expired_keys_seal_nothing_and_still_open() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        feed(keys(1, Some((5, 1, Duration::from_millis(40))), &[(7, &[(5, 50)])]), &mut box_keys);
        assert!(box_keys.expires_in(Instant::now()).is_some());
        assert_eq!(box_keys.generation(), Some(5));
        std::thread::sleep(Duration::from_millis(50));
        box_keys.tick(Instant::now());
        assert_eq!((box_keys.generation(), box_keys.expires_in(Instant::now())), (None, None));
        assert_eq!(shape(&box_keys.cell.ring()), (None, vec![(1, vec![1])]));
    }

    /// Keys, opened for a minute though the box is out of touch, or without a word of that.
    fn promised(revision: u64, opened_for: Option<Duration>) -> Keys {
        let mut set = keys(revision, Some((5, 1, LONG)), &[(7, &[(5, 50)])]);
        set.sealing.as_mut().expect("sealing").opened_for = opened_for;
        set
    }

    #[test]
    fn a_box_out_of_touch_seals_as_long_as_the_others_open_it() {
        const MINUTE: Duration = Duration::from_secs(60);
        for (opened_for, until) in [(Some(MINUTE), MINUTE), (None, UNTOLD), (Some(LONG * 2), LONG)] {
            let mut box_keys = RegisteredKeys::without_thread(Arc::default());
            let registration = Arc::clone(&box_keys.registration);
            let state = |box_keys: &RegisteredKeys| {
                let ring = box_keys.cell.ring();
                (ring.out_of_touch, ring.sealer.is_some())
            };
            let feed = |revision, box_keys: &mut RegisteredKeys| {
                let mut set = Received::for_tests(promised(revision, opened_for));
                set.registration = registration.registrations();
                registration.put(set);
                box_keys.tick(Instant::now());
            };
            registration.register_for_tests();
            feed(1, &mut box_keys);
            let lost = Instant::now();
            box_keys.tick(lost + OUT_OF_TOUCH);
            assert_eq!(state(&box_keys), (false, true), "in touch");
            registration.set(false, Some("no answer"));
            box_keys.tick(lost);
            assert_eq!(state(&box_keys), (false, true), "a short while is nothing");
            box_keys.tick(lost + OUT_OF_TOUCH);
            assert_eq!(state(&box_keys), (true, true));
            // Some milliseconds went by between the keys' receipt and the loss.
            box_keys.tick(lost + until - OUT_OF_TOUCH);
            assert_eq!(state(&box_keys), (true, true), "{opened_for:?}");
            box_keys.tick(lost + until);
            assert_eq!(state(&box_keys), (true, false), "{opened_for:?}");
            // A registrar alone is not enough: it may have nothing to say yet.
            registration.register_for_tests();
            box_keys.tick(lost + until);
            assert_eq!(state(&box_keys), (true, false));
            feed(2, &mut box_keys);
            assert_eq!(state(&box_keys), (false, true), "the same secret goes on where it was");
            assert_eq!(shape(&box_keys.cell.ring()).0, Some(1));
        }
    }

    #[test]
    fn a_box_that_never_had_keys_is_not_out_of_touch() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        box_keys.tick(Instant::now());
        box_keys.tick(Instant::now() + LONG);
        assert!(!box_keys.cell.ring().out_of_touch);
    }

    #[test]
    fn another_aead_is_another_peer_to_the_workers() {
        let mut box_keys = RegisteredKeys::without_thread(Arc::default());
        let other = Suite { aead: Aead::Aes256Gcm, ..Suite::default() };
        let mut set = keys(1, None, &[(7, &[(5, 50), (6, 60)])]);
        Arc::make_mut(&mut set.opening[0]).secrets[1].1 =
            GenerationKeys::Ready(Secret::from_octets(other, &[60; 32]).expect("Nh octets"));
        feed(set, &mut box_keys);
        let ring = box_keys.cell.ring();
        let aeads: Vec<_> = ring.peers.iter().map(|p| (p.number, p.aead)).collect();
        assert_eq!(aeads, [(1, Aead::Aes128Gcm), (2, Aead::Aes256Gcm)]);
    }
}
