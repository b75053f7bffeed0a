//! Two processes under one name: a copied machine, or one certificate on two. The one that is connected keeps its place as
//! long as it lives; the other is told to try again, and both are named.

use super::nodes::{Closing, Denied};
use super::{Action, Engine, SessionId};
use std::time::{Duration, Instant};

/// Who holds a place, and is asked whether it lives, says so within this.
const ANSWER: Duration = Duration::from_secs(2);
/// It is asked again after this, however often somebody else asks for its place.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Between two lines about one box in the log.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// A contest of which nothing has been heard for so long is over.
const OVER: Duration = Duration::from_secs(60);

/// Somebody else has asked for a box's place.
#[derive(Clone, Debug)]
pub(super) struct Contest {
    pub(super) claimant: String,
    pub(super) claims: u64,
    at: Instant,
    said: Option<Instant>,
}

/// Whether who holds a place lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Probe {
    /// Nobody has asked.
    Idle,
    /// It was asked then, and has not answered.
    Asked(Instant),
    /// It has answered a question of then.
    Answered(Instant),
}

impl Probe {
    fn since(self) -> Option<Instant> {
        match self {
            Self::Idle => None,
            Self::Asked(at) | Self::Answered(at) => Some(at),
        }
    }
}

impl Engine {
    /// Another process than the one that is connected wants to register from this address: the other is asked whether it
    /// lives. What the claimant is told.
    pub(super) fn contest(&mut self, now: Instant, name: &str, claimant: &str) -> Option<Denied> {
        let node = self.nodes.get_mut(name)?;
        let session = node.session.as_mut()?;
        if session.probe.since().is_none_or(|at| now.saturating_duration_since(at) >= ASK_AGAIN)
            && !matches!(session.probe, Probe::Asked(_))
        {
            session.probe = Probe::Asked(now);
            self.effects.actions.push(Action::Probe { session: session.id });
        }
        let (claims, said) = node.contest.as_ref().map_or((0, None), |c| (c.claims, c.said));
        let say = said.is_none_or(|at| now.saturating_duration_since(at) >= SAY_AGAIN);
        let claims = claims.saturating_add(1);
        if say {
            tracing::warn!(
                node = name,
                holder = session.from,
                claimant,
                claims,
                "another process asks for the place of a box that is connected; it is told to wait as long as that one \
                 lives: when these are two machines, one of them has the other's certificate and name"
            );
        }
        let said = if say { Some(now) } else { said };
        node.contest = Some(Contest { claimant: claimant.to_owned(), claims, at: now, said });
        Some(Denied::Taken { node: name.to_owned(), holder: session.from.clone(), claimant: claimant.to_owned() })
    }

    /// The box of this connection lives.
    pub fn alive(&mut self, id: SessionId) {
        let session = self.nodes.values_mut().filter_map(|n| n.session.as_mut()).find(|s| s.id == id);
        if let Some(session) = session
            && let Probe::Asked(at) = session.probe
        {
            session.probe = Probe::Answered(at);
        }
    }

    /// Connections whose box does not answer end: its machine is gone, or it stands still.
    pub(super) fn end_silent(&mut self, now: Instant) {
        for (name, node) in &mut self.nodes {
            if node.contest.as_ref().is_some_and(|c| now.saturating_duration_since(c.at) >= OVER) {
                node.contest = None;
            }
            let late = |probe| matches!(probe, Probe::Asked(at) if now.saturating_duration_since(at) >= ANSWER);
            if let Some(session) = node.session.take_if(|s| late(s.probe)) {
                tracing::warn!(
                    node = name,
                    holder = session.from,
                    "a box does not answer; another process may have its place"
                );
                self.effects.actions.push(Action::Close { session: session.id, why: Closing::Silent });
            }
        }
    }
}
