//! The real worker loop between `net_pcap` and `net_null`, as `pdmv2-middlebox run` starts it.

use super::box_state::{BoxState, Setting};
use super::environment;
use super::frames::FlowOrder;
use super::job::{Action, Job, Sample};
use super::outcomes::reasons;
use super::queues::{Feed, Order, Rewriting};
use anyhow::{Context, Result, bail};
use dpdk_ffi::{Eal, Mempool, Port, Started, ThreadRegistration};
use pipeline::flow::table::Ager;
use pipeline::observe::counter::Counter;
use pipeline::observe::counters::WorkerCounters;
use pipeline::observe::reasons::Reason;
use pipeline::ports::PortQueue;
use pipeline::ports::dpdk::{DpdkQueue, TscClock};
use pipeline::ports::{BURST, Clock};
use pipeline::state::hand_over::HandOver;
use pipeline::state::policies::{InboundAction, Mode};
use pipeline::state::shared::Shared;
use pipeline::state::worker::Worker;
use pipeline::worker::{self, Idle, turn_outbound};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use testkit::keyrings::Side;

/// The worker loop runs for so long before anything counts.
const WARM_UP: Duration = Duration::from_millis(250);
/// The control thread's step, and flows' idle time, as in a box.
const TICK: Duration = Duration::from_millis(10);
const IDLE_NS: u64 = 60_000_000_000;

/// Measures workers that pass packets, or put options into them.
///
/// # Errors
/// DPDK refuses, or packets did not get what the job says.
pub fn measure(job: &Job) -> Result<Sample> {
    let cores = environment::cores(job.workers);
    let mut arguments = environment::memory(environment::pool_megabytes(job.buffers(), job.frame.room()));
    arguments.push("--lcores=0@0".to_owned());
    arguments.extend(job.devices());
    let eal = Eal::init(&arguments)?;
    let pool = Mempool::new(&eal, "packets", job.buffers(), 256, job.frame.room(), None)?;
    let queues = job.workers as u16;
    let mut ports =
        [environment::start(&eal, "net_pcap0", queues, &pool)?, environment::start(&eal, "net_null0", queues, &pool)?];

    let clock = TscClock::new();
    let mode = if job.action == Action::Pass { Mode::Off } else { job.form.mode() };
    let setting = Setting {
        side: Side::A,
        mode,
        inbound: InboundAction::Remove,
        flows: job.flows,
        workers: job.workers,
        now: clock.now_ns(),
    };
    let state = BoxState::new(&setting);
    let mut workers: Vec<_> = (0..job.workers).map(|i| Worker::new(Arc::clone(&state.shared), i)).collect();
    for worker in &mut workers {
        insert_own(job, &pool, worker, &clock);
    }
    let sample = if job.is_rewritten() {
        let shares = job.workers as u32;
        let around = |i, q| Rewriting::new(q, FlowOrder::new(job.flows, (i as u32, shares)));
        with_queues(job, &eal, &mut ports, &state.shared, workers, &cores, clock, around)
    } else {
        with_queues(job, &eal, &mut ports, &state.shared, workers, &cores, clock, |_, q| q)
    };
    drop(ports);
    sample
}

/// Every flow of a worker sends a packet, in the order of their numbers: captures have another.
fn insert_own(job: &Job, pool: &Arc<Mempool>, worker: &mut Worker, clock: &TscClock) {
    let (first, step) = (worker.index() as u32, job.workers as u32);
    let mut feed = Feed::new(pool, job.frame, Order::Every(first, step));
    feed.allow(u64::from(job.flows.saturating_sub(first).div_ceil(step)));
    let mut sink = Feed::new(pool, job.frame, Order::Every(first, step));
    while turn_outbound(worker, &mut feed, &mut sink, clock) {}
}

#[expect(clippy::too_many_arguments, reason = "one call per measurement; they have nothing else in common")]
fn with_queues<Q: PortQueue<Packet: Send> + Send>(
    job: &Job,
    eal: &Eal,
    [inside, outside]: &mut [Port<Started>; 2],
    shared: &Shared,
    workers: Vec<Worker>,
    cores: &[usize],
    clock: TscClock,
    around: impl Fn(usize, DpdkQueue) -> Q,
) -> Result<Sample> {
    let queue = |i, pair| around(i, DpdkQueue::new(pair, BURST));
    let inside = inside.take_queues().into_iter().enumerate().map(|(i, pair)| queue(i, pair));
    let outside = outside.take_queues().into_iter().enumerate().map(|(i, pair)| queue(i, pair));
    let counters: Vec<_> = workers.iter().map(|w| Arc::clone(&w.counters)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (ids, threads) = channel();
        let mut running = Vec::new();
        let sides = HandOver::among(workers.len());
        let queues = inside.zip(outside).zip(sides);
        for ((mut worker, &core), ((mut inside, mut outside), mut side)) in workers.into_iter().zip(cores).zip(queues) {
            let (stop, ids) = (&stop, ids.clone());
            running.push(scope.spawn(move || -> Result<()> {
                environment::pin(core)?;
                let _registered = ThreadRegistration::new(eal)?;
                let _ = ids.send(rustix::thread::gettid().as_raw_nonzero().get() as u32); // the other end waits for it
                worker::run(&mut worker, &mut side, &mut inside, &mut outside, &clock, Idle::Poll, stop);
                Ok(())
            }));
        }
        drop(ids);
        let sample = watch(job, shared, &counters, &threads, clock);
        stop.store(true, Ordering::SeqCst);
        for worker in running {
            worker.join().map_err(|_| anyhow::anyhow!("a worker has panicked"))??;
        }
        sample
    })
}

/// What has been done at a moment.
struct Moment {
    at: Instant,
    received: u64,
    done: u64,
    on_core: Option<f64>,
}

fn watch(
    job: &Job,
    shared: &Shared,
    counters: &[Arc<WorkerCounters>],
    threads: &Receiver<u32>,
    clock: TscClock,
) -> Result<Sample> {
    let ids: Vec<u32> =
        (0..job.workers).map(|_| threads.recv().context("a worker has not started")).collect::<Result<_>>()?;
    let sum = |of: &dyn Fn(&WorkerCounters) -> u64| counters.iter().map(|c| of(c)).sum::<u64>();
    let moment = || Moment {
        at: Instant::now(),
        received: sum(&|c| c.outbound.received.get()),
        done: sum(&|c| match job.action {
            Action::Pass => c.outbound.passed[Reason::Off as usize].get(),
            _ => c.outbound.added.iter().map(Counter::get).sum(),
        }),
        on_core: ids.iter().map(|&id| environment::on_core(std::process::id(), id)).sum(),
    };
    let mut ager = Ager::new(shared.quiescence.clone());
    let step = shared.table.capacity().div_ceil(100);
    let mut wait = |time: Duration| {
        let end = Instant::now() + time;
        while Instant::now() < end {
            std::thread::sleep(TICK.min(end.saturating_duration_since(Instant::now())));
            ager.step(&shared.table, clock.now_ns(), IDLE_NS, step);
        }
    };
    wait(WARM_UP);
    let before = moment();
    wait(Duration::from_secs_f64(job.seconds));
    let after = moment();
    let (received, done) = (after.received - before.received, after.done - before.done);
    // Counters move burst by burst.
    if received == 0 || received.abs_diff(done) > 2 * BURST as u64 * job.workers as u64 {
        bail!("{done} of {received} packets got what they should: {}", reasons(counters));
    }
    let seconds = (after.at - before.at).as_secs_f64();
    let on_core = after.on_core.zip(before.on_core).map_or(seconds, |(a, b)| (a - b) / job.workers as f64);
    Ok(Sample { packets: received, seconds, on_core: on_core.min(seconds) })
}
