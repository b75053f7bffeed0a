//! The life of the keys under a key file: which generation is sealed under, which are opened, when that changes.
//!
//! Whatever is wrong with the state file, the box goes on forwarding: packets pass without the option, a log line and a
//! metric say so, and it is tried again.

use super::recorder::Recorder;
use crate::resumption::{Cause, Pace};
use anyhow::Context;
use common::key_file::{KeyFile, Node};
use common::state_file::{StateError, StateFile};
use pipeline::flow::tombstones::Tombstones;
use pipeline::state::keyring::{KeyRing, Peer, Sealer};
use pipeline::state::newest::Newest;
use pipeline::state::shared::Shared;
use pipeline::state::snapshot::SnapshotCell;
use protocol::key_line::SecretId;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Generations tried ahead of the last one opened (profile section 9).
const AHEAD: u32 = 16;

/// Time between attempts to get at a state file that could not be had.
const RETRY: Duration = Duration::from_secs(5);

/// A generation lasts at least this long, however fast flows come and go: a peer follows [`AHEAD`] generations, and hosts
/// that open many flows must not be able to run away from it.
pub(crate) const LEAST_AGE: Duration = Duration::from_secs(600);

/// Generations opened are written down at most this often.
const PERSIST: Duration = Duration::from_secs(2);

/// What the log says while there is nothing to seal with.
pub const NO_KEYS: &str = "no keys: packets pass without the option until the state file can be used";

/// Whether a new generation is worth its while: half of the places are taken, and not only by what the last sweep had to
/// leave (the peers' generations, which a new one of ours does not end).
pub(crate) const fn fills_up(used: u64, left_by_sweep: u64, capacity: u64) -> bool {
    used * 2 > capacity && used > left_by_sweep + capacity / 8
}

/// Frees the memory of flows that neither seal under this generation nor may still be opened under a secret that is alive.
pub(crate) fn sweep_tombstones(tombstones: &Tombstones, generation: u32, alive: impl Fn(SecretId) -> bool) {
    tombstones.sweep(|left| {
        let sender = left.sender.is_some_and(|s| s.is_of(generation));
        sender || left.receiver.secrets().any(&alive)
    });
}

/// The peers, as this process numbers them.
struct PeerState {
    node: Node,
    number: u16,
    newest: Newest,
    /// `newest` as it was when the ring was built.
    built_for: u32,
}

/// Which key file, and what belongs to it.
#[derive(Debug)]
pub struct KeyFileSettings {
    /// The key file.
    pub file: PathBuf,
    /// Directory of the state file.
    pub state_dir: PathBuf,
    /// A new generation is taken after this.
    pub max_age: Option<Duration>,
    /// The key file as read when the configuration was checked; `None` with [`Checks::TextOnly`](common::config::Checks::TextOnly).
    pub key_file: Option<KeyFile>,
}

/// The keys of a box that has a key file.
pub struct FileKeys {
    file: KeyFile,
    node: Node,
    max_age: Option<Duration>,
    state_dir: PathBuf,
    state: Option<StateFile>,
    /// The state file is another process's, which takes over.
    let_go: bool,
    /// Workers read it.
    pub cell: SnapshotCell,
    peers: Vec<PeerState>,
    generation: Option<u32>,
    /// The last generation sealed under, also when there is none at the moment; 0: there was none.
    last_sealed: u32,
    taken_at: Instant,
    last_try: Instant,
    /// Why the present generation was left, until another is taken, and whether that may be at once.
    left: Option<(Cause, bool)>,
    pace: Pace,
    persisted_at: Instant,
    seals: bool,
    /// Where secrets are written down.
    recorder: Recorder,
    /// The ring after which the memory of flows that left was last swept, and what stayed in it then.
    swept: (u64, u64),
}

impl FileKeys {
    /// For the node of this name. Nothing is sealed or opened yet.
    ///
    /// # Errors
    /// The key file has no such node (the configuration's check has said so before).
    pub fn new(keys: KeyFileSettings, node: &str, seals: bool, recorder: Recorder) -> anyhow::Result<Self> {
        let file = match keys.key_file {
            Some(file) => file,
            None => KeyFile::load(&keys.file).map_err(|e| anyhow::anyhow!("{e}"))?,
        };
        let node = file.node(node).cloned().with_context(|| format!("{}: no node '{node}'", keys.file.display()))?;
        let peer = |(i, node): (usize, &Node)| PeerState {
            node: node.clone(),
            number: i as u16 + 1,
            newest: Newest::default(),
            built_for: 0,
        };
        let peers = file.peers(&node).enumerate().map(peer).collect();
        let now = Instant::now();
        Ok(Self {
            file,
            node,
            max_age: keys.max_age,
            state_dir: keys.state_dir,
            state: None,
            let_go: false,
            cell: SnapshotCell::default(),
            peers,
            generation: None,
            last_sealed: 0,
            taken_at: now,
            last_try: now,
            left: None,
            pace: Pace::new(now),
            persisted_at: now,
            seals,
            recorder,
            swept: (0, 0),
        })
    }

    /// Generation sealed under.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        self.generation
    }

    /// Opens the state file and takes this process's generation, as far as that has not been done.
    ///
    /// # Errors
    /// What is wrong with the state file. Until that is mended packets pass without the option; [`FileKeys::tick`]
    /// tries again.
    pub fn start(&mut self) -> Result<(), StateError> {
        self.last_try = Instant::now();
        if self.state.is_none() {
            let state = StateFile::open(&self.state_dir, &self.file, &self.node)?;
            for peer in &self.peers {
                // It may be a file that was let go of, and workers have gone on since.
                peer.newest.fetch_max(state.opened(&peer.node.id).unwrap_or(0), Ordering::Relaxed);
            }
            self.state = Some(state);
            self.publish();
        }
        if self.seals && self.generation.is_none() {
            self.renew("this process starts")?;
        }
        Ok(())
    }

    /// Takes the next generation and seals under it from now on. The old one stays in use when that fails.
    fn renew(&mut self, why: &str) -> Result<(), StateError> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let generation = state.take_generation()?;
        (self.generation, self.last_sealed, self.left) = (Some(generation), generation, None);
        self.taken_at = Instant::now();
        self.publish();
        tracing::info!(generation, why, "sealing under a new generation");
        Ok(())
    }

    /// This process was resumed from a snapshot, or is a clone: another may seal under the same generation. From now on
    /// nothing is sealed until the next one is taken, at once if that may be.
    pub fn resumed(&mut self, cause: Cause) {
        if !self.seals || (self.generation.is_none() && self.left.is_none()) {
            return;
        }
        self.generation = None;
        // Whatever else goes wrong, it must not stay in use.
        let ring = self.ring().unwrap_or_default();
        self.cell.publish(ring);
        // A clock that is set again and again must not run through generations faster than peers can follow.
        let before = self.left.is_some_and(|(_, at_once)| at_once);
        let at_once = before || cause.certain() || self.pace.may(Instant::now());
        self.left = Some((cause, at_once));
        if at_once {
            self.take_after(cause);
        } else {
            tracing::warn!(
                cause = cause.name(),
                "resumed too often: packets pass without the option until a new generation may be taken"
            );
        }
    }

    fn take_after(&mut self, cause: Cause) {
        self.last_try = Instant::now();
        if let Err(error) = self.renew(cause.name()) {
            tracing::error!(%error, "{NO_KEYS}");
        }
    }

    /// Lets go of the state file, for a process that takes over: that one takes the next generation. This one goes on under its
    /// own, which is nobody else's, and takes no other.
    pub fn let_go(&mut self) {
        self.persist();
        (self.state, self.let_go) = (None, true);
    }

    /// The other did not take over. Whatever generations it has taken stand in the file.
    pub fn take_back(&mut self) {
        self.let_go = false;
        if let Err(error) = self.start() {
            let stays = if self.generation.is_some() { "the present generation stays in use" } else { NO_KEYS };
            tracing::error!(%error, "{stays}");
        }
    }

    fn publish(&mut self) {
        match self.ring() {
            Ok(ring) => {
                self.cell.publish(ring);
                self.record();
            }
            Err(error) => tracing::error!(%error, "the key ring could not be made; the old one stays in use"),
        }
    }

    fn record(&mut self) {
        let peers: Vec<_> = self.peers.iter().map(|p| p.node.id).collect();
        self.recorder.ring(self.node.id, self.file.scope, &self.cell.ring(), &peers);
    }

    fn ring(&mut self) -> anyhow::Result<KeyRing> {
        let aead = self.file.suite.aead;
        let sealer = match self.generation {
            Some(generation) => Some(Sealer {
                generation,
                aead,
                keys: self.file.generation_keys(&self.node, generation)?,
                prefixes: self.node.prefixes.clone().into(),
            }),
            None => None,
        };
        // Most keys are those of the ring before. To derive all of a thousand peers takes a tenth of a second.
        let before = self.cell.ring();
        let mut peers = Vec::with_capacity(self.peers.len());
        for peer in &mut self.peers {
            let newest = peer.newest.load(Ordering::Relaxed);
            peer.built_for = newest;
            let range = newest.saturating_sub(1).max(1)..=newest.saturating_add(AHEAD);
            let known = before.peer(peer.number);
            let keys = |g| match known.and_then(|p| p.generation(g)) {
                Some(keys) => Ok(keys.clone()),
                None => self.file.generation_keys(&peer.node, g),
            };
            let generations = range.map(|g| Ok((g, keys(g)?))).collect::<anyhow::Result<Vec<_>>>()?;
            peers.push(Peer {
                number: peer.number,
                aead,
                prefixes: peer.node.prefixes.clone().into(),
                generations,
                newest: peer.newest.clone(),
            });
        }
        Ok(KeyRing { sealer, peers, ..KeyRing::default() })
    }

    /// What has to be done now and then: new attempts, new generations, moving the peers' generations along.
    pub fn tick(&mut self, shared: &Shared) {
        if let Some((cause, at_once)) = self.left
            && self.last_try.elapsed() >= RETRY
            && (at_once || self.pace.may(Instant::now()))
        {
            self.left = Some((cause, true));
            self.take_after(cause);
        }
        let missing =
            !self.let_go && (self.state.is_none() || (self.seals && self.generation.is_none() && self.left.is_none()));
        if missing
            && self.last_try.elapsed() >= RETRY
            && let Err(error) = self.start()
        {
            tracing::error!(%error, "{NO_KEYS}");
        }
        if self.peers.iter().any(|p| p.newest.load(Ordering::Relaxed) != p.built_for) {
            for p in self.peers.iter().filter(|p| p.newest.load(Ordering::Relaxed) != p.built_for) {
                let generation = p.newest.load(Ordering::Relaxed);
                tracing::info!(peer = p.node.name, generation, "a peer seals under a new generation");
            }
            self.publish();
        } else if self.recorder.is_behind() {
            self.record();
        }
        self.cell.sweep();
        if self.persisted_at.elapsed() >= PERSIST {
            self.persisted_at = Instant::now();
            self.persist();
        }
        if self.generation.is_some() {
            let tombstones = &shared.table.tombstones;
            let age = self.taken_at.elapsed();
            let why = if self.max_age.is_some_and(|most| age >= most) {
                Some("the present one is old")
            } else if fills_up(tombstones.used(), self.swept.1, tombstones.capacity() as u64) && age >= LEAST_AGE {
                Some("the memory of flows that left fills up")
            } else {
                None
            };
            if let Some(why) = why.filter(|_| self.last_try.elapsed() >= RETRY) {
                self.last_try = Instant::now();
                if let Err(error) = self.renew(why) {
                    tracing::error!(%error, "no new generation; the present one stays in use");
                }
            }
        }
        self.forget(shared);
    }

    /// Frees the memory of flows whose generations have ended, once no worker can seal under them any more.
    fn forget(&mut self, shared: &Shared) {
        let tombstones = &shared.table.tombstones;
        let snapshot = self.cell.load();
        let (ring, version) = (&snapshot.ring, snapshot.ring_since);
        let all_see = shared.all_have_seen(version);
        if !all_see || self.swept.0 == version {
            return;
        }
        let generation = self.last_sealed;
        sweep_tombstones(tombstones, generation, |id| {
            let oldest = ring.peer(id.peer()).and_then(|p| p.generations.first());
            oldest.is_some_and(|(oldest, _)| id.generation() >= *oldest)
        });
        self.swept = (version, tombstones.used());
    }

    /// Writes down the peers' generations.
    pub fn persist(&mut self) {
        let opened: Vec<_> =
            self.peers.iter().map(|p| (p.node.id, p.newest.load(Ordering::Relaxed))).filter(|(_, g)| *g > 0).collect();
        if let Some(state) = &mut self.state
            && let Err(error) = state.record_opened(&opened)
        {
            tracing::warn!(%error, "the generations opened could not be written down; after a restart finding them takes longer");
        }
    }
}
