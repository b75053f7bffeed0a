//! What a running box does when another process of it takes over.

use super::old::Hands;
use super::talk::Facts;
use crate::ports::dpdk::Pair;
use crate::status::Status;
use crate::tasks::handing_over::Orders;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// That this process of the box is not the last one, and who goes on.
#[derive(Clone, Debug, Default)]
pub struct Left(Arc<AtomicU32>);

impl Left {
    fn to(&self, process: u32) {
        self.0.store(process, Ordering::SeqCst);
    }

    /// The process that goes on; `None`: the box ends with this one, if it ends.
    #[must_use]
    pub fn who(&self) -> Option<u32> {
        Some(self.0.load(Ordering::SeqCst)).filter(|process| *process > 0)
    }
}

/// Of this box.
pub struct BoxHands {
    /// The ports.
    pub ports: Arc<Pair>,
    /// To the control thread, which has the keys.
    pub keys: Orders,
    /// What is told to those who ask.
    pub status: Arc<Status>,
    /// The outside port's MTU.
    pub outside_mtu: usize,
    /// Has the control thread end the process.
    pub stop: Arc<AtomicBool>,
    /// Why it ends then.
    pub left: Left,
    /// Whether the sockets' names stay.
    pub sockets_left: Arc<AtomicBool>,
}

impl Hands for BoxHands {
    fn facts(&self) -> Facts {
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process: std::process::id(),
            outside_mtu: self.outside_mtu,
            seals: self.status.generation().is_some(),
            iova: dpdk_ffi::iova_mode().unwrap_or_default().to_owned(),
            steps_aside: true,
            sockets: Vec::new(),
        }
    }

    fn let_keys_go(&self) -> anyhow::Result<()> {
        self.keys.let_go()
    }

    fn take_keys_back(&self) {
        self.keys.take_back();
    }

    fn give_ports_up(&self) -> anyhow::Result<()> {
        self.ports.give_up()
    }

    fn leave_ports_alone(&self) -> anyhow::Result<()> {
        self.ports.step_aside()
    }

    fn take_ports_up(&self) -> anyhow::Result<()> {
        self.ports.take_up()?;
        self.ports.tell();
        Ok(())
    }

    fn failed(&self, why: &str) {
        self.status.take_over_failed(why);
    }

    fn leave(&self, process: u32, gap_ns: u64, keeps_socket: bool) {
        tracing::info!(process, gap_ms = gap_ns as f64 / 1e6, "another process has taken over, and this one ends");
        self.sockets_left.store(keeps_socket, Ordering::SeqCst);
        self.left.to(process);
        // Before it speaks for itself: systemd hears the main process alone.
        common::systemd::main_process_is(process);
        self.stop.store(true, Ordering::SeqCst);
    }
}
