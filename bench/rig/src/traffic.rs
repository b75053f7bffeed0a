//! Traffic between the hosts: ping and iperf3, and what came of it.

use crate::running::Running;
use crate::side::Side;
use crate::topology::Rig;
use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde_json::Value;
use std::time::Duration;

/// Port of iperf3.
const PORT: &str = "5201";

/// What ping reports.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pings {
    /// Requests sent.
    pub sent: u64,
    /// Replies received.
    pub received: u64,
    /// Mean round trip, milliseconds.
    pub mean_ms: f64,
}

/// What iperf3 reports of TCP.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tcp {
    /// Bits per second of payload at the receiver.
    pub bits_per_second: f64,
    /// Segments sent again.
    pub retransmits: u64,
}

/// What iperf3 reports of UDP.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Udp {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that the receiver missed.
    pub lost: u64,
    /// Bits per second of payload.
    pub bits_per_second: f64,
}

impl Rig {
    /// Pings the other host `count` times, `interval_ms` apart.
    ///
    /// # Errors
    /// ping cannot run, or says nothing that can be read.
    pub fn ping(&self, from: Side, to: &str, count: u32, interval_ms: u32) -> Result<Pings> {
        let (n, interval) = (count.to_string(), format!("{}.{:03}", interval_ms / 1000, interval_ms % 1000));
        let limit = Duration::from_millis(u64::from(count) * u64::from(interval_ms)) + Duration::from_secs(30);
        let args = ["ping", "-n", "-q", "-c", &n, "-i", &interval, "-W", "10", to];
        let finished = self.host(from).run(&args, limit)?;
        parse_pings(&finished.stdout).with_context(|| format!("ping {to}: {}{}", finished.stdout, finished.stderr))
    }

    /// A TCP connection from one host to the other for some seconds.
    ///
    /// # Errors
    /// iperf3 fails.
    pub fn tcp(&self, from: Side, seconds: u32) -> Result<Tcp> {
        let report = self.iperf(from, seconds, &[])?;
        let number = |place: &str| report.pointer(place).and_then(Value::as_f64);
        Ok(Tcp {
            bits_per_second: number("/end/sum_received/bits_per_second").context("iperf3 reports no rate")?,
            retransmits: number("/end/sum_sent/retransmits").unwrap_or_default() as u64,
        })
    }

    /// UDP datagrams of `len` octets from one host to the other for some seconds.
    ///
    /// # Errors
    /// iperf3 fails.
    pub fn udp(&self, from: Side, seconds: u32, bits_per_second: u64, len: u16) -> Result<Udp> {
        let (rate, len) = (bits_per_second.to_string(), len.to_string());
        let report = self.iperf(from, seconds, &["-u", "-b", &rate, "-l", &len])?;
        let number = |place: &str| report.pointer(place).and_then(Value::as_f64).context("iperf3 reports no counts");
        Ok(Udp {
            sent: number("/end/sum/packets")? as u64,
            lost: number("/end/sum/lost_packets")? as u64,
            bits_per_second: number("/end/sum/bits_per_second")?,
        })
    }

    fn iperf(&self, from: Side, seconds: u32, more: &[&str]) -> Result<Value> {
        let to = from.other();
        let args = ["iperf3", "-s", "-1", "-p", PORT, "-B", to.address(), "--forceflush"];
        let mut server = self.start_on_host(to, "iperf3-server", &args)?;
        server.wait_for("Server listening", Duration::from_secs(10))?;
        let time = seconds.to_string();
        let mut args = vec!["iperf3", "-c", to.address(), "-p", PORT, "-t", &time, "-J", "--connect-timeout", "5000"];
        args.extend(more);
        let finished = self.host(from).run(&args, Duration::from_secs(u64::from(seconds) + 20))?;
        let report: Value = serde_json::from_str(&finished.stdout)
            .with_context(|| format!("iperf3 reports nothing: {}{}", finished.stdout, finished.stderr))?;
        if let Some(error) = report.get("error").and_then(Value::as_str) {
            bail!("iperf3: {error}");
        }
        Self::end(server)?;
        Ok(report)
    }

    fn end(mut server: Running) -> Result<()> {
        // With -1 it ends by itself, unless it waits for a client that has gone.
        if server.wait(Duration::from_secs(3)).is_err() {
            server.stop(Signal::TERM, Duration::from_secs(5))?;
        }
        Ok(())
    }
}

/// The two last lines of `ping -q`.
fn parse_pings(text: &str) -> Option<Pings> {
    let counts = text.lines().find(|l| l.contains("packets transmitted"))?;
    let mut numbers = counts.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
    let (sent, received) = (numbers.next()?, numbers.next()?);
    let times = text.lines().find_map(|l| l.split_once("= ").filter(|_| l.starts_with("rtt")));
    let mean_ms = times.and_then(|(_, t)| t.split('/').nth(1)?.parse().ok()).unwrap_or_default();
    Some(Pings { sent, received, mean_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_are_read() {
        let text = "PING 2001:db8:b::1(2001:db8:b::1) 56 data bytes\n\n--- 2001:db8:b::1 ping statistics ---\n\
                    100 packets transmitted, 99 received, 1% packet loss, time 1010ms\n\
                    rtt min/avg/max/mdev = 0.101/0.202/0.303/0.040 ms, pipe 2\n";
        assert_eq!(parse_pings(text), Some(Pings { sent: 100, received: 99, mean_ms: 0.202 }));
        let text = "3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2044ms\n";
        assert_eq!(parse_pings(text), Some(Pings { sent: 3, received: 0, mean_ms: 0.0 }));
        assert_eq!(parse_pings("ping: unknown host"), None);
    }
}
