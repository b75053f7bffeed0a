//! Flows for people, as JSON, and as CSV.

use super::{Diagnosis, Flow, Histogram};
use crate::decode::record::show_ns;
use protocol::wire::ipv6;
use serde::Serialize;
use std::io::{self, Write};
use std::net::Ipv6Addr;

/// Shares that are told, in thousandths.
const SHARES: [u64; 3] = [500, 900, 990];

/// A distribution, nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Spread {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
}

impl Spread {
    fn of(histogram: &Histogram) -> Option<Self> {
        let [p50, p90, p99] = SHARES.map(|share| histogram.quantile(share));
        Some(Self { count: histogram.count(), p50: p50?, p90: p90?, p99: p99? })
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
struct End {
    address: Ipv6Addr,
    port: u16,
}

/// What one side of a flow has sent.
#[derive(Clone, Copy, Debug, Serialize)]
struct Side {
    packets: u64,
    not_opened: u64,
    lost_before_capture: u64,
    sent_again_behind_capture: u64,
    sent_again_before_capture: u64,
    late: u64,
    copies: u64,
    restarts: u64,
    hop_limit_changes: u32,
    /// How long this side took to answer.
    delay_ns: Option<Spread>,
    /// The round trip, as measured at this side.
    round_trip_ns: Option<Spread>,
    /// From the place of the capture to this side and back.
    network_ns: Option<Spread>,
}

#[derive(Clone, Debug, Serialize)]
struct Record<'f> {
    client: End,
    server: End,
    protocol: u8,
    forms: &'f [&'static str],
    first: Option<String>,
    last: Option<String>,
    from_client: Side,
    from_server: Side,
    verdict: super::Verdict,
    words: Vec<String>,
}

impl Flow {
    fn side(&self, index: usize) -> Side {
        let d = &self.directions[index];
        Side {
            packets: d.packets,
            not_opened: d.sealed,
            lost_before_capture: d.sequence.lost,
            sent_again_behind_capture: d.stream.resent,
            sent_again_before_capture: d.stream.filled,
            late: d.sequence.late,
            copies: d.sequence.copies,
            restarts: d.sequence.restarts,
            hop_limit_changes: d.hops,
            delay_ns: Spread::of(&d.delay),
            round_trip_ns: Spread::of(&d.round_trip),
            network_ns: Spread::of(&d.network),
        }
    }

    fn record(&self) -> Record<'_> {
        let time = |ns: Option<u64>| ns.map(|ns| format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000));
        let Diagnosis { verdict, words } = self.diagnosis();
        Record {
            client: End { address: self.tuple.src.into(), port: self.tuple.sport },
            server: End { address: self.tuple.dst.into(), port: self.tuple.dport },
            protocol: self.tuple.protocol,
            forms: &self.forms,
            first: time(self.first_ns),
            last: time(self.last_ns),
            from_client: self.side(0),
            from_server: self.side(1),
            verdict,
            words,
        }
    }

    /// One line of JSON.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &self.record())?;
        writeln!(out)
    }

    /// For people.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let [client, server] = &self.directions;
        let lasted = self.last_ns.unwrap_or(0).saturating_sub(self.first_ns.unwrap_or(0));
        let Diagnosis { verdict, words } = self.diagnosis();
        writeln!(out, "{} ({})", self.tuple, self.forms.join(", "))?;
        writeln!(
            out,
            "  {} packets from the client, {} from the server, in {}: {}",
            client.packets,
            server.packets,
            show_ns(lasted),
            verdict.name().to_uppercase()
        )?;
        for sentence in words {
            writeln!(out, "  {sentence}")?;
        }
        let rows = [
            ("round trip, at the client", &client.round_trip),
            ("round trip, at the server", &server.round_trip),
            ("delay of the server", &server.delay),
            ("delay of the client", &client.delay),
            ("capture, client and back", &client.network),
            ("capture, server and back", &server.network),
        ];
        for (what, histogram) in rows {
            let Some(Spread { count, p50, p90, p99 }) = Spread::of(histogram) else { continue };
            let [p50, p90, p99] = [p50, p90, p99].map(show_ns);
            writeln!(out, "  {what:<26} p50 {p50:>10}  p90 {p90:>10}  p99 {p99:>10}  of {count}")?;
        }
        writeln!(out)
    }

    /// The first line of a table of flows.
    pub fn write_csv_head(out: &mut dyn Write) -> io::Result<()> {
        write!(out, "client,client_port,server,server_port,protocol,forms,first,last,verdict")?;
        for side in ["client", "server"] {
            write!(
                out,
                ",{side}_packets,{side}_not_opened,{side}_lost_before_capture,{side}_sent_again_behind_capture"
            )?;
            write!(out, ",{side}_sent_again_before_capture,{side}_late,{side}_copies")?;
            for what in ["delay", "round_trip", "network"] {
                for share in ["p50", "p90", "p99"] {
                    write!(out, ",{side}_{what}_{share}_ns")?;
                }
            }
        }
        writeln!(out)
    }

    /// A line of a table of flows.
    pub fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let r = self.record();
        write!(out, "{},{},{},{}", r.client.address, r.client.port, r.server.address, r.server.port)?;
        let protocol = ipv6::name(r.protocol).map_or_else(|| r.protocol.to_string(), str::to_owned);
        let (first, last) = (r.first.unwrap_or_default(), r.last.unwrap_or_default());
        write!(out, ",{protocol},{},{first},{last},{}", r.forms.join(" "), r.verdict.name())?;
        for s in [r.from_client, r.from_server] {
            write!(out, ",{},{},{},{}", s.packets, s.not_opened, s.lost_before_capture, s.sent_again_behind_capture)?;
            write!(out, ",{},{},{}", s.sent_again_before_capture, s.late, s.copies)?;
            for spread in [s.delay_ns, s.round_trip_ns, s.network_ns] {
                match spread {
                    Some(Spread { p50, p90, p99, .. }) => write!(out, ",{p50},{p90},{p99}")?,
                    None => write!(out, ",,,")?,
                }
            }
        }
        writeln!(out)
    }
}
