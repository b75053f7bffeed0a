//! `pdmv2-middlebox run`: the box between two ports, until SIGTERM or SIGINT.

use crate::config::{Config, Device, Idle};
use crate::keys::source::KeySource;
use crate::observe::counts::{Counts, Ports, RegistrationCounts};
use crate::observe::telemetry::Listener;
use crate::ports::dpdk;
use crate::ports::link::{LinkStatus, Links};
use crate::resumption::{Resumptions, Watcher};
use crate::setup;
use crate::workers::Workers;
use anyhow::Context;
use dpdk_ffi::{Eal, Mempool, Port, Started, ThreadRegistration};
use pipeline::flow::table::Ager;
use pipeline::observe::counters::WorkerCounters;
use pipeline::ports::dpdk::{DpdkQueue, TscClock};
use pipeline::state::resync::Resync;
use pipeline::state::shared::{Clock, Shared, Worker};
use pipeline::worker;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The control loop's step.
const TICK: Duration = Duration::from_millis(10);
/// Openings tried per tick for flows that went too far ahead: about a tenth of a core.
const RESYNC_TRIALS: u32 = 1500;
/// A pass over the flow table takes this many ticks.
const AGE_TICKS: usize = 100;
/// Keys and links are looked after every so many ticks.
const SLOW_TICKS: u64 = 20;

/// Runs until a signal.
///
/// # Errors
/// The box cannot start, or a worker has died.
pub fn run(mut config: Config, json: bool) -> anyhow::Result<()> {
    common::logging::start(&config.telemetry);
    crate::workers::log_panics();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot wait for signals")?;
    }
    // Before anything is started that a busy address would stop.
    let listener = config.telemetry.listen.map(Listener::bind).transpose()?;
    let eal = Eal::init(&config.eal_command_line())?;
    tracing::info!(version = dpdk_ffi::version(), aead = protocol::aead::Path::best().name(), "EAL started");
    let keys = KeySource::of(&mut config)?;
    let boxed = RunningBox::start(&config, &eal, keys, &stop)?;
    boxed.control(&config, listener, &stop, json)
}

/// Ports and workers at work.
struct RunningBox {
    /// In front, so that they have ended before what they work on goes.
    workers: Workers,
    shared: Arc<Shared>,
    keys: Option<KeySource>,
    ports: Arc<Mutex<(Port<Started>, Port<Started>)>>,
    counters: Vec<Arc<WorkerCounters>>,
    clock: TscClock,
}

/// What the control thread counts, for the telemetry thread to read.
#[derive(Default)]
struct ControlCounts {
    generation: AtomicU32,
    expired: AtomicU64,
    resynced: AtomicU64,
    /// 0: the box does not register; 1: it is not registered; 2: it is.
    registered: AtomicU64,
    out_of_touch: AtomicBool,
    /// Seconds until it stops sealing; 0: it does not seal.
    keys_expire: AtomicU64,
    /// Held for a copy only.
    links: Mutex<LinkStatus>,
}

impl RunningBox {
    fn start(config: &Config, eal: &Eal, mut keys: Option<KeySource>, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let (mut inside, mut outside) = (dpdk::take(eal, &config.inside)?, dpdk::take(eal, &config.outside)?);
        let mtu = [config.inside.mtu, config.outside.mtu].into_iter().flatten().max().unwrap_or(1500);
        // A packet should fit one buffer: headroom, Ethernet with two tags, and the MTU.
        let room = (usize::from(mtu) + 128 + 64).clamp(2048 + 128, usize::from(u16::MAX)) as u16;
        let pool = Mempool::new(eal, "packets", config.workers.mbufs, 256, room, outside.info()?.socket)?;
        let workers = config.workers.cores.len();
        dpdk::set_up(&mut inside, &config.inside, workers, &pool)?;
        dpdk::set_up(&mut outside, &config.outside, workers, &pool)?;
        let outside_mtu = usize::from(outside.info()?.mtu);

        let clock = TscClock::new();
        let ring = keys.as_ref().map_or_else(Arc::default, KeySource::ring);
        let shared = setup::shared(config, ring, outside_mtu, clock.now_ns(), workers)?;
        match &mut keys {
            Some(keys) => keys.start(),
            None => tracing::warn!(
                "no keys: packets pass without the option (neither [registration] nor [keys] is configured)"
            ),
        }
        let (mut inside, mut outside) = (inside.start()?, outside.start()?);
        dpdk::warn_of_spread(0, &inside);
        dpdk::warn_of_spread(1, &outside);
        let queues: Vec<_> = inside.take_queues().into_iter().zip(outside.take_queues()).collect();
        let mut this = Self {
            shared,
            keys,
            ports: Arc::new(Mutex::new((inside, outside))),
            workers: Workers::new(Arc::clone(stop)),
            counters: Vec::new(),
            clock,
        };
        for (i, (&core, (inside, outside))) in config.workers.cores.iter().zip(queues).enumerate() {
            let mut worker = Worker::new(Arc::clone(&this.shared), i);
            worker.audit = setup::audit(config)?;
            this.counters.push(Arc::clone(&worker.counters));
            let burst = usize::from(config.workers.burst);
            let queues = [DpdkQueue::new(inside, burst), DpdkQueue::new(outside, burst)];
            let (eal, stop) = (eal.clone(), Arc::clone(stop));
            let idle = match config.workers.idle {
                Idle::Poll => worker::Idle::Poll,
                Idle::Yield => worker::Idle::Yield,
                Idle::Sleep => worker::Idle::Sleep,
            };
            this.workers.start(&format!("worker-{i}"), move || work(&eal, core, worker, queues, clock, idle, &stop))?;
        }
        let ports = this.ports.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(
            "ready: forwarding between {} and {} with {} worker(s), {}; flow table {} flows, {} MiB; outside MTU {outside_mtu}",
            ports.0.name(),
            ports.1.name(),
            this.workers.count(),
            this.keys
                .as_ref()
                .and_then(KeySource::generation)
                .map_or_else(|| "no key to seal with".into(), |g| format!("generation {g}")),
            config.flow_table.capacity,
            setup::counts("", &this.shared, &[]).flows.memory_octets >> 20,
        );
        drop(ports);
        Ok(this)
    }

    /// The control thread, until the stop.
    fn control(
        mut self,
        config: &Config,
        listener: Option<Listener>,
        stop: &AtomicBool,
        json: bool,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let control = Arc::new(ControlCounts::default());
        let watcher = Watcher::start();
        if let Err(error) = &watcher {
            tracing::error!(%error, "a resumption of this machine goes unnoticed");
        }
        let watcher = watcher.ok();
        let resumptions = watcher.as_ref().map(Watcher::resumptions);
        let source = {
            let (node, shared, counters) = (config.node.clone(), Arc::clone(&self.shared), self.counters.clone());
            let (ports, control) = (Arc::clone(&self.ports), Arc::clone(&control));
            move || {
                let mut counts = setup::counts(&node, &shared, &counters);
                let ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
                counts.ports = Ports { inside: setup::port_counts(&ports.0), outside: setup::port_counts(&ports.1) };
                fill(&mut counts, &control, started);
                counts.resumptions =
                    resumptions.iter().flat_map(Resumptions::counts).map(|(c, n)| (c.name(), n)).collect();
                counts
            }
        };
        let source: crate::observe::telemetry::Source = Arc::new(source);
        let address = listener.as_ref().map(|l| l.address);
        let server = listener.map(|l| l.serve(Arc::clone(&source))).transpose();
        if let Some(address) = address {
            tracing::info!(%address, "telemetry");
        }
        // A box whose metrics cannot be had still forwards.
        if let Err(error) = &server {
            tracing::error!(%error, "no telemetry");
        }

        let pci = [&config.inside, &config.outside].iter().all(|p| matches!(p.device, Device::Pci(_)));
        let mut links = Links::new(config.forwarding.link_follow && pci);
        let mut ager = Ager::new(self.shared.quiescence.clone());
        let mut resync = Resync::default();
        let idle_ns = config.flow_table.idle_timeout.as_nanos().min(u128::from(u64::MAX)) as u64;
        let step = config.flow_table.capacity.div_ceil(AGE_TICKS);
        let mut ticks = 0u64;
        while !stop.load(Ordering::Relaxed) && self.workers.all_at_work() {
            match &self.keys {
                Some(keys) => keys.wait(TICK),
                None => std::thread::sleep(TICK),
            }
            ticks += 1;
            if let (Some(watcher), Some(keys)) = (&watcher, &mut self.keys) {
                // Before all else: another may be using what this box seals with.
                watcher.take().for_each(|cause| keys.resumed(cause));
            }
            let now = self.clock.now_ns();
            ager.step(&self.shared.table, now, idle_ns, step);
            let ring = self.shared.ring.load_full();
            resync.step(&self.shared, &ring, now, RESYNC_TRIALS);
            drop(ring);
            if let Some(keys) = &mut self.keys {
                keys.quick_tick();
            }
            if ticks % SLOW_TICKS == 1 {
                self.shared.path_mtus.expire(now);
                if let Some(keys) = &mut self.keys {
                    keys.tick(&self.shared);
                }
                let ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
                links.look(started.elapsed(), [&ports.0, &ports.1]);
                drop(ports);
                *control.links.lock().unwrap_or_else(PoisonError::into_inner) = links.status();
            }
            let generation = self.keys.as_ref().and_then(KeySource::generation).unwrap_or(0);
            control.generation.store(generation, Ordering::Relaxed);
            if let Some(registration) = self.keys.as_ref().and_then(KeySource::registration) {
                control.registered.store(1 + u64::from(registration.registered), Ordering::Relaxed);
                control.out_of_touch.store(registration.out_of_touch, Ordering::Relaxed);
                let expires = registration.keys_expire_seconds.map_or(0, |s| s.max(1.0) as u64);
                control.keys_expire.store(expires, Ordering::Relaxed);
            }
            control.expired.store(ager.expired, Ordering::Relaxed);
            control.resynced.store(resync.found, Ordering::Relaxed);
        }
        tracing::info!("stopping");
        let ended = self.workers.end();
        if let Err(error) = &ended {
            tracing::error!("the box stops: {error:#}");
        }
        if let Some(keys) = &mut self.keys {
            keys.persist();
        }
        drop(server);
        let counts = source();
        drop(source);
        if let Some(ports) = Arc::into_inner(self.ports) {
            let (inside, outside) = ports.into_inner().unwrap_or_else(PoisonError::into_inner);
            for port in [inside, outside] {
                if let Err((port, error)) = port.stop() {
                    tracing::error!(%error, port = port.name(), "port not stopped");
                }
            }
        }
        setup::print(&counts, json)?;
        ended
    }
}

fn fill(counts: &mut Counts, control: &ControlCounts, started: Instant) {
    counts.generation = Some(control.generation.load(Ordering::Relaxed)).filter(|g| *g > 0);
    counts.uptime_seconds = started.elapsed().as_secs_f64();
    counts.flows.expired = control.expired.load(Ordering::Relaxed);
    counts.keys.resynced = control.resynced.load(Ordering::Relaxed);
    let links = *control.links.lock().unwrap_or_else(PoisonError::into_inner);
    counts.link_follow = links.state.name();
    [counts.ports.inside.link, counts.ports.outside.link] = links.ports;
    let registered = control.registered.load(Ordering::Relaxed);
    counts.registration = (registered > 0).then(|| RegistrationCounts {
        registered: registered == 2,
        out_of_touch: control.out_of_touch.load(Ordering::Relaxed),
        keys_expire_seconds: Some(control.keys_expire.load(Ordering::Relaxed)).filter(|&s| s > 0).map(|s| s as f64),
    });
}

/// A worker's thread.
fn work(
    eal: &Eal,
    core: usize,
    mut worker: Worker,
    [mut inside, mut outside]: [DpdkQueue; 2],
    clock: TscClock,
    idle: worker::Idle,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    if !core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        tracing::warn!(core, "a worker could not be pinned to its core and runs where the kernel lets it");
    }
    let _registered = ThreadRegistration::new(eal)?;
    common::fault::panic_point(&format!("worker-{}-panics", worker.index()));
    worker::run(&mut worker, &mut inside, &mut outside, &clock, idle, stop);
    Ok(())
}
