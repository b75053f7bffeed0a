//! What the page shows: the answers of the admin interface, made of the same counts at one moment.

use super::super::history::{self, POLICIES};
use super::super::{Admin, flows, query, status};
use super::words::slower_than;
use crate::observe::counts::Counts;
use common::admin::{Failure, Flows, Histogram, History, Moment, Pairs, Policies, Sort, Status};

/// Flows that are shown.
pub const FLOWS: usize = 10;

/// Everything that is on the page.
#[derive(Debug)]
pub struct Figures {
    /// When this was, milliseconds since 1970.
    pub now_ms: u64,
    /// Of whom delays, loss and flows are. `None`: the whole box.
    pub policy: Option<String>,
    /// What the flows are sorted by.
    pub sort: Sort,
    /// `/v1/status`.
    pub status: Status,
    /// `/v1/policies`, the first ones.
    pub policies: Policies,
    /// `/v1/pairs`, the first ones.
    pub pairs: Pairs,
    /// Policies that are not among them.
    pub more_policies: usize,
    /// `/v1/flows`, the first ones.
    pub flows: Flows,
    /// `/v1/history`.
    pub history: History,
    /// Of the whole box: the policies of which something has become slower, and what. It may not show in all of them together.
    pub slower: Vec<(String, String)>,
    /// `/v1/histograms`: round trip and server delay.
    pub spread: [Histogram; 2],
}

impl Figures {
    /// Of a box, at this moment.
    ///
    /// # Errors
    /// There is no such policy, or it is none of the first ones.
    pub fn of(admin: &Admin, asked: &query::Page) -> Result<Self, Failure> {
        let world = &admin.world;
        let mut counts = (world.counts)();
        let policy = asked.policy.clone();
        let history = admin.history.answer(&counts, &query::History { policy: policy.clone(), since_ms: 0 })?;
        let more_policies = counts.policies.len().saturating_sub(POLICIES);
        counts.policies.truncate(POLICIES);
        counts.pairs.truncate(POLICIES);
        let spread = match &policy {
            None => status::of_box(&counts),
            Some(name) => status::of_policy(&counts, name)?,
        };
        let slower = match &policy {
            None => counts.policies.iter().filter_map(|policy| slower(admin, &counts, &policy.name)).collect(),
            Some(_) => Vec::new(),
        };
        let which = query::Flows { policy: policy.clone(), sort: asked.sort, limit: FLOWS, ..query::Flows::default() };
        Ok(Self {
            now_ms: history::now_ms(),
            sort: asked.sort,
            status: status::status(&counts, admin.rates.interval().as_ref()),
            policies: status::policies(&counts),
            pairs: status::pairs(&counts),
            more_policies,
            flows: flows::best(&world.shared, &which, (world.now)(), &world.stop)?,
            history,
            slower,
            spread,
            policy,
        })
    }

    /// The policies that can be chosen.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.policies.policies.iter().map(|policy| policy.name.as_str())
    }
}

/// What of a policy has become slower. `None`: nothing has, or it is not known.
fn slower(admin: &Admin, counts: &Counts, policy: &str) -> Option<(String, String)> {
    let asked = query::History { policy: Some(policy.to_owned()), since_ms: 0 };
    let history = admin.history.answer(counts, &asked).ok()?;
    let now = [&history.recent.round_trip, &history.recent.server_delay];
    if now.iter().any(|times| times.count == 0) {
        return None;
    }
    Some((policy.to_owned(), slower_than(now.map(|times| times.p50_ns), usual(&history)?)?))
}

/// Medians before what is recent, of round trip and server delay: what was usual. `None`: nothing is known of it.
pub fn usual(history: &History) -> Option<[u64; 2]> {
    /// Fewer intervals say nothing.
    const ENOUGH: usize = 5;
    let newest = history.moments.last()?.time_ms;
    let recent = newest.saturating_sub((history.recent.seconds * 1000.0) as u64);
    let of = |value: fn(&Moment) -> (u64, u64)| {
        let before = history.moments.iter().filter(|moment| moment.time_ms <= recent).map(value);
        let mut medians: Vec<_> = before.filter(|(count, _)| *count > 0).map(|(_, p50)| p50).collect();
        medians.sort_unstable();
        (medians.len() >= ENOUGH).then(|| medians.get(medians.len() / 2).copied()).flatten()
    };
    Some([of(|m| (m.round_trip.count, m.round_trip.p50_ns))?, of(|m| (m.server_delay.count, m.server_delay.p50_ns))?])
}
