//! The table on the terminal.

use super::Counts;
use std::fmt;

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.generation.map_or_else(|| "no key to seal with".into(), |g| format!("generation {g}"));
        writeln!(f, "{}: {generation}, {} worker(s), {:.1} s", self.node, self.workers, self.uptime_seconds)?;
        for (name, d) in
            [("outbound (inside to outside)", &self.outbound), ("inbound (outside to inside)", &self.inbound)]
        {
            writeln!(f, "{name}: {} received, {} forwarded, {} dropped", d.received, d.forwarded, d.dropped_total)?;
            for (what, forms) in [("added", &d.added), ("removed", &d.removed), ("verified", &d.verified)] {
                for (form, n) in forms.iter().filter(|(_, n)| *n > 0) {
                    writeln!(f, "  {n:>12}  {what} {form}")?;
                }
            }
            for (what, reasons) in [("passed", &d.passed), ("stripped", &d.stripped), ("dropped", &d.dropped)] {
                for (reason, n) in reasons {
                    writeln!(f, "  {n:>12}  {what}: {reason}")?;
                }
            }
            if d.too_big > 0 {
                writeln!(f, "  {:>12}  answered with Packet Too Big", d.too_big)?;
            }
        }
        for p in &self.policies {
            writeln!(
                f,
                "policy {} ({}): {} added, {} accepted, {} failed",
                p.name, p.mode, p.added, p.accepted, p.failed
            )?;
        }
        let (flows, s, r) = (&self.flows, &self.sequence, &self.rotations);
        writeln!(
            f,
            "flows: {} of {} in the table, {} inserted, {} expired, {} tombstones",
            flows.in_table, flows.capacity, flows.inserted, flows.expired, flows.tombstones
        )?;
        writeln!(
            f,
            "sequence: {} skipped, {} reordered; rotations: {} sealed, {} opened",
            s.skipped, s.reordered, r.sealed, r.opened
        )?;
        let path = &self.paths.path_mtu;
        if path.learnt > 0 {
            writeln!(f, "path MTU: {} learnt, {} destinations known", path.learnt, path.known)?;
        }
        for (finding, n) in &self.paths.quotations {
            writeln!(f, "  {n:>12}  ICMPv6 errors that quote an option: {finding}")?;
        }
        let us = |ns: u64| ns as f64 / 1000.0;
        for (name, d) in [("round-trip delay", &self.delays.round_trip), ("server delay", &self.delays.server_delay)] {
            if d.count > 0 {
                let (mean, p50, p90, p99) = (us(d.mean_ns), us(d.p50_ns), us(d.p90_ns), us(d.p99_ns));
                writeln!(
                    f,
                    "{name}: mean {mean:.1} us, p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1} ({} samples)",
                    d.count
                )?;
            }
        }
        for (name, p) in [("inside", &self.ports.inside), ("outside", &self.ports.outside)] {
            writeln!(
                f,
                "port {name}: rx {} tx {} missed {} rx errors {} tx errors {} no buffer {}, link {}, {} change(s)",
                p.rx_packets,
                p.tx_packets,
                p.rx_missed,
                p.rx_errors,
                p.tx_errors,
                p.rx_no_buffer,
                if p.link.link_up { "up" } else { "down" },
                p.link.link_changes
            )?;
        }
        Ok(())
    }
}
