//! What is told of a port that was set up: its driver, its offloads, and how it spreads packets over the workers.

use crate::config::Rss;
use crate::observe::counts::{PortSettings, RSS_FIELDS, RSS_KEYS};
use crate::ports::SIDES;
use dpdk_ffi::{HashedBy, Port, Spread, Started};

/// Logs what a started port was set up with, and warns when it will not give each worker its share.
pub fn tell_settings(side: usize, port: &Port<Started>, rss: Rss) -> PortSettings {
    let driver = port.info().map(|info| info.driver).unwrap_or_default();
    let spread = port.spread().ok();
    let settings = PortSettings {
        driver,
        offloads: port.offloads().join(" "),
        rss: spread.as_ref().map_or(RSS_FIELDS[3], rss_of),
        rss_key: spread.as_ref().map_or(RSS_KEYS[3], key_of),
    };
    let PortSettings { driver, offloads, rss: by, rss_key } = &settings;
    let (side, queues) = (SIDES[side], spread.as_ref().map_or(0, |spread| spread.queues));
    tracing::info!(
        port = port.name(),
        driver,
        offloads,
        queues,
        rss = by,
        rss_key,
        "{side}: set up (RSS: the driver's own function, Toeplitz in nearly all)"
    );
    for warning in spread.iter().flat_map(|spread| spread_warnings(side, driver, rss, spread)) {
        tracing::warn!(port = port.name(), "{warning}");
    }
    settings
}

/// What of IPv6 packets spreads them over a port's queues.
const fn rss_of(spread: &Spread) -> &'static str {
    match spread.ipv6 {
        Some(HashedBy::Addresses) => RSS_FIELDS[1],
        Some(HashedBy::Ports) => RSS_FIELDS[2],
        None if spread.hashes => RSS_FIELDS[3],
        Some(HashedBy::Nothing) | None => RSS_FIELDS[0],
    }
}

/// What key it hashes them under.
fn key_of(spread: &Spread) -> &'static str {
    match spread.symmetric() {
        _ if !spread.hashes => RSS_KEYS[0],
        Some(true) => RSS_KEYS[1],
        Some(false) => RSS_KEYS[2],
        None => RSS_KEYS[3],
    }
}

/// What is to be said of a port's spreading, if anything.
fn spread_warnings(side: &str, driver: &str, rss: Rss, spread: &Spread) -> Vec<String> {
    let workers = spread.queues;
    if workers < 2 {
        return Vec::new();
    }
    if !spread.hashes {
        return vec![format!(
            "{side}: {workers} workers, and the driver '{driver}' does not say that it spreads packets over queues (RSS): \
             unless it does so in a way of its own, worker 0 gets all that comes in here, and the others nothing; use one \
             worker, or a port with RSS"
        )];
    }
    let mut warnings = Vec::new();
    if let Some(reached) = spread.reached.filter(|&reached| reached < workers) {
        warnings.push(format!(
            "{side}: {workers} workers, and the driver '{driver}' spreads packets over {reached} queue(s) of them: the other \
             {} worker(s) get nothing from here; use {reached} worker(s)",
            workers - reached
        ));
    }
    if spread.symmetric() == Some(false) {
        warnings.push(format!(
            "{side}: the driver '{driver}' keeps a hash key of its own: the two directions of a flow may meet on different \
             workers, which is right and slower"
        ));
    }
    if rss == Rss::Addresses && spread.ipv6 == Some(HashedBy::Ports) {
        warnings.push(format!(
            "{side}: the driver '{driver}', or the other port's, hashes IPv6 packets with their ports, which few find behind an \
             option: the two directions of a flow may meet on different workers, which is right and slower"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_does_not_serve_all_workers_is_named() {
        let spread = |queues, hashes, key: &[u8], reached| Spread {
            queues,
            hashes,
            key: Some(key.to_vec()),
            reached,
            ipv6: Some(HashedBy::Addresses),
        };
        let said = |spread: &Spread| spread_warnings("inside", "net_x", Rss::Addresses, spread);
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert!(said(&spread(1, false, &other, Some(1))).is_empty(), "one worker gets all there is");
        assert!(said(&spread(4, true, &ours, Some(4))).is_empty());
        assert!(said(&Spread { key: None, ipv6: None, ..spread(4, true, &ours, None) }).is_empty(), "nothing is known");
        let none = said(&spread(2, false, &ours, None));
        assert!(none.len() == 1 && none[0].contains("worker 0 gets all") && none[0].contains("'net_x'"), "{none:?}");
        let some = said(&spread(4, true, &ours, Some(2)));
        assert!(some.len() == 1 && some[0].contains("use 2 worker(s)") && some[0].contains("other 2"), "{some:?}");
        assert!(said(&spread(4, true, &other, Some(4)))[0].contains("a hash key of its own"));
        let ports = Spread { ipv6: Some(HashedBy::Ports), ..spread(4, true, &ours, Some(4)) };
        assert!(said(&ports)[0].contains("with their ports"));
        assert!(spread_warnings("inside", "net_x", Rss::Ports, &ports).is_empty(), "as it is configured");
    }

    #[test]
    fn what_is_in_force_has_a_name() {
        let of = |hashes, key: Option<&[u8]>, ipv6| {
            let spread = Spread { queues: 4, hashes, key: key.map(<[u8]>::to_vec), reached: None, ipv6 };
            (rss_of(&spread), key_of(&spread))
        };
        let (ours, other) = ([0x6D, 0x5A, 0x6D, 0x5A], [1, 2, 3, 4]);
        assert_eq!(of(false, None, None), ("off", "none"));
        assert_eq!(of(false, Some(&ours), Some(HashedBy::Nothing)), ("off", "none"));
        assert_eq!(of(true, Some(&ours), Some(HashedBy::Addresses)), ("addresses", "symmetric"));
        assert_eq!(of(true, Some(&other), Some(HashedBy::Ports)), ("ports", "own"));
        assert_eq!(of(true, None, None), ("unknown", "unknown"));
    }
}
