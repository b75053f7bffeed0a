//! One measurement, as it is handed to the process that takes it, and what comes back.

use super::frames::Frame;
use super::isa::Isa;
use super::recipe::Recipe;
use pipeline::ports::BURST;
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
    #[value(name = "pass-off", alias = "pass")]
    #[serde(rename = "pass-off")]
    PassOff,
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
    #[value(alias = "encrypted")]
    Sealed,
}

impl Action {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PassOff => "pass-off",
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

/// What is out of the ordinary about the packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Debug)]
pub struct Mix {
    /// One packet in so many is off the plain shapes; 0: none.
    pub odd_every: u32,
    /// Per cent of the packets that come to another worker than their flow's others. `None`: flows come as the captures
    /// have them. With `Some`, 0 included, frames are rewritten at receipt, which costs the same whatever the share.
    pub strays: Option<u8>,
    /// Boxes on the other side.
    pub boxes: u16,
}

impl Default for Mix {
    fn default() -> Self {
        Self { odd_every: 0, strays: None, boxes: 1 }
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
    /// The instruction set of our path.
    pub isa: Isa,
    /// Which packets come.
    pub mix: Mix,
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
        self.mix.strays.is_some() || self.flows as usize > self.capture_frames() * self.workers
    }

    /// How its frames are made.
    #[must_use]
    pub const fn recipe(&self) -> Recipe {
        Recipe { frame: self.frame, odd_every: self.mix.odd_every, boxes: self.mix.boxes }
    }

    /// Of so many packets, how many may not have got what the action is: those that are odd; and where packets are handed
    /// from worker to worker, those that found the other one behind, since the machine may have taken its core away.
    #[must_use]
    pub const fn may_lack(&self, received: u64) -> u64 {
        // Counters move burst by burst, and a worker has two of them under way.
        let slack = 2 * BURST as u64 * self.workers as u64;
        let odd = match received.checked_div(self.mix.odd_every as u64) {
            Some(odd) => odd,
            None => 0,
        };
        let late = if self.has_strays() { received / 10 } else { 0 };
        slack + odd + late
    }

    /// Whether packets come to the wrong worker.
    #[must_use]
    pub const fn has_strays(&self) -> bool {
        matches!(self.mix.strays, Some(1..))
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
