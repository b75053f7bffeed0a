//! Claims about the flow table.

use super::{Bound, Claim, Found, median};
use crate::report::Report;

pub(super) fn claims() -> Vec<Claim> {
    [
        ("hit", "flow: look-up, 1000000 flows, times rte_hash_lookup_bulk"),
        ("hit, record read", "flow: look-up and the record's first line, 1000000 flows, times rte_hash_lookup_bulk"),
    ]
    .into_iter()
    .map(|(operation, name)| Claim::new(name, Bound::AtLeast(1.0), move |report| times(report, operation)))
    .collect()
}

fn times(report: &Report, operation: &str) -> Found {
    let by =
        |table| median(report, &[("flows", "1000000"), ("operation", operation), ("threads", "1"), ("table", table)]);
    match (by("rte_hash"), by("ours")) {
        (Ok(peer), Ok(ours)) => Ok(peer / ours),
        // The report says why a size, or the peer, was left out.
        (Err(reason), _) | (_, Err(reason)) => {
            let peer = report.notes.iter().find(|n| n.starts_with("rte_hash: not measured"));
            Err(peer.or(report.notes.first().filter(|_| report.rows.is_empty())).cloned().unwrap_or(reason))
        }
    }
}
