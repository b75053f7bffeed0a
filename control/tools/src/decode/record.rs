//! A packet with an option: what is in it, as it was read; and the same for people and as JSON.

use super::Summary;
use super::opening::{Opened, Opener, Sealed};
use common::capture::{Frame, Packet};
use protocol::delta_time::{self, Scaled};
use protocol::five_tuple::FiveTuple;
use protocol::wire::ext_chain::{Chain, WalkError};
use protocol::wire::ipv6;
use protocol::wire::option::{Form, Metrics, Prefix6};
use protocol::wire::profile::{AAD_LEN, TEXT_LEN};
use serde::Serialize;
use std::net::Ipv6Addr;

/// A packet with an option, as it was read. (Most packets of a capture end here, so it holds no text.)
#[derive(Clone, Debug)]
pub(super) struct Seen<'f> {
    pub frame: u64,
    pub time_ns: Option<u64>,
    pub tuple: FiveTuple,
    /// `None`: malformed.
    pub form: Option<Form>,
    pub prefix: Option<Prefix6>,
    pub key: Option<Opened>,
    pub metrics: Option<Metrics>,
    pub option: &'f [u8],
    pub within: Vec<&'static str>,
    pub hop_limit: u8,
    /// Of a TCP segment: its number, and how many it takes (SYN and FIN one each).
    pub segment: Option<(u32, u32)>,
    /// Whether it is a TCP segment without data, which a host's system sends by itself.
    pub is_bare: bool,
}

impl Seen<'_> {
    /// `pdm`, `clear`, `encrypted` or `malformed`.
    pub fn form_name(&self) -> &'static str {
        match self.form {
            None => "malformed",
            Some(Form::Pdm) => "pdm",
            Some(Form::Clear) => "clear",
            Some(Form::Encrypted) => "encrypted",
        }
    }

    /// Its time, seconds since 1970, to the nanosecond.
    pub fn time(&self) -> Option<String> {
        self.time_ns.map(|ns| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000))
    }

    /// The metrics, in units that people use.
    pub fn shown(&self) -> Option<Shown> {
        self.metrics.as_ref().map(|m| Shown::new(m, self.form != Some(Form::Pdm)))
    }

    /// For people.
    pub fn line(&self, hex: bool) -> String {
        let mut parts = vec![format!("#{}", self.frame)];
        parts.extend(self.time());
        parts.extend(self.within.iter().map(|within| format!("({within})")));
        parts.extend([self.tuple.to_string(), self.form_name().to_owned()]);
        parts.extend(self.prefix.map(|p| format!("prseq {} F {}", p.prseq, p.f)));
        parts.extend(self.key.as_ref().map(|k| {
            let ambiguous = if k.ambiguous { " (or another)" } else { "" };
            format!("| {} generation {} kri {}{ambiguous}", k.node, k.generation, k.kri)
        }));
        parts.push(match self.shown() {
            None if self.form == Some(Form::Encrypted) => "| not opened".to_owned(),
            None => "option".to_owned(),
            Some(m) => {
                let pointer = m.global_pointer.map(|p| format!("pointer {p} ")).unwrap_or_default();
                let (tlr, tls) = (show_ns(m.delta_tlr_ns), show_ns(m.delta_tls_ns));
                format!("| {pointer}psntp {} psnlr {} dtlr {tlr} dtls {tls}", m.psntp, m.psnlr)
            }
        });
        if hex {
            parts.push(format!("| {}", hex::encode(self.option)));
        }
        parts.join(" ")
    }
}

/// One packet with an option, as JSON has it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Record<'s> {
    /// Place in the capture, from 1.
    pub frame: u64,
    /// Seconds since 1970, to the nanosecond.
    pub time: Option<String>,
    /// What carries the packet, outermost first; left out when nothing does.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub within: &'s [&'static str],
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
    pub key: Option<&'s Opened>,
    /// The metrics; `None`: sealed, and not opened.
    pub metrics: Option<Shown>,
    /// The option's octets.
    pub hex: String,
}

impl<'s> Record<'s> {
    pub fn of(seen: &'s Seen<'_>) -> Self {
        Self {
            frame: seen.frame,
            time: seen.time(),
            within: &seen.within,
            src: seen.tuple.src.into(),
            sport: seen.tuple.sport,
            dst: seen.tuple.dst.into(),
            dport: seen.tuple.dport,
            protocol: seen.tuple.protocol,
            form: seen.form_name(),
            prseq: seen.prefix.map(|p| p.prseq),
            f: seen.prefix.map(|p| p.f),
            key: seen.key.as_ref(),
            metrics: seen.shown(),
            hex: hex::encode(seen.option),
        }
    }
}

/// Metrics of a packet (profile section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Shown {
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

/// Three decimals of the largest unit that fits.
pub(super) fn show_ns(ns: u64) -> String {
    for (unit, size) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000)] {
        if ns >= size {
            return format!("{}.{:03}{unit}", ns / size, ns % size * 1000 / size);
        }
    }
    format!("{ns}ns")
}

/// Where the Hop Limit stands in an IPv6 header.
const HOP_LIMIT_AT: usize = 7;

/// A TCP segment's number, how many it takes, and whether it has no data.
fn segment(chain: &Chain, octets: &[u8]) -> Option<((u32, u32), bool)> {
    const SYN_AND_FIN: [u8; 2] = [2, 1];
    if chain.five_tuple.protocol != ipv6::TCP {
        return None;
    }
    let header: &[u8; 14] = octets.get(chain.upper_offset..)?.first_chunk()?;
    let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let payload = chain.payload_end.checked_sub(chain.upper_offset + usize::from(header[12] >> 4) * 4)?;
    let flags = SYN_AND_FIN.iter().filter(|&&flag| header[13] & flag != 0).count();
    Some(((seq, u32::try_from(payload + flags).ok()?), payload == 0))
}

/// Looks for an option in a packet, and into it.
pub(super) fn look<'f>(
    frame: &Frame<'f>,
    packet: Packet<'f>,
    opener: Option<&mut Opener>,
    summary: &mut Summary,
) -> Option<Seen<'f>> {
    let octets = packet.octets;
    let mut seen = Seen {
        frame: frame.number,
        time_ns: frame.time_ns,
        tuple: FiveTuple::default(),
        form: None,
        prefix: None,
        key: None,
        metrics: None,
        option: &[],
        within: packet.within,
        hop_limit: octets.get(HOP_LIMIT_AT).copied().unwrap_or_default(),
        segment: None,
        is_bare: false,
    };
    let chain = match packet.chain {
        Ok(chain) => chain,
        Err(WalkError::MalformedOption) => {
            summary.malformed += 1;
            let (src, dst) = (octets.get(ipv6::SRC_AT..ipv6::DST_AT)?, octets.get(ipv6::DST_AT..ipv6::HEADER_LEN)?);
            (seen.tuple.src, seen.tuple.dst) = (src.try_into().ok()?, dst.try_into().ok()?);
            return Some(seen);
        }
        Err(WalkError::Truncated) => {
            summary.cut += u64::from(frame.missing() > 0);
            return None;
        }
        Err(_) => return None,
    };
    let at = chain.option?;
    let option = octets.get(at.offset..at.offset + at.form.option_len())?;
    if let Some((segment, is_bare)) = segment(&chain, octets) {
        (seen.segment, seen.is_bare) = (Some(segment), is_bare);
    }
    (seen.tuple, seen.form, seen.option) = (chain.five_tuple, Some(at.form), option);
    if at.form == Form::Pdm {
        summary.pdm += 1;
        seen.metrics = Some(Metrics::parse_pdm(option.get(2..)?.try_into().ok()?));
        return Some(seen);
    }
    let (aad, rest) = option.split_first_chunk::<AAD_LEN>()?;
    let (text, tag) = rest.split_first_chunk::<TEXT_LEN>()?;
    let prefix = Prefix6::parse(aad)?;
    seen.prefix = Some(prefix);
    if at.form == Form::Clear {
        summary.clear += 1;
        seen.metrics = Some(Metrics::parse(text));
        return Some(seen);
    }
    let sealed = Sealed { prefix, aad: *aad, text: *text, tag: tag.try_into().ok()? };
    match opener.and_then(|o| o.open(&seen.tuple, &sealed)) {
        Some((key, text)) => {
            summary.opened += 1;
            (seen.key, seen.metrics) = (Some(key), Some(Metrics::parse(&text)));
        }
        None => summary.not_opened += 1,
    }
    Some(seen)
}
