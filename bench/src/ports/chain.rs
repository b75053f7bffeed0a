//! Two boxes in a row on one core, by turns: what box A sends, box B receives, so that every sealed packet is fresh, as
//! none of a capture that goes round would be. Each party works through a ring's worth of packets at a time and is timed
//! by the time stamp counter; making the packets is not timed at all.

use super::box_state::{BoxState, Setting};
use super::environment;
use super::frames::FlowOrder;
use super::job::{Action, Job, Sample};
use super::outcomes::reasons;
use super::queues::{Feed, Order, ends};
use super::recipe::Recipe;
use anyhow::{Context, Result, bail};
use arrayvec::ArrayVec;
use dpdk_ffi::{Eal, Mempool, Port, Started};
use pipeline::observe::counter::Counter;
use pipeline::observe::counters::DirectionCounters;
use pipeline::ports::dpdk::{DpdkQueue, TscClock};
use pipeline::ports::{BURST, Clock, PortQueue};
use pipeline::state::policies::{InboundAction, Mode};
use pipeline::state::worker::Worker;
use pipeline::worker::{turn_inbound, turn_outbound};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::keyrings::Side;

/// Bursts that fit a `net_ring` (1,023 packets).
pub const ROUND: usize = 31;
/// Packets of a round.
pub const ROUND_PACKETS: u64 = (ROUND * BURST) as u64;
const BUFFERS: u32 = 8192;
const WARM_UP: Duration = Duration::from_millis(150);
/// A round this many times as long as the median one was interrupted.
const INTERRUPTED: f64 = 4.0;

/// The devices: maker to A, A to B, and where B sends.
const DEVICES: [&str; 3] = ["--vdev=net_ring0", "--vdev=net_ring1", "--vdev=net_null0,no-rx=1"];

/// Cycles of a party's rounds.
#[derive(Clone, Debug, Default)]
pub struct Cycles(Vec<u64>);

impl Cycles {
    /// Another round.
    pub fn add(&mut self, cycles: u64) {
        self.0.push(cycles);
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The mean of those rounds in which the thread was not interrupted, and how many they are.
    #[must_use]
    pub fn mean(&self) -> Option<(f64, usize)> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let most = *sorted.get(sorted.len() / 2)? as f64 * INTERRUPTED;
        let kept = sorted.partition_point(|&c| c as f64 <= most);
        Some((sorted[..kept].iter().sum::<u64>() as f64 / kept as f64, kept))
    }

    /// Nanoseconds per packet.
    #[must_use]
    pub fn nanoseconds(&self) -> f64 {
        let hz = dpdk_ffi::tsc_hz() as f64;
        self.mean().map_or(0.0, |(cycles, _)| cycles / ROUND_PACKETS as f64 / hz * 1e9)
    }
}

/// The two boxes and what connects them.
pub struct Chain {
    /// Makes packets.
    pub feed: Feed,
    /// Box A's worker.
    pub a: Worker,
    /// Box B's worker.
    pub b: Worker,
    /// Box A.
    pub box_a: BoxState,
    /// Box B.
    pub box_b: BoxState,
    /// Box A's rounds.
    pub cycles_a: Cycles,
    /// Box B's rounds.
    pub cycles_b: Cycles,
    /// The clock of both.
    pub clock: TscClock,
    maker: DpdkQueue,
    a_inside: DpdkQueue,
    a_outside: DpdkQueue,
    b_outside: DpdkQueue,
    b_inside: DpdkQueue,
    _ports: [Port<Started>; 3],
}

/// What a chain is to do.
#[derive(Clone, Copy, Debug)]
pub struct ChainSetting {
    /// What comes in.
    pub recipe: Recipe,
    /// The form that A adds; `Off`: both pass everything.
    pub mode: Mode,
    /// What B does.
    pub inbound: InboundAction,
    /// Flows that the tables must hold.
    pub flows: u32,
}

impl Chain {
    /// Starts DPDK and everything else on the last core; no flow is there yet. Flows are fed in this order.
    ///
    /// # Errors
    /// DPDK refuses.
    pub fn new(setting: &ChainSetting, order: Order) -> Result<Self> {
        let core = environment::cores(1)[0];
        environment::pin(core)?;
        let room = setting.recipe.frame.room();
        let mut arguments = environment::memory(environment::pool_megabytes(BUFFERS, room));
        arguments.push(format!("--lcores=0@{core}"));
        arguments.extend(DEVICES.map(str::to_owned));
        let eal = Eal::init(&arguments)?;
        environment::pin(core)?;
        let pool = Mempool::new(&eal, "packets", BUFFERS, 512, room, None)?;
        let mut ring0 = environment::start(&eal, "net_ring0", 2, &pool)?;
        let mut ring1 = environment::start(&eal, "net_ring1", 2, &pool)?;
        let mut null = environment::start(&eal, "net_null0", 1, &pool)?;
        let [maker, a_inside] = ends(&mut ring0).context("net_ring gives no queues")?;
        let [a_outside, b_outside] = ends(&mut ring1).context("net_ring gives no queues")?;
        let b_inside = null.take_queues().pop().context("net_null gives no queue")?;
        let clock = TscClock::new();
        let state = |side| {
            BoxState::new(&Setting {
                side,
                mode: setting.mode,
                inbound: setting.inbound,
                flows: setting.flows,
                workers: 1,
                now: clock.now_ns(),
                boxes: setting.recipe.boxes,
            })
        };
        let (box_a, box_b) = (state(Side::A), state(Side::B));
        Ok(Self {
            feed: Feed::new(&pool, setting.recipe, order),
            a: Worker::new(Arc::clone(&box_a.shared), 0),
            b: Worker::new(Arc::clone(&box_b.shared), 0),
            box_a,
            box_b,
            cycles_a: Cycles::default(),
            cycles_b: Cycles::default(),
            clock,
            maker,
            a_inside,
            a_outside,
            b_outside,
            b_inside: DpdkQueue::new(b_inside, BURST),
            _ports: [ring0, ring1, null],
        })
    }

    /// A ring's worth of packets: made, through A, through B.
    ///
    /// # Errors
    /// The pool is too small.
    pub fn round(&mut self) -> Result<()> {
        self.feed.allow(ROUND_PACKETS);
        let mut burst = ArrayVec::<_, BURST>::new();
        for _ in 0..ROUND {
            self.feed.receive(&mut burst);
            self.maker.transmit(&mut burst);
            if !burst.is_empty() {
                bail!("a ring is full, or a pool empty");
            }
        }
        let start = dpdk_ffi::tsc();
        for _ in 0..ROUND {
            turn_outbound(&mut self.a, &mut self.a_inside, &mut self.a_outside, &self.clock);
        }
        let middle = dpdk_ffi::tsc();
        for _ in 0..ROUND {
            turn_inbound(&mut self.b, &mut self.b_outside, &mut self.b_inside, &self.clock);
        }
        let end = dpdk_ffi::tsc();
        self.cycles_a.add(middle - start);
        self.cycles_b.add(end - middle);
        Ok(())
    }

    /// What has been timed so far does not count.
    pub fn begin(&mut self) {
        self.cycles_a.clear();
        self.cycles_b.clear();
    }

    /// Rounds for a time; the cycles are those of this time.
    ///
    /// # Errors
    /// As [`Chain::round`].
    pub fn rounds_for(&mut self, time: Duration) -> Result<()> {
        self.begin();
        let start = Instant::now();
        while start.elapsed() < time {
            self.round()?;
        }
        Ok(())
    }

    /// Every flow sends a packet or more, in the order of their numbers; then flows come as `order` says.
    ///
    /// # Errors
    /// As [`Chain::round`].
    pub fn insert_all(&mut self, flows: u32, order: Order) -> Result<()> {
        self.feed.order(Order::Rising(0, flows));
        let odd = self.feed.odd(0);
        for _ in 0..u64::from(flows).div_ceil(ROUND_PACKETS) {
            self.round()?;
        }
        self.feed.odd(odd);
        self.feed.order(order);
        Ok(())
    }
}

/// Measures box B of a chain.
///
/// # Errors
/// As [`Chain::new`], or packets did not get what the job says.
pub fn measure(job: &Job) -> Result<Sample> {
    let inbound = match job.action {
        Action::PassIn => InboundAction::Pass,
        Action::Verify => InboundAction::Verify,
        Action::PassOff | Action::Add | Action::Remove => InboundAction::Remove,
    };
    let setting = ChainSetting { recipe: job.recipe(), mode: job.form.mode(), inbound, flows: job.flows };
    let order = || Order::Mixed(FlowOrder::new(job.flows, (0, 1)));
    let mut chain = Chain::new(&setting, order())?;
    chain.insert_all(job.flows, order())?;
    chain.rounds_for(WARM_UP)?;
    let before = counts(job, &chain.b.counters.inbound);
    chain.rounds_for(Duration::from_secs_f64(job.seconds))?;
    let after = counts(job, &chain.b.counters.inbound);
    let (received, done) = (after.0 - before.0, after.1 - before.1);
    if received == 0 || done > received || received - done > job.may_lack(received) {
        let counters = [Arc::clone(&chain.a.counters), Arc::clone(&chain.b.counters)];
        bail!("{done} of {received} packets got what they should: {}", reasons(&counters));
    }
    let (cycles, rounds) = chain.cycles_b.mean().context("nothing was measured")?;
    let seconds = cycles * rounds as f64 / dpdk_ffi::tsc_hz() as f64;
    Ok(Sample { packets: rounds as u64 * ROUND_PACKETS, seconds, on_core: seconds })
}

fn counts(job: &Job, c: &DirectionCounters) -> (u64, u64) {
    let all = |list: &[Counter]| list.iter().map(Counter::get).sum();
    let done = match job.action {
        Action::Verify => all(&c.verified),
        Action::PassIn => all(&c.passed),
        Action::PassOff | Action::Add | Action::Remove => all(&c.removed),
    };
    (c.received.get(), done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupted_rounds_do_not_count() {
        let mut cycles = Cycles::default();
        assert_eq!(cycles.mean(), None);
        for c in [100, 110, 5000, 90] {
            cycles.add(c);
        }
        assert_eq!(cycles.mean(), Some((100.0, 3)));
    }
}
