//! A device under test between two `net_ring` ports, and a generator that paces packets into it and takes their times,
//! each on a core of its own.

use super::box_state::{BoxState, Setting};
use super::environment;
use super::frames::{self, Frame};
use super::job::OptionForm;
use super::outcomes::reasons;
use super::queues::{Stalls, Watch, Watched, ends};
use anyhow::{Context, Result, bail};
use arrayvec::ArrayVec;
use dpdk_ffi::{Eal, Mbuf, Mempool, ThreadRegistration, tsc, tsc_hz};
use pipeline::observe::counters::WorkerCounters;
use pipeline::ports::dpdk::{DpdkQueue, TscClock};
use pipeline::ports::{BURST, Clock, PortQueue};
use pipeline::state::hand_over::HandOver;
use pipeline::state::policies::{InboundAction, Mode};
use pipeline::state::worker::Worker;
use pipeline::worker::{self, Idle};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testkit::keyrings::Side;

const BUFFERS: u32 = 8192;
/// Packets under way at most: two rings and some bursts. A power of two above that.
const UNDER_WAY: usize = 16_384;
/// How late the generator may be, in packets, before it gives up what it has missed instead of sending it in a rush.
const LATE: u64 = 64;
/// What is still under way at the end of a trial gets so long.
const DRAIN: Duration = Duration::from_millis(20);
/// Seconds after which it is known whether a stall delayed a packet that is back.
const SETTLING: f64 = 500e-6;
/// Packets that wait in front of a device at most.
pub const RING: f64 = 1023.0;
/// Flows whose packets are counted, to know when their Kri changes.
const COUNTED: usize = 4096;
/// Flows that were never there before have numbers from here on.
const FRESH: u32 = 0x4000_0000;

/// What stands between the rings.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// A loop that receives and sends: what rings and generator cost by themselves.
    Copy,
    /// Our worker loop without a policy.
    Pass,
    /// Our worker loop, which adds an option of this form.
    Add(OptionForm),
}

impl Device {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copy => "empty loop",
            Self::Pass => "ours, pass",
            Self::Add(OptionForm::Sealed) => "ours, add sealed",
            Self::Add(OptionForm::Clear) => "ours, add clear",
            Self::Add(OptionForm::Pdm) => "ours, add pdm",
        }
    }
}

/// What is special about a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// The first of a flow.
    NewFlow,
    /// The first of its flow under another Kri.
    Rotation,
    /// The first of its flow under another generation.
    Generation,
}

/// Which packets come.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Sizes.
    pub frame: Frame,
    /// Flows, one after the other.
    pub flows: u32,
    /// Every so many packets one of a flow that was never there; 0: none.
    pub fresh_every: u64,
    /// A trial ends when the kernel takes a core away.
    pub ends_interrupted: bool,
}

/// What became of a trial's packets.
#[derive(Clone, Copy, Default, Serialize, Deserialize, Debug)]
pub struct Trial {
    /// Offered, those that the first ring did not take included.
    pub offered: u64,
    /// Of these, what the first ring did not take.
    pub refused: u64,
    /// Come out again.
    pub received: u64,
    /// Seconds in which they were offered.
    pub seconds: f64,
    /// Times that the kernel took the core from generator or device meanwhile.
    pub interrupted: u64,
    /// Packets whose times do not count for that.
    pub left_out: u64,
}

impl Trial {
    /// Packets lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.offered.saturating_sub(self.received)
    }

    /// Both together.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self {
            offered: self.offered + other.offered,
            refused: self.refused + other.refused,
            received: self.received + other.received,
            seconds: self.seconds + other.seconds,
            interrupted: self.interrupted + other.interrupted,
            left_out: self.left_out + other.left_out,
        }
    }

    /// Packets received per second of offering.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.received as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }
}

/// The generator, with its end of each ring.
pub struct Generator {
    pool: Arc<Mempool>,
    into: DpdkQueue,
    out_of: DpdkQueue,
    /// When, and as what, the packet of a number was sent.
    sent: Vec<(u64, Kind)>,
    next: u64,
    /// Packets so far of the first flows.
    counts: Vec<u64>,
    /// Packets up to this number are the first of their flows under a new generation.
    new_generation_until: u64,
    /// Packets that are back: when, sent when, as what.
    back: VecDeque<(u64, u64, Kind)>,
    settling: u64,
    stalls: Arc<Stalls>,
    watch: Watch,
    state: Option<BoxState>,
    generation: u32,
}

impl Generator {
    /// A packet of the next number. `None`: the pool is empty.
    fn make(&mut self, stream: &Stream) -> Option<Mbuf> {
        let number = self.next;
        let mut packet = Mbuf::from_pool(&self.pool)?;
        let octets = packet.append(stream.frame.size(number as usize))?;
        let (flow, mut kind) = match number.checked_div(stream.fresh_every) {
            Some(nth) if nth * stream.fresh_every == number => (FRESH + nth as u32, Kind::NewFlow),
            _ => ((number % u64::from(stream.flows)) as u32, Kind::Plain),
        };
        if let Some(count) = self.counts.get_mut(flow as usize) {
            if *count > 0 && count.is_multiple_of(PER_KRI) {
                kind = Kind::Rotation;
            }
            *count += 1;
        }
        if kind == Kind::Plain && number < self.new_generation_until {
            kind = Kind::Generation;
        }
        frames::write(octets, flow);
        *octets.last_chunk_mut::<8>()? = number.to_be_bytes();
        self.sent[number as usize % UNDER_WAY].1 = kind;
        self.next += 1;
        Some(packet)
    }

    /// Offers `rate` packets a second for a time (`None`: as many as go), and gives every packet's kind and cycles to
    /// `took` when it comes back.
    ///
    /// # Errors
    /// A packet comes back that was not sent, or the pool is empty.
    pub fn trial(
        &mut self,
        stream: &Stream,
        rate: Option<f64>,
        time: Duration,
        mut took: impl FnMut(Kind, u64),
    ) -> Result<Trial> {
        let mut trial = Trial::default();
        let stalls_before = self.stalls.count.load(Ordering::Relaxed);
        self.watch.restart();
        let hz = tsc_hz() as f64;
        // In 1/65536 cycles: at a million packets a second whole cycles would be off by 0.02 per cent.
        let interval = rate.map_or(0, |r| (hz * 65_536.0 / r) as u128).max(1);
        let start = tsc();
        let end = start + (time.as_secs_f64() * hz) as u64;
        let mut due = u128::from(start) << 16;
        let mut burst = ArrayVec::<Mbuf, BURST>::new();
        loop {
            let now = self.watch.tick();
            let interrupted = self.stalls.count.load(Ordering::Relaxed) > stalls_before;
            if now >= end || (stream.ends_interrupted && interrupted) {
                break;
            }
            let late = (u128::from(now) << 16).saturating_sub(due) / interval;
            let count = if rate.is_some() { late.min(BURST as u128) as usize } else { BURST };
            while burst.len() < count {
                let Some(packet) = self.make(stream) else { bail!("the generator's pool is empty") };
                burst.push(packet);
            }
            if !burst.is_empty() {
                self.send(stream, &mut burst, rate.is_some(), &mut trial);
                due += interval * count as u128;
                if late > u128::from(LATE) {
                    due = u128::from(now) << 16;
                }
            }
            self.receive(&mut trial)?;
            self.settle(now, &mut trial, &mut took);
        }
        trial.seconds = (tsc() - start) as f64 / hz;
        self.take_back(stream, &mut burst);
        let drained = tsc() + (DRAIN.as_secs_f64() * hz) as u64;
        while self.watch.tick() < drained && trial.received + trial.refused < trial.offered {
            self.receive(&mut trial)?;
        }
        self.settle(u64::MAX, &mut trial, &mut took);
        trial.interrupted = self.stalls.count.load(Ordering::Relaxed) - stalls_before;
        Ok(trial)
    }

    /// Sends; what the ring does not take is lost when the rate is given, and waits otherwise.
    fn send(&mut self, stream: &Stream, burst: &mut ArrayVec<Mbuf, BURST>, paced: bool, trial: &mut Trial) {
        let (first, before) = (self.next - burst.len() as u64, burst.len());
        let now = tsc();
        for number in first..self.next {
            self.sent[number as usize % UNDER_WAY].0 = now;
        }
        self.into.transmit(burst);
        let gone = before - burst.len();
        trial.offered += if paced { before } else { gone } as u64;
        if paced {
            trial.refused += burst.len() as u64;
            self.take_back(stream, burst);
        }
    }

    /// What the device has not seen: its numbers are given again.
    fn take_back(&mut self, stream: &Stream, burst: &mut ArrayVec<Mbuf, BURST>) {
        while burst.pop().is_some() {
            self.next -= 1;
            if self.next.checked_rem(stream.fresh_every) != Some(0)
                && let Some(count) = self.counts.get_mut((self.next % u64::from(stream.flows)) as usize)
            {
                *count -= 1;
            }
        }
    }

    fn receive(&mut self, trial: &mut Trial) -> Result<()> {
        let mut burst = ArrayVec::<Mbuf, BURST>::new();
        self.out_of.receive(&mut burst);
        if burst.is_empty() {
            return Ok(());
        }
        let now = tsc();
        for packet in &burst {
            let number = packet.data().last_chunk::<8>().map(|n| u64::from_be_bytes(*n)).filter(|n| *n < self.next);
            let number = number.context("a packet came out that was not sent")?;
            let (sent, kind) = self.sent[number as usize % UNDER_WAY];
            self.back.push_back((now, sent, kind));
        }
        trial.received += burst.len() as u64;
        Ok(())
    }

    /// Gives out the times of packets that have been back for a while: by then it is known whether a stall delayed them.
    fn settle(&mut self, now: u64, trial: &mut Trial, took: &mut impl FnMut(Kind, u64)) {
        while let Some(&(back, sent, kind)) = self.back.front() {
            if now.saturating_sub(back) < self.settling {
                return;
            }
            self.back.pop_front();
            // Also what was sent after it has waited behind what it had left lying.
            if sent > self.stalls.until.load(Ordering::Acquire) + 4 * self.settling {
                took(kind, back - sent);
            } else {
                trial.left_out += 1;
            }
        }
    }

    /// The box seals under a new generation from now on.
    ///
    /// # Errors
    /// The device has no keys.
    pub fn new_generation(&mut self, stream: &Stream) -> Result<()> {
        self.generation += 1;
        self.state.as_mut().context("only a box has generations")?.generation(self.generation);
        // The ring is read at the next burst; one under way may still be of the old one.
        self.new_generation_until = self.next + u64::from(stream.flows);
        Ok(())
    }
}

/// Packets of a flow under one Kri (profile section 6).
const PER_KRI: u64 = 32_767;

/// Builds the lab, runs `with` on the first core beside the device on the last, and takes it down.
///
/// # Errors
/// DPDK refuses, there is one core only, or `with` fails.
pub fn run<T>(device: Device, frame: Frame, flows: u32, with: impl FnOnce(&mut Generator) -> Result<T>) -> Result<T> {
    let [device_core, own_core] = environment::cores(2)[..] else { bail!("two cores are needed") };
    if device_core == own_core {
        bail!("two cores are needed: one for the generator, one for the device");
    }
    let mut arguments = environment::memory(environment::pool_megabytes(BUFFERS, frame.room()));
    arguments.push(format!("--lcores=0@{own_core}"));
    arguments.extend(["--vdev=net_ring0".to_owned(), "--vdev=net_ring1".to_owned()]);
    let eal = Eal::init(&arguments)?;
    environment::pin(own_core)?;
    let pool = Mempool::new(&eal, "packets", BUFFERS, 512, frame.room(), None)?;
    let mut ports =
        [environment::start(&eal, "net_ring0", 2, &pool)?, environment::start(&eal, "net_ring1", 2, &pool)?];
    let [into, inside] = ends(&mut ports[0]).context("net_ring gives no queues")?;
    let [outside, out_of] = ends(&mut ports[1]).context("net_ring gives no queues")?;
    let stalls = Arc::new(Stalls::default());
    let watch = Watch::new(&stalls);
    let (mut inside, mut outside) = (Watched::new(inside, watch.clone()), Watched::new(outside, watch));

    let clock = TscClock::new();
    let setting = setting(device, flows, clock.now_ns());
    let state = if device == Device::Copy { None } else { Some(BoxState::new(&setting)) };
    let mut worker = state.as_ref().map(|s| Worker::new(Arc::clone(&s.shared), 0));
    let counters: Vec<Arc<WorkerCounters>> = worker.iter().map(|w| Arc::clone(&w.counters)).collect();
    let stop = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let (stop, eal) = (&stop, &eal);
        let device = scope.spawn(move || -> Result<()> {
            environment::pin(device_core)?;
            let _registered = ThreadRegistration::new(eal)?;
            match &mut worker {
                Some(worker) => {
                    worker::run(worker, &mut HandOver::alone(), &mut inside, &mut outside, &clock, Idle::Poll, stop);
                }
                None => copy(&mut inside, &mut outside, stop),
            }
            Ok(())
        });
        let result = {
            let sent = vec![(0, Kind::Plain); UNDER_WAY];
            let (next, counts, new_generation_until, generation) = (0, vec![0; COUNTED], 0, 1);
            let mut generator = Generator {
                pool: Arc::clone(&pool),
                into,
                out_of,
                sent,
                next,
                counts,
                new_generation_until,
                back: VecDeque::with_capacity(UNDER_WAY),
                settling: (tsc_hz() as f64 * SETTLING) as u64,
                watch: Watch::new(&stalls),
                stalls,
                state,
                generation,
            };
            with(&mut generator)
        };
        stop.store(true, Ordering::SeqCst);
        device.join().map_err(|_| anyhow::anyhow!("the device has panicked"))??;
        result
    });
    if let Device::Add(_) = device {
        let added: u64 =
            counters.iter().flat_map(|c| &c.outbound.added).map(pipeline::observe::counter::Counter::get).sum();
        let passed: u64 =
            counters.iter().flat_map(|c| &c.outbound.passed).map(pipeline::observe::counter::Counter::get).sum();
        if result.is_ok() && (passed > 0 || added == 0) {
            bail!("{added} packets got an option, {passed} did not: {}", reasons(&counters));
        }
    }
    drop(ports);
    result
}

/// The box that is measured.
const fn setting(device: Device, flows: u32, now: u64) -> Setting {
    let mode = match device {
        Device::Copy | Device::Pass => Mode::Off,
        Device::Add(form) => form.mode(),
    };
    Setting { side: Side::A, mode, inbound: InboundAction::Remove, flows, workers: 1, now, boxes: 1 }
}

/// The empty device.
fn copy(inside: &mut Watched, outside: &mut Watched, stop: &AtomicBool) {
    let mut burst = ArrayVec::<Mbuf, BURST>::new();
    while !stop.load(Ordering::Relaxed) {
        inside.receive(&mut burst);
        outside.transmit(&mut burst);
        burst.clear(); // lost: the ring is full
        outside.receive(&mut burst);
        inside.transmit(&mut burst);
        burst.clear();
    }
}
