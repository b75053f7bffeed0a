//! The keys of a box that registers: what its registrar pushes becomes the workers' key ring. Secrets are in memory only.
//!
//! Generations are numbered anew here, from 1 in the order in which their secrets come: the workers' caches go by number,
//! and two registrars that have lost their stores may use a number twice, for different secrets.

mod numbering;

use super::connection::{self, ReceivedKeys, Registration, RegistrationSettings};
use super::from_file::{LEAST_AGE, fills_up, sweep_tombstones};
use super::key_set::SealingKeys;
use super::recorder::Recorder;
use anyhow::Context;
use numbering::{Numbered, PeerSlot, name_of};
use pipeline::state::keyring::{KeyRing, Peer, Sealer};
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::suite::Aead;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A box that has been without a registrar for so long is out of touch: from then on the other boxes may seal under what it
/// has not got. Well below the time that they wait for its acknowledgement; above what one more attempt to register takes.
const OUT_OF_TOUCH: Duration = Duration::from_secs(1);
/// A box that was not told for how long the others open what it seals stops so long after it has lost touch: the other
/// side's registrar is of an earlier version, which gives it the grace period, unless configured otherwise.
const UNTOLD: Duration = Duration::from_secs(30);
/// Between two rotation requests.
const REQUEST_AGAIN: Duration = Duration::from_secs(30);

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

/// The keys of a box that registers.
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
    received: Option<ReceivedKeys>,
    /// Since when there has been no registrar that has sent keys; `None`: there is one, or none has sent any yet.
    lost: Option<Instant>,
    out_of_touch: bool,
    /// The registration is left to another process of the box, which takes over.
    let_go: bool,
    requested: Option<Instant>,
    swept: (u64, u64),
    /// This box's id, and where secrets are written down.
    recorder: ([u8; 16], Recorder),
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
    pub fn start(settings: RegistrationSettings, recorder: Recorder) -> anyhow::Result<Self> {
        let registration = Arc::<Registration>::default();
        // What is wrong with them now is said before anything is started.
        connection::check(&settings)?;
        let instance = connection::instance()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot register")?;
        let mut this = Self::without_thread(Arc::clone(&registration));
        this.recorder = (settings.id, recorder);
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
            let_go: false,
            requested: None,
            swept: (0, 0),
            recorder: Default::default(),
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
        self.requested = None;
        self.registration.process_is_new();
        tracing::warn!(
            "this process registers as a new one: packets pass without the option until the next generation"
        );
    }

    /// Leaves the registration to a process that takes over. This one goes on with the keys that it has, as one that has lost
    /// its registrar; what the others seal under what it has not got it passes on without the option, from this moment: the
    /// other acknowledges keys in the box's name.
    pub fn let_go(&mut self, now: Instant) {
        self.let_go = true;
        self.registration.leave();
        self.lost = now.checked_sub(OUT_OF_TOUCH).or(Some(now));
        self.look_for_touch(now);
    }

    /// The other did not take over. The registrar takes this process for a new one, if it has seen the other: then nothing is
    /// sealed until there is a generation that neither has sealed under.
    pub fn take_back(&mut self) {
        self.let_go = false;
        self.registration.come_back();
    }

    /// What has to be done all the time: taking new keys into use, ending those that expire.
    pub fn tick(&mut self, now: Instant) {
        if let Some(received) = self.registration.take() {
            self.apply(&received);
            // Every burst that a worker begins from now on is under these keys.
            received.acknowledge();
            let (me, recorder) = &mut self.recorder;
            recorder.key_set(*me, &received.keys);
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
        let registered = self.registration.registered() && !self.let_go;
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
        let (me, recorder) = &mut self.recorder;
        if let Some(received) = self.received.as_ref().filter(|_| recorder.is_behind()) {
            recorder.key_set(*me, &received.keys);
        }
        let tombstones = &shared.table.tombstones;
        if let (Some(sealing), Some(received)) = (&self.sealing, &self.received) {
            let old_enough = now.saturating_duration_since(sealing.since) >= LEAST_AGE;
            let again = self.requested.is_none_or(|at| now.saturating_duration_since(at) >= REQUEST_AGAIN);
            if old_enough && again && fills_up(tombstones.used(), self.swept.1, tombstones.capacity() as u64) {
                self.requested = Some(now);
                received.request_rotation("the memory of flows that left fills up");
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
    fn apply(&mut self, received: &ReceivedKeys) {
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

    /// A peer that was not there before; `None`: there are no more numbers.
    fn new_slot(&mut self, id: [u8; 16], aead: Aead) -> Option<PeerSlot> {
        self.last_peer = self.last_peer.checked_add(1)?;
        Some(PeerSlot::new(self.last_peer, id, aead))
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
            newest: p.newest.clone(),
        });
        let peers = peers.collect();
        self.cell.publish(KeyRing { sealer, peers, out_of_touch: self.out_of_touch, ..KeyRing::default() });
    }
}

#[cfg(test)]
mod tests;
