//! Claims about the whole packet path.

use super::{Bound, Claim, Found, median};
use crate::report::Report;

pub(super) fn claims() -> Vec<Claim> {
    let add = |flows, workers| move |report: &Report| ours(report, "add", "sealed", flows, workers);
    let over = |a: fn(&Report) -> Found, b: fn(&Report) -> Found| move |r: &Report| Ok(a(r)? / b(r)?);
    let sealed: fn(&Report) -> Found = |r| ours(r, "add", "sealed", "65536", "1");
    let removed: fn(&Report) -> Found = |r| ours(r, "remove", "sealed", "65536", "1");
    vec![
        Claim::new(
            "pipeline: sealed add, of testpmd mac",
            Bound::AtLeast(0.4),
            over(sealed, |r| peer(r, "testpmd", "mac")),
        ),
        Claim::new(
            "pipeline: sealed add, times ipsec-secgw",
            Bound::AtLeast(2.0),
            over(sealed, |r| peer(r, "ipsec-secgw", "esp")),
        ),
        Claim::new("pipeline: sealed remove, of sealed add", Bound::AtLeast(0.9), over(removed, sealed)),
        Claim::new("pipeline: sealed add, 1000000 flows, of 1000 flows", Bound::AtLeast(0.6), move |r| {
            Ok(add("1000000", "1")(r)? / add("1000", "1")(r)?)
        }),
        Claim::new("pipeline: sealed add, two workers, times one", Bound::AtLeast(1.85), move |r| {
            Ok(add("65536", "2")(r)? / add("65536", "1")(r)?)
        }),
        Claim::new(
            "pipeline: sealed add, of clear add",
            Bound::AtLeast(0.85),
            over(sealed, |r| ours(r, "add", "clear", "65536", "1")),
        ),
        Claim::new(
            "pipeline: sealed remove, of clear remove",
            Bound::AtLeast(0.85),
            over(removed, |r| ours(r, "remove", "clear", "65536", "1")),
        ),
    ]
}

/// Packets per second of our worker loop, frames of the 64-octet class.
fn ours(report: &Report, action: &str, form: &str, flows: &str, workers: &str) -> Found {
    let labels = [
        ("frame", "80"),
        ("workers", workers),
        ("program", "ours"),
        ("action", action),
        ("form", form),
        ("flows", flows),
    ];
    median(report, &labels)
}

/// Packets per second of a peer on the same ports.
fn peer(report: &Report, program: &str, action: &str) -> Found {
    let found = median(report, &[("frame", "80"), ("workers", "1"), ("program", program), ("action", action)]);
    // The report says why it is not there.
    let why = |note: &&String| note.split_once(": not measured").is_some_and(|(peer, _)| peer.contains(program));
    found.map_err(|reason| report.notes.iter().find(why).cloned().unwrap_or(reason))
}
