//! What is to be kept, on its way to the store, and what is done when it is there. One thread writes; whoever has something
//! to be kept leaves it here and goes on, and nobody waits with the state in his hand.
//!
//! What the engines want done comes after what they want kept is durable, in their order. While the store cannot be written
//! everything waits here, as one batch: of values of one name the newest, of key sets for one box the newest, of what one
//! primary is to be told the newest of each kind. So it stays as small as what it describes, however long that takes. And the
//! engines are held meanwhile ([`Engine::hold`](crate::engine::Engine::hold)): they hear what happens, and decide
//! nothing until what they have decided is kept.

use crate::engine::{Action, Effects};
use crate::store::Batch;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use zeroize::Zeroizing;

/// A write that takes longer is said to be late, and the engines are held.
const LATE: Duration = Duration::from_secs(2);
/// That the store cannot be written is said so often, and whenever the reason is another.
const SAY: Duration = Duration::from_secs(60);

/// What waits for one write.
#[derive(Default)]
struct Waiting {
    values: BTreeMap<String, Option<Zeroizing<Vec<u8>>>>,
    after: After,
}

/// What comes after a write.
#[derive(Default)]
pub(super) struct After {
    /// By peer.
    pub actions: Vec<(String, Action)>,
    /// Who wants to know that it is durable.
    pub told: Vec<oneshot::Sender<()>>,
}

impl After {
    fn add(&mut self, peer: &str, action: Action) {
        self.actions.retain(|(of, earlier)| of != peer || !replaces(&action, earlier));
        self.actions.push((peer.to_owned(), action));
    }

    fn append(&mut self, later: Self) {
        later.actions.into_iter().for_each(|(peer, action)| self.add(&peer, action));
        self.told.extend(later.told);
    }
}

/// Whether nobody needs the earlier one any more.
fn replaces(later: &Action, earlier: &Action) -> bool {
    match (later, earlier) {
        (Action::Push { session: a, .. }, Action::Push { session: b, .. }) => a == b,
        (Action::Negotiate { .. }, Action::Negotiate { .. }) => true,
        (Action::Tell(a), Action::Tell(b)) => mem::discriminant(a) == mem::discriminant(b),
        _ => false,
    }
}

/// Why the store is behind.
#[derive(Clone, Debug)]
struct Trouble {
    since: Instant,
    error: String,
    said: Instant,
}

/// The way to the store.
#[derive(Default)]
pub(super) struct Keeping {
    next: Waiting,
    /// What comes after the write that is under way, and since when that is.
    writing: Option<(After, Instant)>,
    trouble: Option<Trouble>,
    failures: u64,
}

impl Keeping {
    /// Nothing is on its way: what need not be kept can be done at once.
    pub fn is_idle(&self) -> bool {
        self.writing.is_none() && self.next.values.is_empty() && self.next.after.actions.is_empty()
    }

    /// Whether the store is behind. What makes state is to wait.
    pub fn is_behind(&self) -> bool {
        self.trouble.is_some()
    }

    /// To be kept, and to be done then.
    pub fn add(&mut self, peer: &str, effects: Effects, told: Option<oneshot::Sender<()>>) {
        self.next.values.extend(effects.batch);
        effects.actions.into_iter().for_each(|action| self.next.after.add(peer, action));
        self.next.after.told.extend(told);
    }

    /// Nobody is to hear this any more: a box's session has ended, or a link to another primary.
    pub fn forget(&mut self, mut which: impl FnMut(&str, &Action) -> bool) {
        let writing = self.writing.iter_mut().map(|(after, _)| after);
        for after in writing.chain([&mut self.next.after]) {
            after.actions.retain(|(peer, action)| !which(peer, action));
        }
    }

    /// What is to be written now, as a whole.
    pub fn take(&mut self, now: Instant) -> Option<Batch> {
        if self.writing.is_some() || self.next.values.is_empty() {
            return None;
        }
        let Waiting { values, after } = mem::take(&mut self.next);
        self.writing = Some((after, now));
        Some(values.into_iter().collect())
    }

    /// It is durable: what comes after it, and whether the store was behind until now.
    pub fn written(&mut self) -> (After, bool) {
        let mut after = self.writing.take().map(|(after, _)| after).unwrap_or_default();
        // What need not be kept, and only waited for its turn.
        if self.next.values.is_empty() {
            after.append(mem::take(&mut self.next.after));
        }
        let trouble = self.trouble.take();
        if let Some(trouble) = &trouble {
            tracing::info!(after_s = trouble.since.elapsed().as_secs(), "the store is written again");
        }
        (after, trouble.is_some())
    }

    /// It is not: it is written with what has come since, as one batch.
    pub fn refused(&mut self, batch: Batch, error: String, now: Instant) {
        self.failures += 1;
        let later = mem::take(&mut self.next);
        let mut after = self.writing.take().map(|(after, _)| after).unwrap_or_default();
        after.append(later.after);
        let mut values: BTreeMap<_, _> = batch.into_iter().collect();
        values.extend(later.values);
        self.next = Waiting { values, after };
        self.behind(error, now);
    }

    /// Looks whether the write that is under way is late, for a reason that the store may know. `true`: it has just become so.
    pub fn look(&mut self, reason: impl FnOnce() -> Option<String>, now: Instant) -> bool {
        let Some((_, began)) = &self.writing else { return false };
        if now.saturating_duration_since(*began) < LATE {
            return false;
        }
        let was = self.is_behind();
        let reason = reason().or_else(|| self.trouble.as_ref().map(|trouble| trouble.error.clone()));
        self.behind(reason.unwrap_or_else(|| "it does not answer".to_owned()), now);
        !was
    }

    fn behind(&mut self, error: String, now: Instant) {
        let before = self.trouble.take();
        let again = before.as_ref().is_some_and(|t| t.error == error && now.saturating_duration_since(t.said) < SAY);
        if !again {
            tracing::error!(error, "the store cannot be written; nothing new is handed out, and it is tried again");
        }
        let (since, said) = before.map_or((now, now), |t| (t.since, if again { t.said } else { now }));
        self.trouble = Some(Trouble { since, error, said });
    }

    /// For the operator.
    pub fn status(&self, place: String, now: Instant) -> StoreStatus {
        let trouble = self.trouble.as_ref();
        StoreStatus {
            place,
            behind_seconds: trouble.map(|t| now.saturating_duration_since(t.since).as_secs()),
            error: trouble.map(|t| t.error.clone()),
            remedy: trouble.map(|t| remedy(&t.error).to_owned()),
            waiting: self.next.values.len(),
            failures_total: self.failures,
        }
    }
}

fn remedy(error: &str) -> &'static str {
    let full = ["os error 28", "os error 122", "No space left", "no storage space", "database space exceeded"];
    if full.iter().any(|words| error.contains(words)) {
        "make room on its file system (of etcd: compact, defragment, disarm the alarm); it goes on by itself"
    } else {
        "see to its disk or file system, or to etcd; it goes on by itself"
    }
}

/// How it stands with the store: no secrets.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The file, or the place in etcd.
    pub place: String,
    /// It cannot be written since so long; `None`: all is kept.
    pub behind_seconds: Option<u64>,
    /// Why.
    pub error: Option<String>,
    /// What helps.
    pub remedy: Option<String>,
    /// Values that wait to be kept.
    pub waiting: usize,
    /// Writes that were refused since the start.
    pub failures_total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handout::Handout;
    use crate::messages::News;
    use protocol::suite::Scope;
    use std::sync::Arc;

    fn value(name: &str, value: u8) -> (String, Option<Zeroizing<Vec<u8>>>) {
        (name.to_owned(), Some(vec![value].into()))
    }

    fn push(session: u64, revision: u64) -> Action {
        let opening = Arc::default();
        let (scope, sealing, clients, token) = (Scope::Node, None, Vec::new(), None);
        Action::Push {
            session,
            keys: Handout { revision, scope, sealing, clients, client_side: false, token, opening },
        }
    }

    fn told(newest: u32) -> Action {
        Action::Tell(News::State { newest, ready: 0, fingerprint: None })
    }

    fn shown(after: &After) -> Vec<String> {
        let show = |(peer, action): &(String, Action)| match action {
            Action::Push { session, keys } => format!("{peer} push {session} {}", keys.revision),
            Action::Tell(News::State { newest, .. }) => format!("{peer} state {newest}"),
            other => format!("{peer} {other:?}"),
        };
        after.actions.iter().map(show).collect()
    }

    /// However long a store refuses, what waits is as much as what it describes; and it is written as one batch, with the
    /// newest of each, before anything that comes after it.
    #[test]
    fn what_waits_for_a_store_that_refuses_stays_small_and_in_order() {
        let (mut keeping, now) = (Keeping::default(), Instant::now());
        assert!(keeping.is_idle());
        let effects = |batch, actions| Effects { batch, actions };
        keeping.add("east", effects(vec![value("a", 0), value("b", 0)], vec![push(1, 1), told(1)]), None);
        for round in 1..100_u8 {
            let batch = keeping.take(now).expect("something to write");
            assert!(keeping.take(now).is_none(), "one write at a time");
            keeping.add("east", effects(vec![value("b", round)], vec![push(1, u64::from(round) + 1)]), None);
            keeping.add("east", effects(Vec::new(), vec![told(u32::from(round) + 1), push(2, 1)]), None);
            keeping.refused(batch, "No space left on device (os error 28)".to_owned(), now);
            assert!(keeping.is_behind() && !keeping.is_idle());
        }
        let status = keeping.status("west.state".to_owned(), now);
        assert_eq!((status.waiting, status.failures_total, status.behind_seconds), (2, 99, Some(0)));
        assert!(status.remedy.is_some_and(|remedy| remedy.contains("make room")));
        let batch = keeping.take(now).expect("all of it");
        assert_eq!(batch, vec![value("a", 0), value("b", 99)]);
        let (after, was_behind) = keeping.written();
        assert_eq!(shown(&after), ["east push 1 100", "east state 100", "east push 2 1"]);
        assert!(was_behind && keeping.is_idle() && !keeping.is_behind());
    }

    #[test]
    fn what_need_not_be_kept_waits_for_its_turn_only() {
        let (mut keeping, now) = (Keeping::default(), Instant::now());
        keeping.add("east", Effects { batch: vec![value("a", 0)], actions: vec![told(1)] }, None);
        let (sender, mut receiver) = oneshot::channel();
        keeping.take(now).expect("a batch");
        keeping.add("north", Effects { batch: Vec::new(), actions: vec![told(2)] }, Some(sender));
        assert!(receiver.try_recv().is_err());
        let (after, was_behind) = keeping.written();
        assert_eq!((shown(&after), was_behind), (vec!["east state 1".to_owned(), "north state 2".to_owned()], false));
        assert_eq!(after.told.len(), 1);
        // And what nobody is to hear any more is heard by nobody.
        keeping.add("east", Effects { batch: vec![value("a", 1)], actions: vec![told(3), push(1, 1)] }, None);
        keeping.take(now).expect("a batch");
        keeping.forget(|peer, action| peer == "east" && matches!(action, Action::Tell(_)));
        assert_eq!(shown(&keeping.written().0), ["east push 1 1"]);
    }

    #[test]
    fn a_write_that_takes_long_is_late() {
        let (mut keeping, now) = (Keeping::default(), Instant::now());
        assert!(!keeping.look(|| None, now + LATE * 2));
        keeping.add("east", Effects { batch: vec![value("a", 0)], actions: Vec::new() }, None);
        keeping.take(now).expect("a batch");
        assert!(!keeping.look(|| None, now));
        assert!(keeping.look(|| Some("etcd is full".to_owned()), now + LATE));
        assert!(!keeping.look(|| None, now + LATE * 2), "it has been");
        assert_eq!(keeping.status(String::new(), now + LATE).error.as_deref(), Some("etcd is full"));
        assert!(keeping.written().1);
    }
}
