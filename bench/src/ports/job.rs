//! One measurement, as it is handed to the process that takes it, and what comes back.

use super::frames::Frame;
use pipeline::state::policies::Mode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Buffers beside those that hold the capture.
const SPARE: u32 = 8192;

/// What is done with the packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// No policy: they pass.
    Pass,
    /// An option goes in.
    Add,
    /// From outside: a policy that leaves options unopened. What verify and remove cost without opening.
    #[value(name = "pass-in")]
    #[serde(rename = "pass-in")]
    PassIn,
    /// The option is opened and stays.
    Verify,
    /// The option is opened and taken out.
    Remove,
}

/// The option's form.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum, Debug)]
#[serde(rename_all = "lowercase")]
pub enum OptionForm {
    /// PDM of RFC 8250.
    Pdm,
    /// `PDMv2` in clear.
    Clear,
    /// `PDMv2` sealed.
    Sealed,
}

impl Action {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Add => "add",
            Self::PassIn => "pass-in",
            Self::Verify => "verify",
            Self::Remove => "remove",
        }
    }

    /// Whether packets come from outside.
    #[must_use]
    pub const fn is_inbound(self) -> bool {
        matches!(self, Self::PassIn | Self::Verify | Self::Remove)
    }
}

impl OptionForm {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pdm => "pdm",
            Self::Clear => "clear",
            Self::Sealed => "sealed",
        }
    }

    /// The policy's mode.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Pdm => Mode::Pdm,
            Self::Clear => Mode::Clear,
            Self::Sealed => Mode::Encrypted,
        }
    }
}

/// A measurement in a process of its own.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Job {
    /// Sizes.
    pub frame: Frame,
    /// What is done.
    pub action: Action,
    /// With which form.
    pub form: OptionForm,
    /// Flows.
    pub flows: u32,
    /// Workers, each with a queue of its own.
    pub workers: usize,
    /// A capture for each worker; none when the packets are made in the process.
    pub captures: Vec<PathBuf>,
    /// Seconds that are measured.
    pub seconds: f64,
}

impl Job {
    /// Frames of each worker's capture: as many together as one worker's, so that the memory they take is the same.
    #[must_use]
    pub const fn capture_frames(&self) -> usize {
        self.frame.capture_frames() / self.workers.next_power_of_two()
    }

    /// Buffers that the captures and the workers take.
    #[must_use]
    pub const fn buffers(&self) -> u32 {
        (self.capture_frames() * self.workers) as u32 + SPARE
    }

    /// Ports 0 and 1, here and in `dpdk-testpmd`.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        let captures: String = self.captures.iter().map(|c| format!(",rx_pcap={}", c.display())).collect();
        vec![format!("--vdev=net_pcap0{captures},infinite_rx=1"), "--vdev=net_null0,no-rx=1".to_owned()]
    }

    /// Whether there are more flows than the captures hold.
    #[must_use]
    pub const fn is_rewritten(&self) -> bool {
        self.flows as usize > self.capture_frames() * self.workers
    }
}

/// What was measured.
#[derive(Clone, Copy, Serialize, Deserialize, Debug)]
pub struct Sample {
    /// Packets.
    pub packets: u64,
    /// Seconds by the clock.
    pub seconds: f64,
    /// Seconds that the workers were on their cores, on average.
    pub on_core: f64,
}

impl Sample {
    /// Packets per second that the workers were on their cores: the machine may be shared.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.packets as f64 / self.on_core.max(f64::MIN_POSITIVE)
    }
}
