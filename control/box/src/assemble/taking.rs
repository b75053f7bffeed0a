//! Two processes of one box: how this one takes over from the one that runs, and how the next one takes over from this one.

use super::{RunningBox, keys};
use crate::config::Config;
use crate::observe::telemetry::Listener;
use crate::ports::dpdk::Opened;
use crate::status::Status;
use crate::take_over::hands::{BoxHands, Left};
use crate::take_over::new::Taking;
use crate::take_over::old::Giving;
use crate::take_over::other::Other;
use crate::take_over::successor::{Program, Starter, Successors};
use crate::take_over::{Limits, place};
use crate::tasks::STEP;
use crate::tasks::handing_over::Orders;
use anyhow::{bail, ensure};
use common::admin::{Failure, Successor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A registrar that a new process has registered with gives it keys within this: the other side's boxes have to have them too.
const KEYS: Duration = Duration::from_secs(60);

/// Asks the box that runs whether it can be taken over from. `None`: there is none, and this is an ordinary start.
pub(super) fn ask(config: &Config) -> anyhow::Result<Option<Taking>> {
    let Some(admin) = &config.admin else {
        tracing::warn!("--take-over: nobody can be asked without [admin]; this is an ordinary start");
        return Ok(None);
    };
    let taking = Taking::connect(&place(&admin.socket))?;
    match &taking {
        Some(taking) => {
            let (process, version) = (taking.facts.process, &taking.facts.version);
            tracing::info!(process, version, "taking over from the box that runs, which forwards until then");
        }
        None => tracing::info!("--take-over: no box runs; this is an ordinary start"),
    }
    Ok(taking)
}

impl RunningBox {
    /// Prepares beside the box that runs, and takes its ports.
    ///
    /// # Errors
    /// Something of it fails: the other box goes on, and this process is to end.
    pub(super) fn take_over(config: &mut Config, mut taking: Taking, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        match Self::prepare_and_take(config, &mut taking, stop) {
            Ok(this) => {
                let gap_ns = taking.gap_ns();
                this.ports.tell();
                let process = taking.facts.process;
                this.status.took_over(process, gap_ns);
                this.tell_ready(config);
                let gap_ms = gap_ns as f64 / 1e6;
                tracing::info!(process, gap_ms, "took over in {gap_ms:.1} ms: for so long nobody had the ports");
                let same = config.admin.as_ref().map(|admin| admin.socket.as_path()) == taking.admin_socket();
                taking.done(gap_ns, same);
                Ok(this)
            }
            // Here its ports, if it has had some, are closed.
            Err(error) => {
                taking.failed(&format!("{error:#}"));
                Err(error.context("not taken over, and the box that runs goes on"))
            }
        }
    }

    fn prepare_and_take(config: &mut Config, taking: &mut Taking, stop: &Arc<AtomicBool>) -> anyhow::Result<Self> {
        let opened = Opened::without_ports(config, taking.facts.outside_mtu, &taking.facts.iova)?;
        common::fault::point("take-over-prepares");
        taking.prepare()?;
        common::fault::point("take-over-prepared");
        let keys = keys(config)?;
        let this = Self::start(config, opened, keys, stop)?;
        if taking.facts.seals {
            this.wait_for_keys(stop)?;
        }
        ensure!(!stop.load(Ordering::Relaxed), "this process is told to stop");
        // As late as can be: what comes to such a port waits for nobody.
        let beside = taking.may_hold_beside() && this.ports.hold_beside();
        taking.give(beside)?;
        common::fault::point("take-over-given");
        common::fault::still_point("take-over-stands-still", stop);
        this.ports.take_up()?;
        common::fault::point("take-over-forwards");
        Ok(this)
    }

    /// Until this process has a generation of its own.
    fn wait_for_keys(&self, stop: &AtomicBool) -> anyhow::Result<()> {
        let Some(keys) = &self.keys else { bail!("the box that runs seals, and this configuration has no keys") };
        let start = Instant::now();
        while keys.generation().is_none() {
            let mut registers = false;
            keys.change(|keys| {
                registers = keys.registration().is_some();
                keys.quick_tick(Instant::now());
            });
            ensure!(registers, "no key to seal with: the lines above say what is wrong with the state file");
            let waited = start.elapsed();
            ensure!(waited < KEYS, "no registrar has given keys to seal with within {} s", KEYS.as_secs());
            ensure!(!stop.load(Ordering::Relaxed), "this process is told to stop");
            keys.wait(STEP);
        }
        Ok(())
    }
}

/// Looks for the last time whether the process that took over lives. An end without an error would be taken for meant.
///
/// # Errors
/// It has ended: whoever has started this process is to start one again.
pub(super) fn lives(process: u32) -> anyhow::Result<()> {
    let lives = Other::of(process).is_ok_and(|other| !other.ends_within(Duration::ZERO));
    ensure!(lives, "process {process} had taken over, and has ended: nobody forwards; start the box again");
    Ok(())
}

/// Answers those who want to take over. `None`: nobody can.
pub(super) fn giving(
    this: &RunningBox,
    listener: &Listener,
    orders: Orders,
    stop: &Arc<AtomicBool>,
    left: &Left,
) -> Option<Giving> {
    let started = listener.take_over().and_then(|there| {
        let Some((socket, own)) = there else { return Ok(None) };
        let hands = BoxHands {
            ports: Arc::clone(&this.ports),
            keys: orders,
            status: Arc::clone(&this.status),
            outside_mtu: this.shared.snapshots.rules().config.outside_mtu,
            stop: Arc::clone(stop),
            left: left.clone(),
            sockets_left: listener.left(),
        };
        Giving::start(socket, own, hands, Limits::default()).map(Some)
    });
    started.unwrap_or_else(|error| {
        tracing::error!(%error, "no other process can take over from this one");
        None
    })
}

/// Starts processes that take over, when they are asked for. `None`: it starts none.
pub(super) fn successors(program: Program, status: &Arc<Status>) -> Option<Successors> {
    let started = Successors::start(program, Arc::clone(status));
    started.inspect_err(|error| tracing::error!(%error, "this process starts none that takes over")).ok()
}

/// One of them.
pub(super) fn successor(starter: Option<&Starter>) -> Result<Successor, Failure> {
    let none = || Failure {
        error: "this process starts none that takes over: see its log".to_owned(),
        remedy: "start one by hand, with --take-over".to_owned(),
        known: Vec::new(),
    };
    starter.ok_or_else(none)?.successor()
}
