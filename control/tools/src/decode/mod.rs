//! `pdmv2 decode`: shows the PDM options of a capture, opened where a key file or a key log allows.

mod flows;
mod opening;
mod output;
mod plot;
mod progress;
mod record;

use clap::Args;
use common::capture::{CaptureError, LinkType, ipv6_packets};
use opening::Opener;
use output::Output;
use progress::Progress;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

/// Arguments of `pdmv2 decode`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 when the capture was read to its end; 1 when it could not be, when the keys could not be, \
or when no frame of it has a link type that is known. Frames of other link types beside known ones are counted and said."
)]
pub struct DecodeArgs {
    /// A pcap or pcapng file, or - for standard input; compressed with gzip or zstd, or not (Ethernet, raw IP, Linux cooked,
    /// PPP, BSD loopback; up to four VLAN tags; IPv6 in IPv4, IPv6, GRE or VXLAN)
    pub capture: PathBuf,
    /// Key file to open sealed options with; without it only what is in clear is shown
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Key log to open sealed options with, as a box writes it (log in its section keys)
    #[arg(long, value_name = "FILE")]
    pub key_log: Option<PathBuf>,
    /// Directory with the boxes' state files, which say what generations to try [default: the key file's]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Try generations 1 to N instead
    #[arg(long, value_name = "N")]
    pub generation_max: Option<u32>,
    /// Try key rotation indices 0 to N for flows whose start is not in the capture
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub kri_max: u32,
    /// Instead of packets show their flows: delays, loss, and what that means
    #[arg(long)]
    pub flows: bool,
    /// Flows that are looked at, at most; what is beyond is counted
    #[arg(long, value_name = "N", default_value_t = 4096, requires = "flows")]
    pub max_flows: usize,
    /// One JSON object per packet, or per flow, instead of text
    #[arg(long)]
    pub json: bool,
    /// A table of packets, or of flows, instead of text
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Draw the 20 flows of most packets as SVG: delays over time, and how they are spread
    #[arg(long, value_name = "DIR", requires = "flows")]
    pub plot: Option<PathBuf>,
    /// Also write the opened metrics to a new file, for configs/wireshark/pdmv2.lua
    #[arg(long, value_name = "FILE")]
    pub wireshark: Option<PathBuf>,
    /// Also show the option's octets
    #[arg(long)]
    pub hex: bool,
    /// Stop after N packets with an option
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
}

/// What was seen.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Summary {
    /// Frames in the capture.
    pub frames: u64,
    /// Packets with a PDM option in clear.
    pub pdm: u64,
    /// Packets with a PDMv2 option in clear.
    pub clear: u64,
    /// Packets with a sealed option that was opened.
    pub opened: u64,
    /// Packets with a sealed option that was not.
    pub not_opened: u64,
    /// Packets with an option that is malformed.
    pub malformed: u64,
    /// Packets of which too little was captured to tell.
    pub cut: u64,
    /// Frames that were not looked into, since their link type is not known, by link type.
    pub unknown: BTreeMap<u16, u64>,
    /// What else is to be said.
    pub notes: Vec<String>,
}

impl Summary {
    /// Whether there were frames, and none of a link type that is known.
    #[must_use]
    pub fn nothing_known(&self) -> bool {
        self.frames > 0 && self.unknown.values().sum::<u64>() == self.frames
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { frames, pdm, clear, opened, not_opened, malformed, cut, unknown, notes } = self;
        write!(f, "{frames} frames: {pdm} PDM, {clear} PDMv2 in clear, {} encrypted ", opened + not_opened)?;
        write!(f, "({opened} opened, {not_opened} not), {malformed} malformed options")?;
        if *cut > 0 {
            write!(
                f,
                "\n{cut} packets were cut within their headers when they were captured; capture with tcpdump -s 0"
            )?;
        }
        for (&link, count) in unknown {
            write!(f, "\n{count} frames of link type {} were not looked into: ", LinkType(link))?;
            write!(f, "it is not known here; capture as one of {}", LinkType::KNOWN)?;
        }
        notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

/// Writes what the arguments want of the packets with an option to `out`.
///
/// # Errors
/// A capture or key file that cannot be read; `out` that cannot be written.
pub fn run(args: &DecodeArgs, out: &mut dyn Write) -> anyhow::Result<Summary> {
    let mut opener = Opener::load(args)?;
    let mut summary = Summary::default();
    let (mut capture, mut progress) = Progress::open(&args.capture)?;
    let mut output = Output::new(args, out)?;
    let read = capture.for_each(|frame| {
        summary.frames += 1;
        progress.frame(frame.number);
        if !frame.link.is_known() {
            *summary.unknown.entry(frame.link.0).or_default() += 1;
        }
        for packet in ipv6_packets(&frame) {
            if let Some(seen) = record::look(&frame, packet, opener.as_mut(), &mut summary) {
                output.take(&seen, out)?;
            }
        }
        Ok::<_, DecodeError>(args.count.is_none_or(|count| output.shown < count))
    });
    drop(progress);
    // Also of a capture that ends in the middle of a packet the flows before it are wanted.
    output.finish(out, &mut summary.notes)?;
    read?;
    summary.notes.extend(opener.and_then(|o| o.note()));
    Ok(summary)
}

/// Why decoding stopped.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// Where the lines go.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}
