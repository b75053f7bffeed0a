//! `pdmv2-middlebox run`: the box between two ports, put together, until SIGTERM or SIGINT, or until another process takes over.

mod taking;

use crate::admin::World;
use crate::config::{Config, Device, Idle};
use crate::export::FlowExport;
use crate::keys::source::KeySource;
use crate::observe::counts::ExportCount;
use crate::observe::telemetry::{Listener, Source};
use crate::ports::dpdk::{Lcores, Opened, Pair};
use crate::ports::keeper::Keeper;
use crate::reload::{Hangups, Origin, Reloading};
use crate::resumption::{Resumptions, Watcher};
use crate::setup;
use crate::status::Status;
use crate::take_over::hands::Left;
use crate::take_over::sockets::Inherited;
use crate::take_over::successor::{Program, Successors};
use crate::tasks::ageing::Ageing;
use crate::tasks::exporting::{Export, Exporting};
use crate::tasks::handing_over::{HandingOver, handing_over};
use crate::tasks::keys::{Generations, Keys, UrgentKeys};
use crate::tasks::links::LinkWatch;
use crate::tasks::paths::Paths;
use crate::tasks::resumption::Resumption;
use crate::tasks::resync::Resyncing;
use crate::tasks::{Now, STEP, Schedule, Task};
use crate::watchdog::{self, Watched};
use crate::workers::Workers;
use anyhow::Context;
use pipeline::observe::counters::WorkerCounters;
use pipeline::ports::Clock;
use pipeline::ports::dpdk::{DpdkQueue, TscClock};
use pipeline::ports::lending::Borrower;
use pipeline::state::hand_over::HandOver;
use pipeline::state::shared::Shared;
use pipeline::state::worker::Worker;
use pipeline::worker;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How it runs.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// The counters are printed as JSON at the end.
    pub json: bool,
    /// The box that runs, if one does, is taken over from.
    pub take_over: bool,
}

/// Runs until a signal. `path`: of the configuration, which is read again on SIGHUP.
///
/// # Errors
/// The box cannot start, or a worker has died.
pub fn run(mut config: Config, path: &Path, options: Options) -> anyhow::Result<()> {
    common::logging::start(&config.telemetry);
    crate::workers::log_panics();
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot wait for signals")?;
    }
    let (origin, hangups) = (Origin::new(path, &config), Hangups::new()?);
    let program = Program::own().context("what program this is")?;
    let mut taking = if options.take_over { taking::ask(&config)? } else { None };
    let mut none = Inherited::default();
    // Before anything is started that a busy address would stop.
    let inherited = taking.as_mut().map_or(&mut none, |taking| &mut taking.sockets);
    let mut listener = Listener::bind(&config.telemetry, config.admin.as_ref(), inherited)?;
    let started = match taking {
        Some(taking) => {
            let started = RunningBox::take_over(&mut config, taking, &stop)?;
            listener.have_taken_over();
            started
        }
        None => {
            let opened = Opened::open(&config)?;
            let keys = keys(&mut config)?;
            let started = RunningBox::start(&config, opened, keys, &stop)?;
            started.tell_ready(&config);
            started
        }
    };
    let reloading = Arc::new(Reloading::new(origin, Arc::clone(&started.shared), started.clock, listener.moves()));
    let reloads = hangups.reload(Arc::clone(&reloading));
    if let Err(error) = &reloads {
        tracing::error!(%error, "SIGHUP is not heard");
    }
    let at_hand = AtHand { listener, reloading, program, json: options.json };
    started.control(&config, at_hand, &stop)
}

/// The keys of the configuration. A registration begins at once.
fn keys(config: &mut Config) -> anyhow::Result<Option<KeySource>> {
    let recorder = setup::recorder(config)?;
    KeySource::of(&config.node, config.registration.take(), config.keys.take(), recorder)
}

/// Where the box answers.
fn tell_places(config: &Config, listener: &Listener) {
    let (address, socket) = listener.places();
    if let Some(address) = address {
        tracing::info!(%address, admin = config.telemetry.admin, "telemetry");
    }
    if let Some(socket) = socket {
        tracing::info!(socket = %socket.display(), "admin");
    }
}

/// What the control thread needs beside the box.
struct AtHand {
    listener: Listener,
    reloading: Arc<Reloading>,
    program: Program,
    json: bool,
}

/// Ports and workers at work.
struct RunningBox {
    /// In front, so that they have ended before what they work on goes.
    workers: Workers,
    shared: Arc<Shared>,
    keys: Option<Keys>,
    export: Option<Export>,
    ports: Arc<Pair>,
    counters: Vec<Arc<WorkerCounters>>,
    clock: TscClock,
    status: Arc<Status>,
    started: Instant,
}

impl RunningBox {
    fn start(
        config: &Config,
        opened: Opened,
        mut keys: Option<KeySource>,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let outside_mtu = opened.outside_mtu();
        let clock = TscClock::new();
        let cell = keys.as_ref().map_or_else(Default::default, KeySource::cell);
        let shared = setup::shared(config, cell, outside_mtu, clock.now_ns(), config.workers.cores.len())?;
        setup::tell_memory(&shared, &opened.buffers());
        match &mut keys {
            Some(keys) => keys.start(),
            None => tracing::warn!(
                "no keys: packets pass without the option (neither [registration] nor [keys] is configured)"
            ),
        }
        let (ports, queues, lcores) = opened.start()?;
        let export = FlowExport::start(&config.export, config.flow_table.capacity).context("no thread for [export]")?;
        let status = Arc::<Status>::default();
        let mut this = Self {
            shared,
            keys: keys.map(|keys| Keys::new(keys, Arc::clone(&status))),
            export: export.map(|export| Rc::new(RefCell::new(export))),
            ports: Arc::new(ports),
            workers: Workers::new(Arc::clone(stop)),
            counters: Vec::new(),
            clock,
            status,
            started: Instant::now(),
        };
        this.start_workers(config, queues, &lcores, stop)?;
        Ok(this)
    }

    /// That it forwards.
    fn tell_ready(&self, config: &Config) {
        let [inside, outside] = self.ports.names();
        let generation = self.keys.as_ref().and_then(Keys::generation);
        tracing::info!(
            "ready: forwarding between {inside} and {outside} with {} worker(s), {}; flow table {} flows, {} MiB; outside MTU {}",
            self.workers.count(),
            generation.map_or_else(|| "no key to seal with".into(), |g| format!("generation {g}")),
            config.flow_table.capacity,
            setup::counts("", &self.shared, &[], self.clock.now_ns()).flows.memory_octets >> 20,
            self.shared.snapshots.rules().config.outside_mtu,
        );
    }

    fn start_workers(
        &mut self,
        config: &Config,
        queues: Vec<Borrower<DpdkQueue>>,
        lcores: &Lcores,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<()> {
        let idle = match config.workers.idle {
            Idle::Poll => worker::Idle::Poll,
            Idle::Yield => worker::Idle::Yield,
            Idle::Sleep => worker::Idle::Sleep,
        };
        let cores = &config.workers.cores;
        let sides = HandOver::among(cores.len());
        for (i, ((&core, mut queues), mut side)) in cores.iter().zip(queues).zip(sides).enumerate() {
            let mut worker = Worker::new(Arc::clone(&self.shared), i);
            worker.audit = setup::audit(config)?;
            self.counters.push(Arc::clone(&worker.counters));
            let (lcores, stop, clock) = (lcores.clone(), Arc::clone(stop), self.clock);
            self.workers.start(&format!("worker-{i}"), move || {
                let _registered = lcores.enter(core)?;
                common::fault::panic_point(&format!("worker-{i}-panics"));
                common::fault::still_point(&format!("worker-{i}-stands-still"), &stop);
                worker::run_lent(&mut worker, &mut side, &mut queues, &clock, idle, &stop);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The control thread, until the stop.
    fn control(mut self, config: &Config, at_hand: AtHand, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
        let watcher = Watcher::start();
        if let Err(error) = &watcher {
            tracing::error!(%error, "a resumption of this machine goes unnoticed");
        }
        let watcher = watcher.ok();
        let source = self.source(config, watcher.as_ref().map(Watcher::resumptions));
        let (handing_over, orders) = handing_over(self.keys.clone());
        let left = Left::default();
        let giving = taking::giving(&self, &at_hand.listener, orders, stop, &left);
        let successors = taking::successors(at_hand.program, &self.status);
        // A box that cannot be asked still forwards.
        let world = self.world(config, &source, at_hand.reloading, successors.as_ref(), stop);
        tell_places(config, &at_hand.listener);
        let server = at_hand.listener.serve(Arc::clone(&source), world);
        if let Err(error) = &server {
            tracing::error!(%error, "no telemetry");
        }

        let (workers, status) = (self.counters.clone(), Arc::clone(&self.status));
        let watchdog = watchdog::start(Watched { workers, status, shared: Arc::clone(&self.shared) });
        if let Err(error) = &watchdog {
            tracing::error!(%error, "nobody looks whether workers stand still, and systemd is told nothing");
        }
        let keeper = Keeper::start(Arc::clone(&self.ports));
        if let Err(error) = &keeper {
            tracing::error!(%error, "a port that is lost is not let go of, and not taken up again");
        }
        let mut schedule = Schedule::new(self.tasks(config, watcher, handing_over));
        tracing::debug!("the control thread's tasks: {}", schedule.describe());
        while !stop.load(Ordering::Relaxed) && self.workers.all_at_work() {
            match &self.keys {
                Some(keys) => keys.wait(STEP),
                None => std::thread::sleep(STEP),
            }
            self.status.control_turns.fetch_add(1, Ordering::Relaxed);
            schedule.turn(Now { since_start: self.started.elapsed(), at: Instant::now(), ns: self.clock.now_ns() });
        }
        tracing::info!("stopping");
        match (watchdog, left.who()) {
            (Ok(watchdog), Some(_)) => watchdog.end_quietly(),
            (watchdog, _) => drop(watchdog),
        }
        drop((keeper, giving, successors));
        let ended = self.workers.end();
        if let Err(error) = &ended {
            tracing::error!("the box stops: {error:#}");
        }
        if let Some(export) = &self.export {
            export.borrow_mut().stop(&self.shared.table, &self.shared.snapshots.rules(), self.clock.now_ns());
        }
        if let Some(keys) = &self.keys {
            keys.change(KeySource::persist);
        }
        drop((server, schedule));
        let counts = source();
        drop(source);
        if let Some(ports) = Arc::into_inner(self.ports) {
            ports.stop();
        }
        setup::print(&counts, at_hand.json)?;
        left.who().map_or(Ok(()), taking::lives)?;
        ended
    }

    /// What the control thread does, in its order: whether this process may still use its keys comes before all else.
    fn tasks(&self, config: &Config, watcher: Option<Watcher>, handing_over: HandingOver) -> Vec<Box<dyn Task>> {
        let (shared, status) = (|| Arc::clone(&self.shared), || Arc::clone(&self.status));
        let mut tasks: Vec<Box<dyn Task>> = Vec::new();
        if let (Some(watcher), Some(keys)) = (watcher, &self.keys) {
            let noticed = move || watcher.take().collect();
            tasks.push(Box::new(Resumption { noticed, keys: keys.clone() }));
        }
        tasks.push(Box::new(handing_over));
        tasks.push(Box::new(Ageing::new(shared(), status()).telling(self.export.clone())));
        if let Some(export) = &self.export {
            tasks.push(Box::new(Exporting::new(Rc::clone(export), shared(), config.export.active)));
        }
        tasks.push(Box::new(Resyncing::new(shared(), status())));
        if let Some(keys) = &self.keys {
            tasks.push(Box::new(UrgentKeys(keys.clone())));
            tasks.push(Box::new(Generations { keys: keys.clone(), shared: shared() }));
        }
        tasks.push(Box::new(Paths(shared())));
        let pci = [&config.inside, &config.outside].iter().all(|p| matches!(p.device, Device::Pci(_)));
        let follow = config.forwarding.link_follow && pci;
        tasks.push(Box::new(LinkWatch::new(follow, Arc::clone(&self.ports), status())));
        tasks
    }

    /// What answers to those who ask are made of.
    fn world(
        &self,
        config: &Config,
        source: &Source,
        reloading: Arc<Reloading>,
        successors: Option<&Successors>,
        stop: &Arc<AtomicBool>,
    ) -> World {
        let (source, clock) = (Arc::clone(source), self.clock);
        let starter = successors.map(Successors::starter);
        World {
            counts: Box::new(move || source()),
            shared: Arc::clone(&self.shared),
            workers: self.counters.clone(),
            now: Box::new(move || clock.now_ns()),
            cores: config.workers.cores.clone(),
            reload: Box::new(move || reloading.reload()),
            take_over: Box::new(move || taking::successor(starter.as_ref())),
            stop: Arc::clone(stop),
        }
    }

    /// Gives the box's counts, at any time and to any thread.
    fn source(&self, config: &Config, resumptions: Option<Resumptions>) -> Source {
        let (node, shared, counters) = (config.node.clone(), Arc::clone(&self.shared), self.counters.clone());
        let (ports, status, started, clock) =
            (Arc::clone(&self.ports), Arc::clone(&self.status), self.started, self.clock);
        let exports = self.export.as_ref().map(|export| export.borrow().counters()).unwrap_or_default();
        Arc::new(move || {
            let mut counts = setup::counts(&node, &shared, &counters, clock.now_ns());
            counts.ports = ports.counts();
            counts.port_settings = ports.settings();
            counts.memory.push(ports.buffers());
            status.fill(&mut counts, started.elapsed());
            counts.export = exports.iter().map(|&(to, ref counters)| ExportCount::of(to, counters)).collect();
            counts.resumptions = resumptions.iter().flat_map(Resumptions::counts).map(|(c, n)| (c.name(), n)).collect();
            counts
        })
    }
}
