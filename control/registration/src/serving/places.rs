//! Places for connections that anybody may make: so many in all, so many for one source, and nobody keeps one by doing
//! nothing. Without I/O and without a clock of its own: who accepts connections asks here, and ends those that are told to.
//!
//! When all places are taken, whoever comes gets the place of one that has shown less: first of a source that has more than
//! its share, then in the earliest stage, then the one that has been in it longest. A connection has some moments to get to
//! its next stage in which nobody takes its place.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Where connections come from: what one attacker can easily be many of counts as one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    /// An IPv4 address.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address: a host can choose the others as it likes.
    V6([u8; 8]),
    /// Whoever shows a certificate of this name.
    Named(String),
    /// This machine.
    Local,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What holds in one stage of a connection's life.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// In the first moments nobody takes its place. `None`: never.
    pub safe: Option<Duration>,
    /// It ends by itself after this. `None`: never.
    pub patience: Option<Duration>,
    /// The same, while more than half of all places are taken.
    pub crowded: Option<Duration>,
}

/// The bounds.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Places there are.
    pub all: usize,
    /// Those of them that only known sources get.
    pub reserved: usize,
    /// The stages; a connection begins in the first.
    pub stages: &'static [Stage],
}

/// Why a connection lost its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// It was too slow.
    Slow,
    /// Another needed the place.
    Displaced,
}

/// Who comes.
#[derive(Clone, Debug)]
pub struct Comer {
    /// From where.
    pub source: Source,
    /// Whether somebody of this source has shown lately that it belongs here.
    pub known: bool,
    /// Places that this source gets at most.
    pub most: usize,
}

#[derive(Debug)]
struct Taken {
    source: Source,
    known: bool,
    stage: usize,
    since: Instant,
    lost: oneshot::Sender<Lost>,
}

/// How many there are and were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaceCounts {
    /// Places taken now.
    pub taken: usize,
    /// Turned away since the start: there was no place.
    pub refused: u64,
    /// Ended since the start, by their slowness or for others.
    pub lost: u64,
}

/// The places.
#[derive(Debug)]
pub struct Places {
    rules: Rules,
    taken: BTreeMap<u64, Taken>,
    by_source: HashMap<Source, usize>,
    unknown: usize,
    next: u64,
    refused: u64,
    lost: u64,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let (taken, by_source) = (BTreeMap::new(), HashMap::new());
        Self { rules, taken, by_source, unknown: 0, next: 0, refused: 0, lost: 0 }
    }

    /// A place for somebody, if there is one or can be made. The receiver hears when it is lost.
    pub fn enter(&mut self, now: Instant, comer: Comer) -> Option<(u64, oneshot::Receiver<Lost>)> {
        let Comer { source, known, most } = comer;
        let mine = self.by_source.get(&source).copied().unwrap_or(0);
        let room = if mine >= most {
            self.displace(now, |taken| taken.source == source)
        } else if !known && self.unknown >= self.rules.all.saturating_sub(self.rules.reserved) {
            self.displace(now, |taken| !taken.known)
        } else if self.taken.len() >= self.rules.all {
            self.displace(now, |taken| !taken.known) || (known && self.displace(now, |_| true))
        } else {
            true
        };
        if !room {
            self.refused += 1;
            return None;
        }
        let (lost, receiver) = oneshot::channel();
        let id = self.next;
        self.next += 1;
        *self.by_source.entry(source.clone()).or_default() += 1;
        self.unknown += usize::from(!known);
        self.taken.insert(id, Taken { source, known, stage: 0, since: now, lost });
        Some((id, receiver))
    }

    /// It has got to this stage.
    pub fn advance(&mut self, now: Instant, id: u64, stage: usize) {
        if let Some(taken) = self.taken.get_mut(&id)
            && stage < self.rules.stages.len()
        {
            (taken.stage, taken.since) = (stage, now);
        }
    }

    /// It has ended.
    pub fn leave(&mut self, id: u64) {
        drop(self.remove(id));
    }

    /// Ends those that are too slow.
    pub fn sweep(&mut self, now: Instant) {
        let crowded = self.taken.len() * 2 > self.rules.all;
        let stages = self.rules.stages;
        let slow = |taken: &Taken| {
            let stage = stages.get(taken.stage);
            let patience = stage.and_then(|s| if crowded { s.crowded } else { s.patience });
            patience.is_some_and(|patience| now.saturating_duration_since(taken.since) >= patience)
        };
        let slow: Vec<_> = self.taken.iter().filter(|(_, taken)| slow(taken)).map(|(&id, _)| id).collect();
        slow.into_iter().for_each(|id| self.end(id, Lost::Slow));
    }

    /// How many there are and were.
    #[must_use]
    pub fn counts(&self) -> PlaceCounts {
        PlaceCounts { taken: self.taken.len(), refused: self.refused, lost: self.lost }
    }

    fn remove(&mut self, id: u64) -> Option<oneshot::Sender<Lost>> {
        let taken = self.taken.remove(&id)?;
        self.unknown -= usize::from(!taken.known);
        if let Some(count) = self.by_source.get_mut(&taken.source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&taken.source);
            }
        }
        Some(taken.lost)
    }

    fn end(&mut self, id: u64, why: Lost) {
        if let Some(lost) = self.remove(id) {
            self.lost += 1;
            let _ = lost.send(why); // it is ending already
        }
    }

    /// Ends one of these, if any is past its safe moments.
    fn displace(&mut self, now: Instant, of: impl Fn(&Taken) -> bool) -> bool {
        let share = (self.rules.all / 8).max(1);
        let past = |taken: &Taken| {
            let safe = self.rules.stages.get(taken.stage).and_then(|s| s.safe);
            safe.is_some_and(|safe| now.saturating_duration_since(taken.since) >= safe)
        };
        let within_share = |taken: &Taken| self.by_source.get(&taken.source).is_none_or(|&count| count <= share);
        let rank = |taken: &Taken| (within_share(taken), taken.stage, taken.since);
        let candidates = self.taken.iter().filter(|(_, taken)| of(taken) && past(taken));
        let victim = candidates.min_by_key(|(_, taken)| rank(taken)).map(|(&id, _)| id);
        victim.inspect(|&id| self.end(id, Lost::Displaced)).is_some()
    }
}

/// [`Places`] that tasks share.
#[derive(Clone, Debug)]
pub struct Door(Arc<Mutex<Places>>);

impl Door {
    /// With these bounds.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Mutex::new(Places::new(rules))))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, as [`Places::enter`]. It is free again when it is dropped.
    #[must_use]
    pub fn enter(&self, comer: Comer) -> Option<(Place, oneshot::Receiver<Lost>)> {
        let (id, lost) = self.places().enter(Instant::now(), comer)?;
        Some((Place { door: self.clone(), id }, lost))
    }

    /// As [`Places::sweep`].
    pub fn sweep(&self) {
        self.places().sweep(Instant::now());
    }

    /// As [`Places::counts`].
    #[must_use]
    pub fn counts(&self) -> PlaceCounts {
        self.places().counts()
    }
}

/// A place that is taken.
#[derive(Debug)]
pub struct Place {
    door: Door,
    id: u64,
}

impl Place {
    /// The connection has got to this stage.
    pub fn advance(&self, stage: usize) {
        self.door.places().advance(Instant::now(), self.id, stage);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.places().leave(self.id);
    }
}

#[cfg(test)]
mod tests;
