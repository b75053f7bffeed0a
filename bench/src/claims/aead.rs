//! Claims about sealing and opening.

use super::{Bound, Claim, Found, median};
use crate::aead::{PORTABLE, against_best_other};
use crate::report::Report;
use protocol::aead::Path;
use protocol::suite::Aead;

/// Numbers of keys, and how many times as fast as the `aes-gcm` crate and as the best other library.
const BOUNDS: [(&str, f64, Option<f64>); 3] =
    [("1", 25.0, None), ("65536", 20.0, Some(5.0)), ("1000000", 10.0, Some(3.5))];

pub(super) fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    for operation in ["seal", "open"] {
        for (keys, portable, other) in BOUNDS {
            claims.push(Claim::new(
                format!("aead: {operation}, {keys} keys, times aes-gcm per packet"),
                Bound::AtLeast(portable),
                move |report| times(report, Aead::Aes128Gcm, keys, operation, best_path(report, keys, operation)?),
            ));
            if let Some(other) = other {
                claims.push(Claim::new(
                    format!("aead: {operation}, {keys} keys, times the best other library"),
                    Bound::AtLeast(other),
                    move |report| times_other(report, keys, operation),
                ));
            }
        }
        claims.push(Claim::new(
            format!("aead: {operation}, 65536 keys, AES-NI alone, times aes-gcm per packet"),
            Bound::AtLeast(9.0),
            move |report| times(report, Aead::Aes128Gcm, "65536", operation, Path::AesNi),
        ));
        claims.push(Claim::new(
            format!("aead: {operation}, AES-256-GCM over AES-128-GCM, at the worst number of keys"),
            Bound::AtMost(1.4),
            move |report| {
                let costs = BOUNDS.iter().map(|(keys, ..)| {
                    let best = best_path(report, keys, operation)?;
                    Ok(cost(report, Aead::Aes256Gcm, keys, operation, best)?
                        / cost(report, Aead::Aes128Gcm, keys, operation, best)?)
                });
                costs.collect::<Result<Vec<_>, String>>().map(|all| all.into_iter().fold(0.0, f64::max))
            },
        ));
    }
    claims
}

fn cost(report: &Report, aead: Aead, keys: &str, operation: &str, path: Path) -> Found {
    median(report, &[("aead", aead.name()), ("keys", keys), ("operation", operation), ("by", path.name())])
}

/// How many times as fast as the `aes-gcm` crate a path is.
fn times(report: &Report, aead: Aead, keys: &str, operation: &str, path: Path) -> Found {
    let labels = [("aead", aead.name()), ("keys", keys), ("operation", operation), ("by", PORTABLE)];
    Ok(median(report, &labels)? / cost(report, aead, keys, operation, path)?)
}

fn times_other(report: &Report, keys: &str, operation: &str) -> Found {
    let there = |part: &str| report.rows.iter().any(|r| r.labels.iter().any(|(k, v)| k == "by" && v.starts_with(part)));
    for library in ["ipsec-mb", "OpenSSL", "ring", "aws-lc-rs"] {
        if !there(library) {
            let note = report
                .notes
                .iter()
                .find(|n| n.split_once(": not measured").is_some_and(|(peer, _)| peer.contains(library)));
            let absent = || format!("{library} was not there to compare with; 'make bench' installs and builds it");
            return Err(note.cloned().unwrap_or_else(absent));
        }
    }
    let found = against_best_other(report, keys.parse().unwrap_or(0), operation);
    found.map(|(ratio, _)| ratio).ok_or_else(|| "there is no other library in the report".to_owned())
}

/// Of the widest path that this CPU has, which is what its users get.
fn best_path(report: &Report, keys: &str, operation: &str) -> Result<Path, String> {
    let has = |path: &Path| cost(report, Aead::Aes128Gcm, keys, operation, *path).is_ok();
    Path::ALL.into_iter().rev().find(has).ok_or_else(|| "no path of ours is in the report".into())
}
