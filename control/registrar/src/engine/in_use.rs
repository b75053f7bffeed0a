//! What boxes may still seal under. A box that is out of touch with its registrar seals on with what it has, so the other
//! side opens that until the box has acknowledged that it seals under a later generation; not for a time alone. Each
//! registrar knows it of its own boxes and tells the other ([`InUse`]); each keeps what the other's boxes need.
//!
//! Nothing here waits for anybody: what has not been heard counts as not left.

use super::nodes::Node;
use super::{Action, Engine, Generation, persist};
use crate::messages::{InUse, News};
use registration::wire::{MAX_NODES, MAX_SECRETS};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Packets that a box sealed before it left a generation are on their way for so long at most.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// Between two messages that say what is in use.
const PAUSE: Duration = Duration::from_millis(500);
/// Boxes that are behind are named before the grace period is over, when they are no more than this: in the middle of a
/// roll-over all of them are behind.
const FEW: usize = 64;
/// Generations that are kept for boxes that have not left them, at most. Beyond, the oldest goes.
const MAX_KEPT: usize = 256;

/// What a box may be sealing under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Use {
    /// What it has acknowledged, or could have before.
    pub(super) oldest: u32,
    /// What it was handed last.
    pub(super) newest: u32,
    /// What it has left; its packets may be on their way until then.
    left: Option<(u32, Instant)>,
}

impl Use {
    pub(super) fn new(oldest: u32, newest: u32) -> Self {
        Self { oldest, newest, left: None }
    }

    fn range(&self, now: Instant) -> RangeInclusive<u32> {
        let left = self.left.filter(|&(_, until)| now < until).map(|(oldest, _)| oldest);
        left.unwrap_or(self.oldest)..=self.newest
    }
}

impl Node {
    /// It is handed a secret of this generation. What it seals under until it says so is not known. Gives what is to be
    /// kept of that, when it is more than that it was handed this.
    pub(super) fn handed(&mut self, generation: u32) -> Option<Use> {
        let before = self.in_use;
        let in_use = self.in_use.get_or_insert(Use::new(generation, generation));
        in_use.newest = in_use.newest.max(generation);
        in_use.oldest = in_use.oldest.min(generation);
        Some(*in_use).filter(|now| before.is_none_or(|before| before.oldest != now.oldest))
    }

    /// It seals under this generation and no longer under an earlier one. Whether anything has changed.
    pub(super) fn seals_now(&mut self, generation: u32, now: Instant) -> bool {
        let Some(in_use) = self.in_use.as_mut().filter(|u| u.oldest < generation) else { return false };
        let oldest = *in_use.range(now).start();
        in_use.left = Some((oldest, now + ON_THE_WAY));
        in_use.oldest = generation.min(in_use.newest);
        true
    }
}

/// What is said of it, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The other primary takes such messages.
    heard: bool,
    last: Option<InUse>,
    at: Option<Instant>,
}

impl Engine {
    /// The other primary says what messages it takes (`features`).
    pub fn features(&mut self, features: u32) {
        self.in_use_told.heard = features & 1 == 1;
        // One that was set back to an earlier version promises nothing.
        if !self.in_use_told.heard && self.in_use.take().is_some() {
            self.effects.batch.push(persist::no_in_use(&self.peer.name));
            self.reopen();
        }
    }

    /// The link is new: all is to be said again.
    pub(super) fn forget_told(&mut self) {
        self.in_use_told = Told::default();
    }

    /// The other side's boxes may seal under this.
    pub(super) fn hear_in_use(&mut self, in_use: InUse) {
        if self.in_use.as_ref() != Some(&in_use) {
            self.effects.batch.push(persist::in_use(&self.peer.name, &in_use));
            self.in_use = Some(in_use);
            self.reopen();
        }
    }

    /// The other side has generations that this one does not know of, though nothing is under way: this side's store was lost
    /// or set back. Its boxes may have been handed any of those.
    pub(super) fn take_for_lost(&mut self, newest: u32) {
        if newest <= self.last || self.theirs.is_some() {
            return;
        }
        let oldest = if self.last == 0 { 0 } else { self.last + 1 };
        for (name, node) in &mut self.nodes {
            let in_use = node.in_use.get_or_insert(Use::new(oldest, newest));
            in_use.newest = in_use.newest.max(newest);
            self.effects.batch.push(persist::node_in_use(name, *in_use));
        }
    }

    /// Acknowledgements need not be durable at once: without one, more is kept than need be. They are written together.
    pub(super) fn keep_uses(&mut self) {
        for (name, node) in self.nodes.iter_mut().filter(|(_, node)| node.unkept) {
            node.unkept = false;
            self.effects.batch.extend(node.in_use.map(|u| persist::node_in_use(name, u)));
        }
    }

    fn in_use_now(&self, now: Instant) -> InUse {
        let own = || self.nodes.values().filter(|n| !n.revoked);
        let behind = |since: u32| -> BTreeMap<_, _> {
            let ranges = own().filter_map(|n| Some((n.config.id, n.in_use?.range(now))));
            ranges.filter(|(_, range)| *range.start() < since).take(MAX_NODES).collect()
        };
        let settled =
            |g: &Generation| g.active_at.is_none_or(|at| now.saturating_duration_since(at) >= self.times.grace);
        let mut active = self.generations.iter().filter(|g| g.active);
        let mut since = active.clone().rev().find(|g| settled(g)).map_or(0, |g| g.number);
        since = since.max(self.in_use_told.last.as_ref().map_or(0, |told| told.since).min(self.active()));
        let mut of = behind(since);
        if let Some(newest) = active.next_back().filter(|g| g.number > since) {
            let of_newest = behind(newest.number);
            if of_newest.len() <= FEW {
                (since, of) = (newest.number, of_newest);
            }
        }
        InUse { since, behind: of, keeps: self.times.lifetime }
    }

    /// Says what this side's boxes may seal under, when that has changed.
    pub(super) fn tell_in_use(&mut self, now: Instant) {
        let Told { heard, at, .. } = self.in_use_told;
        if !self.link || !heard || at.is_some_and(|at| now.saturating_duration_since(at) < PAUSE) {
            return;
        }
        self.keep_uses();
        let in_use = self.in_use_now(now);
        self.in_use_told.at = Some(now);
        if self.in_use_told.last.as_ref() != Some(&in_use) {
            self.in_use_told.last = Some(in_use.clone());
            self.effects.actions.push(Action::Tell(News::InUse(in_use)));
        }
    }

    /// Whether a box of the other side is to be opened under this generation.
    pub(super) fn opens_for(&self, generation: &Generation, id: &[u8; 16]) -> bool {
        !generation.over || self.in_use.as_ref().is_some_and(|u| u.has(id, generation.number))
    }

    /// Whether any box of the other side may seal under it.
    fn is_needed(&self, generation: u32) -> bool {
        let nodes = self.peer_nodes.as_deref().unwrap_or_default();
        self.in_use.as_ref().is_some_and(|u| {
            let behind = || u.behind.iter().filter(|(_, range)| range.contains(&generation));
            generation >= u.since || behind().any(|(id, _)| nodes.iter().any(|n| n.id == *id))
        })
    }

    /// Scope client: the generations whose clients' secrets boxes get.
    pub(super) fn generations_of_clients(&self) -> impl Iterator<Item = &Generation> {
        let of: Vec<_> = self.generations.iter().filter(|g| !g.over || self.is_needed(g.number)).collect();
        let excess = of.len().saturating_sub(MAX_SECRETS);
        of.into_iter().skip(excess)
    }

    /// When the other side's boxes stop opening what a box seals under this generation that is out of touch; `None`: the
    /// other primary is of an earlier version, and has not said.
    pub(super) fn opened_until(&self, generation: &Generation) -> Option<Instant> {
        let keeps = self.in_use.as_ref()?.keeps.min(self.times.lifetime);
        generation.agreed_at.checked_add(keeps)
    }

    /// Superseded ones are over after the grace period, and when there are three later ones. They go as soon as no box of the
    /// other side may seal under them, and at the end of their lifetime.
    pub(super) fn end_generations(&mut self, now: Instant) {
        /// The previous, the present, the coming one.
        const RECENT: usize = 3;
        let active = self.active();
        let excess = self.generations.len().saturating_sub(RECENT);
        let mut changed = false;
        for (i, generation) in self.generations.iter_mut().enumerate().filter(|(_, g)| !g.over) {
            let superseded = generation.superseded.filter(|_| generation.number < active);
            let old = superseded.is_some_and(|at| now.saturating_duration_since(at) >= self.times.grace);
            generation.over = generation.number != active && (i < excess || old);
            changed |= generation.over;
        }
        // Both primaries take the agreement's end for its beginning, each by its own clock.
        let lifetime = self.times.lifetime.saturating_add(self.times.grace);
        let needed = |g: &&Generation| {
            let alive = now.saturating_duration_since(g.agreed_at) < lifetime;
            !g.over || alive && self.is_needed(g.number)
        };
        let mut ended: Vec<u32> = self.generations.iter().filter(|g| !needed(g)).map(|g| g.number).collect();
        let mut kept: Vec<u32> = self.generations.iter().filter(|g| g.over && needed(g)).map(|g| g.number).collect();
        if kept.len() > MAX_KEPT {
            kept.truncate(kept.len() - MAX_KEPT);
            tracing::warn!(peer = self.peer.name, generations = ?kept,
                "more generations than can be kept for boxes that are out of touch; what they seal is not opened any more");
            ended.append(&mut kept);
        }
        if !ended.is_empty() {
            self.generations.retain(|g| !ended.contains(&g.number));
            self.effects.batch.extend(ended.iter().map(|&n| persist::no_generation(&self.peer.name, n)));
        }
        if changed || !ended.is_empty() {
            self.reopen();
        }
    }
}
