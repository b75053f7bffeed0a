//! Two registrars, their boxes, and the messages between them, in a time of their own. What must
//! never be is asserted.

use super::settings::Role;
use super::*;
use crate::handout::tests::shown;
use crate::messages::{FEATURES, Registering};
use common::key_file::Scope;
use middlebox::keys::key_set::Keys;
use middlebox::keys::opening_table::OpeningTable;
use negotiation::{Agreed, Prefer};
use protocol::key_schedule::SharedSecret;
use protocol::suite::Suite;
use registration::wire::Token;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use zeroize::Zeroizing;

mod box_state;
mod disturb;

pub use box_state::{BoxState, check_pair, secrets};
pub use disturb::KINDS;

pub const MS: Duration = Duration::from_millis(1);

pub fn peer(name: &str, role: Role, prefix: &str, scope: Scope) -> PeerConfig {
    PeerConfig {
        name: name.into(),
        role,
        addresses: Vec::new(),
        static_keys: "keys".into(),
        psk: None,
        prefixes: vec![prefix.parse().expect("a prefix")],
        suites: vec![Suite::default()],
        prefer: Prefer::Server,
        scope,
    }
}

pub fn node(name: &str, number: u8, prefix: &str, peer: &str) -> NodeConfig {
    let prefixes = vec![prefix.parse().expect("a prefix")];
    NodeConfig { name: name.into(), id: [number; 16], prefixes, clients: Vec::new(), peer: peer.into() }
}

/// Two registrars, boxes, and the messages between them, in a time of their own.
pub struct World {
    pub scope: Scope,
    pub now: Instant,
    pub start: Instant,
    pub engines: Vec<Engine>,
    pub stores: [Values; 2],
    pub boxes: Vec<BoxState>,
    pub link: bool,
    pub sessions: SessionId,
    pub negotiations: u32,
    /// Fails before the server, after the server, or not.
    pub fault: Option<bool>,
    /// Boxes that do not acknowledge.
    pub mute: BTreeSet<usize>,
    pub tells: [VecDeque<News>; 2],
    /// Registrars of an earlier version, which know nothing of what is in use.
    pub older: [bool; 2],
    /// Which process has sealed under which secret.
    pub sealed: HashMap<Vec<u8>, u16>,
    pub processes: u16,
    /// Copies of stores, by side.
    pub backups: [Vec<Values>; 2],
    /// What all was after each batch that was kept, when it is to be remembered.
    pub history: Option<Vec<Snapshot>>,
    /// A registrar dies when it has kept its next batch, and before it has done what follows.
    pub dies: [bool; 2],
}

/// Both stores, and the boxes, at one time.
pub struct Snapshot {
    pub stores: [Values; 2],
    pub boxes: Vec<BoxState>,
}

pub type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

impl World {
    pub fn new(boxes: u8) -> Self {
        Self::with_scope(boxes, Scope::Node)
    }

    pub fn with_scope(boxes: u8, scope: Scope) -> Self {
        let now = Instant::now();
        let mut this = Self {
            scope,
            now,
            start: now,
            engines: Vec::new(),
            stores: Default::default(),
            boxes: Vec::new(),
            link: false,
            sessions: 0,
            negotiations: 0,
            fault: None,
            mute: BTreeSet::new(),
            tells: Default::default(),
            older: [false; 2],
            sealed: HashMap::new(),
            processes: 0,
            backups: Default::default(),
            history: None,
            dies: [false; 2],
        };
        for side in 0..2 {
            for i in 0..boxes {
                let number = 1 + i + 100 * side as u8;
                let (name, prefix) = (format!("box-{number}"), format!("2001:db8:{}:{i:x}::/64", ["a", "b"][side]));
                let clients = match (scope, side) {
                    (Scope::Client, 0) => vec![client(i, 1), client(i, 2)],
                    _ => Vec::new(),
                };
                let process = this.new_process();
                this.boxes.push(BoxState {
                    side,
                    name,
                    number,
                    prefix,
                    clients,
                    instance: process,
                    process,
                    ..BoxState::default()
                });
            }
        }
        for side in 0..2 {
            let engine = this.engine(side);
            this.engines.push(engine);
        }
        this
    }

    pub fn wall(&self) -> u64 {
        1_000_000 + (self.now - self.start).as_millis() as u64
    }

    pub fn new_process(&mut self) -> u16 {
        self.processes += 1;
        self.processes
    }

    /// A registrar as it starts: from what its store has.
    pub fn engine(&self, side: usize) -> Engine {
        let (other, role) = [("east", Role::Client), ("west", Role::Server)][side];
        let boxes = self.boxes.iter().filter(|b| b.side == side && !b.second);
        let nodes: Vec<_> = boxes
            .map(|b| NodeConfig { clients: b.clients.clone(), ..node(&b.name, b.number, &b.prefix, other) })
            .collect();
        let prefix = ["2001:db8:b::/48", "2001:db8:a::/48"][side];
        let mut engine = Engine::new(peer(other, role, prefix, self.scope), Generations::default(), &nodes);
        engine.restore(&self.stores[side], self.now, self.wall()).expect("what was written");
        engine
    }

    pub fn apply(&mut self, side: usize, effects: Effects) {
        let kept = !effects.batch.is_empty();
        for (name, value) in effects.batch {
            match value {
                Some(value) => self.stores[side].insert(name, value),
                None => self.stores[side].remove(&name),
            };
        }
        if kept && let Some(history) = &mut self.history {
            history.push(Snapshot { stores: self.stores.clone(), boxes: self.boxes.clone() });
        }
        if kept && std::mem::take(&mut self.dies[side]) {
            return self.restart_registrar(side);
        }
        let mut sent = Vec::new();
        for action in effects.actions {
            match action {
                Action::Push { session, keys } => {
                    sent.push((session, keys.revision));
                    self.push(session, &keys);
                }
                Action::Close { session, .. } => {
                    self.boxes.iter_mut().filter(|b| b.session == Some(session)).for_each(|b| b.session = None);
                }
                Action::Probe { session } => {
                    if self.boxes.iter().any(|b| b.session == Some(session)) {
                        self.engines[side].alive(session);
                    }
                }
                Action::Tell(News::InUse(_)) if self.older[side] => {}
                Action::Tell(news) => self.tells[1 - side].push_back(news),
                Action::Negotiate { last, .. } => {
                    assert_eq!(side, 0, "only the client starts");
                    self.negotiate(last);
                }
            }
        }
        // What is acknowledged comes after all that was sent with it.
        for (session, revision) in sent {
            let to = self.boxes.iter().position(|b| b.session == Some(session));
            if to.is_some_and(|i| !self.mute.contains(&i)) {
                let effects = self.engines[side].ack(self.now, session, revision);
                self.apply(side, effects);
            }
        }
    }

    pub fn push(&mut self, session: SessionId, keys: &Handout) {
        let Some(b) = self.boxes.iter_mut().find(|b| b.session == Some(session)) else { return };
        for changes in keys.opening.since(b.has) {
            b.table.take(&changes).expect("changes that fit");
        }
        b.has = keys.opening.version;
        let by_version = b.table.keys(&keys.by_version(self.now)).expect("a key set that fits");
        let keys = keys.whole(self.now);
        assert_eq!(shown(&by_version), shown(&Keys::try_from(&keys).expect("in bounds")), "{}", b.name);
        let revision = keys.revision;
        assert!(b.keys.as_ref().is_none_or(|k| k.revision < revision || revision == 1));
        b.token = keys.token.as_ref().map(|t| Token::new(t.octets[..].try_into().expect("a token")));
        b.keys = Some(keys);
        for secret in b.may_seal_under() {
            let first = *self.sealed.entry(secret).or_insert(b.process);
            assert_eq!(first, b.process, "{} got a secret of generation {:?}", b.name, b.seals());
        }
    }

    /// What both primaries have when they have agreed on a generation.
    pub fn agreed(&self, generation: u32, secret: &[u8]) -> Agreed {
        let shared = SharedSecret::new(secret);
        Agreed { suite: Suite::default(), scope: self.scope, generation, salt: [1; 32], shared }
    }

    pub fn negotiate(&mut self, last: u32) {
        self.negotiations += 1;
        let fault = self.fault.take();
        if !self.link || fault == Some(false) {
            let effects = self.engines[0].negotiation_failed(self.now, "no answer");
            return self.apply(0, effects);
        }
        let now = self.now;
        if let Err(error) = self.engines[1].plausible(now, last) {
            let effects = self.engines[0].negotiation_failed(now, &error.to_string());
            return self.apply(0, effects);
        }
        let generation = last.max(self.engines[1].last()) + 1;
        if let Err(error) = self.engines[0].plausible(now, generation) {
            let effects = self.engines[0].negotiation_failed(now, &error.to_string());
            return self.apply(0, effects);
        }
        let secret = [self.negotiations as u8, (self.negotiations >> 8) as u8].repeat(16);
        let agreed = self.agreed(generation, &secret);
        let (now, wall) = (self.now, self.wall());
        let effects = self.engines[1].negotiated(now, wall, &agreed);
        self.apply(1, effects);
        // The server may have died of it, with its answer.
        let effects = if fault.is_some() || !self.link {
            self.engines[0].negotiation_failed(self.now, "the answer was lost")
        } else {
            self.engines[0].negotiated(now, wall, &agreed)
        };
        self.apply(0, effects);
    }

    pub fn deliver(&mut self) {
        for _ in 0..100 {
            for side in 0..2 {
                while let Some(news) = self.tells[side].pop_front() {
                    if self.link && !(self.older[side] && matches!(news, News::InUse(_))) {
                        let effects = self.engines[side].news(self.now, news);
                        self.apply(side, effects);
                    }
                }
            }
        }
    }

    pub fn connect(&mut self, i: usize) -> Result<(), Denied> {
        self.sessions += 1;
        let b = &mut self.boxes[i];
        (b.table, b.has) = (OpeningTable::default(), 0);
        let node = NodeInfo { name: b.name.clone(), id: [b.number; 16], prefixes: Vec::new(), clients: Vec::new() };
        let instance = [b.instance.to_be_bytes(); 8].concat().try_into().expect("16 octets");
        let who = Registering { node, instance, token: b.token.clone() };
        let side = b.side;
        let from = format!("machine {}", b.process);
        let effects = self.engines[side].connect(self.now, self.sessions, &who, &from)?;
        // Its stream is there before anything is sent over it.
        self.boxes[i].session = Some(self.sessions);
        self.apply(side, effects);
        Ok(())
    }

    pub fn connect_all(&mut self) {
        for i in 0..self.boxes.len() {
            if self.boxes[i].session.is_none() {
                match self.connect(i) {
                    Ok(()) | Err(Denied::Taken { .. }) => {}
                    Err(denied) => panic!("{denied}"),
                }
            }
        }
    }

    /// kill -9 and a new process, without keys.
    pub fn restart_box(&mut self, i: usize) {
        self.disconnect(i);
        self.becomes_new(i);
    }

    pub fn disconnect(&mut self, i: usize) {
        if let Some(session) = self.boxes[i].session.take() {
            let side = self.boxes[i].side;
            let effects = self.engines[side].gone(self.now, session);
            self.apply(side, effects);
        }
    }

    pub fn set_link(&mut self, up: bool) {
        if self.link != up {
            self.link = up;
            self.tells = Default::default();
            for side in 0..2 {
                let now = self.now;
                let engine = &mut self.engines[side];
                let effects = if up { engine.link_up(now) } else { engine.link_down(now) };
                if up {
                    engine.features(if self.older[1 - side] { 0 } else { FEATURES });
                }
                self.apply(side, effects);
            }
        }
    }

    /// kill -9 of a registrar, and a new process.
    pub fn restart_registrar(&mut self, side: usize) {
        self.set_link(false);
        for b in self.boxes.iter_mut().filter(|b| b.side == side) {
            b.session = None;
        }
        self.engines[side] = self.engine(side);
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.deliver();
            self.now += 50 * MS;
            for side in 0..2 {
                let effects = self.engines[side].tick(self.now);
                self.apply(side, effects);
            }
        }
        self.deliver();
    }

    /// What a box seals, every connected box of the other side can open.
    pub fn check_open(&self) {
        for b in &self.boxes {
            let Some(sealing) = b.keys.as_ref().and_then(|k| k.sealing.as_ref()) else { continue };
            for other in self.boxes.iter().filter(|o| o.side != b.side && o.session.is_some() && o.keys.is_some()) {
                if self.scope == Scope::Client {
                    check_pair(b, other);
                    continue;
                }
                assert!(
                    other.opens(b.number, sealing.generation, &sealing.secret),
                    "{} cannot open what {} seals under generation {}",
                    other.name,
                    b.name,
                    sealing.generation
                );
            }
        }
    }

    pub fn all_seal(&self) -> Option<u32> {
        let first = self.boxes[0].seals()?;
        self.boxes.iter().all(|b| b.seals() == Some(first)).then_some(first)
    }

    pub fn up(boxes: u8) -> Self {
        Self::up_with(Self::new(boxes))
    }

    pub fn up_with(mut this: Self) -> Self {
        this.set_link(true);
        this.connect_all();
        this.run(2000 * MS);
        assert_eq!(this.all_seal(), Some(1));
        this
    }
}

/// A client of the first side's box number `1 + i`.
pub fn client(i: u8, number: u8) -> [u8; 16] {
    let mut address = [0x20, 1, 0xD, 0xB8, 0, 0xA, 0, i, 0, 0, 0, 0, 0, 0, 0, 0];
    address[15] = number;
    address
}
