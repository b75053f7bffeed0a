//! What was measured when: of the whole box and of its first policies, every two seconds, for a quarter of an hour. Read by the
//! clock from what the workers count anyway, and not when somebody asks.
//!
//! Of each that is kept: the counts at the last moment, what the last half to whole minute added to them, and its moments; 110 KiB
//! together, and 7 MiB with [`POLICIES`] policies.

use super::query;
use super::status::{none_of, quantiles};
use crate::observe::counts::Counts;
use crate::observe::sums::{CountedPolicy, Sums};
use common::admin::{Failure, History, Moment, Recent, Spread};
use pipeline::observe::histogram::Merged;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// From one moment to the next.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Moments that are kept: a quarter of an hour.
pub const MOMENTS: usize = 450;
/// Policies of which they are kept: the first ones.
pub const POLICIES: usize = 64;
/// After so many seconds what is recent is the half that ends here and the one that begins.
const HALF: f64 = 30.0;

/// What was counted: until a moment, or between two.
#[derive(Clone, Debug, Default)]
struct Counted {
    round_trip: Merged,
    server_delay: Merged,
    /// Accepted, lost, late, duplicates. Between two moments they wrap: what is lost becomes less when a packet comes late.
    counts: [u64; 4],
}

impl Counted {
    fn of_box(counts: &Counts) -> Self {
        let all = Sums(counts.policies.iter().flat_map(|policy| policy.sums.0.iter().cloned()).collect());
        Self {
            round_trip: counts.workers.iter().map(|worker| &worker.round_trip).collect(),
            server_delay: counts.workers.iter().map(|worker| &worker.server_delay).collect(),
            counts: Self::counts(&all),
        }
    }

    fn of_policy(policy: &CountedPolicy) -> Self {
        Self {
            round_trip: policy.sums.merged(|part| &part.round_trip),
            server_delay: policy.sums.merged(|part| &part.server_delay),
            counts: Self::counts(&policy.sums),
        }
    }

    fn counts(of: &Sums) -> [u64; 4] {
        [of.of(|p| &p.accepted), of.lost(), of.of(|p| &p.late), of.of(|p| &p.duplicates)]
    }

    fn since(&self, before: &Self) -> Self {
        let mut counts = self.counts;
        counts.iter_mut().zip(before.counts).for_each(|(now, then)| *now = now.wrapping_sub(then));
        Self {
            round_trip: self.round_trip.since(&before.round_trip),
            server_delay: self.server_delay.since(&before.server_delay),
            counts,
        }
    }

    fn add(&mut self, more: &Self) {
        self.round_trip.add(&more.round_trip);
        self.server_delay.add(&more.server_delay);
        self.counts.iter_mut().zip(more.counts).for_each(|(sum, more)| *sum = sum.wrapping_add(more));
    }

    /// What has grown; nothing of what has become less.
    fn grown(&self) -> [u64; 4] {
        self.counts.map(|count| if i64::try_from(count).is_ok() { count } else { 0 })
    }
}

/// Some intervals together.
#[derive(Debug, Default)]
struct Half {
    seconds: f64,
    counted: Counted,
}

/// What is kept of the whole box, or of a policy.
#[derive(Debug)]
struct Series {
    policy: Option<String>,
    at: Instant,
    counted: Counted,
    moments: VecDeque<Moment>,
    /// The last but one, and the one that is not over yet.
    halves: [Half; 2],
}

impl Series {
    /// It begins with what was counted so far, which was at no moment that is known.
    fn new(policy: Option<&str>, at: Instant, counted: Counted) -> Self {
        let policy = policy.map(str::to_owned);
        Self { policy, at, counted, moments: VecDeque::new(), halves: Default::default() }
    }

    fn take(&mut self, at: Instant, time_ms: u64, counted: Counted) {
        let seconds = at.saturating_duration_since(self.at).as_secs_f64();
        let between = counted.since(&self.counted);
        (self.at, self.counted) = (at, counted);
        // The clock was set back: what is known of other times would stand in the wrong order.
        if self.moments.back().is_some_and(|last| last.time_ms >= time_ms) {
            self.moments.clear();
        }
        if self.moments.len() >= MOMENTS {
            self.moments.pop_front();
        }
        let [accepted, lost, late, duplicates] = between.grown();
        let [round_trip, server_delay] = [&between.round_trip, &between.server_delay].map(spread);
        self.moments.push_back(Moment { time_ms, seconds, round_trip, server_delay, accepted, lost, late, duplicates });
        if self.halves[1].seconds >= HALF {
            self.halves.swap(0, 1);
            self.halves[1] = Half::default();
        }
        self.halves[1].seconds += seconds;
        self.halves[1].counted.add(&between);
    }

    fn recent(&self) -> Recent {
        let [before, last] = &self.halves;
        let mut counted = before.counted.clone();
        counted.add(&last.counted);
        let [accepted, lost, late, duplicates] = counted.grown();
        let [round_trip, server_delay] = [&counted.round_trip, &counted.server_delay].map(quantiles);
        Recent { seconds: before.seconds + last.seconds, round_trip, server_delay, accepted, lost, late, duplicates }
    }
}

fn spread(merged: &Merged) -> Spread {
    let of = |share| merged.quantile(share).unwrap_or_default();
    Spread { count: merged.count(), p50_ns: of(0.5), p99_ns: of(0.99) }
}

/// All that is kept.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Vec<Series>>);

impl Kept {
    /// Takes the next moment. Whoever asks meanwhile is answered between two policies.
    pub async fn take(&self, counts: &Counts) {
        self.take_at(Instant::now(), now_ms(), counts).await;
    }

    async fn take_at(&self, at: Instant, time_ms: u64, counts: &Counts) {
        self.take_of(None, at, time_ms, Counted::of_box(counts));
        for policy in counts.policies.iter().take(POLICIES) {
            tokio::task::yield_now().await;
            self.take_of(Some(&policy.name), at, time_ms, Counted::of_policy(policy));
        }
        // Policies that are gone.
        self.held(|all| all.retain(|series| series.at == at));
    }

    fn take_of(&self, policy: Option<&str>, at: Instant, time_ms: u64, counted: Counted) {
        self.held(|all| match all.iter_mut().find(|series| series.policy.as_deref() == policy) {
            // Of two policies with one name the first has all that counts.
            Some(series) if series.at == at => {}
            Some(series) => series.take(at, time_ms, counted),
            None => all.push(Series::new(policy, at, counted)),
        });
    }

    fn held<T>(&self, with: impl FnOnce(&mut Vec<Series>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `/v1/history`.
    ///
    /// # Errors
    /// There is no such policy, or it is none of the first ones.
    pub fn answer(&self, counts: &Counts, asked: &query::History) -> Result<History, Failure> {
        let policy = asked.policy.as_deref();
        if let Some(name) = policy {
            let mut names = counts.policies.iter().map(|policy| policy.name.clone());
            let place = names.position(|known| known == name);
            let place = place.ok_or_else(|| none_of("policy", name, counts.policies.iter().map(|p| p.name.clone())))?;
            if place >= POLICIES {
                let error = format!("policy: of '{}' no history is kept", query::short(name));
                let remedy = format!("put it among the first {POLICIES} of the configuration, or read /v1/policies");
                let known = counts.policies.iter().take(POLICIES).map(|policy| policy.name.clone()).collect();
                return Err(Failure { error, remedy, known });
            }
        }
        let (recent, moments) = self.held(|all| {
            let series = all.iter().find(|series| series.policy.as_deref() == policy);
            let later = |moment: &&Moment| moment.time_ms > asked.since_ms;
            series.map(|s| (s.recent(), s.moments.iter().filter(later).copied().collect())).unwrap_or_default()
        });
        let interval_seconds = INTERVAL.as_secs_f64();
        let kept_seconds = interval_seconds * MOMENTS as f64;
        Ok(History { policy: asked.policy.clone(), interval_seconds, kept_seconds, recent, moments })
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_utils::CachePadded;
    use pipeline::observe::counters::{PolicyCounters, WorkerCounters};
    use std::sync::Arc;

    const MS: u64 = 1_000_000;

    struct World {
        counts: Counts,
        start: Instant,
        kept: Kept,
    }

    impl World {
        fn new(policies: usize) -> Self {
            let policy = |n| CountedPolicy {
                name: format!("p{n}"),
                mode: "encrypted",
                sums: Sums(vec![(0..2).map(|_| CachePadded::new(PolicyCounters::default())).collect()]),
                ..CountedPolicy::default()
            };
            let policies = (0..policies).map(policy).collect();
            let workers = (0..2).map(|n| Arc::new(WorkerCounters::new(n))).collect();
            let counts = Counts { workers, policies, ..Counts::default() };
            Self { counts, start: Instant::now(), kept: Kept::default() }
        }

        /// So many packets of a policy come back, to either worker.
        fn traffic(&self, policy: usize, packets: u64, network: u64, server: u64) {
            for (worker, of_policy) in self.counts.workers.iter().zip(self.counts.policies[policy].sums.0[0].iter()) {
                for _ in 0..packets / 2 {
                    worker.round_trip.record(network);
                    worker.server_delay.record(server);
                    of_policy.round_trip.record(network);
                    of_policy.server_delay.record(server);
                }
                of_policy.accepted.add(packets / 2);
            }
        }

        async fn take(&self, second: u64) {
            let at = self.start + Duration::from_secs(second);
            self.kept.take_at(at, 1_000_000 + second * 1000, &self.counts).await;
        }

        fn of(&self, policy: Option<&str>, since_ms: u64) -> History {
            let asked = query::History { policy: policy.map(str::to_owned), since_ms };
            self.kept.answer(&self.counts, &asked).expect("a history")
        }
    }

    fn near(is: u64, should: u64) -> bool {
        is.abs_diff(should) * 20 <= should
    }

    #[tokio::test]
    async fn a_moment_tells_of_its_interval_alone() {
        let world = World::new(2);
        // What was there before: a box, or its history, that was started anew.
        world.traffic(0, 1000, 500 * MS, 500 * MS);
        world.take(0).await;
        assert_eq!((world.of(None, 0).moments.len(), world.of(None, 0).recent.seconds), (0, 0.0));
        world.traffic(0, 100, 2 * MS, MS);
        world.counts.policies[0].sums.0[0][1].skip(5);
        world.take(2).await;
        world.traffic(1, 50, 2 * MS, 40 * MS);
        world.counts.policies[0].sums.0[0][0].find();
        world.counts.policies[0].sums.0[0][0].late.add(1);
        world.counts.policies[1].sums.0[0][0].duplicates.add(7);
        world.take(4).await;
        world.take(6).await;
        let all = world.of(None, 0);
        let [first, second, third] = all.moments[..] else { unreachable!("three: {all:?}") };
        assert_eq!((first.time_ms, first.seconds, first.accepted, first.lost), (1_002_000, 2.0, 100, 5));
        assert_eq!((first.round_trip.count, first.server_delay.count), (100, 100));
        assert!(near(first.round_trip.p50_ns, 2 * MS) && near(first.server_delay.p99_ns, MS), "{first:?}");
        assert_eq!((second.accepted, second.lost, second.late, second.duplicates), (50, 0, 1, 7));
        assert!(near(second.server_delay.p50_ns, 40 * MS), "{second:?}");
        assert_eq!(third, Moment { time_ms: 1_006_000, seconds: 2.0, ..Moment::default() });
        assert_eq!((all.recent.seconds, all.recent.accepted, all.recent.lost), (6.0, 150, 4), "one was found");
        assert!(near(all.recent.server_delay.p50_ns, MS) && near(all.recent.server_delay.p99_ns, 40 * MS), "{all:?}");
        let of = |name| world.of(Some(name), 0).moments.iter().map(|m| m.accepted).collect::<Vec<_>>();
        assert_eq!((of("p0"), of("p1")), (vec![100, 0, 0], vec![0, 50, 0]));
        assert_eq!(world.of(None, 1_004_000).moments, [third], "only what is new");
        assert!(world.of(None, 1_006_000).moments.is_empty());
    }

    #[tokio::test]
    async fn what_is_recent_is_the_last_half_to_whole_minute() {
        let world = World::new(1);
        world.take(0).await;
        for second in 1..=100 {
            world.traffic(0, 2, if second <= 50 { 100 * MS } else { MS }, MS);
            world.take(second * 2).await;
            let recent = world.of(None, 0).recent;
            let least = if second < 15 { second as f64 * 2.0 } else { 30.0 };
            assert!(recent.seconds >= least && recent.seconds <= 60.0, "{second}: {recent:?}");
            assert_eq!(recent.accepted as f64, recent.seconds, "{second}");
        }
        let recent = world.of(Some("p0"), 0).recent;
        assert!(near(recent.round_trip.p999_ns, MS), "what was long ago is not recent: {recent:?}");
    }

    #[tokio::test]
    async fn what_is_kept_has_a_bound() {
        let mut world = World::new(POLICIES + 10);
        for second in 0..MOMENTS as u64 + 5 {
            world.kept.take_of(None, world.start + Duration::from_secs(second), second, Counted::default());
        }
        world.take(MOMENTS as u64 + 6).await;
        assert_eq!(world.of(None, 0).moments.len(), MOMENTS);
        assert_eq!(world.kept.held(|all| all.len()), 1 + POLICIES);
        let asked =
            |name: &str| world.kept.answer(&world.counts, &query::History { policy: Some(name.into()), since_ms: 0 });
        let beyond = asked("p64").expect_err("not kept");
        assert!(beyond.error.contains("no history") && beyond.known.len() == POLICIES, "{beyond:?}");
        assert!(asked("nobody").expect_err("not there").error.contains("no policy 'nobody'"));
        // Policies come and go.
        world.counts.policies.truncate(1);
        world.take(MOMENTS as u64 + 8).await;
        assert_eq!(world.kept.held(|all| all.len()), 2);
    }

    #[tokio::test]
    async fn counters_and_clocks_that_go_back_show_no_nonsense() {
        let world = World::new(1);
        world.traffic(0, 100, MS, MS);
        world.take(0).await;
        world.take(2).await;
        let anew = World { counts: World::new(1).counts, ..world };
        anew.take(4).await;
        let last = anew.of(None, 0).moments[1];
        assert_eq!((last.accepted, last.round_trip), (0, Spread::default()));
        anew.kept.take_at(anew.start + Duration::from_secs(6), 500, &anew.counts).await;
        assert_eq!(anew.of(None, 0).moments.iter().map(|m| m.time_ms).collect::<Vec<_>>(), [500], "set back");
    }
}
