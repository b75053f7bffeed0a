//! `pdmv2 decode`: shows the PDM options of a capture, opened where the key file allows.

use anyhow::Context;
use clap::Args;
use common::capture::{Capture, CaptureError, Frame, LinkType, ipv6_offset};
use common::key_file::KeyFile;
use common::state_file::known_generations;
use protocol::aead::{self, Slot};
use protocol::delta_time::{self, Scaled};
use protocol::five_tuple::FiveTuple;
use protocol::generation_keys::GenerationKeys;
use protocol::wire::ext_chain::{self, WalkError};
use protocol::wire::ipv6;
use protocol::wire::option::{Form, Metrics, Prefix6};
use protocol::wire::profile::{AAD_LEN, TEXT_LEN};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

/// Generations tried around the last one known, or from 1 on when none is (profile section 9).
const AHEAD: u32 = 16;
/// Rotations ahead of the last one seen that are tried (profile section 6).
const KRI_AHEAD: i32 = 8;
/// Flows whose last key is remembered.
const MAX_FLOWS: usize = 1 << 20;

/// Arguments of `pdmv2 decode`.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 when the capture was read to its end; 1 when it could not be, when the key file could not be, \
or when no frame of it has a link type that is known. Frames of other link types beside known ones are counted and said."
)]
pub struct DecodeArgs {
    /// A pcap or pcapng file (Ethernet, raw IP, Linux cooked, PPP, BSD loopback; up to four VLAN tags)
    pub capture: PathBuf,
    /// Key file to open sealed options with; without it only what is in clear is shown
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Directory with the boxes' state files, which say what generations to try [default: the key file's]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Try generations 1 to N instead
    #[arg(long, value_name = "N")]
    pub generation_max: Option<u32>,
    /// Try key rotation indices 0 to N for flows whose start is not in the capture
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub kri_max: u32,
    /// One JSON object per packet instead of text
    #[arg(long)]
    pub json: bool,
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
        let Self { frames, pdm, clear, opened, not_opened, malformed, cut, unknown } = self;
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
        Ok(())
    }
}

/// Writes a line per packet with an option to `out`.
///
/// # Errors
/// A capture or key file that cannot be read; `out` that cannot be written.
pub fn run(args: &DecodeArgs, out: &mut dyn Write) -> anyhow::Result<Summary> {
    let mut opener = args.keys.as_ref().map(|path| Opener::load(path, args)).transpose()?;
    let mut summary = Summary::default();
    let mut shown = 0;
    Capture::open(&args.capture)?.for_each(|frame| {
        summary.frames += 1;
        let Some(record) = decode(&frame, opener.as_mut(), &mut summary) else { return Ok(true) };
        if args.json {
            serde_json::to_writer(&mut *out, &record).map_err(|e| DecodeError::Write(e.into()))?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", record.line(args.hex))?;
        }
        shown += 1;
        Ok::<_, DecodeError>(args.count.is_none_or(|count| shown < count))
    })?;
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

/// One packet with an option.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Record {
    /// Place in the capture, from 1.
    pub frame: u64,
    /// Seconds since 1970, to the nanosecond.
    pub time: Option<String>,
    /// Source address.
    pub src: Ipv6Addr,
    /// Source port.
    pub sport: u16,
    /// Destination address; the final one under a Routing header.
    pub dst: Ipv6Addr,
    /// Destination port.
    pub dport: u16,
    /// Transport protocol.
    pub protocol: u8,
    /// `pdm`, `clear`, `encrypted` or `malformed` (then ports and protocol are 0).
    pub form: &'static str,
    /// Packet sequence number for the nonce; not in `pdm`.
    pub prseq: Option<u16>,
    /// The F bit.
    pub f: Option<u8>,
    /// The key that opened it.
    pub key: Option<Opened>,
    /// The metrics; `None`: sealed, and not opened.
    pub metrics: Option<Shown>,
    /// The option's octets.
    pub hex: String,
    #[serde(skip)]
    flow: String,
}

/// The key that opened an option.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Opened {
    /// The box that sealed.
    pub node: String,
    /// Its generation.
    pub generation: u32,
    /// Key rotation index.
    pub kri: u32,
}

/// Metrics of a packet (profile section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Shown {
    /// Packets this node had sent; not in `pdm`.
    pub global_pointer: Option<u32>,
    /// Packet sequence number this packet.
    pub psntp: u16,
    /// Packet sequence number last received.
    pub psnlr: u16,
    /// Delta time last received, nanoseconds.
    pub delta_tlr_ns: u64,
    /// Delta time last sent, nanoseconds.
    pub delta_tls_ns: u64,
}

impl Shown {
    fn new(metrics: &Metrics, with_pointer: bool) -> Self {
        let ns = |value, scale| delta_time::to_nanos(Scaled { value, scale });
        Self {
            global_pointer: with_pointer.then_some(metrics.global_pointer),
            psntp: metrics.psntp,
            psnlr: metrics.psnlr,
            delta_tlr_ns: ns(metrics.delta_tlr, metrics.scale_dtlr),
            delta_tls_ns: ns(metrics.delta_tls, metrics.scale_dtls),
        }
    }
}

impl Record {
    fn new(frame: &Frame<'_>, tuple: &FiveTuple, form: &'static str, option: &[u8]) -> Self {
        Self {
            frame: frame.number,
            time: frame.time_ns.map(|ns| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)),
            src: tuple.src.into(),
            sport: tuple.sport,
            dst: tuple.dst.into(),
            dport: tuple.dport,
            protocol: tuple.protocol,
            form,
            prseq: None,
            f: None,
            key: None,
            metrics: None,
            hex: hex::encode(option),
            flow: tuple.to_string(),
        }
    }

    /// For people.
    #[must_use]
    pub fn line(&self, hex: bool) -> String {
        let mut parts = vec![format!("#{}", self.frame)];
        parts.extend(self.time.clone());
        parts.extend([self.flow.clone(), self.form.to_owned()]);
        parts.extend(self.prseq.map(|prseq| format!("prseq {prseq} F {}", self.f.unwrap_or_default())));
        parts.extend(self.key.as_ref().map(|k| format!("| {} generation {} kri {}", k.node, k.generation, k.kri)));
        parts.push(match &self.metrics {
            None if self.form == "encrypted" => "| not opened".to_owned(),
            None => "option".to_owned(),
            Some(m) => {
                let pointer = m.global_pointer.map(|p| format!("pointer {p} ")).unwrap_or_default();
                let (tlr, tls) = (show_ns(m.delta_tlr_ns), show_ns(m.delta_tls_ns));
                format!("| {pointer}psntp {} psnlr {} dtlr {tlr} dtls {tls}", m.psntp, m.psnlr)
            }
        });
        if hex {
            parts.push(format!("| {}", self.hex));
        }
        parts.join(" ")
    }
}

/// Three decimals of the largest unit that fits.
fn show_ns(ns: u64) -> String {
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000)] {
        if ns >= size {
            return format!("{}.{:03}{unit}", ns / size, ns % size * 1000 / size);
        }
    }
    format!("{ns}ns")
}

fn decode(frame: &Frame<'_>, opener: Option<&mut Opener>, summary: &mut Summary) -> Option<Record> {
    if !frame.link.is_known() {
        *summary.unknown.entry(frame.link.0).or_default() += 1;
        return None;
    }
    let start = ipv6_offset(frame.link, frame.data)?;
    let packet = frame.data.get(start..)?;
    let chain = match ext_chain::walk(packet, frame.original_len - start) {
        Ok(chain) => chain,
        Err(WalkError::MalformedOption) => {
            summary.malformed += 1;
            let (src, dst) = (packet.get(ipv6::SRC_AT..ipv6::DST_AT)?, packet.get(ipv6::DST_AT..ipv6::HEADER_LEN)?);
            let ends = FiveTuple { src: src.try_into().ok()?, dst: dst.try_into().ok()?, ..FiveTuple::default() };
            return Some(Record::new(frame, &ends, "malformed", &[]));
        }
        Err(WalkError::Truncated) => {
            summary.cut += u64::from(frame.missing() > 0);
            return None;
        }
        Err(_) => return None,
    };
    let at = chain.option?;
    let option = packet.get(at.offset..at.offset + at.form.option_len())?;
    let tuple = chain.five_tuple;
    let mut record = Record::new(frame, &tuple, "pdm", option);
    if at.form == Form::Pdm {
        summary.pdm += 1;
        record.metrics = Some(Shown::new(&Metrics::parse_pdm(option.get(2..)?.try_into().ok()?), false));
        return Some(record);
    }
    let (aad, rest) = option.split_first_chunk::<AAD_LEN>()?;
    let (text, tag) = rest.split_first_chunk::<TEXT_LEN>()?;
    let prefix = Prefix6::parse(aad)?;
    (record.prseq, record.f) = (Some(prefix.prseq), Some(prefix.f));
    let metrics = if at.form == Form::Clear {
        record.form = "clear";
        summary.clear += 1;
        Some(*text)
    } else {
        record.form = "encrypted";
        let sealed = Sealed { prefix, aad: *aad, text: *text, tag: tag.try_into().ok()? };
        let opened = opener.and_then(|o| o.open(&tuple, &sealed));
        *(if opened.is_some() { &mut summary.opened } else { &mut summary.not_opened }) += 1;
        opened.map(|(key, text)| {
            record.key = Some(key);
            text
        })
    };
    record.metrics = metrics.map(|text| Shown::new(&Metrics::parse(&text), true));
    Some(record)
}

struct Sealed {
    prefix: Prefix6,
    aad: [u8; AAD_LEN],
    text: [u8; TEXT_LEN],
    tag: [u8; 16],
}

/// A key's name: node (by its place in the key file), generation, Kri.
type KeyName = (usize, u32, u32);

/// Opens sealed options by trying what fits.
struct Opener {
    keys: KeyFile,
    /// Newest generation per node id, from state files.
    known: BTreeMap<[u8; 16], u32>,
    generation_max: Option<u32>,
    kri_max: u32,
    secrets: HashMap<(usize, u32), GenerationKeys>,
    flows: HashMap<FiveTuple, KeyName>,
}

impl Opener {
    fn load(path: &Path, args: &DecodeArgs) -> anyhow::Result<Self> {
        let keys = KeyFile::load(path).context("the key file cannot be used")?;
        let beside = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let known = known_generations(args.state_dir.as_deref().unwrap_or(beside), &keys);
        let (generation_max, kri_max) = (args.generation_max, args.kri_max);
        Ok(Self { keys, known, generation_max, kri_max, secrets: HashMap::new(), flows: HashMap::new() })
    }

    fn open(&mut self, tuple: &FiveTuple, sealed: &Sealed) -> Option<(Opened, [u8; TEXT_LEN])> {
        let last = self.flows.get(tuple).copied();
        // Most likely first: the last one, its neighbours, then as far ahead as a receiver looks.
        let near = last.into_iter().flat_map(|(node, generation, kri)| {
            let steps = [0, 1, -1].into_iter().chain(2..=KRI_AHEAD);
            steps.filter_map(move |step| Some((node, generation, kri.checked_add_signed(step)?)))
        });
        let guesses: Vec<KeyName> = near.chain(self.guesses(tuple)).collect();
        for name @ (index, generation, kri) in guesses {
            if kri & 1 != u32::from(sealed.prefix.f) {
                continue;
            }
            if let Some(text) = self.try_key(name, tuple, sealed) {
                if self.flows.len() < MAX_FLOWS || last.is_some() {
                    self.flows.insert(*tuple, name);
                }
                let node = self.keys.nodes.get(index)?.name.clone();
                return Some((Opened { node, generation, kri }, text));
            }
        }
        None
    }

    /// Every key that may have sealed a packet of a flow not seen before.
    fn guesses(&self, tuple: &FiveTuple) -> Vec<KeyName> {
        let mut guesses = Vec::new();
        let speaks = |prefixes: &[protocol::prefix::Prefix]| prefixes.iter().any(|p| p.contains(&tuple.src));
        for (index, node) in self.keys.nodes.iter().enumerate().filter(|(_, n)| speaks(&n.prefixes)) {
            let generations = match (self.generation_max, self.known.get(&node.id)) {
                (Some(max), _) => 1..=max,
                (None, Some(&known)) => known.saturating_sub(AHEAD).max(1)..=known.saturating_add(AHEAD),
                (None, None) => 1..=AHEAD,
            };
            guesses.extend(generations.flat_map(|g| (0..=self.kri_max).map(move |kri| (index, g, kri))));
        }
        guesses
    }

    fn try_key(&mut self, (index, g, kri): KeyName, tuple: &FiveTuple, sealed: &Sealed) -> Option<[u8; TEXT_LEN]> {
        let keys = match self.secrets.entry((index, g)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(self.keys.generation_keys(self.keys.nodes.get(index)?, g).ok()?)
            }
        };
        let session = keys.session(tuple, kri)?;
        let mut slot = Slot::ZERO;
        slot.key = session.key;
        slot.nonce = session.nonce(sealed.prefix.prseq);
        slot.aad = sealed.aad;
        slot.text = sealed.text;
        slot.tag = sealed.tag;
        let slots = &mut [slot];
        (aead::open(self.keys.suite.aead, slots) == 1).then_some(slots[0].text)
    }
}
