//! What the control thread knows of the box, for the thread that tells it: each figure is written by one task, and read at
//! any time.

use crate::observe::counts::{Counts, RegistrationCounts, TakeOverCounts};
use crate::ports::link::LinkStatus;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The present state. All zero: nothing is known yet.
#[derive(Debug, Default)]
pub struct Status {
    /// Generation sealed under; 0: none.
    generation: AtomicU32,
    /// Flows that left the table since they had been idle.
    pub expired: AtomicU64,
    /// Flows found again that had gone too far ahead.
    pub resynced: AtomicU64,
    /// 0: the box does not register; 1: it is not registered; 2: it is.
    registered: AtomicU64,
    out_of_touch: AtomicBool,
    /// Seconds until it stops sealing; 0: it does not seal.
    keys_expire: AtomicU64,
    /// Held for a copy only.
    links: Mutex<LinkStatus>,
    /// Held for a copy only.
    take_over: Mutex<TakeOverCounts>,
    /// Turns of the control thread.
    pub control_turns: AtomicU64,
    /// When each worker was last seen to make a turn. Held for a copy only.
    pub(crate) turns: Mutex<Vec<Instant>>,
}

impl Status {
    /// What the box seals under, and how it stands with its registrars, if it has any.
    pub fn set_keys(&self, generation: Option<u32>, registration: Option<RegistrationCounts>) {
        self.generation.store(generation.unwrap_or(0), Relaxed);
        let Some(registration) = registration else { return };
        self.registered.store(1 + u64::from(registration.registered), Relaxed);
        self.out_of_touch.store(registration.out_of_touch, Relaxed);
        let expires = registration.keys_expire_seconds.map_or(0, |s| s.max(1.0) as u64);
        self.keys_expire.store(expires, Relaxed);
    }

    /// What the box seals under; `None`: nothing.
    #[must_use]
    pub fn generation(&self) -> Option<u32> {
        Some(self.generation.load(Relaxed)).filter(|generation| *generation > 0)
    }

    /// How the links are.
    pub fn set_links(&self, links: LinkStatus) {
        *self.links.lock().unwrap_or_else(PoisonError::into_inner) = links;
    }

    /// This process took over from that one, and nobody had the ports for so many nanoseconds.
    pub fn took_over(&self, from: u32, gap_ns: u64) {
        self.take_over.lock().unwrap_or_else(PoisonError::into_inner).from = Some((from, gap_ns as f64 / 1e9));
    }

    /// Another was to take over from this one, and did not.
    pub fn take_over_failed(&self, why: &str) {
        let mut take_over = self.take_over.lock().unwrap_or_else(PoisonError::into_inner);
        take_over.failed += 1;
        take_over.last_failure = Some(why.to_owned());
    }

    /// How often that was so.
    pub fn take_overs_failed(&self) -> u64 {
        self.take_over.lock().unwrap_or_else(PoisonError::into_inner).failed
    }

    /// Puts all of it into the counts.
    pub fn fill(&self, counts: &mut Counts, uptime: Duration) {
        counts.generation = self.generation();
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        counts.turn_ages = turns.iter().map(|turn| turn.elapsed().as_secs_f64()).collect();
        counts.uptime_seconds = uptime.as_secs_f64();
        counts.flows.expired = self.expired.load(Relaxed);
        counts.flows.resynced = self.resynced.load(Relaxed);
        counts.take_over = self.take_over.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let links = *self.links.lock().unwrap_or_else(PoisonError::into_inner);
        counts.link_follow = links.state.name();
        [counts.ports.inside.link, counts.ports.outside.link] = links.ports;
        let registered = self.registered.load(Relaxed);
        counts.registration = (registered > 0).then(|| RegistrationCounts {
            registered: registered == 2,
            out_of_touch: self.out_of_touch.load(Relaxed),
            keys_expire_seconds: Some(self.keys_expire.load(Relaxed)).filter(|&s| s > 0).map(|s| s as f64),
        });
    }
}
