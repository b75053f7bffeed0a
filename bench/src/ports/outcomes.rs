//! What became of packets, for error messages.

use pipeline::observe::counters::WorkerCounters;
use pipeline::observe::reasons::Reason;
use std::sync::Arc;

/// Why packets were passed, stripped or dropped.
#[must_use]
pub fn reasons(counters: &[Arc<WorkerCounters>]) -> String {
    let mut text = String::new();
    for (i, reason) in Reason::ALL.iter().enumerate() {
        for c in counters {
            for (what, d) in [("out", &c.outbound), ("in", &c.inbound)] {
                let [passed, stripped, dropped] = [&d.passed, &d.stripped, &d.dropped].map(|c| c[i].get());
                if passed + stripped + dropped > 0 {
                    let name = reason.name();
                    text += &format!(" {what}: {name} {passed} passed, {stripped} stripped, {dropped} dropped;");
                }
            }
        }
    }
    text
}
