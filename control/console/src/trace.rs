//! `pdmv2 trace`: the next packets that match, each with every step that it took.

use crate::client::{Client, Which, with_parameters};
use crate::flows::Filter;
use anyhow::Context;
use common::admin::{Line, MOST_SECONDS, MOST_TRACED, TRACED, Traced, WATCHED_SECONDS, Watched};
use std::io::Write;

/// The command.
#[derive(Debug, clap::Args)]
pub struct TraceArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    filter: Filter,
    /// How many packets
    #[arg(short = 'n', default_value_t = TRACED, value_name = "PACKETS", value_parser = clap::value_parser!(u64).range(1..=MOST_TRACED))]
    number: u64,
    /// End after so many seconds, however many packets came
    #[arg(long, default_value_t = WATCHED_SECONDS, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: u64,
    /// Print the answer as JSON, one object in a line
    #[arg(long)]
    json: bool,
}

/// Prints packets as they come.
///
/// # Errors
/// The box cannot be asked, or does not understand.
pub fn run(args: &TraceArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let client = Client::new(&args.which)?;
    let more = [("n", args.number.to_string()), ("seconds", args.seconds.to_string())];
    let path = with_parameters("/v1/trace", args.filter.parameters().chain(more));
    let (mut unread, mut number) = (Vec::new(), 0u64);
    client.stream(&path, |octets| {
        if args.json {
            out.write_all(octets)?;
            out.flush()?;
            return Ok(true);
        }
        unread.extend_from_slice(octets);
        while let Some(end) = unread.iter().position(|&octet| octet == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            let line = serde_json::from_slice(&line)
                .context("an answer of another version; use the 'pdmv2' that came with the box")?;
            match line {
                Line::Packet(packet) => {
                    number += 1;
                    show(number, &packet, out)?;
                }
                Line::End(Watched { noted, missed: 0 }) => writeln!(out, "{noted} packets")?,
                Line::End(Watched { noted, missed }) => {
                    writeln!(out, "{noted} packets; {missed} more came too fast to be noted")?;
                }
            }
        }
        out.flush()?;
        Ok(true)
    })
}

/// One packet, a step a line.
fn show(number: u64, packet: &Traced, out: &mut dyn Write) -> std::io::Result<()> {
    let of_day = packet.time_ns / 1000 % 86_400_000_000;
    let (seconds, micros) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let Traced { direction, outcome, .. } = packet;
    writeln!(out, "packet {number}, {hours:02}:{minutes:02}:{seconds:02}.{micros:06} UTC: {direction} {outcome}")?;
    for step in &packet.steps {
        writeln!(out, "  {:<13} {}", step.step, step.says)?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::admin::Step;

    #[test]
    fn a_packet_is_shown_step_by_step() {
        let step = |step: &str, says: &str| Step { step: step.into(), says: says.into() };
        let packet = Traced {
            time_ns: 1_700_000_000_123_456_789,
            direction: "outbound".into(),
            worker: 0,
            length: 82,
            flow: None,
            policy: None,
            outcome: "passed".into(),
            reason: Some("not_ipv6".into()),
            steps: vec![step("received", "at the inside port by worker 0, 82 octets"), step("sent", "as it came")],
        };
        let mut out = Vec::new();
        show(7, &packet, &mut out).expect("written");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "packet 7, 22:13:20.123456 UTC: outbound passed\n  received      at the inside port by worker 0, 82 octets\n  \
             sent          as it came\n\n"
        );
    }
}
